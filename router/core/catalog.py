"""Who may be asked: vendors, models, routes, and which of them could serve a request.

A *vendor* bills; a *dialect* is a wire format; a *model* is what a vendor sells under one name and price; a *route* is
what a client asks for. All are frozen values compiled from the configuration; the core never names a vendor.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from router.core.cascade import Cascade, Function, Webhook
from router.core.errors import InvalidRequest, NoSuchModel, NotAllowed
from router.core.failure import Fault
from router.core.limits import Budget
from router.core.prices import Timeline
from router.core.tokens import DEFAULT, Counting, Prompt
from router.core.value import value

Endpoint = Literal["chat/completions", "completions", "embeddings", "messages", "responses"]
DialectName = Literal["openai", "responses", "anthropic", "gemini", "ollama", "hunyuan", "qianfan", "spark"]


class Tier(StrEnum):
    FREE = "free"
    CHEAP = "cheap"
    MID = "mid"
    FLAGSHIP = "flagship"


@dataclass(frozen=True, slots=True)
class Quirks:
    """How one vendor departs from its dialect. Every field has the plain dialect as its default."""

    # What it is sent

    cap_field: str = "max_tokens"
    """The field that limits the output. OpenAI's newer models refuse `max_tokens`."""
    one_cap_field: bool = False
    """Whether it knows `cap_field` only, so that a cap under the other name is renamed, not lost."""
    asks_stream_usage: bool = True
    """Whether `stream_options` may be sent, and so usage asked for; a vendor that refuses it reports usage unasked."""
    key_header: str = ""
    """Where the credential goes, if not where its dialect says; as `Bearer KEY` in `Authorization`, bare in any other."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Other names that it has for parameters."""
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """The least and most that it accepts for a number; what is outside is brought inside, not refused."""
    model_ranges: tuple[tuple[str, Mapping[str, tuple[float, float]]], ...] = ()
    """(prefix of a model's name, the narrower ranges that it has)."""
    refuses: tuple[tuple[str, frozenset[str]], ...] = ()
    """(prefix of a model's name, parameters that it refuses or ignores): it cannot serve a request that has one of them."""
    choices: frozenset[str] | None = None
    """The values of `tool_choice` that it knows, an object by its type; None: all."""
    joins_texts: bool = False
    """Whether a content of text parts has to be one string."""
    call_ids: int | None = None
    """The length that ids of tool calls must have, of letters and digits only; others are replaced, in call and result alike."""
    plain_unthinking: str = ""
    """Pattern of the names of models that think unless told otherwise, and can only be streamed then."""

    # What it answers

    faults: Mapping[str, Fault] = field(default_factory=dict)
    """Its own error codes and types, over those of the dialect. `A` also stands for `A.B`, unless that is here too."""
    phrases: tuple[tuple[str, Fault], ...] = ()
    """What its documented messages say, in lower case, where neither code nor type says more than "bad request"."""
    verdict: tuple[str, str] | None = None
    """(path of a code, path of a message) in each answer and event, also under status 200; the code 0 is success."""
    finishes: Mapping[str, Fault] = field(default_factory=dict)
    """Finish reasons that stand for a failure."""
    usage_also_at: tuple[str, ...] = ()
    """Paths where usage stands besides `usage` itself."""
    searches_at: str = ""
    """Path of the count of searches, in its usage, that it bills each."""
    thinking: tuple[tuple[str, Literal["effort", "type", "enable"]], ...] = ()
    """(prefix of a model's name, how it is asked to think): by `reasoning_effort`, `thinking.type` or `enable_thinking`."""
    thoughts_back: bool = False
    """Whether a turn that called tools must come back with its `reasoning_content`."""
    signatures_back: bool = False
    """Whether `extra_content` of earlier turns, in which Google signs them, comes back; most others refuse the field."""
    reasoning_in_total: bool = False
    """Whether reasoning is seen only as the part of `total_tokens` that is neither prompt nor completion."""
    caches_from: tuple[tuple[str, int], ...] = ()
    """(prefix of a model's name, tokens below which it caches no beginning of a prompt)."""
    cost_field: tuple[str, int] | None = None
    """(the field of its usage that holds the charge itself, how many of its units make a nano-unit of the currency)."""


@dataclass(frozen=True, slots=True)
class Wire:
    """Another dialect that a vendor speaks, elsewhere and with other quirks."""

    dialect: DialectName
    base_url: str
    quirks: Quirks = Quirks()
    tail: str = "\0"
    """What a configured address ends with if this dialect is spoken there."""


@dataclass(frozen=True, slots=True)
class Vendor:
    """Who bills, where, in which currency, and with which quirks."""

    name: str
    base_url: str
    currency: str
    dialect: DialectName = "openai"
    quirks: Quirks = Quirks()
    also: tuple[Wire, ...] = ()
    """Its other dialects; a configuration chooses one by `dialect`."""
    endpoints: frozenset[Endpoint] = frozenset()
    """What it answers under the same address besides what its dialect has, on that endpoint's own wire."""
    keyless: bool = False
    """Whether it asks for no credential, so that none has to be configured."""
    counting: Counting = DEFAULT
    exact_models: tuple[tuple[str, str], ...] = ()
    """(prefix of a model's name, encoding): where the prompt's tokens can be counted exactly."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `idle` is the longest gap between two pieces of an answer."""

    connect: float = 5.0
    first_byte: float = 120.0
    idle: float = 120.0
    total: float = 900.0


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Of a team, a key, a vendor's credential or a model; None is unlimited."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None


UNLIMITED = RateLimits()
"""The one that is compared with, so that what is not limited costs nothing."""


@dataclass(frozen=True, slots=True)
class Access:
    """A configured vendor: where calls go and with which credentials."""

    vendor: Vendor
    base_url: str
    keys: tuple[str, ...] = field(default=(), repr=False)
    timeouts: Timeouts = Timeouts()
    headers: tuple[tuple[str, str], ...] = ()
    limits: RateLimits = UNLIMITED  # of each credential


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """What may be called, with everything a decision needs to know of it."""

    name: str
    wire_name: str
    access: Access
    tier: Tier
    timeline: Timeline
    quality: float | None = None  # believed share of the flagship's quality; None: nobody said
    context_window: int | None = None
    max_output: int | None = None
    lacks: frozenset[str] = frozenset()
    kind: Literal["chat", "embedding"] = "chat"
    counting: Counting = DEFAULT
    limits: RateLimits = UNLIMITED  # behind each credential
    others: Mapping[str, Timeline] = field(default_factory=dict)
    """What the price books have for each name of its vendor, in the same currency; empty where its price is not theirs."""

    @property
    def vendor(self) -> str:
        return self.access.vendor.name


@dataclass(frozen=True, slots=True)
class Hedging:
    """When a route asks a second vendor because the first is slow to begin."""

    percentile: float  # of the model's own first-byte times
    share: float  # of the route's requests that may be asked twice


@dataclass(frozen=True, slots=True)
class CacheRule:
    """What of a route's answers is kept, for how long, and how much of it."""

    ttl_s: float = 3600.0
    max_bytes: int = 64 * 2**20
    max_answer_bytes: int = 2**20
    max_store_bytes: int = 0
    any_temperature: bool = False
    tools: bool = False


@dataclass(frozen=True, slots=True)
class Shadowing:
    """How often a route's requests are asked once more, of the other side's model, and who pays and judges."""

    rate: float
    budget: Budget
    checker: Webhook | Function
    concurrent: int = 8


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """A name that clients ask for, and the models that may serve it."""

    name: str
    models: tuple[Model, ...]
    quality: float | None = None
    max_output_tokens: int | None = None
    min_output_tokens: int = 1
    fallback: tuple[Model, ...] = ()
    on_unmet: Literal["flagship", "refuse"] = "flagship"
    pinned: bool = False  # stands for one model that was named directly
    hedge: Hedging | None = None
    cascade: Cascade | None = None
    cache: CacheRule | None = None
    breakpoints: bool = False  # whether Anthropic's are placed where they pay
    labels: bool = False  # what is asked of it is kept, to be labelled
    explore: float = 0.0  # the share of requests that go to the other side's model
    shadow: Shadowing | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Caller:
    """A key's owner: who pays, and what it may ask for."""

    team: str
    key: str
    budgets: tuple[Budget, ...] = ()
    routes: frozenset[str] | None = None  # None: every route
    models: frozenset[str] = frozenset()  # models that may be named directly; "*" is every one
    quality: float | None = None
    limits: RateLimits = UNLIMITED
    expires: int | None = None  # microseconds since 1970
    key_limits: RateLimits = UNLIMITED
    weight: float = 1.0  # its part of a vendor's limit when several teams wait for it


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a request asked of Farebox itself, by headers or a body object; removed before a vendor sees it."""

    quality: float | None = None
    max_cost: int | None = None  # nano-units of the reporting currency
    tier: Tier | None = None
    vendors: frozenset[str] = frozenset()
    tags: Mapping[str, str] = field(default_factory=dict)
    dry_run: bool = False


@value(eq=False)
class ChatRequest:
    """A request as its dialect read it. `body` is the client's own and is never changed; patches are laid over it."""

    endpoint: Endpoint
    body: Mapping[str, Any]
    asked: str  # the route or model that the client named
    prompt: Prompt
    stream: bool = False
    wants_usage: bool = False  # asked for the final usage event of a stream
    choices: int = 1
    output_cap: int | None = None  # tokens per choice, as the client asked
    cap_field: str | None = None  # the field that it used for that
    needs: frozenset[str] = frozenset()
    thinking: bool = False
    service_tier: str | None = None  # that it asks for, where that may have its own price
    wishes: Wishes = Wishes()
    hub: Mapping[str, Any] | None = None
    """The same as a chat completion's body, where it came in another dialect."""
    stays: str = ""
    """The fields that only a vendor of the client's own dialect understands."""
    passed: Mapping[str, str] = field(default_factory=dict)
    """The client's headers that such a vendor is sent."""
    marks: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """By model: the cuts of the prompt (see `prefix`) up to which it is to be kept in the vendor's cache."""

    @property
    def said(self) -> Mapping[str, Any]:
        """The request in the hub's words."""
        return self.body if self.hub is None else self.hub


@value()
class Candidate:
    """A model that could serve the request, or the reason why it cannot."""

    model: Model
    lost: str = ""


@dataclass(frozen=True, slots=True)
class Catalog:
    """Every model and route by name."""

    models: Mapping[str, Model]
    routes: Mapping[str, Route]
    by_vendor: Mapping[str, Model]  # "vendor/model" → model

    def route(self, asked: str, caller: Caller) -> Route:
        """What the caller may use under this name: a route, a model, or `vendor/model`.

        Raises:
            NoSuchModel: nothing has this name; the message names what the key may use.
            NotAllowed: it exists but is not for this team.

        """
        if route := self.routes.get(asked):
            if caller.routes is None or asked in caller.routes:
                return route
            raise NotAllowed(f"route {asked!r} is not for team {caller.team}; this key may use {self.names(caller)}")
        model = self.models.get(asked) or self.by_vendor.get(asked)
        if model is None:
            raise NoSuchModel(
                f"no route or model is called {asked!r}; this key may use {self.names(caller)}", param="model"
            )
        if "*" in caller.models or model.name in caller.models:
            return Route(asked, (model,), pinned=True)
        raise NotAllowed(f"model {asked!r} is not for team {caller.team}; this key may use {self.names(caller)}")

    def allowed(self, caller: Caller) -> list[str]:
        """Every name this caller may put in `model`."""
        routes = [name for name in self.routes if caller.routes is None or name in caller.routes]
        return routes + [name for name in self.models if "*" in caller.models or name in caller.models]

    def names(self, caller: Caller) -> str:
        return ", ".join(self.allowed(caller)) or "nothing yet"


def candidates(chat: ChatRequest, route: Route, cannot: Callable[[ChatRequest, Model], str]) -> tuple[Candidate, ...]:
    """Each model of the route, with the reason if it cannot or may not serve this request.

    Args:
        chat: the request.
        route: what it asked for.
        cannot: why a model's wire cannot carry it; "" if it can.

    """
    models = dict.fromkeys((*route.models, *route.fallback))
    return tuple(Candidate(model, _lost(chat, model) or cannot(chat, model)) for model in models)


def _lost(chat: ChatRequest, model: Model) -> str:
    wishes = chat.wishes
    if wishes.tier is not None and model.tier is not wishes.tier:
        return f"tier {model.tier} is not the tier asked for, {wishes.tier}"
    if wishes.vendors and model.vendor not in wishes.vendors:
        return f"vendor {model.vendor} is not among those asked for"
    if model.kind == "embedding" and chat.endpoint != "embeddings":
        return "makes embeddings only"
    if missing := chat.needs & model.lacks:
        return f"cannot do {', '.join(sorted(missing))}"
    return ""


def require_known_vendors(wishes: Wishes, known: frozenset[str]) -> None:
    """A misspelt vendor is an error, not a request that nobody can serve.

    Raises:
        InvalidRequest: with the names that exist.

    """
    if unknown := wishes.vendors - known:
        raise InvalidRequest(
            f"unknown vendor {', '.join(sorted(unknown))}; configured are {', '.join(sorted(known))}", param="vendors"
        )
