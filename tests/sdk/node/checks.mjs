// The official openai package against a running Farebox: node checks.mjs BASE_URL
// Prints one JSON line per check: {"check": its name, "ok": true} or {"check": …, "ok": false, "why": …}.
import assert from "node:assert/strict";
import OpenAI from "openai";

const baseURL = process.argv[2];
const client = new OpenAI({ baseURL, apiKey: "fb-demo-search-key", maxRetries: 0 });
const as = (apiKey) => client.withOptions({ apiKey });
const say = (content) => [{ role: "system", content: "You are terse." }, { role: "user", content }];
const chat = (content, more = {}) => ({ model: "auto", messages: say(content), ...more });
const tool = (name, properties) => ({
  type: "function",
  function: { name, parameters: { type: "object", properties, required: Object.keys(properties) } },
});
const tools = [tool("get_weather", { city: { type: "string" } }), tool("get_time", { zone: { type: "string" } })];
const all = async (stream) => {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
};
const text = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");

async function raises(kind, status, code, request) {
  const error = await request.then(() => assert.fail("nothing was raised"), (raised) => raised);
  assert.equal(error.constructor.name, kind.name);
  assert.ok(error instanceof kind);
  assert.deepEqual([error.status, error.code], [status, code]);
  assert.ok(error.error.message && error.error.type);
  return error;
}

const checks = {
  async "a chat, its usage, its cost and its headers"() {
    const { data, response } = await client.chat.completions.create(chat("out=7 in=31")).withResponse();
    assert.ok(data.choices[0].message.content);
    assert.deepEqual([data.usage.prompt_tokens, data.usage.completion_tokens], [31, 7]);
    assert.equal(Number(response.headers.get("x-farebox-cost")), data.usage.cost);
    assert.ok(data.usage.cost > 0 && data.usage.flagship_cost > data.usage.cost);
    assert.equal(data.usage.cost_currency, "USD");
    assert.equal(response.headers.get("x-farebox-model"), data.model);
    for (const name of ["request-id", "vendor", "tier", "reason"]) assert.ok(response.headers.get(`x-farebox-${name}`));
  },
  async "a stream is the plain answer and hides its usage"() {
    const chunks = await all(await client.chat.completions.create(chat("out=12", { stream: true })));
    assert.ok(chunks.every((chunk) => chunk.choices.length && !chunk.usage));
    const plain = await client.chat.completions.create(chat("out=12"));
    assert.equal(text(chunks), plain.choices[0].message.content);
  },
  async "a stream with its usage and its cost"() {
    const asked = chat("out=5 in=40", { stream: true, stream_options: { include_usage: true } });
    const { usage } = (await all(await client.chat.completions.create(asked))).at(-1);
    assert.deepEqual([usage.prompt_tokens, usage.completion_tokens, usage.cost_currency], [40, 5, "USD"]);
    assert.ok(usage.cost > 0);
  },
  async "a stream that breaks off is an error"() {
    const stream = await client.chat.completions.create(chat("out=9 cut=4", { model: "gpt-4o", stream: true }));
    const error = await all(stream).then(() => assert.fail("it ended well"), (raised) => raised);
    assert.ok(error instanceof OpenAI.APIError);
    assert.equal(error.code, "upstream_error");
  },
  async "the helper for streams"() {
    const final = await client.chat.completions.stream(chat("out=5")).finalChatCompletion();
    assert.ok(final.choices[0].message.content);
  },
  async "a tool is called"() {
    const { choices } = await client.chat.completions.create(chat("call the tool", { tools }));
    assert.equal(choices[0].finish_reason, "tool_calls");
    assert.ok("city" in JSON.parse(choices[0].message.tool_calls[0].function.arguments));
  },
  async "parallel tool calls from a stream"() {
    const final = await client.chat.completions.stream(chat("both tools", { model: "gpt-4o", tools })).finalChatCompletion();
    const plain = await client.chat.completions.create(chat("both tools", { model: "gpt-4o", tools }));
    const told = (answer) => answer.choices[0].message.tool_calls.map((c) => [c.id, c.function.name, c.function.arguments]);
    assert.deepEqual(told(final), told(plain));
    assert.deepEqual(told(plain).map((call) => call[1]), ["get_weather", "get_time"]);
  },
  async "an answer of a given shape"() {
    const schema = { type: "object", properties: { n: { type: "integer" } }, required: ["n"], additionalProperties: false };
    const response_format = { type: "json_schema", json_schema: { name: "n", strict: true, schema } };
    const { choices } = await client.chat.completions.parse(chat("2x=8", { response_format }));
    assert.ok(Number.isInteger(choices[0].message.parsed.n));
  },
  async "embeddings as base64 and as floats"() {
    const asked = { model: "embeddings", input: ["queues", "价格"] };
    const packed = await client.embeddings.create(asked);
    const floats = await client.embeddings.create({ ...asked, encoding_format: "float" });
    assert.deepEqual(packed.data.map((one) => one.embedding.length), [1536, 1536]);
    const far = packed.data.flatMap((one, i) => one.embedding.map((x, j) => Math.abs(x - floats.data[i].embedding[j])));
    assert.ok(Math.max(...far) < 1e-6);
    assert.ok(floats.usage.cost > 0);
  },
  async "the old completions"() {
    const answer = await client.completions.create({ model: "gpt-4o-mini", prompt: "count out=4", max_tokens: 4 });
    assert.ok(answer.choices[0].text);
    assert.equal(answer.usage.completion_tokens, 4);
  },
  async "models are listed and looked up"() {
    const names = (await all(await client.models.list())).map((model) => model.id);
    for (const name of ["auto", "best", "gpt-4o"]) assert.ok(names.includes(name));
    assert.deepEqual((await all(await as("fb-demo-batch-key").models.list())).map((model) => model.id), ["bulk"]);
    assert.equal((await client.models.retrieve("auto")).id, "auto");
  },
  async "wishes in the body and in headers"() {
    const farebox = { tier: "flagship", vendors: ["openai"], tags: { app: "node" } };
    const { response } = await client.chat.completions.create(chat("out=3", { farebox })).withResponse();
    assert.equal(response.headers.get("x-farebox-model"), "gpt-4o");
    const headers = { "x-farebox-vendors": "anthropic" };
    const second = await client.chat.completions.create(chat("out=3"), { headers }).withResponse();
    assert.equal(second.response.headers.get("x-farebox-model"), "claude-sonnet-4-5");
    const told = await client.chat.completions.create(chat("hi", { farebox: { dry_run: true } }));
    assert.equal(told.object, "farebox.decision");
  },
  async "401 is an AuthenticationError"() {
    await raises(OpenAI.AuthenticationError, 401, "invalid_api_key", as("nobody").chat.completions.create(chat("hi")));
  },
  async "402 is an APIError that is not tried again"() {
    const asked = chat("hi", { model: "best", farebox: { max_cost: 0 } });
    const start = performance.now();
    const retrying = client.withOptions({ maxRetries: 2 });
    await raises(OpenAI.APIError, 402, "budget_exceeded", retrying.chat.completions.create(asked));
    assert.ok(performance.now() - start < 400, "it waited, as before another try");
  },
  async "403 is a PermissionDeniedError"() {
    const request = as("fb-demo-batch-key").chat.completions.create(chat("hi"));
    await raises(OpenAI.PermissionDeniedError, 403, "not_allowed", request);
  },
  async "404 is a NotFoundError"() {
    const request = client.chat.completions.create(chat("hi", { model: "no-such" }));
    await raises(OpenAI.NotFoundError, 404, "model_not_found", request);
  },
  async "400 is a BadRequestError that names the field"() {
    const request = client.chat.completions.create(chat("hi", { max_tokens: 0 }));
    assert.equal((await raises(OpenAI.BadRequestError, 400, "invalid_request", request)).param, "max_tokens");
  },
  async "429 is a RateLimitError with a wait"() {
    const request = client.chat.completions.create(chat("status=429", { model: "gpt-4o" }));
    const error = await raises(OpenAI.RateLimitError, 429, "rate_limited", request);
    assert.ok(Number(error.headers.get("retry-after")) >= 1);
  },
  async "502 is an InternalServerError that names each attempt"() {
    const request = client.chat.completions.create(chat("status=500", { model: "best" }));
    const error = await raises(OpenAI.InternalServerError, 502, "upstream_error", request);
    assert.deepEqual(error.error.attempts.map((one) => one.model).sort(), ["claude-sonnet-4-5", "gpt-4o"]);
  },
  async "a response, native and turned, with its usage and its cost"() {
    for (const model of ["gpt-4o-mini", "claude-sonnet-4-5", "qwen-plus"]) {
      const response = await client.responses.create({ model, input: "out=7 in=31" });
      assert.ok(response.output_text);
      assert.deepEqual([response.usage.input_tokens, response.usage.output_tokens], [31, 7]);
      assert.ok(response.usage.cost > 0);
    }
  },
  async "the helper for streams of responses, with a call"() {
    const own = tools.map(({ function: told }) => ({ type: "function", strict: false, ...told }));
    for (const model of ["gpt-4o-mini", "claude-sonnet-4-5", "qwen-plus"]) {
      const asked = { model, input: "both tools", tools: own, tool_choice: "required" };
      const final = await client.responses.stream(asked).finalResponse();
      const calls = final.output.filter((item) => item.type === "function_call");
      assert.deepEqual(calls.map((call) => call.name), ["get_weather", "get_time"]);
      assert.ok("city" in JSON.parse(calls[0].arguments));
    }
  },
  async "a response that cannot be carried names the field"() {
    const request = client.responses.create({ model: "qwen-plus", input: "hi", previous_response_id: "resp_1" });
    const error = await raises(OpenAI.BadRequestError, 400, "invalid_request", request);
    assert.match(error.message, /`previous_response_id`/);
  },
  async "a leaving client ends its stream"() {
    const stream = await client.chat.completions.create(chat("out=500 gap=1", { model: "gpt-4o", stream: true }));
    for await (const chunk of stream) if (chunk.choices[0].delta.content) break;
    assert.ok(stream.controller.signal.aborted);
  },
};

for (const [check, run] of Object.entries(checks)) {
  const why = await run().then(() => null, (error) => error.stack ?? String(error));
  console.log(JSON.stringify(why === null ? { check, ok: true } : { check, ok: false, why }));
}
