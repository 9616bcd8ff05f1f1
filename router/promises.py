"""Certified promises in force: what they say of one request, and whether live labels still bear them out.

A route whose configuration names a quality model and certificates asks the model for each request and decides by the
certificate. Shadow calls are a random sample of its traffic; each label of theirs is one observation of what the promise is
about, and an e-process per certificate watches them. Once it disproves the promise the route goes back to the flagship, at
once and until there is another certificate. Nothing is routed down in a tool loop.
"""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from router.core.cascade import Certified
from router.core.catalog import Catalog, ChatRequest, Route
from router.core.checks import in_tool_loop
from router.core.labels import Labelled
from router.core.limits import moment
from router.core.policy import Judge, Judged
from router.promised import Promised
from router.quality.certificate import Certificate
from router.quality.watch import Watch

log = logging.getLogger("farebox.promises")

SAMPLED = "checker"  # the source of labels that are a random sample: those of shadow calls


@dataclass(frozen=True, slots=True)
class PromiseState:
    """A promise as it stands."""

    route: str
    certificate: Certificate | Certified
    broken: bool
    stale: str  # why it had better be made anew; "" if it need not
    labels: int
    loss: float | None  # mean of the live labels


@dataclass(slots=True)
class Promises:
    """One process's watches, kept in a file beside the store so that a restart does not forget what was seen."""

    file: Path | None = None
    _watches: dict[str, Watch] = field(default_factory=dict)  # by route and certificate

    @classmethod
    def beside(cls, store: Path) -> "Promises":
        """What was seen of the promises whose traffic is in this store."""
        return cls(store.with_name(f"{store.name}.promises"))

    def __post_init__(self) -> None:
        if self.file is None or not self.file.exists():
            return
        try:
            told = json.loads(self.file.read_text())
            self._watches = {name: Watch.load(state) for name, state in told.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.error("what was seen of promises cannot be read; it begins anew", extra={"error": str(error)})  # noqa: TRY400 (the cause is in the message)

    def judge(self, promised: Promised | None, chat: ChatRequest, route: Route, need: float | None) -> Judge | None:
        """Who decides by a certificate; None where there is none for this need, so that what is configured decides."""
        certificate = promised.of(route.name) if promised is not None and need and not route.pinned else None
        if promised is None or certificate is None or not certificate.meets(need or 0.0, promised.model.hash):
            return None
        model, flagship, name = promised.model, certificate.flagship, route.name
        if self._of(name, certificate).broken:
            return lambda _: Judged(flagship, f"flagship: the promise for {name} is broken", {})
        if in_tool_loop(chat.said):
            return lambda _: Judged(flagship, "flagship: in a tool loop nothing is routed down", {})

        def judged(costs: Mapping[str, int]) -> Judged:
            scores = model.score(chat.said, name)
            able = {each: score for each, score in scores.items() if each in costs}
            choice = certificate.decide(able, {each: float(cost) for each, cost in costs.items()})
            return Judged(choice, f"certified: {certificate.stated}, {choice} will do", scores)

        return judged

    def observe(self, promised: Promised | None, label: Labelled) -> None:
        """One more live label. What the flagship served has lost nothing, whatever another would have said."""
        certificate = promised.of(label.route) if promised is not None else None
        if certificate is not None:
            served = label.model != certificate.flagship
            self._see(self._of(label.route, certificate), label, label.loss if served else 0.0)

    def observe_cascade(self, certified: Certified | None, label: Labelled) -> None:
        """The same for the certificate of a route's cascade. Only what its cheap model answered can have lost anything."""
        if certified is not None:
            served = label.model == certified.cheap
            self._see(self._of_cascade(label.route, certified), label, label.loss if served else 0.0)

    def is_broken(self, route: str, certified: Certified) -> bool:
        """Whether live labels have disproved the certificate of a route's cascade."""
        return self._of_cascade(route, certified).broken

    def _see(self, watch: Watch, label: Labelled, loss: float | None) -> None:
        if loss is None or not label.served or label.again or label.source != SAMPLED:
            return
        before = watch.broken
        if watch.observe(max(-1.0, min(1.0, loss))) and not before:
            log.error("a promise of quality is broken; the route is the flagship's now", extra={"route": label.route})
            self.keep()

    def standings(self, promised: Promised | None, catalog: Catalog, now: int) -> Iterable[PromiseState]:
        """Every route that has a promise: that of its routing, else that of its cascade."""
        for name, route in catalog.routes.items():
            certificate = promised.of(name) if promised is not None else None
            certified = route.cascade.certified if route.cascade is not None else None
            if promised is not None and certificate is not None:
                watch = self._of(name, certificate)
                stale = "it was made with another quality model, and is not used"
                if certificate.artefact == promised.model.hash:
                    stale = _stale(certificate, (certificate.flagship, *certificate.models), catalog, now)
                yield PromiseState(name, certificate, watch.broken, stale, watch.labels, watch.loss)
            elif certified is not None:
                watch = self._of_cascade(name, certified)
                stale = _stale(certified, (certified.flagship, certified.cheap), catalog, now)
                yield PromiseState(name, certified, watch.broken, stale, watch.labels, watch.loss)

    def kept(self) -> dict[str, Any]:
        """What was seen, as JSON values."""
        return {name: watch.dump() for name, watch in self._watches.items()}

    def take(self, kept: Mapping[str, Any]) -> None:
        """Take over what another process has seen, where that is more."""
        for name, state in kept.items():
            watch = Watch.load(state)
            if name not in self._watches or watch.labels > self._watches[name].labels:
                self._watches[name] = watch

    def keep(self) -> None:
        """Write down what was seen."""
        if self.file is None or not self._watches:
            return
        told = json.dumps(self.kept())
        try:
            part = self.file.with_name(f"{self.file.name}.part")
            part.touch(0o600)
            part.write_text(told)
            part.replace(self.file)
        except OSError as error:
            log.error("what was seen of promises cannot be written", extra={"error": str(error)})  # noqa: TRY400 (the cause is in the message)

    def _of(self, route: str, certificate: Certificate) -> Watch:
        share = certificate.flagship_score if certificate.basis == "share" else 1.0
        return self._watch(f"{route} {certificate.digest}", certificate.epsilon * (share or 1.0), certificate.delta)

    def _of_cascade(self, route: str, certified: Certified) -> Watch:
        return self._watch(f"{route} {certified.digest}", certified.epsilon, certified.delta)

    def _watch(self, name: str, epsilon: float, delta: float) -> Watch:
        watch = self._watches.get(name)
        if watch is None:
            watch = self._watches[name] = Watch(epsilon, delta)
        return watch


def _stale(certificate: Certificate | Certified, names: Iterable[str], catalog: Catalog, now: int) -> str:
    """Why a certificate that is about these models had better be made anew; "" if it need not."""
    for name in names:
        if (model := catalog.models.get(name)) is None:
            return f"{name} is not configured any more"
        told = (certificate.versions or {}).get(name)
        if told is not None and told != model.wire_name:
            return f"{name} is {model.wire_name} now, not {told}"
        starts = [price.start for price in model.timeline.prices if price.start is not None and price.start <= now]
        if certificate.date and any(moment(start).date().isoformat() > certificate.date for start in starts):
            return f"the price of {name} has changed since"
    return ""
