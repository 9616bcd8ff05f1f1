"""The mock on Ollama's own wire, also as the `ollama` package would read it: JSON lines, objects as arguments, sentences as errors."""

import json

import jsonschema
import pytest
from wired import CLOCK, WEATHER, counts, post, streamed

from router.mock.text import tokens

TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "get_time", "parameters": CLOCK}},
]


@pytest.fixture
def url(mock):
    return f"{mock.url}/ollama/api/chat"


def user(text, **more):
    return {"model": "llama3.2", "messages": [{"role": "user", "content": text}], **more}


async def ask(http, url, text, **more):
    status, _, body = await post(http, url, user(text, stream=False, **more))
    assert status == 200, body
    return body


async def lines(http, url, text, **more):
    raw, whole = await streamed(http, url, user(text, **more))
    return [json.loads(line) for line in raw.splitlines()], whole


async def test_an_answer_is_the_same_plain_and_in_lines_and_counts_what_the_bill_says(mock, http, url):
    body = await ask(http, url, "Tell me about queues out=20")
    told, whole = await lines(http, url, "Tell me about queues out=20")  # a stream, where nothing is said
    prompt = tokens("Tell me about queues out=20") + 3
    assert (body["done"], body["done_reason"], body["prompt_eval_count"], body["eval_count"]) == (
        True,
        "stop",
        prompt,
        20,
    )
    assert whole and [line["done"] for line in told] == [False] * 20 + [True]
    assert "".join(line["message"]["content"] for line in told) == body["message"]["content"]
    assert (told[-1]["prompt_eval_count"], told[-1]["eval_count"]) == (prompt, 20)
    assert [counts(line) for line in mock.bill] == [(prompt, 0, 20, 0)] * 2
    assert "eval_count" not in await ask(http, url, "out=3 nousage=1")


async def test_thoughts_come_apart_and_are_billed_together(mock, http, url):
    body = await ask(http, url, "out=30 reasoning=10", think=True)
    told, _ = await lines(http, url, "out=30 reasoning=10", think="high")
    thought = "".join(line["message"].get("thinking", "") for line in told)
    assert thought and thought == body["message"]["thinking"] and body["eval_count"] == 30
    assert "thinking" not in (await ask(http, url, "out=30 reasoning=10"))["message"]
    assert [counts(line)[2:] for line in mock.bill] == [(30, 10)] * 3


async def test_the_cap_a_stop_and_a_schema_are_kept(http, url):
    body = await ask(http, url, "out=20", options={"num_predict": 5})
    assert (body["done_reason"], body["eval_count"]) == ("length", 5)
    whole = (await ask(http, url, "queues"))["message"]["content"]
    body = await ask(http, url, "queues", options={"stop": [whole[20:25]], "num_predict": -1})
    assert body["message"]["content"] == whole[: whole.index(whole[20:25])]
    jsonschema.validate(json.loads((await ask(http, url, "list", format=WEATHER))["message"]["content"]), WEATHER)
    assert isinstance(json.loads((await ask(http, url, "list", format="json"))["message"]["content"]), dict)


async def test_tools_are_called_with_objects_and_talk_follows_their_results(http, url):
    body = await ask(http, url, "both tools", tools=TOOLS)
    told, _ = await lines(http, url, "both tools", tools=TOOLS)
    made = body["message"]["tool_calls"]
    assert [call for line in told for call in line["message"].get("tool_calls", ())] == made
    for call, schema in zip(made, (WEATHER, CLOCK), strict=True):
        jsonschema.validate(call["function"]["arguments"], schema)
    assert body["done_reason"] == "stop"
    turns = [
        {"role": "user", "content": "both tools"},
        {"role": "assistant", "content": "", "tool_calls": made},
        {"role": "tool", "tool_name": "get_weather", "content": "21"},
    ]
    assert "tool_calls" not in (await ask(http, url, "", messages=turns, tools=TOOLS))["message"]
    turns[1]["tool_calls"] = [{"function": {"name": "get_weather", "arguments": "{}"}}]
    status, _, body = await post(http, url, user("", messages=turns, tools=TOOLS))
    assert status == 400 and "unmarshal string" in body["error"]


async def test_pictures_are_bare_base64(http, url):
    picture = [{"role": "user", "content": "out=3", "images": ["AAAA"]}]
    assert (await ask(http, url, "", messages=picture))["prompt_eval_count"] > 85
    picture[0]["images"] = ["data:image/png;base64,AAAA"]
    assert (await post(http, url, user("", messages=picture)))[0] == 400


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("status=400 code=context_length_exceeded", 400, "exceeds the context length"),
        ("status=404", 404, "model 'llama3.2' not found"),
        ("status=429", 429, "too many"),
        ("status=429 code=insufficient_quota", 429, "usage limit"),
        ("status=500", 500, "llama runner"),
        ("status=503", 503, "server busy"),
    ],
)
async def test_errors_are_sentences_and_not_billed(mock, http, url, words, status, said):
    got, _, body = await post(http, url, user(words))
    assert got == status and set(body) == {"error"} and said in body["error"]
    got, _, body = await post(http, url, user(f"{words} error200=1"))
    assert got == 200 and said in body["error"]
    told, whole = await lines(http, url, f"out=9 error_at=2 {words}")
    assert whole and len(told) == 3 and said in told[-1]["error"]
    assert [line.output_tokens for line in mock.bill] == [2]


async def test_lines_are_cut_and_dripped_as_ordered(http, url):
    _, whole = await streamed(http, url, user("out=20 cut=4"))
    assert not whole
    raw, whole = await streamed(http, url, user("out=4 drip=1 crlf=1"))
    assert whole and raw.count(b"\r\n") == 5
    assert (await post(http, url, user("hi"), Authorization="Bearer bad-key"))[0] == 401
