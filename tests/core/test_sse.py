"""Any cut of a stream gives identical bytes, and the same events."""

from hypothesis import given
from hypothesis import strategies as st

from router.core.sse import Splitter, data_of, events
from router.dialects.openai_stream import Tap

lines = st.sampled_from(
    [
        b'data: {"a": 1}',
        b'data:{"b":2}',
        b"data: [DONE]",
        b": keep-alive",
        b"event: ping",
        b"id: 7",
        "data: wörd 词".encode(),
        b"",
    ]
)
line_ends = st.sampled_from([b"\n", b"\r\n", b"\r"])


@st.composite
def streams(draw):
    end = draw(line_ends)
    return b"".join(line + end for line in draw(st.lists(lines, max_size=24)))


def cut(data, places):
    at = sorted({min(place, len(data)) for place in places})
    return [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]


@given(streams(), st.lists(st.integers(0, 400), max_size=60))
def test_the_splitter_loses_and_changes_no_byte_whatever_the_cuts(stream, places):
    splitter = Splitter()
    out = b"".join(splitter.feed(piece) for piece in cut(stream, places)) + splitter.rest()
    assert out == stream


@given(streams())
def test_every_single_byte_cut_gives_the_events_of_the_whole(stream):
    whole = Splitter()
    expected = [data_of(event) for event in events(whole.feed(stream) + whole.rest()) if event.strip()]
    bytewise = Splitter()
    blocks = [bytewise.feed(stream[i : i + 1]) for i in range(len(stream))] + [bytewise.rest()]
    found = [data_of(event) for block in blocks for event in events(block) if event.strip()]
    assert [data for data in found if data] == [data for data in expected if data]


@given(streams())
def test_the_events_of_a_block_are_the_block(stream):
    assert b"".join(events(stream)) == stream


def test_a_block_ends_only_where_an_event_does():
    splitter = Splitter()
    assert splitter.feed(b"data: a\n") == b""
    assert splitter.feed(b"\nda") == b"data: a\n\n"
    assert splitter.rest() == b"da"


def test_data_is_read_with_and_without_the_space_and_over_several_lines():
    assert data_of(b"data: x\n\n") == b"x"
    assert data_of(b"data:x\n\n") == b"x"
    assert data_of(b"event: e\r\ndata: x\r\ndata:  y\r\n\r\n") == b"x\n y"


USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}\n\n'
STREAM = (
    'data: {"choices":[{"delta":{"content":"wörd"}}],"usage":null}\n\ndata: {"choices":[{"delta":{"content":"词 \\"usage\\""}}]}\n\n'
).encode() + USAGE + b"data: [DONE]\n\n"  # fmt: skip


def through(tap, pieces):
    return b"".join(tap.feed(piece) for piece in pieces) + tap.finish()


@given(st.lists(st.integers(0, 400), max_size=60))
def test_a_tapped_stream_is_the_vendors_but_for_the_event_that_the_client_did_not_ask_for(places):
    tap = Tap(hide_usage=True, bill=lambda _: b'"cost":1')
    assert through(tap, cut(STREAM, places)) == STREAM.replace(USAGE, b"")
    assert (tap.usage.input_fresh, tap.usage.output_text, tap.done) == (9, 2, True)


@given(st.lists(st.integers(0, 400), max_size=60))
def test_the_usage_event_that_was_asked_for_gains_its_cost_and_changes_nowhere_else(places):
    tap = Tap(hide_usage=False, bill=lambda _: b'"cost":0.000013')
    expected = STREAM.replace(b'"total_tokens":11}', b'"total_tokens":11,"cost":0.000013}')
    assert through(tap, cut(STREAM, places)) == expected


@given(st.lists(st.integers(0, 400), max_size=60))
def test_without_usage_the_text_of_a_stream_can_still_be_counted(places):
    stream = STREAM.replace(USAGE, b"")
    tap = Tap(hide_usage=True, bill=lambda _: b"")
    assert through(tap, cut(stream, places)) == stream
    assert tap.usage is None
    assert tap.text() == 'wörd词 "usage"'
