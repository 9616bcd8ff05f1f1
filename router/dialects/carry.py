"""What of a chat completion each other wire can carry: the table that decides, and that docs/dialects.md shows.

A field that a target has no word for is refused by name, so that another candidate is taken or the client is told; it is
dropped only where it is a hint, without which the answer is as complete.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from router.dialects.shape import oddity

# What says nothing: the same as leaving the field out (OpenAI's own defaults).
DEFAULTS: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "response_format": ({"type": "text"},),
    "tools": ([],),
    "functions": ([],),
    "stop": ([],),
    "service_tier": ("auto", "default"),
}
# Hints to OpenAI about storing, caching and the caller: an answer is complete without them.
HINTS: Mapping[str, str] = {
    "farebox": "read by Farebox itself",
    "stream_options": "usage is always told to Farebox",
    "store": "nothing is stored at the vendor",
    "metadata": "labels for OpenAI's storage",
    "prompt_cache_key": "a hint for OpenAI's cache",
    "prompt_cache_retention": "a hint for OpenAI's cache",
    "safety_identifier": "names the end user to OpenAI",
    "service_tier": "a tier of OpenAI's",
    "seed": "best effort at OpenAI too",
    "verbosity": "a hint for the length",
}
ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})


@dataclass(frozen=True, slots=True)
class Carries:
    """What one wire can carry of a chat completion's request."""

    fields: frozenset[str]
    """Fields of a chat completion that are translated."""
    own: frozenset[str] = frozenset()
    """Fields of the wire's own, which pass as they are."""
    dropped: Mapping[str, str] = field(default_factory=dict)
    """Besides `HINTS`: field → why nothing is lost without it."""
    parts: frozenset[str] = frozenset({"text"})
    """Types of the parts of a message's content."""
    formats: frozenset[str] = frozenset({"text"})
    """Types of `response_format`."""

    def refusal(self, hub: Mapping[str, Any]) -> str:
        """Why this wire cannot carry a request; "" if it can."""
        if odd := oddity(hub):
            return odd
        for name, value in hub.items():
            if value is None or name in self.fields or name in self.own or name in HINTS or name in self.dropped:
                continue
            if value not in DEFAULTS.get(name, ()):
                return f"`{name}` cannot be carried to its wire"
        form = hub.get("response_format")
        if isinstance(form, dict) and form.get("type") not in self.formats:
            return f"`response_format` of type {form.get('type')} cannot be carried to its wire"
        for i, message in enumerate(hub["messages"]):
            if (role := message.get("role")) not in ROLES:
                return f"`messages[{i}].role` {role} cannot be carried to its wire"
            content = message.get("content")
            for j, part in enumerate(content if isinstance(content, list) else ()):
                if (kind := part.get("type")) not in self.parts and kind != "refusal":
                    return f"`messages[{i}].content[{j}]` of type {kind} cannot be carried to its wire"
        return ""
