"""What the conversations with vendors on wires of their own share."""

from fakes import Conversation, snapshot_of

from router.core import jsonio
from router.core.sse import data_of, events

PAIR = {
    "type": "function",
    "function": {
        "name": "get_rate",
        "description": "an exchange rate",
        "parameters": {"type": "object", "properties": {"pair": {"type": "string"}}},
    },
}
CALLED = {"id": "c1", "type": "function", "function": {"name": "get_rate", "arguments": '{"pair":"USDCNY"}'}}
WITH_RESULT = [
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": None, "tool_calls": [CALLED]},
    {"role": "tool", "tool_call_id": "c1", "content": "7.1"},
]
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def talking(folder, dialect, base_url, key, *answers, **changes):
    """A conversation whose vendor `check` speaks this dialect."""
    vendors = {"check": {"dialect": dialect, "base_url": base_url, "api_key": key}}
    return Conversation(snapshot_of(folder, **{"vendors": vendors, **changes}), *answers)


def with_budget(limit):
    """What makes the team pay from a budget."""
    return {"teams": {"search": {"budgets": [{"limit": limit, "per": "day"}]}}}


def chunks(reply):
    """The chunks that an OpenAI client got, but for the last `[DONE]`, which has to be there."""
    datas = [data_of(one) for one in events(reply.body)]
    assert datas[-1] == b"[DONE]"
    return [jsonio.loads(data) for data in datas[:-1]]


def said(reply):
    """(text, thinking, finish) of a stream."""
    choices = [chunk["choices"][0] for chunk in chunks(reply) if chunk["choices"]]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    thinking = "".join(choice["delta"].get("reasoning_content") or "" for choice in choices)
    return text, thinking, next(c["finish_reason"] for c in choices if c["finish_reason"])


def told_of(reply):
    """(message, finish reason, usage) of a plain answer."""
    body = jsonio.loads(reply.body)
    (choice,) = body["choices"]
    return choice["message"], choice["finish_reason"], body.get("usage")
