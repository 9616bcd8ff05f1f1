"""What a vendor calls its answer is in the ledger, so that its invoice can be matched: on every wire, plain and streamed,
also where the client has left or the vendor has no name for its answer.
"""

import pytest

from router.core.catalog import Quirks
from router.dialects.openai_stream import Tap

KEY = "fb-demo-search-key"
PROMPT = [{"role": "user", "content": "Why do prices fall? out=5"}]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "path", "begins"),
    [
        ("gpt-4o", "/v1/chat/completions", "chatcmpl-"),
        ("claude-sonnet-4-5", "/v1/chat/completions", "msg_"),
        ("claude-sonnet-4-5", "/v1/messages", "msg_"),
        ("gpt-4o", "/v1/messages", "chatcmpl-"),
    ],
)
async def test_the_name_of_an_answer_is_in_its_row(running, demo, model, path, begins, stream):
    demo["teams"]["search"]["models"] = ["*"]
    on = await running(demo)
    body = {"model": model, "messages": PROMPT, "max_tokens": 50, "stream": stream}
    async with on.post(path, key=KEY, json=body) as reply:
        assert reply.status == 200, await reply.text()
        text = await reply.text()
    (row,) = await on.rows()
    assert row["vendor_id"].startswith(begins)
    assert model != "gpt-4o" or path != "/v1/chat/completions" or row["vendor_id"] in text


def fed(*pieces):
    tap = Tap(hide_usage=True, bill=lambda _: b"", quirks=Quirks())
    for piece in pieces:
        tap.feed(piece)
    return tap.id


def test_a_stream_is_named_by_its_first_event_that_has_a_name():
    first, second = b'data: {"id":"","choices":[]}\n\n', b'data: {"id":"one","choices":[]}\n\n'
    third = b'data: {"id":"two","choices":[]}\n\n'
    assert fed(first, second, third) == "one"
    assert fed(b": ping\n\n", first + second) == "one"
    assert fed(b"data: not json\n\n", b"data: [1]\n\n", second) == "one"
    assert fed(*[b'data: {"choices":[]}\n\n'] * 9, second) == ""  # it is not looked for for ever
