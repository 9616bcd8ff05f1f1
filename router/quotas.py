"""What vendors give for nothing, counted per model and calendar window, and who takes it.

A quota belongs to a model of a vendor, whoever asks. An attempt takes from it when it is charged, in the order in which
answers end, so that the tokens that are paid for in a window are those above its amount and no others. What is promised
to an attempt, because its team has no money left to set aside, is out of the others' reach until that attempt ends.

The ledger is the truth: it says what the rows of a window took, at start and at each change of the configuration. Nothing
here awaits but reading it, so on one event loop every call is atomic.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from router.core.catalog import Model
from router.core.entry import Charges
from router.core.limits import FOREVER, Budget
from router.core.plan import Plan
from router.core.prices import FREE_FIRST, Quota, Unpriced
from router.core.usage import Usage
from router.freewindows import FreeWindow, LeasedWindow, Lent, Window, first_part
from router.stores.ports import FreeSpan, Ledger


@dataclass(slots=True, eq=False)
class Share:
    """What one attempt has of a quota, from its beginning to its row in the ledger."""

    quota: Quota
    window: FreeWindow
    promised: int = 0
    taken: int = 0

    def take(self, usage: Usage) -> int | None:
        """How many of these tokens are free: all that nobody else has taken or was promised; None if nothing is. Asked
        again, for more or for less, the latest answer holds.
        """
        tokens = sum(getattr(usage, leaf) or 0 for leaf in FREE_FIRST)
        by_request = self.quota.unit == "requests"
        wanted = int(bool(tokens or usage.searches or usage.images)) if by_request else tokens
        self._keep(self.promised, max(0, min(wanted, self.window.left(self.quota.amount) + self._kept)))
        if not self.taken:
            return None
        return tokens if by_request else self.taken

    @property
    def _kept(self) -> int:
        return max(self.promised, self.taken)

    def _keep(self, promised: int, taken: int) -> None:
        before = self._kept
        self.promised, self.taken = promised, taken
        if more := self._kept - before:
            self.window.keep(more)

    def close(self) -> None:
        """What was taken is in the ledger; what was promised beyond it is given back."""
        taken = self.taken
        self._keep(0, 0)
        self.window.close(taken)

    def charges(self) -> Charges:
        """What was taken, where the ledger has to count it for all who take."""
        return self.window.charges(self.taken)


@dataclass(frozen=True, slots=True)
class Standing:
    """What is left of a quota at an instant, in its unit."""

    vendor: str
    model: str
    unit: str
    left: int


class Quotas:
    """Every quota's current window, and the shares of the attempts in flight.

    Where the store lends (`lent`), a quota is an account like a budget, and what is not leased is not free.
    """

    def __init__(self) -> None:
        self.lent: Lent | None = None
        self._windows: dict[str, Window] = {}
        self._known: dict[str, tuple[Model, Quota]] = {}
        self._shares: dict[str, Share] = {}

    async def load(self, models: Iterable[Model], now: int, ledger: Ledger) -> None:
        """Set what each quota's window has given to what the ledger says. Raises `StoreDown`."""
        models = list(models)
        found: dict[str, tuple[Model, Quota]] = {}
        for model in models:
            for price in model.timeline.prices:
                if price.quota is not None:
                    found.setdefault(_account(model, price.quota), (model, price.quota))
        self._known = found
        if not found:
            return
        spans = [_span(model, quota, models, now) for model, quota in found.values()]
        if self.lent is not None:
            purses = [self.lent.purse(_budget(*told), now) for told in found.values()]
            await ledger.count_free(
                [(span, *p.key, q.unit) for span, p, (_, q) in zip(spans, purses, found.values(), strict=True)]
            )
            self.prepare(now)
            return
        windows = [
            self._counted(model, quota, now) for model, quota in found.values()
        ]  # they may turn while it is asked
        taken_from = await ledger.free_taken(spans)
        for window, (_, quota), taken in zip(windows, found.values(), taken_from, strict=True):
            window.settled = taken.tokens if quota.unit == "tokens" else taken.rows

    def prepare(self, now: int) -> None:
        """See that something is leased of every quota."""
        if self.lent is not None:
            purses = [self.lent.purse(_budget(*told), now) for told in self._known.values()]
            wanted = [(purse, first_part(purse, self.lent.live)) for purse in purses]
            self.lent.draw_soon([(purse, nano) for purse, nano in wanted if nano])

    def left(self, model: Model, quota: Quota, at: int) -> int:
        """What nobody has taken or was promised, in the quota's unit."""
        if not quota.applies(at):
            return 0
        window = self._window(model, quota, at)
        return max(0, window.left(quota.amount))

    def covers(self, plan: Plan, at: int) -> bool:
        """Whether all that this attempt may come to is free, so that no money need be set aside for it."""
        quota = plan.price.quota
        if quota is None:
            return False
        if quota.unit == "tokens" and any(rates.per_request for rates in plan.price.rates):
            return False  # that is not paid for with tokens
        return _most(plan, quota) <= self.left(plan.model, quota, at)

    def open(self, attempt_id: str, plan: Plan, at: int, *, promise: bool) -> Share | None:
        """The share of an attempt that begins now; None where its price has no quota.

        Args:
            attempt_id: to close it by.
            plan: the attempt.
            at: when it begins (microseconds since 1970), which says from which window it takes.
            promise: whether all that it may come to is kept for it; see `covers`.

        """
        quota = plan.price.quota
        if quota is None or not quota.applies(at):
            return None
        window = self._window(plan.model, quota, at)
        share = self._shares[attempt_id] = Share(quota, window)
        if promise:
            share._keep(_most(plan, quota), 0)  # noqa: SLF001 (two halves of one thing)
        return share

    def close(self, attempt_id: str) -> None:
        """The attempt is over. Idempotent; an unknown one changes nothing."""
        if (share := self._shares.pop(attempt_id, None)) is not None:
            share.close()

    def standing(self, models: Mapping[str, Model], at: int) -> list[Standing]:
        """Every quota that is given now."""
        out = []
        for model in models.values():
            try:
                quota = model.timeline.at(at).quota
            except Unpriced:
                continue
            if quota is not None and quota.applies(at):
                out.append(Standing(model.vendor, model.name, quota.unit, self.left(model, quota, at)))
        return out

    def _window(self, model: Model, quota: Quota, at: int) -> FreeWindow:
        """The window that holds an instant. A clock that was set back finds the one that is open already."""
        if self.lent is None:
            return self._counted(model, quota, at)
        purse = self.lent.purse(_budget(model, quota), at)
        return LeasedWindow(purse, self.lent, purse.life)

    def _counted(self, model: Model, quota: Quota, at: int) -> Window:
        account = _account(model, quota)
        window = self._windows.get(account)
        if window is None or at >= window.end:  # shares of attempts that began earlier keep their own
            window = self._windows[account] = Window(quota.window(at)[1])
        return window


def _account(model: Model, quota: Quota) -> str:
    """Names a quota's counter. The vendor counts by the name that it knows, whatever the configuration calls it; the
    amount is no part of it, so that it can be edited without losing what was taken.
    """
    since = quota.start if quota.per == "total" else None
    return f"{model.vendor}/{model.wire_name}|{quota.unit}|{quota.per}|{quota.zone}|{since}"


def _budget(model: Model, quota: Quota) -> Budget:
    """A quota as the account that is leased."""
    since = quota.start if quota.per == "total" else None
    owner = f"free {model.vendor}/{model.wire_name} {since}" if since else f"free {model.vendor}/{model.wire_name}"
    return Budget(owner, quota.amount, quota.unit, quota.per, quota.zone, str(quota.zone))


def _span(model: Model, quota: Quota, models: Iterable[Model], now: int) -> FreeSpan:
    """The rows that may have taken from a quota in its window."""
    start, end = quota.window(now)
    names = tuple(m.name for m in models if (m.vendor, m.wire_name) == (model.vendor, model.wire_name))
    return FreeSpan(model.vendor, names, max(start, quota.start or 0), min(end, quota.end or FOREVER))


def _most(plan: Plan, quota: Quota) -> int:
    """The most that an attempt can take."""
    if quota.unit == "requests":
        return 1
    bound = plan.bound_usage()
    return bound.input_total + bound.output_total
