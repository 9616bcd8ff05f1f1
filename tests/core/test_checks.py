"""What is seen of an answer for nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core import jsonio
from router.core.checks import EVERY, LARGEST_CODE, Answer, Asked, found, in_tool_loop
from router.core.schema import misfit

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "minimum": 1, "maximum": 10},
        "unit": {"enum": ["c", "f"]},
        "places": {"type": "array", "items": {"$ref": "#/$defs/place"}, "maxItems": 2},
    },
    "required": ["city"],
    "additionalProperties": False,
    "$defs": {"place": {"anyOf": [{"type": "string"}, {"type": "object", "required": ["name"]}]}},
}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}


def asked(text="What is the price of rice in May?", **more):
    return Asked.of({"messages": [{"role": "user", "content": text}], **more}, usual_output=100)


def wrong(answer, **more):
    return found(asked(**more), answer, EVERY)


@pytest.mark.parametrize(
    "answer",
    [
        Answer("It is 3 yuan a pound.", "stop"),
        Answer("3", "stop"),
        Answer("", "tool_calls", calls=[("weather", '{"city": "Paris", "days": 2}')]),
        Answer("I'm sorry to hear that; rice was 3 yuan.", "stop"),
        Answer("```python\nprint(1)\n```\n```json\n{}\n```", "stop"),
        Answer("```python\n>>> print(1)\n1\n```", "stop"),
        Answer("```python\ndef f():\n    ...\n```\n```\nnot ( code\n```", "stop"),
    ],
)
def test_nothing_is_found_in_an_ordinary_answer(answer):
    assert wrong(answer, tools=[WEATHER]) == ""


@pytest.mark.parametrize(
    ("answer", "begins"),
    [
        (Answer("It is", "length"), "finish"),
        (Answer("It is", "max_tokens"), "finish"),
        (Answer("It is", "content_filter"), "finish"),
        (Answer(" \n", "stop"), "empty"),
        (Answer("", "stop", refusal="No."), "refused"),
        (Answer("I'm sorry, but I can't help with that.", "stop"), "refused"),
        (Answer("I cannot assist with this request.", "stop"), "refused"),
        (Answer("很抱歉，我无法回答这个问题。", "stop"), "refused"),
        (Answer("作为一个人工智能语言模型，我无法提供。", "stop"), "refused"),
        (Answer("大米的价格是每斤三元，五月份比四月份高了百分之三，预计六月份会回落。", "stop"), "language"),
        (Answer("", "tool_calls", calls=[("wether", "{}")]), "tools"),
        (Answer("", "tool_calls", calls=[("weather", "{city")]), "tools"),
        (Answer("", "tool_calls", calls=[("weather", "{}")]), "tools: the arguments of weather: city is missing"),
        (
            Answer("", "tool_use", calls=[("weather", {"city": 1})]),
            "tools: the arguments of weather: city is no string",
        ),
        (Answer("```python\nprint(\n```", "stop"), "code: Python"),
        (Answer("```json\n{'a': 1}\n```", "stop"), "code: JSON"),
        (Answer("word " * 2000, "stop", output_tokens=2000), "length: it is longer"),
        (Answer("word", "stop", output_tokens=1), "length: it is shorter"),
    ],
)
def test_what_is_surely_wrong_is_found(answer, begins):
    assert wrong(answer, tools=[WEATHER]).startswith(begins)


def test_a_client_that_set_the_cap_itself_gets_what_it_asked_for():
    assert wrong(Answer("It is", "length"), max_tokens=5) == ""


def test_a_question_in_chinese_wants_an_answer_in_it_unless_it_asks_for_english():
    english = Answer("Rice costs three yuan a pound in May, and will be cheaper in June.", "stop")
    assert wrong(english, text="五月份大米的价格是多少？").startswith("language")
    assert wrong(english, text="用英文回答：五月份大米的价格是多少？") == ""
    assert wrong(Answer("三元", "stop"), text="五月份大米的价格是多少？") == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"city": "Paris"}', ""),
        ('{"city": "Paris", "places": ["a", {"name": "b"}]}', ""),
        ("Paris", "schema: it is no JSON"),
        ('{"city": "Paris", "unit": "k"}', "schema: unit is none of those allowed"),
        ('{"city": "Paris", "more": 1}', "schema: more is not allowed"),
        ('{"city": "Paris", "days": 2.5}', "schema: days is no integer"),
        ('{"city": "Paris", "days": true}', "schema: days is no integer"),
        ('{"city": "Paris", "days": 11}', "schema: days is too small or too large"),
        ('{"city": "Paris", "places": [1]}', "schema: places[0] fits none of those allowed"),
        ('{"city": "Paris", "places": ["a", "b", "c"]}', "schema: places is too short or too long"),
    ],
)
def test_an_answer_has_to_fit_the_schema_that_was_asked_for(text, expected):
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    assert found(asked(response_format=form), Answer(text, "stop"), ["schema"]) == expected


def test_a_json_object_is_one():
    for text, good in (("{}", True), ("[]", False), ("x", False)):
        assert (found(asked(response_format={"type": "json_object"}), Answer(text), ["schema"]) == "") is good


def test_a_tool_that_must_be_called_is():
    assert found(asked(tools=[WEATHER], tool_choice="required"), Answer("No."), ["tools"]) == "tools: it calls no tool"


def test_a_large_block_is_not_parsed():
    text = "```python\n" + "(" * (LARGEST_CODE + 1) + "\n```"
    assert found(asked(), Answer(text), ["code"]) == ""
    assert found(asked(), Answer("```python\n" + "(" * 5000 + "\n```"), ["code"]).startswith("code")


def test_a_schema_that_refers_to_itself_ends():
    loop = {"$ref": "#"}
    assert misfit({"a": 1}, loop) == ""
    tree = {"type": "object", "properties": {"next": {"$ref": "#"}}, "additionalProperties": False}
    value = {}
    for _ in range(500):
        value = {"next": value}
    assert misfit(value, tree) == ""  # deeper than anybody looks
    assert misfit({"next": {"other": 1}}, tree) == "next.other is not allowed"


ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "role", "content", "function",
        "name", "parameters", "properties", "items", "required", "anyOf", "$ref", "messages", "tools"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(
    body=st.dictionaries(st.sampled_from(["messages", "tools", "response_format", "tool_choice"]), ODD),
    schema=ODD,
    value=ODD,
)
def test_no_request_and_no_schema_breaks_a_check(body, schema, value):
    answer = Answer(jsonio.dumps(value).decode(), "stop", "", [("weather", value)], 3)
    found(Asked.of(body, 10), answer, EVERY)
    found(Asked.of({"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}), answer, EVERY)
    in_tool_loop(body)
    misfit(value, schema)
