"""What is certified of traffic as it is replayed: each route's bound, and whether its requests would keep to it.

Nobody can say anew what a certificate would choose, as it looks at the words of a request and the ledger has none. So those
requests keep to it that go to a flagship, or stay where the same promise sent them; what moves elsewhere is beyond it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from router.core.catalog import Catalog, Tier
from router.promises import Promises
from router.quality.certificate import Certificate
from router.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Bound:
    """Of one route's requests; None where no certificate is in force."""

    route: str
    requests: int
    quality: float | None = None  # the share of the flagship's that is promised at least
    confidence: float | None = None
    beyond: int | None = None  # requests that would be answered where the promise says nothing

    @property
    def kept(self) -> bool | None:
        return None if self.beyond is None else not self.beyond


def in_force(snapshot: Snapshot, promises: Promises, need: float | None) -> Mapping[str, Certificate]:
    """The certificates that routes decide by: not broken, made with this quality model, and met by what is needed there.

    `need` is that of every route; None: what is configured of routes and teams.
    """
    if (promised := snapshot.promised) is None:
        return {}
    teams = {caller.quality for caller in snapshot.teams.values()}
    out: dict[str, Certificate] = {}
    for state in promises.standings(promised, snapshot.catalog, 0):
        if not isinstance(state.certificate, Certificate):  # a cascade's: what was accepted cannot be replayed
            continue
        needs = {need} if need is not None else {snapshot.catalog.routes[state.route].quality, *teams}
        met = any(each and state.certificate.meets(each, promised.model.hash) for each in needs)
        if met and not state.broken:
            out[state.route] = state.certificate
    return out


def bounds(
    moves: Mapping[tuple[str, str, str], Sequence[int]],
    certificates: Mapping[str, Certificate],
    catalog: Catalog,
    sent: Callable[[str], Mapping[tuple[str, str], int]],
) -> list[Bound]:
    """Each route that has requests.

    Args:
        moves: (route, from, to) → attempts, requests, and more.
        certificates: those in force, by route.
        catalog: which models are flagships.
        sent: by a promise's words, the requests that it has sent to each (route, model).

    """
    decided = {stated: sent(stated) for stated in {each.stated for each in certificates.values()}}
    out = []
    for route in sorted({route for route, _, _ in moves}):
        here = {(left, to): found[1] for (name, left, to), found in moves.items() if name == route and found[1]}
        requests = sum(here.values())
        certificate = certificates.get(route)
        if certificate is None:
            out.append(Bound(route, requests))
            continue
        own = {model: count for (name, model), count in decided[certificate.stated].items() if name == route}
        beyond = _beyond(here, own, _flagships(catalog, certificate))
        out.append(Bound(route, requests, certificate.quality, certificate.confidence, beyond))
    return [bound for bound in out if bound.requests]


def lowest(found: Iterable[Bound]) -> float | None:
    """What holds of all of it: the lowest of the bounds; None unless every route keeps to one."""
    found = list(found)
    told = [bound.quality for bound in found if bound.kept and bound.quality is not None]
    return min(told) if told and len(told) == len(found) else None


def _flagships(catalog: Catalog, certificate: Certificate) -> set[str]:
    return {
        f"{model.vendor}/{model.name}"
        for model in catalog.models.values()
        if model.tier is Tier.FLAGSHIP or model.name == certificate.flagship
    }


def _beyond(moves: Mapping[tuple[str, str], int], sent: Mapping[str, int], flagships: set[str]) -> int:
    """Requests of (from, to) that are neither at a flagship nor where the promise sent them. Of those that stay while others
    leave nobody knows which the promise had sent, so it is as few as it can be.
    """
    had: dict[str, int] = {}
    for (left, _), requests in moves.items():
        had[left] = had.get(left, 0) + requests
    beyond = 0
    for (left, to), requests in moves.items():
        if to not in flagships:
            beyond += min(requests, had[left] - min(had[left], sent.get(left, 0))) if left == to else requests
    return beyond
