"""Which requests may share an answer: the key under which one is kept, and why a request is not cached.

Two requests have one key only if whatever could change the answer, or its bytes, is the same: everything in the body but
what names the caller or is a hint to a vendor's own cache, the client's dialect, plain or stream, the team, the route,
the quality that is needed and the models that may answer. A stream and a plain answer are kept apart: the events of the
one cannot be had faithfully from the bytes of the other.
"""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any

import orjson

from router.core.catalog import CacheRule, ChatRequest

# Who asks, labels, and hints for a vendor's own cache: an answer is the same with any of them, or with none.
SAYS_NOTHING = frozenset(
    {
        "user",
        "metadata",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "farebox",
        "model",
        "stream",
    }
)
# The order of what is in them is shown to a model, and a structured answer follows it.
ORDERED = frozenset({"tools", "functions", "response_format", "text", "output_config", "text_format"})
# An answer with any of them depends on what the tools find, or makes the client do something.
TOOLS = frozenset(
    {
        "tools", "functions", "mcp_servers", "container", "web_search_options", "web_search", "enable_search",
        "search_parameters", "plugins",
    }
)  # fmt: skip
WHOLE = 2.0**53  # floats below it that are whole are the same number as an integer


def uncached(chat: ChatRequest, rule: CacheRule) -> str:
    """Why a request is not cached on a route with this rule; "" if it is.

    A temperature that is not given is the vendor's own business, and its answers are shared; one above 0 asks for another
    answer each time.
    """
    if chat.prompt.unseen:
        return "the vendor adds to its prompt what is not in the request"
    if not rule.tools and (found := sorted(name for name in TOOLS if chat.body.get(name))):
        return f"it has `{found[0]}`"
    temperature = chat.body.get("temperature")
    if not rule.any_temperature and temperature is not None and temperature != 0:
        return "its `temperature` is above 0"
    return ""


def cache_key(chat: ChatRequest, team: str, route: str, need: float | None, models: Iterable[str]) -> bytes | None:
    """What a request's answer is kept under; None if it is too odd to have a key.

    Args:
        chat: the request as read.
        team: whose answers these are; they are nobody else's.
        route: what it asked for.
        need: the quality that is needed.
        models: the names of those that may answer.

    """
    stream_options = "stream_options" if not chat.stream else ""  # means nothing then
    told = {name: _plain(value) for name, value in chat.body.items() if value is not None and name not in SAYS_NOTHING}
    told.pop(stream_options, None)
    ordered = {name: told.pop(name) for name in sorted(ORDERED & told.keys())}
    place = (chat.endpoint, chat.stream, team, route, need, sorted(models), sorted(chat.passed.items()))
    try:
        parts = (orjson.dumps(place), orjson.dumps(told, option=orjson.OPT_SORT_KEYS), orjson.dumps(ordered))
    except orjson.JSONEncodeError:  # integers beyond 64 bits, nested beyond 254 levels
        return None
    digest = blake2b(digest_size=32)
    for part in parts:
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.digest()


def _plain(value: Any) -> Any:
    """A number as it is written most simply: 0.0 is 0."""
    if isinstance(value, float) and abs(value) < WHOLE and value == int(value):
        return int(value)
    return value


def asked_to_skip(headers: Mapping[str, str]) -> tuple[bool, bool]:
    """(whether a kept answer will not do, whether the new one may not be kept), as `Cache-Control` says."""
    told = {word.strip().lower() for word in headers.get("Cache-Control", "").split(",")}
    never = "no-store" in told
    return never or "no-cache" in told, never
