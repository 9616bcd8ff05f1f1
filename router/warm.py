"""What vendors still have of prompts in their caches, and whether it pays to have them write more of them.

For each team: which model has seen which beginning of a conversation, and until when it is likely to know it. That makes
the model cheaper for the next turn, which `policy` takes into account. And for routes that say so: how often a beginning
comes again in time, by which it is decided whether Anthropic's cache breakpoints are worth the dearer writing.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from router.clock import Clock
from router.core.catalog import ChatRequest, Model, Route
from router.core.entry import Entry
from router.core.plan import Plan
from router.core.policy import Decision
from router.core.prefix import LEAST, NOTHING, Prefix, prefix_of

KEPT_S = 290.0  # Anthropic keeps for five minutes from the last use, OpenAI for five to ten; less what a request is under way
LONG_S = 3590.0  # what was written for an hour
MOST = 100_000  # beginnings that are remembered: some 20 MB
LEARNT = 0.3  # weight of the newest answer in what share of the expected tokens a model really reads
DOUBT = (
    8.0  # beginnings that did not come again, believed before any was seen: four have to, before it is believed to pay
)
FADING = 0.98  # of what was seen, with each that is added: about fifty are remembered

Kind = Literal["head", "turn"]


@dataclass(slots=True)
class Reuse:
    """How often a beginning comes again while it is kept."""

    again: float = 0.0
    seen: float = 0.0

    def add(self, *, again: bool) -> None:
        self.again, self.seen = self.again * FADING + again, self.seen * FADING + 1

    @property
    def rate(self) -> float:
        """Rather too low than too high."""
        return self.again / (self.seen + DOUBT)


@dataclass(slots=True)
class Conversation:
    """One request, as far as its beginning matters."""

    warm: "Warm"
    team: str
    route: Route
    prefix: Prefix
    expected: dict[str, int] = field(default_factory=dict)  # tokens that a model is expected to read, by its name
    marks: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def cached(self, model: Model, tokens: int) -> int:
        """How many of the prompt's tokens a model is expected to read from its cache."""
        prefix = self.prefix
        if not prefix.digests or (_needs_marks(model) and not (prefix.marked or self.route.breakpoints)):
            return 0
        cut = self.warm.longest(self.team, model, prefix)
        if cut is None or (known := prefix.tokens(cut, tokens)) < LEAST:
            return 0
        self.expected[model.name] = known
        return int(known * self.warm.factor(model))


@dataclass(slots=True)
class Warm:
    """Every beginning that is remembered."""

    clock: Clock
    _known: OrderedDict[tuple[str, str, bytes], float] = field(default_factory=OrderedDict)  # until when
    _open: OrderedDict[str, Conversation] = field(default_factory=OrderedDict)  # by request
    _factors: dict[str, float] = field(default_factory=dict)
    _awaited: OrderedDict[tuple[str, str, Kind, bytes], float] = field(default_factory=OrderedDict)
    _reuse: dict[tuple[str, Kind], Reuse] = field(default_factory=dict)

    def look(self, chat: ChatRequest, route: Route, team: str) -> Conversation:
        """A request, before it is decided."""
        discounts = route.breakpoints or any(model.timeline.discounts for model in (*route.models, *route.fallback))
        return Conversation(self, team, route, prefix_of(chat) if discounts else NOTHING)

    def longest(self, team: str, model: Model, prefix: Prefix) -> int | None:
        """The last cut of a prompt up to which a model is likely to know it."""
        now = self.clock.seconds()
        for cut in range(prefix.last, -1, -1):
            if self._known.get((team, model.name, prefix.digests[cut]), 0.0) > now:
                return cut
        return None

    def factor(self, model: Model) -> float:
        """What share of what it should read a model really reads."""
        return self._factors.get(model.name, 1.0)

    def rate(self, route: str, kind: Kind) -> float:
        """How often a beginning comes again, on a route."""
        reuse = self._reuse.get((route, kind))
        return reuse.rate if reuse else 0.0

    def marked(self, request_id: str, chat: ChatRequest, seen: Conversation, decision: Decision) -> ChatRequest:
        """The request that is made: with breakpoints for the models that they pay for. It is remembered until it is over."""
        if not seen.prefix.digests or chat.wishes.dry_run or not request_id:
            return chat
        self._open[request_id] = seen
        _bound(self._open)
        if not seen.route.breakpoints:
            return chat
        self._learn(seen, decision.plans[0].tokens.tokens)
        if seen.prefix.marked:
            return chat
        seen.marks = {plan.model.name: marks for plan in decision.plans if (marks := self._marks(seen, plan))}
        return replace(chat, marks=seen.marks) if seen.marks else chat

    def _marks(self, seen: Conversation, plan: Plan) -> tuple[int, ...]:
        """The cuts of the prompt up to which a model is to keep it."""
        rates = plan.price.listed(plan.facts.at)
        if not _needs_marks(plan.model) or rates.input is None or rates.cache_read is None:
            return ()
        premium, discount = (rates.cache_write_5m or 2 * rates.input) - rates.input, rates.input - rates.cache_read
        prefix, least = seen.prefix, _least(plan.model)
        wanted: dict[int, bool] = {}
        if (known := self.longest(seen.team, plan.model, prefix)) is not None:
            wanted[known] = True  # which is read, and not written again
        cuts: tuple[tuple[Kind, int], ...] = (("head", prefix.head), ("turn", prefix.last))
        for kind, cut in cuts:
            pays = self.rate(seen.route.name, kind) * discount > premium
            if pays and prefix.tokens(cut, plan.tokens.tokens) >= least:
                wanted[cut] = True
        return tuple(sorted(wanted))

    def _learn(self, seen: Conversation, tokens: int) -> None:
        """Take note which beginnings have come again, and which have not in time."""
        now, route, team, prefix = self.clock.seconds(), seen.route.name, seen.team, seen.prefix
        while self._awaited and next(iter(self._awaited.values())) <= now:
            (late, _, kind, _), _ = self._awaited.popitem(last=False)
            self._add(late, kind, again=False)
        for digest in prefix.digests:
            if self._awaited.pop((route, team, "turn", digest), None) is not None:
                self._add(route, "turn", again=True)
        if self._awaited.pop((route, team, "head", prefix.digests[prefix.head]), None) is not None:
            self._add(route, "head", again=True)
        cuts: tuple[tuple[Kind, int], ...] = (("head", prefix.head), ("turn", prefix.last))
        for kind, cut in cuts:
            if prefix.tokens(cut, tokens) >= LEAST:
                self._awaited[route, team, kind, prefix.digests[cut]] = now + KEPT_S
        _bound(self._awaited)

    def _add(self, route: str, kind: Kind, *, again: bool) -> None:
        self._reuse.setdefault((route, kind), Reuse()).add(again=again)

    def observe(self, entry: Entry) -> None:
        """An attempt is over: its model has seen the prompt."""
        attempt, usage = entry.attempt, entry.usage
        if (seen := self._open.get(attempt.request_id)) is None:
            return
        if entry.final:
            del self._open[attempt.request_id]
        if attempt.kept or entry.outcome == "error" or entry.basis == "estimated":
            return
        model = next((m for m in (*seen.route.models, *seen.route.fallback) if m.name == attempt.model), None)
        if model is None:
            return
        written = (usage.cache_write_5m or 0) + (usage.cache_write_1h or 0)
        read = usage.cache_read or 0
        if expected := seen.expected.get(model.name):
            factor = self.factor(model)
            self._factors[model.name] = factor + LEARNT * (min(1.0, read / expected) - factor)
        prefix, cuts = seen.prefix, {seen.prefix.head, max(0, seen.prefix.last - 1), seen.prefix.last}
        if _needs_marks(model):
            whole = usage.input_total
            ours = seen.marks.get(model.name)
            cuts = set(ours or cuts) if read + written else set()
            cuts = {cut for cut in cuts if prefix.tokens(cut, whole) * 0.9 <= read + written}
        until = self.clock.seconds() + (LONG_S if usage.cache_write_1h else KEPT_S)
        for cut in cuts:
            key = attempt.team, model.name, prefix.digests[cut]
            self._known[key] = max(until, self._known.pop(key, 0.0))
        _bound(self._known)


def _bound(kept: OrderedDict[Any, Any]) -> None:
    while len(kept) > MOST:
        kept.popitem(last=False)


def _needs_marks(model: Model) -> bool:
    """Whether a vendor caches only what it is told to."""
    return model.access.vendor.dialect == "anthropic"


def _least(model: Model) -> int:
    """The shortest beginning, in tokens, that a vendor caches; a mark on a shorter one is ignored, at no cost."""
    quirks = model.access.vendor.quirks
    return next((least for name, least in quirks.caches_from if model.wire_name.startswith(name)), LEAST)
