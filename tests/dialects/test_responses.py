"""OpenAI's Responses wire between both sides: what each is sent, what each gets, and what is refused by name."""

import asyncio

import pytest
from fakes import Conversation, KeptReply, answer, event, snapshot_of, stream
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from router.core import jsonio
from router.core.errors import ContextTooLong, InvalidRequest, UpstreamFailed
from router.core.failure import Fault
from router.core.sse import data_of, events

PARAMETERS = {"type": "object", "properties": {"pair": {"type": "string"}}}
TOOL = {"type": "function", "name": "get_rate", "description": "an exchange rate", "parameters": PARAMETERS}
HUB_TOOL = {
    "type": "function",
    "function": {"name": "get_rate", "description": "an exchange rate", "parameters": PARAMETERS},
}
NATIVE = {"vendors": {"check": {"dialect": "responses", "base_url": "http://127.0.0.1:1/v1", "api_key": "sk-vendor"}}}
AMPLE = {"search": {"budgets": [{"limit": 1, "per": "day"}]}}
EVENT = TypeAdapter(ResponseStreamEvent)
USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 15,
}


def native(tmp_path, *answers, **changes):
    """A conversation whose vendor speaks the Responses wire."""
    return Conversation(snapshot_of(tmp_path, **{**NATIVE, **changes}), *answers)


def words(text):
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}


def response(*output, status="completed", usage=USAGE, **more):
    head = {"id": "resp_1", "object": "response", "created_at": 1, "model": "small", "status": status}
    asked = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    return {**head, **asked, "error": None, "output": list(output), "usage": usage, **more}


def plain(*output, **more):
    return jsonio.dumps(response(*output, **more))


def numbered(*told):
    return [
        b"event: " + one["type"].encode() + b"\n" + event({**one, "sequence_number": i}) for i, one in enumerate(told)
    ]


def opening():
    begun = response(status="in_progress", usage=None)
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}


def saying(*deltas):
    item = {**words(""), "content": [], "status": "in_progress"}
    yield {"type": "response.output_item.added", "output_index": 0, "item": item}
    for delta in deltas:
        at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        yield {"type": "response.output_text.delta", **at, "delta": delta}


def streamed(*deltas, **more):
    told = response(words("".join(deltas)), **more)
    return numbered(*opening(), *saying(*deltas), {"type": f"response.{told['status']}", "response": told})


def told_events(raw):
    return [jsonio.loads(data_of(one)) for one in events(raw)]


def accepted(raw):
    """The events of a stream, each as the openai package has it, named and numbered without a gap."""
    told = told_events(raw)
    for one in told:
        EVENT.validate_python(one)
    assert [one["sequence_number"] for one in told] == list(range(len(told)))
    assert [line[7:].decode() for line in raw.split(b"\n") if line.startswith(b"event: ")] == [e["type"] for e in told]
    assert b"[DONE]" not in raw
    return told


# A client of this wire, a vendor on the hub's


async def test_a_request_for_a_response_becomes_a_chat_completion_and_back(tmp_path):
    talk = Conversation(snapshot_of(tmp_path), answer(text="Hello."))
    reply = await talk.ask(
        endpoint="responses",
        instructions="Be terse.",
        input=[
            {"role": "developer", "content": "Answer in German."},
            {"role": "user", "content": [
                {"type": "input_text", "text": "what is this"},
                {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,BBBB"},
            ]},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "gAAA"},
            {"type": "message", "id": "msg_0", "role": "assistant", "status": "completed", "content": [
                {"type": "output_text", "text": "wait", "annotations": []},
            ]},
            {"type": "function_call", "call_id": "c1", "name": "get_rate", "arguments": '{"pair":"A"}'},
            {"type": "function_call", "call_id": "c2", "name": "get_rate", "arguments": ""},
            {"type": "function_call_output", "call_id": "c1", "output": "7"},
            {"type": "function_call_output", "call_id": "c2", "output": [
                {"type": "input_text", "text": "8"}, {"type": "input_image", "image_url": "https://example.org/a.png"},
            ]},
            {"role": "user", "content": "and?"},
        ],
        max_output_tokens=64,
        temperature=0.5,
        tools=[TOOL, {**TOOL, "name": "other"}],
        tool_choice={"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "get_rate"}]},
        parallel_tool_calls=False,
        text={"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}, "verbosity": "low"},
        user="u1", store=True, metadata={"a": "b"}, include=["reasoning.encrypted_content"], truncation="auto",
        background=False, service_tier="default", prompt_cache_key="k",
    )  # fmt: skip
    assert talk.upstream.calls[0].url == "http://127.0.0.1:1/v1/chat/completions"
    assert talk.sent[0] == {
        "model": "small",
        "messages": [
            {"role": "system", "content": "Be terse."},
            {"role": "system", "content": "Answer in German."},
            {"role": "user", "content": [
                {"type": "text", "text": "what is this"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,BBBB"}},
            ]},
            {"role": "assistant", "content": "wait", "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "get_rate", "arguments": '{"pair":"A"}'}},
                {"id": "c2", "type": "function", "function": {"name": "get_rate", "arguments": "{}"}},
            ]},
            {"role": "tool", "tool_call_id": "c1", "content": "7"},
            {"role": "tool", "tool_call_id": "c2", "content": "8"},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]},
            {"role": "user", "content": "and?"},
        ],
        "temperature": 0.5,
        "user": "u1",
        "max_completion_tokens": 64,
        "tools": [HUB_TOOL],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "response_format": {
            "type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
        },
    }  # fmt: skip
    told = Response.model_validate_json(reply.body)
    assert (told.output_text, told.status, told.store, told.max_output_tokens) == ("Hello.", "completed", False, 64)
    assert (told.usage.input_tokens, told.usage.output_tokens, told.usage.total_tokens) == (10, 5, 15)
    usage = jsonio.loads(reply.body)["usage"]
    assert (usage["cost"], usage["cost_currency"], "flagship_cost" in usage) == (0.00002, "USD", True)
    assert reply.headers["x-farebox-cost"] == "0.00002"


async def test_a_response_is_streamed_in_its_own_events(tmp_path):
    def delta(**told):
        return event({"choices": [{"index": 0, "delta": told}]})

    def call(index, **told):
        return delta(tool_calls=[{"index": index, **told}])

    chunks = [
        delta(reasoning_content="Hm."),
        *stream("Hel", "lo", usage=None, done=False),
        call(0, id="c1", function={"name": "get_rate"}),
        call(0, function={"arguments": '{"pair":'}),
        call(1, id="c2", function={"name": "get_rate", "arguments": "{}"}),
        call(0, function={"arguments": '"A"}'}),
        event({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}),
        *stream(),
    ]
    talk = Conversation(snapshot_of(tmp_path), chunks)
    reply = await talk.ask(endpoint="responses", stream=True, tools=[TOOL], max_output_tokens=64)
    told = accepted(reply.body)
    short = [one["type"].removeprefix("response.") for one in told]
    item = "output_item"
    assert short == [
        "created", "in_progress",
        f"{item}.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
        "reasoning_summary_text.done", "reasoning_summary_part.done", f"{item}.done",
        f"{item}.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", f"{item}.done",
        f"{item}.added", "function_call_arguments.delta",
        f"{item}.added", "function_call_arguments.delta", "function_call_arguments.delta",
        "function_call_arguments.done", f"{item}.done", "function_call_arguments.done", f"{item}.done",
        "completed",
    ]  # fmt: skip
    last = told[-1]["response"]
    assert [one["item"] for one in told if one["type"].endswith("item.done")] == last["output"]
    assert [one["type"] for one in last["output"]] == ["reasoning", "message", "function_call", "function_call"]
    assert [(one["call_id"], one["arguments"]) for one in last["output"][2:]] == [("c1", '{"pair":"A"}'), ("c2", "{}")]
    assert len({one["id"] for one in last["output"]}) == 4
    assert (last["usage"]["output_tokens"], last["usage"]["cost"]) == (5, 0.00002)
    assert {one["response"]["id"] for one in told if "response" in one} == {last["id"]}


@pytest.mark.parametrize(
    ("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter"), ("stop", None)]
)
async def test_an_answer_that_is_not_whole_says_why(tmp_path, finish, reason):
    end = event({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    talk = Conversation(snapshot_of(tmp_path), [*stream("Hello", usage=None, done=False), end, *stream()])
    last = accepted((await talk.ask(endpoint="responses", stream=True)).body)[-1]
    assert last["type"] == ("response.incomplete" if reason else "response.completed")
    assert (last["response"]["incomplete_details"] or {}).get("reason") == reason
    assert last["response"]["output"][0]["status"] == last["response"]["status"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"previous_response_id": "resp_1"}, "`previous_response_id`"),
        ({"conversation": "conv_1"}, "`conversation`"),
        ({"prompt": {"id": "pmpt_1"}, "input": None}, "`prompt`"),
        ({"background": True, "stream": True}, "`background`"),
        ({"tools": [TOOL, {"type": "web_search"}]}, "`tools[1]` of type web_search"),
        ({"tools": [{"type": "mcp", "server_label": "x"}]}, "`tools[0]` of type mcp"),
        ({"tools": [TOOL], "tool_choice": {"type": "web_search"}}, "`tool_choice` of type web_search"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "`input[0]` of type item_reference"),
        ({"input": [{"id": "msg_1"}]}, "`input[0]` of type item_reference"),
        ({"input": [{"type": "computer_call_output", "call_id": "c"}]}, "`input[0]` of type computer_call_output"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file_1"}]}]},
            "`input[0].content[0]` of type input_file",
        ),
        ({"top_logprobs": 3}, "`top_logprobs`"),
        ({"include": ["message.output_text.logprobs"]}, "`include`"),
        ({"made_up": 1}, "`made_up`"),
    ],
)
async def test_what_only_this_wire_understands_is_refused_elsewhere_and_passes_to_it(tmp_path, body, named):
    talk = Conversation(snapshot_of(tmp_path))
    with pytest.raises(InvalidRequest) as refused:
        await talk.ask(endpoint="responses", **body)
    assert named in refused.value.message
    assert talk.ledger.opened == []
    window = {"small": {"context_window": 200_000}, "large": {"context_window": 200_000}}
    talk = native(tmp_path, streamed("x") if body.get("stream") else plain(words("x")), models=window)
    await talk.ask(endpoint="responses", **body)
    assert {name: talk.sent[0][name] for name in body} == body


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"input": 7}, "input"),
        ({"input": ["x"]}, "input[0]"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": ["user"], "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": 7}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        ({"input": [{"type": "function_call_output", "output": 7}]}, "input[0].output"),
        ({"instructions": 7}, "instructions"),
        ({"tools": [7]}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"background": True}, "background"),
    ],
)
async def test_what_is_no_request_on_this_wire_is_refused_where_it_is_wrong(tmp_path, body, param):
    talk = native(tmp_path)
    with pytest.raises(InvalidRequest) as refused:
        await talk.ask(endpoint="responses", **body)
    assert refused.value.param == param


# Both sides on this wire


async def test_between_the_same_wires_bytes_pass_and_only_the_cost_is_added(tmp_path):
    sent = streamed("Hel", "lo")
    talk = native(tmp_path, sent, plain({**words("x"), "odd": 1}))
    reply = await talk.ask(endpoint="responses", stream=True, odd={"kept": 1}, headers={"cookie": "secret"})
    (call,) = talk.upstream.calls
    assert call.url == "http://127.0.0.1:1/v1/responses"
    assert (call.headers["Authorization"], "cookie" in call.headers) == ("Bearer sk-vendor", False)
    assert talk.sent[0] == {"model": "small", "input": "hello", "stream": True, "odd": {"kept": 1}}
    assert reply.body.startswith(b"".join(sent[:-1]))
    (entry,) = talk.ledger.closed
    assert (entry.outcome, entry.basis, entry.cost) == ("ok", "reported", 20_000)
    assert told_events(reply.body)[-1]["response"]["usage"]["cost"] == 0.00002
    told = jsonio.loads((await talk.ask(endpoint="responses")).body)
    assert (told["output"][0]["odd"], told["usage"]["cost"]) == (1, 0.00002)


async def test_a_vendor_that_has_this_wire_besides_its_own_is_sent_what_came(tmp_path):
    vendors = {"openai": {"base_url": "http://127.0.0.1:1/v1", "api_key": "sk-o"}}
    models = {"small": {"vendor": "openai"}}
    talk = Conversation(snapshot_of(tmp_path, vendors=vendors, models=models), plain(words("x")), answer())
    window = [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}]
    await talk.ask(endpoint="responses", model="small", input=window, max_output_tokens=20)
    await talk.ask(model="small")
    assert [call.url.rpartition("/v1/")[2] for call in talk.upstream.calls] == ["responses", "chat/completions"]
    assert talk.sent[0] == {"model": "small", "input": window, "max_output_tokens": 20}


@pytest.mark.parametrize(
    ("vendor", "url"),
    [
        ("openai", "https://api.openai.com/v1/responses"),
        ("xai", "https://api.x.ai/v1/responses"),
        ("bytedance", "https://ark.cn-beijing.volces.com/api/v3/responses"),
        ("baidu", "https://qianfan.baidubce.com/v2/responses"),
        ("zhipu", "https://open.bigmodel.cn/api/v1/responses"),
    ],
)
async def test_a_vendor_is_asked_for_chats_on_this_wire_where_the_configuration_says_so(tmp_path, vendor, url):
    vendors = {vendor: {"dialect": "responses", "api_key": "sk-v", "currency": "USD"}}
    talk = Conversation(snapshot_of(tmp_path, vendors=vendors, models={"small": {"vendor": vendor}}), plain(words("x")))
    await talk.ask(model="small")
    assert talk.upstream.calls[0].url == url


async def test_a_cap_that_the_budget_asks_for_is_told_in_this_wires_words(tmp_path):
    talk = native(tmp_path, plain(words("x")), teams={"search": {"budgets": [{"limit": "0.002", "per": "day"}]}})
    await talk.ask(endpoint="responses", model="small")
    assert 16 <= talk.sent[0]["max_output_tokens"] < 1000


async def test_thoughts_that_another_vendor_had_are_not_sent_to_this_wire(tmp_path):
    talk = native(tmp_path, plain(words("x")))
    theirs = {"type": "reasoning", "id": "rs_farebox_x_0", "summary": []}
    own = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    said = {"role": "user", "content": "go on"}
    await talk.ask(endpoint="responses", input=[theirs, own, said])
    assert talk.sent[0]["input"] == [own, said]


async def test_a_search_is_charged_and_a_tool_whose_fee_nobody_tells_is_refused(tmp_path):
    price = {"currency": "USD", "input": 1, "output": 2, "per_search": "0.01"}
    models = {"small": {"price": price, "context_window": 100_000}, "large": {"context_window": 100_000}}
    search = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search"}}
    page = {**search, "action": {"type": "open_page"}}
    counted = {"tool_usage": {"web_search": {"num_requests": 3}}}
    talk = native(tmp_path, plain(search, page, words("x")), plain(search, words("x"), **counted), models=models)
    for _ in range(2):
        await talk.ask(endpoint="responses", model="small", tools=[{"type": "web_search"}])
    assert [(e.usage.searches, e.cost) for e in talk.ledger.closed] == [(1, 10_020_000), (3, 30_020_000)]
    assert talk.ledger.closed[0].attempt.bound.input_fresh == 100_000
    dear = [{"type": "code_interpreter", "container": "c"}]
    added = [{"role": "user", "content": "x"}, {"type": "additional_tools", "role": "developer", "tools": dear}]
    for body in ({"tools": dear}, {"input": added}):
        with pytest.raises(InvalidRequest, match="code_interpreter has a fee"):
            await talk.ask(endpoint="responses", model="small", **body)


async def test_what_the_vendor_says_it_charges_is_charged_also_on_this_wire(tmp_path):
    vendors = {"xai": {"base_url": "http://127.0.0.1:1/v1", "api_key": "sk-x"}}
    talk = Conversation(
        snapshot_of(tmp_path, vendors=vendors, models={"small": {"vendor": "xai", "context_window": 100_000}}),
        plain(words("x"), usage={**USAGE, "cost_in_usd_ticks": 377_560}),
    )
    await talk.ask(endpoint="responses", model="small", tools=[{"type": "code_interpreter"}])
    (entry,) = talk.ledger.closed
    assert (entry.basis, entry.cost) == ("vendor_cost", 37_756)


async def test_usage_is_taken_apart_into_what_has_a_price_of_its_own(tmp_path):
    lifetimes = {"ttl_30m_tokens": 20, "ttl_12h_tokens": 10}
    inputs = {"cached_tokens": 40, "cache_write_tokens": 30, "cache_write_tokens_details": lifetimes}
    usage = {**USAGE, "input_tokens": 100, "input_tokens_details": inputs, "output_tokens": 50}
    usage |= {"output_tokens_details": {"reasoning_tokens": 30}, "total_tokens": 150}
    talk = native(tmp_path, plain(words("x"), usage=usage))
    await talk.ask(endpoint="responses")
    assert talk.ledger.closed[0].usage.as_dict() == {
        "input_fresh": 30, "cache_read": 40, "cache_write_5m": 20, "cache_write_1h": 10, "output_text": 20, "output_reasoning": 30,
    }  # fmt: skip


async def test_thoughts_that_are_encrypted_are_held_for_although_nobody_can_count_them(tmp_path):
    sealed = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "A" * 30_000}
    said = {"role": "user", "content": "go on"}
    talk = native(tmp_path, plain(words("x")), plain(words("x")))
    await talk.ask(endpoint="responses", input=[said])
    await talk.ask(endpoint="responses", input=[sealed, said])
    bare, held = (entry.attempt.bound.input_fresh for entry in talk.ledger.closed)
    assert held - bare >= 15_000


async def test_tools_and_items_that_only_this_wire_knows_are_counted(tmp_path):
    custom = {"type": "custom", "name": "patch", "description": "word " * 500}
    shot = {"type": "custom_tool_call_output", "call_id": "c", "output": "data:image/png;base64," + "A" * 90_000}
    talk = native(tmp_path, plain(words("x")), plain(words("x")))
    await talk.ask(endpoint="responses", tools=[custom])
    await talk.ask(endpoint="responses", input=[{"role": "user", "content": "go on"}, shot])
    first, second = (entry.attempt for entry in talk.ledger.closed)
    assert first.prompt_estimate >= 500
    assert 800 <= second.prompt_estimate < 1000


# A chat completion, a vendor on this wire


async def test_a_chat_completion_becomes_a_response_and_back(tmp_path):
    thought = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]}
    call = {"type": "function_call", "id": "fc_1", "call_id": "c9", "name": "get_rate", "arguments": '{"pair":"B"}'}
    talk = native(tmp_path, plain(thought, words("Hello."), call))
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}}
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    reply = await talk.ask(
        messages=[
            {"role": "system", "content": "Be terse."},
            {"role": "user", "content": [{"type": "text", "text": "hi"}, picture]},
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "get_rate", "arguments": '{"pair":"A"}'}},
            ]},
            {"role": "tool", "tool_call_id": "c1", "content": "7"},
            {"role": "assistant", "content": [{"type": "text", "text": "so"}]},
            {"role": "user", "content": "and?"},
        ],
        tools=[HUB_TOOL], tool_choice={"type": "function", "function": {"name": "get_rate"}}, parallel_tool_calls=False,
        response_format=form, reasoning_effort="low", verbosity="low", max_tokens=50, seed=7, n=1, top_p=0.9,
    )  # fmt: skip
    assert talk.sent[0] == {
        "model": "small",
        "input": [
            {"role": "system", "content": "Be terse."},
            {"role": "user", "content": [
                {"type": "input_text", "text": "hi"},
                {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"},
            ]},
            {"type": "function_call", "call_id": "c1", "name": "get_rate", "arguments": '{"pair":"A"}'},
            {"type": "function_call_output", "call_id": "c1", "output": "7"},
            {"role": "assistant", "content": "so"},
            {"role": "user", "content": "and?"},
        ],
        "store": False,
        "top_p": 0.9,
        "parallel_tool_calls": False,
        "max_output_tokens": 50,
        "tools": [{**TOOL, "strict": False}],
        "tool_choice": {"type": "function", "name": "get_rate"},
        "text": {
            "format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True},
            "verbosity": "low",
        },
        "reasoning": {"effort": "low"},
    }  # fmt: skip
    (choice,) = jsonio.loads(reply.body)["choices"]
    assert choice["finish_reason"] == "tool_calls"
    message = choice["message"]
    assert (message["content"], message["reasoning_content"]) == ("Hello.", "Hm.")
    function = {"name": "get_rate", "arguments": '{"pair":"B"}'}
    assert message["tool_calls"] == [{"id": "c9", "type": "function", "function": function}]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"n": 2}, "`n`"),
        ({"stop": "END"}, "`stop`"),
        ({"logprobs": True}, "`logprobs`"),
        ({"presence_penalty": 1}, "`presence_penalty`"),
        ({"max_tokens": 5}, "`max_tokens` cannot be below 16"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "`tools[0]`"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "`messages[0].content[0]`"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "`messages[0].content[0]`"),
    ],
)
async def test_what_this_wire_has_no_word_for_is_refused_by_its_name(tmp_path, body, named):
    talk = native(tmp_path)
    with pytest.raises(InvalidRequest) as refused:
        await talk.ask(**body)
    assert named in refused.value.message
    assert talk.ledger.opened == []


async def test_a_message_is_answered_by_a_vendor_of_this_wire(tmp_path):
    talk = native(tmp_path, streamed("Hel", "lo"))
    reply = await talk.ask(
        endpoint="messages", stream=True, max_tokens=64, top_k=5, thinking={"type": "enabled", "budget_tokens": 1024}
    )
    assert "reasoning" not in talk.sent[0]  # nobody says that this model thinks
    told = told_events(reply.body)
    assert "".join(one["delta"].get("text", "") for one in told if one["type"] == "content_block_delta") == "Hello"
    assert told[-2]["usage"]["cost"] == 0.00002


# A stream that goes beyond its cap, breaks off, or contradicts itself


@pytest.mark.parametrize("wire", ["translated", "native"])
async def test_a_vendor_that_does_not_keep_to_its_cap_is_cut_off_in_the_clients_own_words(tmp_path, wire):
    more = ["word "] * 200
    if wire == "native":
        talk = native(tmp_path, streamed(*more), teams=AMPLE)
    else:
        talk = Conversation(snapshot_of(tmp_path, teams=AMPLE), stream(*more))
    reply = await talk.ask(endpoint="responses", model="small", stream=True, max_output_tokens=20)
    (entry,) = talk.ledger.closed
    assert (entry.outcome, entry.basis) == ("cut", "estimated")
    assert 20 <= entry.usage.output_text < 60
    told = told_events(reply.body)
    last = told[-1]
    EVENT.validate_python(last)
    assert [one["sequence_number"] for one in told] == list(range(len(told)))
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    deltas = "".join(one["delta"] for one in told if one["type"] == "response.output_text.delta")
    assert deltas and Response.model_validate(last["response"]).output_text == deltas
    assert last["response"]["id"] == told[0]["response"]["id"]
    if wire == "translated":
        assert last["response"]["usage"]["estimated"] is True
        assert last["response"]["usage"]["output_tokens"] >= 20
    else:
        assert last["response"]["usage"] is None


@pytest.mark.parametrize("failing", [
    {"type": "error", "error": {"type": "insufficient_quota", "code": "insufficient_quota", "message": "used up"}},
    {"type": "error", "code": "insufficient_quota", "message": "used up", "param": None},
    {"type": "response.failed", "response": response(status="failed", usage=None, error={"code": "insufficient_quota", "message": "used up"})},
])  # fmt: skip
@pytest.mark.parametrize("endpoint", ["responses", "chat/completions", "messages"])
async def test_a_stream_that_fails_before_a_word_is_answered_by_the_next_candidate(tmp_path, endpoint, failing):
    *head, error = numbered(*opening(), failing)
    talk = native(tmp_path, [*head, error], streamed("Hi."))
    reply = (
        await talk.ask(endpoint=endpoint, stream=True, max_tokens=99)
        if endpoint == "messages"
        else await talk.ask(endpoint=endpoint, stream=True)
    )
    assert b"Hi." in reply.body and b"used up" not in reply.body
    assert [(model, outcome) for model, outcome, _, _ in talk.rows] == [("small", "error"), ("large", "ok")]
    assert len(talk.fallbacks) == 1


async def test_a_stream_that_fails_after_a_word_tells_so_and_is_charged(tmp_path):
    failed = response(status="failed", usage=None, error={"code": "server_error", "message": "broke"})
    sent = numbered(*opening(), *saying("Hello there"), {"type": "response.failed", "response": failed})
    talk = native(tmp_path, sent, list(sent))
    reply = await talk.ask(endpoint="responses", stream=True)
    assert reply.body == b"".join(sent)
    reply = await talk.ask(stream=True)
    assert b'"error"' in reply.body and b"[DONE]" not in reply.body
    assert [(e.outcome, e.basis, e.usage.output_text) for e in talk.ledger.closed] == [("cut", "estimated", 2)] * 2


@pytest.mark.parametrize("wire", ["translated", "native"])
async def test_a_stream_that_breaks_off_ends_with_an_error_that_openais_client_raises(tmp_path, wire):
    if wire == "native":
        talk = native(tmp_path, numbered(*opening(), *saying("Hello there")))
    else:
        talk = Conversation(snapshot_of(tmp_path), stream("Hello there", usage=None, done=False))
    reply = await talk.ask(endpoint="responses", stream=True)
    told = told_events(reply.body)
    for one in told[-2:]:
        EVENT.validate_python(one)
    assert [one["type"] for one in told[-2:]] == ["error", "response.failed"]
    assert [one["sequence_number"] for one in told] == list(range(len(told)))
    assert told[-2]["error"]["message"] == told[-2]["message"] != ""
    assert (told[-1]["response"]["id"], told[-1]["response"]["status"]) == (told[0]["response"]["id"], "failed")
    assert [(e.outcome, e.basis, e.usage.output_text) for e in talk.ledger.closed] == [("cut", "estimated", 2)]


async def test_a_plain_answer_that_failed_is_tried_elsewhere_and_told_if_it_is_the_callers_fault(tmp_path):
    broken = plain(status="failed", usage=None, error={"code": "server_error", "message": "broke"})
    talk = native(tmp_path, broken, plain(words("Hi.")))
    assert b"Hi." in (await talk.ask(endpoint="responses")).body
    talk = native(tmp_path, (400, jsonio.dumps({"error": {"code": "context_length_exceeded", "message": "too long"}})))
    with pytest.raises(ContextTooLong, match="too long"):
        await talk.ask(endpoint="responses", model="small")  # elsewhere its window is unknown
    talk = native(tmp_path, b"{}", b"[]")
    with pytest.raises(UpstreamFailed) as failed:
        await talk.ask(endpoint="responses")
    assert [one["fault"] for one in failed.value.details["attempts"]] == [Fault.GARBAGE, Fault.GARBAGE]


async def test_a_budget_that_leaves_less_than_this_wire_takes_as_a_cap_sends_nothing(tmp_path):
    models = {"small": {"price": {"currency": "USD", "input": 1, "output": 500}}}
    talk = native(tmp_path, models=models, teams={"search": {"budgets": [{"limit": "0.006", "per": "day"}]}})
    with pytest.raises(UpstreamFailed, match="takes no cap below 16"):
        await talk.ask(endpoint="responses", model="small")
    assert talk.upstream.calls == []
    assert (await talk.held(), await talk.spent()) == (0, 0)


async def test_a_usage_that_contradicts_itself_is_no_report_and_spoils_no_answer(tmp_path):
    usage = {**USAGE, "output_tokens_details": {"reasoning_tokens": 9}}
    talk = native(tmp_path, plain(words("Hello."), usage=usage), streamed("Hello.", usage=usage))
    assert b'"Hello."' in (await talk.ask(endpoint="responses")).body
    assert b'"completed"' in (await talk.ask(endpoint="responses", stream=True)).body
    assert [(e.outcome, e.basis) for e in talk.ledger.closed] == [("ok", "estimated")] * 2


@pytest.mark.parametrize("wire", ["translated", "native"])
async def test_a_client_that_leaves_is_charged_what_the_vendor_reports_in_the_end(tmp_path, wire):
    gate = asyncio.Event()
    if wire == "native":
        *first, last = streamed("Hello", " there")
        talk = native(tmp_path, [*first, gate, last])
    else:
        first, *rest = stream("Hello")
        talk = Conversation(snapshot_of(tmp_path), [first, gate, *rest])
    gate.set()
    await talk.ask(KeptReply(patience=0), endpoint="responses", stream=True)
    (entry,) = talk.ledger.closed
    assert (entry.outcome, entry.basis, entry.cost) == ("left", "reported", 20_000)
