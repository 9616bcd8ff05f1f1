"""A credential that a vendor repeats, whatever it looks like: hidden, and nothing else is spoilt by that."""

import json

import pytest
from fakes import Conversation, event, snapshot_of

from router.core.errors import RouterError
from router.core.secrets import hide, hide_in_events, secrets_of
from router.core.sse import data_of, events

LONG = "sk-a-long-credential"
KEYS = ["EMPTY", "none", "null", "error", "data", "x", "true", "message", 'a"b', "a/b\\c-and-so-on", LONG]


def talk_of(folder, key, *answers):
    vendors = {"check": {"dialect": "openai", "base_url": "http://127.0.0.1:1", "api_key": key}}
    routes = {"auto": {"models": ["small"]}}
    return Conversation(snapshot_of(folder, vendors=vendors, routes=routes), *answers)


def refusal(key):
    return {"error": {"message": f"No such key: {key}. Extra words", "type": "auth", "param": None, "code": key}}


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("status", [200, 401])
async def test_an_error_is_told_without_it(tmp_path, key, status):
    talk = talk_of(tmp_path, key, (status, json.dumps(refusal(key)).encode()))
    with pytest.raises(RouterError, match=r"No such key: \[credential\]\. Extra words") as caught:
        await talk.ask()
    assert caught.value.details["attempts"][0]["code"] == "[credential]"


@pytest.mark.parametrize("endpoint", ["chat/completions", "messages"])
@pytest.mark.parametrize("end", [b"\n\n", b""], ids=["whole", "without its blank line"])
@pytest.mark.parametrize("key", KEYS)
async def test_an_error_in_a_stream_is_told_without_it_and_stays_json(tmp_path, key, end, endpoint):
    word = event({"choices": [{"index": 0, "delta": {"content": "Hello"}}]})
    talk = talk_of(tmp_path, key, [word, event(refusal(key)).rstrip() + end])
    reply = await talk.ask(endpoint=endpoint, stream=True, max_tokens=50)
    told = [json.loads(data) for one in events(reply.body) if (data := data_of(one)).startswith(b"{")]
    assert "No such key: [credential]. Extra words" in next(one for one in told if "error" in one)["error"]["message"]


def test_parts_of_a_credential_and_its_token_are_hidden_too_the_longest_first():
    key = "an-app-id:the-api-key-of-it:the-secret-of-it"
    said = hide(
        f"{key} is no key: the-api-key-of-it, the-secret-of-it, 24.a-token-for-it", secrets_of(key, "24.a-token-for-it")
    )
    assert said == "[credential] is no key: [credential], [credential], [credential]"
    assert secrets_of("id:key") == ("id:key",)
    assert secrets_of("") == ()


def test_a_short_one_is_hidden_as_a_word_and_a_long_one_anywhere():
    assert hide("EMPTY is no key, and EMPTYNESS is none", ("EMPTY",)) == "[credential] is no key, and EMPTYNESS is none"
    assert hide(f"x{LONG}x", (LONG,)) == "x[credential]x"


def test_what_is_no_json_is_told_without_long_ones():
    assert hide_in_events(b": %b\n\ndata: \xff %b\n\n" % ((LONG.encode(),) * 2), (LONG,)) == (
        b": [credential]\n\ndata: \xff [credential]\n\n"
    )
