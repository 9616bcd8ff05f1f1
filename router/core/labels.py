"""Labels of live traffic as values: what was asked, and how good an answer was found to be."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from router.core.catalog import ChatRequest, Tier
from router.core.explore import COMPARED
from router.core.policy import Decision

SOURCES = ("human", "checker", "judge", "implicit")
"""Who may have judged, the most trusted first; whatever else a label says of its source comes after them."""
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was answered. What the ledger alone does not know is None in one that it alone knows."""

    id: str
    at: int  # microseconds since 1970
    team: str
    route: str
    model: str  # that answered
    tier: str
    cost: int | None  # nano-units of the reporting currency
    propensity: float | None = None  # with which it was drawn; None: nothing was drawn, or another had to answer
    explored: bool = False
    need: float | None = None
    size: int | None = None  # bytes of the prompt
    shape: Mapping[str, Any] | None = None
    candidates: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class Label:
    """How good a model's answer to a request is, by somebody's word. One source says one thing: its last word counts."""

    request_id: str
    model: str
    tier: str
    source: str
    score: float  # 0 to 1
    at: int
    by: str = ""  # "admin", "team/key" or "shadow"
    word: str | None = None  # "good" or "bad", as it was given


@dataclass(frozen=True, slots=True)
class Labelled:
    """A label as it is told to those who watch."""

    request_id: str
    route: str
    model: str
    source: str
    score: float
    loss: float | None  # against a flagship's answer to the same request; None where none has been judged, or it is one
    served: bool = False  # the policy's own choice, which the client was answered by
    again: bool = field(default=False)
    """Whether this label was told before: its flagship's has come, or its source has thought better of it."""


def shape(chat: ChatRequest, decision: Decision) -> dict[str, Any]:
    """What of a request is no text."""
    plan, messages = decision.plans[0], chat.said.get("messages")
    return {
        "tools": "tools" in chat.needs,
        "schema": "json_schema" in chat.needs,
        "images": chat.prompt.images,
        "turns": len(messages) if isinstance(messages, list) else 1,
        "output_cap": chat.output_cap,
        "input_tokens": plan.tokens.tokens,
        "stream": chat.stream,
    }


def text_of(chat: ChatRequest) -> str:
    """The words that the caller wrote, as a quality model reads them: no answers, no results of tools."""
    messages = chat.said.get("messages")
    if chat.endpoint not in COMPARED or not isinstance(messages, list):
        return "\n".join(chat.prompt.texts)
    written = (m for m in messages if isinstance(m, dict) and m.get("role") in ("system", "developer", "user"))
    return "\n".join(text for message in written for text in _texts(message))


def _texts(message: Mapping[str, Any]) -> Iterable[str]:
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"text": content}]
    return [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]


def offered(decision: Decision) -> list[dict[str, Any]]:
    """The models that could have answered, with what each was expected to cost in nano-units."""
    return [
        {"model": v.model.name, "vendor": v.model.vendor, "tier": str(v.model.tier), "expected": v.plan.expected_nano}
        for v in decision.verdicts
        if v.plan is not None and (v.plain or not v.lost)
    ]


def rank(source: str) -> int:
    return SOURCES.index(source) if source in SOURCES else len(SOURCES)


def best(labels: Iterable[Label]) -> dict[str, Label]:
    """For each model the label whose source is trusted most, of equals the newest."""
    out: dict[str, Label] = {}
    for label in sorted(labels, key=lambda one: (-rank(one.source), one.at)):
        out[label.model] = label
    return out


def told(
    route: str, new: Sequence[Label], known: Sequence[Label], before: frozenset[tuple[str, str]], served: str = ""
) -> list[Labelled]:
    """What those who watch are told of one request's new labels.

    Args:
        route: that it was asked of.
        new: labels that have just come.
        known: all labels that there are now, the new ones among them.
        before: (model, source) of those that were there already.
        served: the model that the policy chose and that answered; "" if there is none.

    """
    out = [_told(route, label, known, served, again=(label.model, label.source) in before) for label in new]
    if any(label.tier == Tier.FLAGSHIP for label in new):  # those that have waited for it
        fresh = {(label.model, label.source) for label in new}
        waited = [one for one in known if one.tier != Tier.FLAGSHIP and (one.model, one.source) not in fresh]
        out += [_told(route, label, known, served, again=True) for label in waited]
    return out


def _told(route: str, label: Label, known: Sequence[Label], served: str, *, again: bool) -> Labelled:
    flagships = [one for one in known if one.tier == Tier.FLAGSHIP]
    against = next((one for one in flagships if one.source == label.source), None)
    against = against or min(flagships, key=lambda one: rank(one.source), default=None)
    loss = None if against is None or label.tier == Tier.FLAGSHIP else against.score - label.score
    mine = label.model == served
    return Labelled(label.request_id, route, label.model, label.source, label.score, loss, served=mine, again=again)
