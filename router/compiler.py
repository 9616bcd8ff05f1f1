"""Settings turned into what a request uses: models, routes, callers and budgets, with every problem that there is.

Everything that must fit together is checked here, all of it, so that a configuration that starts is one that can serve.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

from router import vendors
from router.core.alerts import Target
from router.core.cascade import Cascade, Certified, Function, Webhook
from router.core.catalog import (
    UNLIMITED,
    Access,
    Caller,
    Hedging,
    Model,
    Quirks,
    RateLimits,
    Route,
    Shadowing,
    Tier,
    Timeouts,
    Vendor,
)
from router.core.entry import SHADOW
from router.core.limits import Budget, micros
from router.core.prices import Timeline
from router.dialects import DIALECTS
from router.dialects.sent import is_formed
from router.pricebook import BookModel, PriceBook, free_timeline, read_books, timelines
from router.priceentry import Place, PriceSettings
from router.promised import Promised, read_certified, read_promised
from router.routesettings import BudgetSettings, CascadeSettings, CheckerSettings, ShadowSettings
from router.settings import ModelSettings, Settings
from router.yamlfile import BadConfiguration, Key, Problem, YamlFile, show_key


def caller_of(
    team: Caller, key: str, budgets: tuple[Budget, ...], expires: int | None, limits: RateLimits = UNLIMITED
) -> Caller:
    return replace(team, key=key, budgets=(*budgets, *team.budgets), expires=expires, key_limits=limits)


@dataclass(slots=True)
class Compiler:
    """Collects problems instead of stopping at the first."""

    settings: Settings
    file: YamlFile
    mock_url: str | None
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    book: PriceBook = field(default_factory=PriceBook)
    unread: bool = False  # the books could not be read: what they would say is not missed
    all_budgets: list[Budget] = field(default_factory=list)
    used_currencies: dict[str, Key] = field(default_factory=dict)
    sold: dict[tuple[str, str], Mapping[str, Timeline]] = field(default_factory=dict)

    def problem(self, key: Key, message: str) -> None:
        self.problems.append(self.file.problem(key, message))

    def warn(self, key: Key, message: str) -> None:
        self.warnings.append(self.file.problem(key, message))

    def read_books(self, folder: Path) -> None:
        places: list[tuple[Key, Path | Literal["builtin"]]] = [
            (("prices", i), "builtin" if place == "builtin" else folder / place)
            for i, place in enumerate(self.settings.prices)
        ]
        try:
            self.book = read_books(places, {model.vendor for model in self.settings.models.values()})
        except BadConfiguration as error:
            self.unread = True
            named = {show_key(key): (key, place) for key, place in places}
            for problem in error.problems:
                if problem.line is None and (told := named.get(problem.key)):  # a place that is not there is told here
                    self.problem(told[0], f"{told[1]}: {problem.message}")
                else:
                    self.problems.append(problem)

    # Vendors and models

    def _access(self, name: str) -> Access | None:
        told, key = self.settings.vendors[name], ("vendors", name)
        known = vendors.find(name)
        if known is None:
            if told.base_url is None and not self.mock_url:
                self.problem(key, f"not a vendor that Farebox knows ({', '.join(vendors.MODULES)}); give it a base_url")
                return None
            if told.dialect is None:
                self.problem(key, f"not a vendor that Farebox knows; give it a `dialect` ({', '.join(DIALECTS)})")
                return None
            quirks = Quirks(signatures_back=True)  # nobody knows whose models are behind its address
            currency = told.currency or self.settings.currency
            known = Vendor(name, told.base_url or "", currency, told.dialect, quirks)
        else:
            known = vendors.speaking(known, told.dialect, told.base_url)
        if told.currency and told.currency != known.currency:
            known = replace(known, currency=told.currency)
        url = told.base_url or (_mocked(self.mock_url, known) if self.mock_url else known.base_url)
        if not url:
            self.problem(key, "this vendor has no common address; set base_url")
            return None
        if url.startswith("ws") and not DIALECTS[known.dialect].streams:
            self.problem((*key, "base_url"), f"is a WebSocket's address, which dialect {known.dialect} does not use")
        keys = told.keys
        form = DIALECTS[known.dialect].credential
        if not keys and self.mock_url:
            keys = (":".join(["mock"] * (form.count(":") + 1)),)
        elif not keys and told.base_url is None and not known.keyless:
            self.problem(key, "has no api_key")
        if form and not all(is_formed(secret, form) for secret in keys):
            self.problem(key, f"its api_key has to be {form}")
        t = told.timeout
        timeouts = Timeouts(t.connect, t.first_byte, t.idle, t.total)
        return Access(known, url.rstrip("/"), keys, timeouts, tuple(told.headers.items()), told.limits.compiled)

    def models(self) -> dict[str, Model]:
        accesses = {name: self._access(name) for name in self.settings.vendors}
        out = {}
        for name, told in self.settings.models.items():
            key = ("models", name)
            if told.vendor not in accesses:
                self.problem((*key, "vendor"), f"{told.vendor!r} is not under `vendors`")
                continue
            access = accesses[told.vendor]
            if access is not None and (model := self._model(name, told, access, key)) is not None:
                out[name] = model
        return out

    def _model(self, name: str, told: ModelSettings, access: Access, key: Key) -> Model | None:
        wire_name = told.name or name
        known = self.book.find(told.vendor, told.priced_as or wire_name)
        tier = told.tier or (known.tier if known else None)
        if tier is None and self.unread:
            return None
        if tier is None:
            self.problem(key, "its tier is not known; set `tier` to free, cheap, mid or flagship")
            return None
        timeline = self._timeline(name, told, known, access.vendor.currency, tier, key)
        if timeline is None:
            return None
        for price in timeline.prices:
            self.used_currencies.setdefault(price.currency, key)
        quality = told.quality if told.quality is not None else 1.0 if tier is Tier.FLAGSHIP else None
        return Model(
            name=name,
            wire_name=wire_name,
            access=access,
            tier=tier,
            timeline=timeline,
            quality=quality,
            context_window=told.context_window or (known.context_window if known else None),
            max_output=told.max_output or (known.max_output if known else None),
            lacks=frozenset(told.lacks) if told.lacks is not None else known.lacks if known else frozenset(),
            kind=told.kind or (known.kind if known else "chat"),
            counting=vendors.counting(access.vendor, told.priced_as or wire_name),
            limits=told.limits.compiled,
            others=self._sold(told.vendor, timeline.prices[0].currency) if told.price is None else {},
        )

    def _sold(self, vendor: str, currency: str) -> Mapping[str, Timeline]:
        """What the price books have for every name of a vendor; worked out once."""
        if (vendor, currency) not in self.sold:
            self.sold[vendor, currency] = self.book.sold(vendor, currency)
        return self.sold[vendor, currency]

    def _timeline(
        self, name: str, told: ModelSettings, known: BookModel | None, currency: str, tier: Tier, key: Key
    ) -> Timeline | None:
        """A model's prices: its own, or the price book's in the vendor's currency."""
        if told.price == "free":
            return free_timeline(name, currency)
        if told.price is not None:
            entries: list[PriceSettings] = told.price if isinstance(told.price, list) else [told.price]
            found = timelines(name, entries, Place(ZoneInfo("UTC")), tier, self.file, (*key, "price"), self.problems)
            if len(found) > 1:
                self.problem((*key, "price"), "is in more than one currency")
            return next(iter(found.values()), None)
        shown = f"{told.vendor}/{told.priced_as or told.name or name}"
        if known is None and self.unread:
            return None
        if known is None:
            self.problem(key, f"no price book has {shown}; give it a `price`, a `priced_as`, or say `price: free`")
            return None
        timeline = known.timeline(currency)
        if timeline is None:
            have = ", ".join(known.timelines) or "nothing"
            self.problem(key, f"{shown} has no price in {currency}, only in {have}; set the vendor's `currency`")
        return timeline

    # Routes

    def routes(self, models: Mapping[str, Model]) -> dict[str, Route]:
        out = {}
        for name, told in self.settings.routes.items():
            key = ("routes", name)
            if name in self.settings.models:
                self.problem(key, "a model has this name too; a request could mean either")
            named = self._named(told.models, models, (*key, "models"))
            if not told.models:
                named = [model for model in models.values() if model.kind == "chat"]
            chosen = [model for model in named if not told.tiers or model.tier in told.tiers]
            if not chosen and not self.problems:
                self.problem(key, "has no model: none is of these tiers")
            out[name] = Route(
                name=name,
                models=tuple(chosen),
                quality=told.quality,
                max_output_tokens=told.max_output_tokens,
                min_output_tokens=told.min_output_tokens,
                fallback=tuple(self._named(told.fallback, models, (*key, "fallback"))),
                on_unmet=told.on_unmet,
                hedge=None if told.hedge is None else Hedging(told.hedge.percentile, told.hedge.share),
                cascade=None if told.cascade is None else self._cascade(name, told.cascade, models),
                cache=told.cache.rule if told.cache else None,
                breakpoints=told.cache_breakpoints,
                labels=told.labels or told.explore is not None or told.shadow is not None,
                explore=told.explore or 0.0,
                shadow=None if told.shadow is None else self._shadow(name, told.shadow),
            )
            sides = {model.tier is Tier.FLAGSHIP for model in chosen}
            if (told.explore or told.shadow) and len(sides) == 1:
                self.warn(key, "has flagships only or none: there is no other side to explore or to shadow")
        return out

    def _cascade(self, route: str, told: CascadeSettings, models: Mapping[str, Model]) -> Cascade | None:
        """None also where a certificate should say what is good enough, and does not: no cheap answer is accepted then."""
        key = ("routes", route, "cascade")
        if told.judge is not None and told.judge not in models:
            self.problem((*key, "judge"), f"{told.judge!r} is not under `models`")
        checker = None if told.checker is None else self._checker(told.checker, (*key, "checker"))
        certified = self._certified(route, told.certificate, told.scored_by) if told.certificate else None
        limit = (certified or told).at_least
        made = Cascade(told.when_ratio, tuple(told.checks), checker, told.judge, limit, certified)
        return None if told.certificate and certified is None else made

    def _certified(self, route: str, path: Path, scored_by: str) -> Certified | None:
        key = ("routes", route, "cascade", "certificate")
        try:
            found, why = read_certified(Path(self.file.name).parent / path, route, scored_by, self.settings.models)
        except ValueError as error:
            self.problem(key, str(error))
            return None
        if found is None:
            self.warn(key, f"{path} {why}, so no cheap model is tried first")
        return found

    def _checker(self, told: CheckerSettings, key: Key) -> Webhook | Function | None:
        try:
            return told.compiled()
        except ValueError as error:
            self.problem((*key, "python"), str(error))
            return None

    def _shadow(self, route: str, told: ShadowSettings) -> Shadowing | None:
        """Its budget is that of a team which is nobody's, and counts in those of everybody too."""
        if SHADOW in self.settings.teams:
            self.problem(("teams", SHADOW), "is the name under which shadow calls are booked; take another one")
        key = ("routes", route, "shadow")
        budget = self.budget(told.budget, f"{SHADOW}/{route}", (*key, "budget"))
        checker = self._checker(told.checker, (*key, "checker"))
        return None if checker is None else Shadowing(told.rate, budget, checker, told.concurrent)

    def _named(self, names: Sequence[str], models: Mapping[str, Model], key: Key) -> list[Model]:
        for i, name in enumerate(names):
            if name not in self.settings.models:
                self.problem((*key, i), f"{name!r} is not under `models`")
        return [models[name] for name in names if name in models]

    def promised(self, folder: Path, routes: Mapping[str, Route]) -> Promised | None:
        """The quality model and the certificates that the configuration names."""
        told = self.settings.quality
        if told is None:
            return None
        try:
            found = read_promised(folder / told.model, folder / told.certificates)
        except ValueError as error:
            self.problem(("quality",), str(error))
            return None
        for certificate in found.certificates.values():
            if why := found.unusable(certificate, routes, self.settings.models):
                self.warn(("quality", "certificates"), f"the certificate of {certificate.route or 'all routes'} {why}")
        return found

    # Teams, keys and budgets

    def teams(
        self, routes: Mapping[str, Route], shared: tuple[Budget, ...]
    ) -> tuple[dict[str, Caller], dict[str, Caller]]:
        teams: dict[str, Caller] = {}
        callers: dict[str, Caller] = {}
        for name, told in self.settings.teams.items():
            key = ("teams", name)
            if "/" in name:
                self.problem(key, "a team's name holds no slash")
            for i, route in enumerate(told.routes or ()):
                if route not in routes:
                    self.problem((*key, "routes", i), f"{route!r} is not under `routes`")
            for i, model in enumerate(told.models):
                if model != "*" and model not in self.settings.models:
                    self.problem((*key, "models", i), f"{model!r} is not under `models`")
            if told.budgets is None:
                self.warn(key, "has no budgets: unlimited; `budgets: []` says so on purpose")
            own = self.budgets(told.budgets or (), name, (*key, "budgets"))
            team = teams[name] = Caller(
                name,
                "",
                (*own, *shared),
                None if told.routes is None else frozenset(told.routes),
                frozenset(told.models),
                told.quality,
                told.limits.compiled,
                weight=told.weight,
            )
            for i, key_told in enumerate(told.keys):
                at = (*key, "keys", i)
                if key_told.digest in callers:
                    self.problem(at, "this key is already somebody's")
                extra = self.budgets(key_told.budgets, f"{name}/{key_told.name}", (*at, "budgets"))
                expires = None
                if key_told.expires is not None:
                    end = key_told.expires
                    moment = end if isinstance(end, datetime) else datetime.combine(end, time(), UTC)
                    expires = micros(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
                callers[key_told.digest] = caller_of(team, key_told.name, extra, expires, key_told.limits.compiled)
        return teams, callers

    def budgets(self, told: Sequence[BudgetSettings], owner: str, key: Key) -> tuple[Budget, ...]:
        out: list[Budget] = []
        for i, budget in enumerate(told):
            made = self.budget(budget, owner, (*key, i))
            if made.account in {other.account for other in out}:
                self.problem((*key, i), "a second budget for the same window and currency; keep the lower one")
            out.append(made)
        return tuple(out)

    def budget(self, told: BudgetSettings, owner: str, key: Key) -> Budget:
        currency = told.currency or self.settings.currency
        self.used_currencies.setdefault(currency, key)
        made = Budget(
            owner=owner,
            limit=told.limit,
            currency=currency,
            per=told.per,
            zone=ZoneInfo(told.timezone),
            zone_name=told.timezone,
            soft=None if told.soft is None else int(told.limit * told.soft),
            on_soft=told.on_soft,
            on_exceed=told.on_exceed,
            alert_at=tuple(told.alert_at),
        )
        self.all_budgets.append(made)
        return made

    # Alerts

    def targets(self) -> tuple[Target, ...]:
        names = set[str]()
        for i, told in enumerate(self.settings.alerts):
            if told.name in names:
                self.problem(("alerts", i, "name"), f"{told.name!r} is somebody's name already")
            names.add(told.name)
            for n, team in enumerate(told.teams or ()):
                if team != "*" and team not in self.settings.teams:
                    self.problem(("alerts", i, "teams", n), f"{team!r} is not under `teams`")
        return tuple(told.compiled for told in self.settings.alerts)

    # Money

    def check_currencies(self) -> None:
        """Every currency in use needs a rate, or nothing priced in it could be charged."""
        for currency, key in self.used_currencies.items():
            if currency != self.settings.currency and currency not in self.settings.exchange_rates:
                self.problem(key, f"is in {currency}, which has no entry in `exchange_rates`")


def _mocked(mock_url: str, vendor: Vendor) -> str:
    """Where the mock of a vendor is: OpenAI's wires under /v1, others where their own paths begin."""
    return f"{mock_url}/{vendor.name}{'/v1' if vendor.dialect in {'openai', 'responses'} else ''}"
