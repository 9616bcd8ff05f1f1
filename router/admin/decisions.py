"""The last decisions: who was chosen, why, and what became of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from router.admin.figures import money, when
from router.admin.markup import Html, join, tag
from router.admin.tables import Cell, nothing, table
from router.admin.words import WORDS, Words
from router.core.money import amount_nano


@dataclass(frozen=True, slots=True)
class Considered:
    """One candidate of a decision."""

    model: str
    place: int | None  # in the order in which they are tried
    expected: str | None  # cost, in the reporting currency
    lost: str  # why it is not tried


@dataclass(frozen=True, slots=True)
class Recent:
    """A decision and, once it is known, what became of it."""

    id: str
    at: int
    team: str
    route: str
    chosen: str
    reason: str
    answered_by: str = ""  # another model, after a fallback
    outcome: str = ""
    cost: int | None = None
    currency: str = ""
    candidates: Sequence[Considered] = ()


def decisions_table(recent: Sequence[Recent], now: int, currency: str, words: Words) -> Html:
    if not recent:
        return nothing(words("no_decision"))
    rows = [
        (
            when(one.at, now), one.team, one.route, _chosen(one, words), _why(one, currency, words), _outcome(one, words),
            "–" if one.cost is None else money(one.cost, one.currency),
        )
        for one in recent
    ]  # fmt: skip
    names = ("time", "team", "route", "chosen", "why", "outcome", "cost")
    return table(words("decisions_caption"), tuple(words(name) for name in names), rows, frozenset({6}), "log")


def _chosen(one: Recent, words: Words) -> Cell:
    if not one.answered_by or one.answered_by == one.chosen:
        return one.chosen
    return tag("span", tag("s", one.chosen), words("then"), one.answered_by)


def _outcome(one: Recent, words: Words) -> Html:
    key = f"outcome_{one.outcome or 'open'}"
    kind = {"ok": "good", "": "calm", "left": "calm"}.get(one.outcome, "bad")
    return tag("span", words(key) if key in WORDS else one.outcome, class_=f"badge {kind}")


def _why(one: Recent, currency: str, words: Words) -> Html:
    """The reason, as the core tells it; open, every candidate and what it lost by."""
    reason = _said(one.reason, words)
    if not one.candidates:
        return reason
    items = [
        tag("li", tag("b", candidate.model), " ", _fared(candidate, currency, words)) for candidate in one.candidates
    ]
    label = words("candidates", id=one.id)
    return tag("details", tag("summary", reason), tag("ul", items, aria_label=label), id=f"why-{one.id}", class_="why")


def _said(text: str, words: Words) -> Html:
    """A sentence of the core; where it stays English, it says so to who has it read aloud."""
    here = words.said(text)
    return tag("span", text, lang="en") if here is None else tag("span", here)


def _fared(candidate: Considered, currency: str, words: Words) -> Html:
    if candidate.place is None:
        return tag("span", _said(candidate.lost, words), class_="quiet")
    cost = "–" if candidate.expected is None else money(amount_nano(candidate.expected), currency)
    return join(words.html("place", place=str(candidate.place), cost=cost))
