"""The mock on Google's wire."""

import json

import aiohttp
import jsonschema
import pytest
from wired import CLOCK, WEATHER, counts, events, post, streamed

from router.mock.text import tokens

KEY = {"x-goog-api-key": "any"}
TOOLS = [
    {
        "functionDeclarations": [
            {
                "name": "get_weather",
                "parameters": {
                    "type": "OBJECT",
                    "properties": {"city": {"type": "STRING"}, "days": {"type": "INTEGER", "minimum": 1, "maximum": 7}},
                    "required": ["city", "days"],
                },
            },
            {"name": "get_time", "parametersJsonSchema": CLOCK},
        ]
    }
]


def user(text, **more):
    return {"contents": [{"role": "user", "parts": [{"text": text}]}], **more}


@pytest.fixture
def base(mock):
    return f"{mock.url}/google/v1beta/models/"


async def ask(http, base, text, model="gemini-2.5-flash", **more):
    status, _, body = await post(http, f"{base}{model}:generateContent", user(text, **more), **KEY)
    assert status == 200, body
    return body


async def frames(http, base, text, model="gemini-2.5-flash", **more):
    url = f"{base}{model}:streamGenerateContent?alt=sse"
    raw, whole = await streamed(http, url, user(text, **more), **KEY)
    return [data for _, data in events(raw)], whole


def parts(body, index=0):
    return [
        part
        for chunk in (body if isinstance(body, list) else [body])
        for candidate in chunk.get("candidates", [])
        if candidate["index"] == index
        for part in candidate["content"].get("parts", [])
    ]


async def test_a_plain_answer_reports_what_the_bill_says(mock, http, base):
    body = await ask(http, base, "Tell me about queues out=20 cached=5")
    prompt = tokens("Tell me about queues out=20 cached=5")
    assert body["candidates"][0]["finishReason"] == "STOP" and body["candidates"][0]["content"]["role"] == "model"
    assert body["modelVersion"] == "gemini-2.5-flash" and body["responseId"]
    assert body["usageMetadata"] == {
        "promptTokenCount": prompt,
        "cachedContentTokenCount": 5,
        "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 5}],
        "candidatesTokenCount": 20,
        "totalTokenCount": prompt + 20,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
    }
    (line,) = mock.bill
    assert counts(line) == (prompt, 5, 20, 0) and (line.endpoint, line.model) == ("generateContent", "gemini-2.5-flash")


async def test_thoughts_are_counted_apart_and_billed_together(mock, http, base):
    shown = {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}}
    body = await ask(http, base, "hello out=50 reasoning=20", **shown)
    usage = body["usageMetadata"]
    assert (usage["candidatesTokenCount"], usage["thoughtsTokenCount"]) == (30, 20)
    assert usage["totalTokenCount"] == usage["promptTokenCount"] + 50
    assert [part.get("thought") for part in parts(body)] == [True, None]
    for more in ({}, shown):
        told, _ = await frames(http, base, "hello out=50 reasoning=20", **more)
        assert told[-1]["usageMetadata"] == usage and len(told) == (50 if more else 30)
        assert told[0]["usageMetadata"]["thoughtsTokenCount"] == (1 if more else 20)
    assert [counts(line)[2:] for line in mock.bill] == [(50, 20)] * 3
    asked = {"generationConfig": {"thinkingConfig": {"thinkingBudget": 15}}}
    assert 12 <= (await ask(http, base, "hello", **asked))["usageMetadata"]["thoughtsTokenCount"] <= 15
    asked["generationConfig"]["thinkingConfig"]["thinkingBudget"] = 0
    assert "thoughtsTokenCount" not in (await ask(http, base, "hello", **asked))["usageMetadata"]


async def test_a_stream_is_chunks_with_cumulative_usage_and_no_done(http, base):
    told, whole = await frames(http, base, "hello out=5")
    assert whole and [e["usageMetadata"]["candidatesTokenCount"] for e in told] == [1, 2, 3, 4, 5]
    assert ["finishReason" in e["candidates"][0] for e in told] == [False] * 4 + [True]
    plain = await ask(http, base, "hello out=5")
    assert "".join(p["text"] for p in parts(told)) == parts(plain)[0]["text"]
    told, _ = await frames(http, base, "hello out=3 split=1")
    assert ["usageMetadata" in e for e in told] == [False, False, True]
    told, _ = await frames(http, base, "hello out=3 nousage=1")
    assert not any("usageMetadata" in e for e in told)


async def test_without_alt_sse_a_stream_is_one_array(http, base):
    url = f"{base}gemini-2.5-flash:streamGenerateContent"
    raw, whole = await streamed(http, url, user("hello out=4"), **KEY)
    assert whole and len(json.loads(raw)) == 4
    raw, whole = await streamed(http, url, user("hello out=4 error_at=2"), **KEY)
    assert whole and json.loads(raw)[-1]["error"]["status"] == "INTERNAL"
    status, _, body = await post(http, url, user("status=503"), **KEY)
    assert status == 503 and body[0]["error"]["status"] == "UNAVAILABLE"


async def test_candidates_take_turns_and_are_all_billed(mock, http, base):
    config = {"generationConfig": {"candidateCount": 2}}
    body = await ask(http, base, "hello out=6", **config)
    told, _ = await frames(http, base, "hello out=6", **config)
    for index in (0, 1):
        assert "".join(p["text"] for p in parts(told, index)) == parts(body, index)[0]["text"]
    assert [e["candidates"][0]["index"] for e in told] == [0, 1] * 6
    assert [line.output_tokens for line in mock.bill] == [12, 12]


async def test_how_an_answer_ended(http, base):
    body = await ask(http, base, "out=20", generationConfig={"maxOutputTokens": 5})
    assert body["candidates"][0]["finishReason"] == "MAX_TOKENS"
    body = await ask(http, base, "out=20 reasoning=9", generationConfig={"maxOutputTokens": 5})
    assert body["candidates"][0]["content"] == {"role": "model"}  # all was spent on thinking
    whole = parts(await ask(http, base, "queues"))[0]["text"]
    body = await ask(http, base, "queues", generation_config={"stop_sequences": [whole[20:25]]})
    assert parts(body)[0]["text"] == whole[: whole.index(whole[20:25])]
    assert (await ask(http, base, "filtered=3"))["candidates"][0]["finishReason"] == "SAFETY"


async def test_a_blocked_prompt_is_an_answer_without_candidates_and_is_billed(mock, http, base):
    for words in ("in=12 filtered=0", "in=12 status=400 code=content_filter"):
        body = await ask(http, base, words)
        assert body["promptFeedback"] == {"blockReason": "PROHIBITED_CONTENT"} and "candidates" not in body
        assert body["usageMetadata"] == {"promptTokenCount": 12, "totalTokenCount": 12}
        told, whole = await frames(http, base, words)
        assert whole and len(told) == 1 and "candidates" not in told[0]
    assert [counts(line) for line in mock.bill] == [(12, 0, 0, 0)] * 4


@pytest.mark.parametrize(
    ("calling", "text", "names"),
    [
        ({}, "hello", []),
        ({}, "call the tool", ["get_weather"]),
        ({"mode": "AUTO"}, "both tools", ["get_weather", "get_time"]),
        ({"mode": "ANY"}, "hello", ["get_weather"]),
        ({"mode": "ANY", "allowedFunctionNames": ["get_time"]}, "hello", ["get_time"]),
        ({"mode": "NONE"}, "both tools", []),
    ],
)
async def test_functions_are_called_as_configured(mock, http, base, calling, text, names):
    more = {"tools": TOOLS, "toolConfig": {"functionCallingConfig": calling}}
    body = await ask(http, base, text, **more)
    told, _ = await frames(http, base, text, **more)
    for answer in (body, told):
        calls = [part["functionCall"] for part in parts(answer) if "functionCall" in part]
        assert [call["name"] for call in calls] == names
        for call in calls:
            jsonschema.validate(call["args"], {"get_weather": WEATHER, "get_time": CLOCK}[call["name"]])
    assert body["candidates"][0]["finishReason"] == "STOP"
    assert counts(mock.bill[0]) == counts(mock.bill[1])


async def test_results_come_back_as_many_as_there_were_calls_and_signed_where_signatures_are_wanted(http, base):
    for model in ("gemini-2.5-flash", "gemini-3-pro"):
        body = await ask(http, base, "both tools", model, tools=TOOLS)
        made = parts(body)
        assert ("thoughtSignature" in made[0]) == ("id" in made[0]["functionCall"]) == (model == "gemini-3-pro")
        results = [
            {"functionResponse": {"name": part["functionCall"]["name"], "response": {"result": 21}}} for part in made
        ]
        turns = [
            {"role": "user", "parts": [{"text": "both tools"}]},
            {"role": "model", "parts": made},
            {"role": "user", "parts": results},
        ]
        answer = await ask(http, base, "", model, contents=turns, tools=TOOLS)
        assert "text" in parts(answer)[0]
        for broken in (turns[:2], [turns[0], turns[2]], [*turns[:2], {"role": "user", "parts": results[:1]}]):
            url = f"{base}{model}:generateContent"
            status, _, told = await post(http, url, {"contents": broken, "tools": TOOLS}, **KEY)
            assert status == 400 and "function" in told["error"]["message"]
    made[0].pop("thoughtSignature")
    status, _, told = await post(
        http, f"{base}gemini-3-pro:generateContent", {"contents": turns, "tools": TOOLS}, **KEY
    )
    assert status == 400 and "thought_signature" in told["error"]["message"]


async def test_structured_answers_validate(http, base):
    google = {
        "type": "OBJECT",
        "properties": {"tags": {"type": "ARRAY", "items": {"type": "STRING"}, "minItems": "2"}, "n": {"type": "INTEGER", "nullable": True}},
        "required": ["tags", "n"],
        "propertyOrdering": ["n", "tags"],
    }  # fmt: skip
    kind = {"responseMimeType": "application/json"}
    body = await ask(http, base, "list", generationConfig={**kind, "responseSchema": google})
    made = json.loads(parts(body)[0]["text"])
    assert len(made["tags"]) >= 2 and set(made) == {"n", "tags"}
    body = await ask(http, base, "list", generationConfig={**kind, "responseJsonSchema": WEATHER})
    jsonschema.validate(json.loads(parts(body)[0]["text"]), WEATHER)
    body = await ask(http, base, "list", generationConfig=kind)
    assert isinstance(json.loads(parts(body)[0]["text"]), dict)


async def test_images_and_counting(mock, http, base):
    image = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    contents = [{"role": "user", "parts": [{"text": "What is this?"}, image]}]
    more = {"contents": contents, "system_instruction": {"parts": [{"text": "Be brief."}]}, "tools": TOOLS}
    usage = (await ask(http, base, "", **more))["usageMetadata"]
    assert usage["promptTokensDetails"][1] == {"modality": "IMAGE", "tokenCount": 85}
    assert sum(one["tokenCount"] for one in usage["promptTokensDetails"]) == usage["promptTokenCount"]
    url = f"{base}gemini-2.5-flash:countTokens"
    for body in (more, {"generateContentRequest": {"model": "models/gemini-2.5-flash", **more}}):
        status, _, counted = await post(http, url, body, **KEY)
        assert status == 200 and counted["totalTokens"] == usage["promptTokenCount"]
    assert len(mock.bill) == 1


async def test_embeddings_one_and_many(mock, http, base):
    one = {"content": {"parts": [{"text": "hello there"}]}, "outputDimensionality": 16}
    _, _, body = await post(http, f"{base}gemini-embedding-001:embedContent", one, **KEY)
    assert sum(x * x for x in body["embedding"]["values"]) == pytest.approx(1, abs=1e-5)
    many = {"requests": [{"model": "models/gemini-embedding-001", **one}] * 3}
    _, _, body2 = await post(http, f"{base}gemini-embedding-001:batchEmbedContents", many, **KEY)
    assert body2["embeddings"] == [body["embedding"]] * 3
    assert [counts(line)[0] for line in mock.bill] == [3, 9]
    status, _, _ = await post(http, f"{base}other:batchEmbedContents", many, **KEY)
    assert status == 400


@pytest.mark.parametrize(
    ("words", "status", "name"),
    [
        ("status=400", 400, "INVALID_ARGUMENT"),
        ("status=400 code=context_length_exceeded", 400, "INVALID_ARGUMENT"),
        ("status=400 code=FAILED_PRECONDITION", 400, "FAILED_PRECONDITION"),
        ("status=401", 401, "UNAUTHENTICATED"),
        ("status=401 code=invalid_api_key", 400, "INVALID_ARGUMENT"),
        ("status=403", 403, "PERMISSION_DENIED"),
        ("status=404", 404, "NOT_FOUND"),
        ("status=429", 429, "RESOURCE_EXHAUSTED"),
        ("status=429 code=insufficient_quota", 429, "RESOURCE_EXHAUSTED"),
        ("status=500", 500, "INTERNAL"),
        ("status=503", 503, "UNAVAILABLE"),
        ("status=504", 504, "DEADLINE_EXCEEDED"),
    ],
)
async def test_errors_have_the_vendors_shape_and_are_not_billed(mock, http, base, words, status, name):
    for verb in ("generateContent", "streamGenerateContent?alt=sse"):
        got, _, body = await post(http, f"{base}gemini-2.5-flash:{verb}", user(words), **KEY)
        error = body["error"]
        assert (got, error["code"], error["status"]) == (status, status, name) and error["message"]
        kinds = {d["@type"].rpartition(".")[2]: d for d in error.get("details", [])}
        assert ("RetryInfo" in kinds) == (words == "status=429")
        if "QuotaFailure" in kinds:
            per_day = "PerDay" in kinds["QuotaFailure"]["violations"][0]["quotaId"]
            assert per_day == ("insufficient_quota" in words)
        if "invalid_api_key" in words:
            assert kinds["ErrorInfo"]["reason"] == "API_KEY_INVALID"
    assert mock.bill == []


async def test_faults_of_streams(mock, http, base):
    told, whole = await frames(http, base, "out=10 error_at=3 status=503")
    assert whole and len(told) == 4 and told[-1]["error"]["status"] == "UNAVAILABLE"
    told, whole = await frames(http, base, "out=10 cut=4")
    assert not whole and len(told) == 4
    assert [line.output_tokens for line in mock.bill] == [3, 4]
    assert (await ask(http, base, "error200=1 status=429"))["error"]["code"] == 429


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"contents": []}, "contents is not specified"),
        ({"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]}, "valid role"),
        ({"contents": [{"role": "user", "parts": []}]}, "must not be empty"),
        ({"messages": []}, 'Unknown name "messages"'),
        ({"generationConfig": {"max_tokens": 5}}, 'Unknown name "maxTokens"'),
        ({"generationConfig": {"responseSchema": {"type": "OBJECT"}}}, "response_mime_type"),
        ({"tools": [{"functionDeclarations": [{"name": "f", "parameters": WEATHER}]}]}, "additionalProperties"),
        ({"toolConfig": {"functionCallingConfig": {"allowedFunctionNames": ["f"]}}}, "allowed_function_names"),
    ],
)
async def test_what_the_vendor_refuses_is_refused(mock, http, base, change, sentence):
    status, _, body = await post(http, f"{base}gemini-2.5-flash:generateContent", user("hi") | change, **KEY)
    assert status == 400 and body["error"]["status"] == "INVALID_ARGUMENT" and sentence in body["error"]["message"]
    assert mock.bill == []


async def test_keys_and_addresses(mock):
    async with aiohttp.ClientSession() as http:
        url = f"{mock.url}/google/v1beta/models/gemini-2.5-flash:generateContent"
        for headers, query, status, name in (
            ({}, "", 403, "PERMISSION_DENIED"),
            ({"x-goog-api-key": "bad-key"}, "", 400, "INVALID_ARGUMENT"),
            ({"Authorization": "Bearer k"}, "", 401, "UNAUTHENTICATED"),
        ):
            got, _, body = await post(http, url + query, user("hi"), **headers)
            assert (got, body["error"]["status"]) == (status, name)
        assert (await post(http, f"{url}?key=k", user("hi")))[0] == 200
        assert (await post(http, url.replace("v1beta", "v1"), user("hi"), **KEY))[0] == 200
        assert (await post(http, url.replace("generateContent", "dance"), user("hi"), **KEY))[0] == 404


async def test_the_openai_layer_is_openais(mock, http):
    body = {"model": "gemini-2.5-flash", "messages": [{"role": "user", "content": "out=3"}]}
    status, _, told = await post(http, f"{mock.url}/google/v1beta/openai/chat/completions", body)
    assert status == 200 and told["usage"]["completion_tokens"] == 3
    status, _, told = await post(http, f"{mock.url}/google/v1beta/openai/embeddings", {"model": "m", "input": "a"})
    assert status == 200 and told["object"] == "list"


async def test_models_are_listed_in_the_style_of_who_asks(mock):
    async with aiohttp.ClientSession() as http:
        for path, headers, names in (
            ("google/v1beta/models", KEY, lambda body: [m["name"] for m in body["models"]]),
            ("anthropic/v1/models", {"x-api-key": "k", "anthropic-version": "2023-06-01"}, lambda body: [m["id"] for m in body["data"]]),
            ("openai/v1/models", {"Authorization": "Bearer k"}, lambda body: [m["id"] for m in body["data"]]),
        ):  # fmt: skip
            async with http.get(f"{mock.url}/{path}", headers=headers) as reply:
                first = names(await reply.json())[0].removeprefix("models/")
            async with http.get(f"{mock.url}/{path}/{first}", headers=headers) as reply:
                assert reply.status == 200
            async with http.get(f"{mock.url}/{path}/none", headers=headers) as reply:
                assert reply.status == 404
            async with http.get(f"{mock.url}/{path}") as reply:
                assert reply.status == (403 if "google" in path else 401)
