"""What is seen of an answer for nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core import jsonio
from router.core.checks import EVERY, MOST_CODE, Answer, Asked, found, in_tool_loop
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


RUSSIAN = "Рис стоит около трёх юаней за фунт, а в июне подешевеет ещё немного."
ENGLISH = "Rice costs three yuan a pound in May, and will be cheaper in June."
KOREAN = "쌀은 오월에 한 근에 삼 위안이고 유월에는 더 싸질 것으로 예상됩니다."
JAPANESE = "お米は五月には一斤三元で、六月にはさらに安くなる見込みです。詳しくは店で聞いてください。"
CHINESE = "大米的价格是每斤三元，五月份比四月份高了百分之三，预计六月份会回落。"


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


@pytest.mark.parametrize(
    ("question", "told"),
    [("Сколько стоит рис в мае?", ENGLISH), ("五月份大米的价格是多少？", RUSSIAN), ("How much is rice?", KOREAN),
     ("오월에 쌀은 얼마입니까?", CHINESE), ("How much is rice?", JAPANESE)],
)  # fmt: skip
def test_an_answer_in_the_letters_of_another_language_is_found(question, told):
    assert found(asked(question), Answer(told, "stop"), ["language"]).startswith("language")


@pytest.mark.parametrize(
    ("question", "told", "more"),
    [
        ("お米はいくらですか？", JAPANESE, {}),
        ("五月份大米的价格是多少？", JAPANESE, {}),  # its letters cannot tell them apart
        ("Сколько стоит рис в мае?", "Рис — rice, basmati, jasmine, arborio, carnaroli, sushi, sticky, brown, wild.", {}),
        ("五月份大米的价格是多少？", '{"price_in_yuan_per_pound": 3, "cheaper_next_month": true}', {}),
        ("五月份大米的价格是多少？", "price_in_yuan_per_pound: three, cheaper_next_month: yes", {"response_format": {"type": "json_object"}}),
        ("Wie heißt Reis auf Russisch, und was kostet er? Please answer in Russian.", RUSSIAN, {}),
        ("How much is rice?", CHINESE, {"messages": [{"role": "system", "content": "Translate what you are given."}, {"role": "user", "content": "How much is rice?"}]}),
        ("How much is rice?", CHINESE, {"messages": [{"role": "developer", "content": "你是一家粮店的客服，请热情地接待顾客。"}, {"role": "user", "content": "How much is rice?"}]}),
    ],
)  # fmt: skip
def test_whoever_may_want_another_language_gets_it(question, told, more):
    assert found(asked(question, **more), Answer(told, "stop"), ["language"]) == ""


def test_an_apology_that_goes_on_is_no_refusal():
    assert wrong(Answer("I'm sorry, I misread the table: rice was 3 yuan in May, not in June.", "stop")) == ""


def test_old_function_calls_and_tools_of_free_text_are_looked_at_as_what_they_are():
    old = {"functions": [WEATHER["function"]]}
    assert found(asked(**old), Answer("", "function_call", calls=[("weather", '{"city": "Paris"}')]), EVERY) == ""
    assert found(asked(**old), Answer("", "function_call", calls=[("weather", "{}")]), EVERY).startswith("tools")
    free = {"tools": [{"type": "custom", "custom": {"name": "shell"}}]}
    assert found(asked(**free), Answer("", "tool_calls", calls=[("shell", "ls -l")]), EVERY) == ""
    some = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}
    assert found(asked(tools=[WEATHER], tool_choice=some), Answer("No need of tools.", "stop"), EVERY) == ""


def test_a_habit_that_rounds_to_nothing_says_nothing():
    assert found(Asked.of({}, 0), Answer("yes", "stop", output_tokens=1), ["length"]) == ""


def calling(**more):
    return {
        "role": "assistant",
        "tool_calls": [{"id": "1", "function": {"name": "weather", "arguments": "{}"}}],
        **more,
    }


USER, RESULT, SAID = {"role": "user"}, {"role": "tool", "tool_call_id": "1"}, {"role": "assistant", "content": "Fine."}


@pytest.mark.parametrize(
    ("messages", "inside"),
    [
        ([USER], False),
        ([USER, calling(), RESULT], True),
        ([USER, calling(), RESULT, RESULT, USER], True),  # an Anthropic turn of results and words
        ([USER, calling(), RESULT, SAID], True),  # the beginning of the answer
        ([USER, calling()], True),
        ([USER, {"role": "assistant", "function_call": {"name": "f"}}, {"role": "function"}], True),
        ([USER, calling(), RESULT, SAID, USER], False),
        ([USER, SAID, USER], False),
    ],
)
def test_a_tool_loop_lasts_until_its_results_are_answered(messages, inside):
    assert in_tool_loop({"messages": messages}) is inside


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
    text = "```python\n" + "(" * (MOST_CODE + 1) + "\n```"
    assert found(asked(), Answer(text), ["code"]) == ""
    blocks = ("```python\n" + "x = 1\n" * 500 + "```\n") * 10 + "```python\n(\n```"
    assert found(asked(), Answer(blocks), ["code"]) == ""  # nor are many small ones
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


@pytest.mark.parametrize(
    "schema",
    [
        {"oneOf": [{"$ref": "#"}, {"$ref": "#"}]},
        {"anyOf": [{"allOf": [{"$ref": "#"}, {"const": 1}]}, {"allOf": [{"$ref": "#"}, {"const": 1}]}]},
    ],
)
def test_a_schema_that_refers_to_itself_twice_is_given_up(schema):
    assert misfit({"a": 1}, schema) == ""


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
