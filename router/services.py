"""Everything with a life of its own that a request uses."""

from collections.abc import Callable
from dataclasses import dataclass, field

from router.cache import Cache
from router.cascade import Cascades
from router.clock import Clock
from router.core.cascade import Certified
from router.core.catalog import Caller
from router.core.health import Health
from router.core.policy import Decision
from router.gate import Gate
from router.grants import Grants
from router.habits import Habits
from router.hedge import Hedges
from router.labels import Labelling, Unlabelled
from router.promises import Promises
from router.relay import Reach
from router.settlement import Settlement
from router.tokenizer import Tokenizer
from router.turns import Turns
from router.upstream import Upstream
from router.warm import Warm


@dataclass(slots=True)
class Services:
    """One process's."""

    tokenizer: Tokenizer
    upstream: Upstream
    settlement: Settlement
    habits: Habits
    gate: Gate
    health: Health
    turns: Turns
    clock: Clock
    on_decision: Callable[[str, Caller, Decision], None]
    on_fallback: Callable[[str, str, str], None]
    on_overhead: Callable[[float], None]
    labels: Labelling = field(default_factory=Unlabelled)
    promises: Promises = field(default_factory=Promises)
    reach: Reach = field(init=False)
    hedges: Hedges = field(init=False)
    cascades: Cascades = field(init=False)
    cache: Cache = field(init=False)
    warm: Warm = field(init=False)

    def __post_init__(self) -> None:
        self.reach = Reach(self.upstream, Grants(self.upstream, self.clock), self.health, self.clock)
        self.hedges = Hedges(self.clock)
        self.cascades = Cascades(self.upstream, self.habits, self._is_broken)
        self.cache = Cache(self.settlement, self.clock)
        self.warm = Warm(self.clock)
        self.settlement.observers += [self.hedges.paces.observe, self.cache.observe, self.warm.observe]

    def _is_broken(self, route: str, certified: Certified) -> bool:
        return self.promises.is_broken(route, certified)
