"""What fuzzing has found, each as the smallest conversation that shows it."""

import json

import pytest
import yaml
from targets import ASKED, CHATS, COST, MESSAGES, MODELS, sse

from router.core import jsonio
from router.core.checkpoint import BadCheckpoint, parse
from router.core.errors import InvalidRequest
from router.core.failure import AttemptFailed
from router.core.sse import MAX_EVENT, Splitter, data_of, with_data
from router.dialects import DIALECTS, plain_reader, read, request, stream_reader
from router.dialects.faults import LONGEST_WAIT_S
from router.snapshot import load
from router.yamlfile import BadConfiguration

OPENAI, ANTHROPIC, GOOGLE = MODELS
SURROGATE = b'"\xed\xa0\x80"'


def reader(make, endpoint, one, *, stream):
    return make(ASKED[endpoint, stream], one, 9, 0, lambda _: COST)


def test_lone_surrogates_and_long_numbers_can_be_written():
    for value in ("\ud800", {"a": "词\udfff", "b": 10**30}, [10**30, "词"]):
        assert json.loads(jsonio.dumps(value)) == value
    assert "词".encode() in jsonio.dumps([10**30, "词"])
    deep = value = []
    for _ in range(100_000):
        value.append([])
        value = value[0]
    with pytest.raises(TypeError):
        jsonio.dumps([10**30, "\ud800", deep])


@pytest.mark.parametrize("one", [OPENAI, ANTHROPIC], ids=["openai", "anthropic"])
@pytest.mark.parametrize("endpoint", ["chat/completions", "messages"])
def test_a_vendors_lone_surrogate_reaches_every_client_and_breaks_no_stream(endpoint, one):
    if one is OPENAI:
        pieces = [
            b'data: {"id":"x","choices":[{"index":0,"delta":{"content":%b}}]}\n\n' % SURROGATE,
            b"data: [DONE]\n\n",
        ]
    else:
        pieces = [
            b'data: {"type":"message_start","message":{"id":%b,"usage":{"input_tokens":1}}}\n\n' % SURROGATE,
            b'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":%b}}\n\n' % SURROGATE,
            b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":1}}\n\n',
            b'data: {"type":"message_stop"}\n\n',
        ]
    found = reader(stream_reader, endpoint, one, stream=True)
    out = b"".join(found.feed(piece) for piece in pieces) + found.finish()
    assert found.done and found.failure is None
    assert SURROGATE in out or b"\\ud800" in out


def test_an_error_with_a_lone_surrogate_is_told():
    found = reader(stream_reader, "chat/completions", OPENAI, stream=True)
    assert found.feed(b'data: {"error":{"message":%b}}\n\n' % SURROGATE)
    assert found.failure is not None


def test_a_line_that_ends_with_a_bare_carriage_return_is_one_whatever_the_cuts():
    event = b'data: {"a":1\rdata: }\n\n'
    assert data_of(event) == b'{"a":1\n}'
    assert data_of(with_data(b"data: a\rx: b\n\n", b"c")) == b"c"
    sse(b"data: x\n\n\ndata: y\r z\n\ndata: w")


def test_an_event_that_breaks_off_in_a_line_of_its_own_can_be_given_other_data():
    assert data_of(with_data(b"data: a\ndata: b\nid", b"c")) == b"c"


@pytest.mark.parametrize("stop", [b"", b"\r"])
def test_an_event_that_does_not_end_is_given_up_at_a_limit(stop):
    splitter, piece = Splitter(), b"x" * 2**20 + stop
    for _ in range(MAX_EVENT // 2**20 - 1):
        assert splitter.feed(piece) == b""
    with pytest.raises(AttemptFailed, match="larger than"):
        splitter.feed(piece + piece)
    assert splitter.rest() == b""


@pytest.mark.parametrize("odd", [{}, [], {"role": "user"}, ["user"], 5, None])
def test_names_that_are_no_texts_in_a_message_are_the_clients_fault_or_ignored(odd):
    body = json.loads(MESSAGES[0])
    with pytest.raises(InvalidRequest):
        read("messages", json.dumps({**body, "messages": [{"role": odd, "content": "x"}]}).encode(), {})
    for more in (
        {"thinking": {"type": odd}},
        {"messages": [{"role": "user", "content": [{"type": odd, "source": {}}]}]},
    ):
        try:
            request(read("messages", json.dumps({**body, **more}).encode(), {}), OPENAI, 7, "key", must=False, now=0)
        except AttemptFailed as error:
            assert error.failure.callers
        except InvalidRequest as error:
            assert "must be" in error.message


@pytest.mark.parametrize("odd", [b"{}", b"5", b"[1]", b"true"])
def test_texts_of_a_vendor_that_are_none_say_nothing(odd):
    for kind in (
        b'"type":"text_delta","text"',
        b'"type":"thinking_delta","thinking"',
        b'"type":"input_json_delta","partial_json"',
    ):
        found = reader(stream_reader, "chat/completions", ANTHROPIC, stream=True)
        found.feed(
            b'data: {"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"a","name":"b"}}\n\n'
        )
        found.feed(b'data: {"type":"content_block_delta","index":0,"delta":{%b:%b}}\n\n' % (kind, odd))
        assert found.text() == ""
    for block in (b'"type":"text","text"', b'"type":"thinking","thinking"', b'"type":"redacted_thinking","data"'):
        found = reader(plain_reader, "chat/completions", ANTHROPIC, stream=False)
        found.read(
            b'{"type":"message","content":[{%b:%b}],"usage":{"input_tokens":1,"output_tokens":1}}' % (block, odd)
        )
        assert found.text() == ""


@pytest.mark.parametrize("told", ["9" * 400, "9" * 30, "99999999"])
def test_a_vendor_that_wants_to_be_left_alone_for_ever_is_asked_again_after_a_day(told):
    for one in MODELS:
        vendor = one.access.vendor
        failure = DIALECTS[vendor.dialect].error(
            429, b'{"error":{"message":"slow down"}}', {"retry-after": told}, vendor.quirks
        )
        assert failure.retry_after_s == LONGEST_WAIT_S
    told = b'{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"retryDelay":"%bs"}]}}' % told.encode()
    vendor = GOOGLE.access.vendor
    assert DIALECTS[vendor.dialect].error(429, told, {}, vendor.quirks).retry_after_s == LONGEST_WAIT_S


def test_a_checkpoint_with_a_lone_surrogate_is_one_that_nobody_signed():
    with pytest.raises(BadCheckpoint):
        parse('{"seq": 5, "hash": "ab", "at": "\\ud800", "mac": "\\ud800"}', "the-key")


@pytest.mark.parametrize("book", ["builtin", "x" * 5000])
def test_a_name_that_no_file_can_have_is_told_as_a_problem(tmp_path, book):
    config = {"vendors": {"v" * 5000: {}}, "prices": [book], "models": {"m": {"vendor": "v" * 5000, "tier": "cheap"}}}
    config |= {"routes": {"auto": {"models": ["m"]}}, "teams": {}}
    file = tmp_path / "farebox.yaml"
    file.write_text(yaml.safe_dump(config))
    with pytest.raises(BadConfiguration) as told:
        load(file, "http://127.0.0.1:1")
    assert (book == "builtin") != ("File name too long" in str(told.value))


def test_the_corpus_is_read():
    assert read("chat/completions", CHATS[1], {}).stream
    assert read("messages", MESSAGES[1], {}).stream
