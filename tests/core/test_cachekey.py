"""Which requests share an answer: nothing that could change it is left out of the key, nothing that could not is in it."""

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from router.core.answers import Answer, at_no_cost, loads
from router.core.cachekey import cache_key, uncached
from router.core.catalog import CacheRule
from router.dialects import read

NAMES = ["seed", "top_p", "max_tokens", "stop", "logit_bias", "n", "response_format", "made_up", "store", "temperature"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
TEXT = st.text(st.characters(codec="utf-8"), min_size=1)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]), "content": TEXT}),
    min_size=1, max_size=4,
)  # fmt: skip
FREE = st.sampled_from(["user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"])


def chat_of(body, endpoint="chat/completions", headers=None):
    return read(endpoint, json.dumps({"model": "auto", **body}).encode(), headers or {})


def key(body, team="search", route="auto", need=None, models=("small",), **how):
    return cache_key(chat_of(body, **how), team, route, need, models)


def shuffled(value, random):
    if isinstance(value, dict):
        items = list(value.items())
        random.shuffle(items)
        return {name: shuffled(inner, random) for name, inner in items}
    return [shuffled(inner, random) for inner in value] if isinstance(value, list) else value


@given(MESSAGES, st.dictionaries(st.sampled_from(["seed", "user", "metadata", "logprobs"]), st.just(1)), st.randoms())
def test_order_of_keys_white_space_and_the_callers_name_make_no_difference(messages, fields, random):
    body = {"model": "auto", "messages": messages, **fields}
    free = {name: value for name, value in fields.items() if name not in ("user", "metadata")}
    raw = json.dumps(shuffled(body, random), indent=random.randrange(4), ensure_ascii=random.random() < 0.5)
    other = read("chat/completions", raw.encode(), {})
    assert cache_key(other, "search", "auto", None, ("small",)) == key({"messages": messages, **free})


@given(MESSAGES, MESSAGES)
def test_other_messages_have_another_key(one, other):
    assume(one != other)
    assert key({"messages": one}) != key({"messages": other})


@given(st.sampled_from(NAMES), VALUES, VALUES)
def test_another_value_of_any_field_is_another_key(name, one, other):
    def of(value):
        try:
            return key({"messages": [{"role": "user", "content": "x"}], name: value})
        except Exception:  # noqa: BLE001 (which the reader refuses)
            return None

    keys = of(one), of(other)
    assume(None not in keys)
    assert keys[0] != keys[1] or one == other


@given(FREE, TEXT)
def test_a_field_that_only_names_the_caller_or_hints_at_a_vendors_cache_is_not_in_it(name, value):
    messages = [{"role": "user", "content": "x"}]
    told = {"user": value} if name == "metadata" else value
    assert key({"messages": messages, name: told}) == key({"messages": messages})


@given(TEXT, TEXT)
def test_two_teams_have_two_keys_whatever_their_names(one, other):
    body = {"messages": [{"role": "user", "content": "x"}]}
    assert (key(body, team=one) == key(body, team=other)) == (one == other)


@pytest.mark.parametrize(
    "other",
    [
        {"route": "bulk"}, {"need": 0.9}, {"models": ("small", "large")}, {"endpoint": "messages"},
        {"body": {"stream": True}}, {"body": {"stream": True, "stream_options": {"include_usage": True}}},
        {"body": {"tools": [{"type": "function", "function": {"name": "a"}}]}},
    ],
)  # fmt: skip
def test_the_place_the_way_and_whoever_may_answer_are_in_it(other):
    body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 9}
    keys = [key(body), key({**body, **other.pop("body", {})}, **other)]
    assert keys[0] != keys[1]


def test_the_beta_that_changes_an_answer_is_in_it():
    body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 9}
    beta = {"anthropic-beta": "context-1m"}
    assert key(body, endpoint="messages") != key(body, endpoint="messages", headers=beta)


def test_the_order_of_a_schema_is_shown_to_the_model_and_so_in_it():
    def of(*names):
        schema = {"type": "object", "properties": {name: {"type": "string"} for name in names}}
        form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
        return key({"messages": [{"role": "user", "content": "x"}], "response_format": form})

    assert of("a", "b") != of("b", "a")


def test_what_cannot_be_written_has_no_key():
    assert key({"messages": [{"role": "user", "content": "x"}], "seed": 2**70}) is None


@pytest.mark.parametrize(
    ("fields", "rule", "why"),
    [
        ({}, {}, ""),
        ({"temperature": None}, {}, ""),
        ({"temperature": 0.0}, {}, ""),
        ({"temperature": 0.01}, {}, "its `temperature` is above 0"),
        ({"temperature": 2}, {"any_temperature": True}, ""),
        ({"tools": []}, {}, ""),
        ({"functions": [{"name": "f"}]}, {}, "it has `functions`"),
        ({"web_search_options": {"search_context_size": "low"}}, {}, "it has `web_search_options`"),
        ({"functions": [{"name": "f"}]}, {"tools": True}, ""),
    ],
)
def test_what_is_not_cached_unless_told_so(fields, rule, why):
    chat = chat_of({"messages": [{"role": "user", "content": "x"}], **fields})
    assert uncached(chat, CacheRule(**rule)) == why


def test_a_conversation_that_the_vendor_keeps_is_never_cached():
    chat = chat_of({"input": "x", "previous_response_id": "resp_1"}, endpoint="responses")
    assert uncached(chat, CacheRule(tools=True, any_temperature=True))


@given(st.binary(), st.booleans())
def test_an_answer_is_the_same_after_it_was_stored(body, streamed):
    answer = Answer(1, "fb-1", "m", "v", "cheap", "USD 1/2", "USD", 5, streamed, "text/event-stream", body)
    assert loads(answer.dumps()) == answer
    assert b"".join(answer.pieces()) == body


def test_only_the_members_that_farebox_added_lose_their_cost():
    text = json.dumps({"content": '"cost":5,"cost_currency":"USD","flagship_cost":7', "cost": 5}).encode()
    assert at_no_cost(text) == text
    told = b'{"usage":{"x":1,"cost":0.00002,"cost_currency":"USD","flagship_cost":0.0003}}'
    assert at_no_cost(told) == b'{"usage":{"x":1,"cost":0,"cost_currency":"USD","flagship_cost":0.0003}}'
