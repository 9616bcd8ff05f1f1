"""Values and stand-ins that unit tests build on: a clock that is pushed, models at round prices, an upstream of lists."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC

import yaml

from router.core import jsonio
from router.core.catalog import Access, Caller, Model, Tier, Vendor
from router.core.failure import AttemptFailed, Failure
from router.core.health import Health
from router.core.limits import Budget
from router.core.money import amount_nano, price_pico
from router.core.prices import Price, Rates, Timeline
from router.gate import Gate
from router.habits import Habits
from router.pipeline import Inbound, serve
from router.relay import ClientLeft
from router.services import Services
from router.settlement import Settlement
from router.snapshot import load
from router.stores.memory import MemoryAccounts
from router.stores.ports import StoreDown
from router.tokenizer import Tokenizer
from router.turns import Turns


@dataclass
class PushedAlarm:
    at: float
    call: object

    def cancel(self):
        self.call = None


@dataclass
class PushedClock:
    """A clock that only moves when it is told to."""

    at: int = 1_795_000_000_000_000
    measured: float = 0.0
    alarms: list = field(default_factory=list)

    def now(self):
        return self.at

    def seconds(self):
        return self.measured

    def later(self, seconds, call):
        alarm = PushedAlarm(self.measured + seconds, call)
        self.alarms.append(alarm)
        return alarm

    def push(self, seconds):
        """Later by so much; alarms ring on the way, each at its time."""
        end = self.measured + seconds
        while due := [alarm for alarm in self.alarms if alarm.call is not None and alarm.at <= end]:
            first = min(due, key=lambda alarm: alarm.at)
            self._at(max(first.at, self.measured))
            call, first.call = first.call, None
            call()
        self.alarms = [alarm for alarm in self.alarms if alarm.call is not None]
        self._at(end)

    def _at(self, measured):
        self.at += round((measured - self.measured) * 1_000_000)
        self.measured = measured


VENDOR = Vendor("check", "http://127.0.0.1:1/v1", "USD")


def model(name="small", tier=Tier.CHEAP, quality=0.8, price=("1", "2"), currency="USD", **more):
    rates = Rates(*(None if amount is None else price_pico(amount) for amount in price))
    timeline = Timeline(f"check/{name}", [Price(currency, (rates,), label=f"{currency} {'/'.join(map(str, price))}")])
    return Model(name, name, Access(VENDOR, VENDOR.base_url), tier, timeline, quality, **more)


def budget(limit, owner="search", currency="USD", per="day", zone=UTC, **more):
    return Budget(owner, amount_nano(limit), currency, per, zone, **more)


def caller(*budgets, team="search", key="app", **more):
    return Caller(team, key, budgets, **more)


@dataclass
class ListedUpstream:
    """Answers calls from a list: bytes of a plain answer, a list of chunks, or a failure."""

    answers: list = field(default_factory=list)
    calls: list = field(default_factory=list)

    def open(self, call):
        self.calls.append(call)
        return ListedExchange(self.answers.pop(0))


@dataclass
class Late:
    """An answer that comes once its gate is open."""

    gate: asyncio.Event
    answer: object


@dataclass
class Headed:
    """An answer with headers of its vendor's."""

    headers: dict
    answer: object


@dataclass
class ListedExchange:
    answer: object
    status: int = 0
    headers: dict = field(default_factory=dict)
    closed: bool = False
    begun: asyncio.Event | None = None

    async def response(self):
        if isinstance(self.answer, Late):
            await self.answer.gate.wait()
            self.answer = self.answer.answer
        more = {}
        if isinstance(self.answer, Headed):
            more, self.answer = self.answer.headers, self.answer.answer
        if isinstance(self.answer, Failure):
            raise AttemptFailed(self.answer)
        if isinstance(self.answer, tuple):
            self.status, body = self.answer
            self.answer = [body]
            self.headers = {"content-type": "application/json"}
        elif not self.status:
            self.status = 200
            stream = isinstance(self.answer, list)
            self.headers = {"content-type": "text/event-stream" if stream else "application/json"}
            self.answer = list(self.answer) if stream else [self.answer]
        self.headers |= more

    async def read(self):
        out, self.answer = b"".join(self.answer), []
        return out

    async def chunk(self):
        if not self.answer:
            return b""
        first = self.answer.pop(0)
        if isinstance(first, Failure):
            raise AttemptFailed(first)
        if isinstance(first, asyncio.Event):
            await first.wait()
            return await self.chunk()
        return first

    def close(self):
        self.closed = True


@dataclass
class KeptLedger:
    """The port `Ledger` in memory: what was opened and closed, in order; `down` makes it fail."""

    opened: list = field(default_factory=list)
    closed: list = field(default_factory=list)
    down: bool = False

    async def open(self, attempt):
        if self.down:
            raise StoreDown("full disk")
        self.opened.append(attempt)

    async def close(self, entry):
        if self.down:
            raise StoreDown("full disk")
        if entry.attempt.id not in {done.attempt.id for done in self.closed}:
            self.closed.append(entry)


@dataclass
class KeptReply:
    """The way back to a client that keeps what it got; it leaves after `patience` writes."""

    patience: int | None = None
    status: int | None = None
    headers: dict = field(default_factory=dict)
    body: bytes = b""
    writes: int = 0

    def _here(self):
        if self.patience is not None and self.writes >= self.patience:
            raise ClientLeft
        self.writes += 1

    async def send(self, status, body, headers):
        self._here()
        self.status, self.body, self.headers = status, body, dict(headers)

    async def begin(self, headers):
        self.status, self.headers = 200, dict(headers)

    async def write(self, data):
        self._here()
        self.body += data


CONFIG = {
    "vendors": {"check": {"dialect": "openai", "base_url": "http://127.0.0.1:1/v1", "api_key": "sk-vendor"}},
    "models": {
        "small": {
            "vendor": "check",
            "tier": "cheap",
            "quality": 0.8,
            "price": {"currency": "USD", "input": 1, "output": 2},
        },
        "large": {"vendor": "check", "tier": "flagship", "price": {"currency": "USD", "input": 10, "output": 40}},
    },
    "routes": {
        "auto": {"tiers": ["cheap", "flagship"], "quality": 0.7},
        "best": {"tiers": ["cheap", "flagship"], "quality": 0.95},
    },
    "teams": {
        "search": {"keys": [{"name": "app", "value": "fb-search-key"}], "models": ["small", "large"], "budgets": []}
    },
}


def merged(base, changes):
    """`base` with `changes` laid over it, level by level; lists are replaced."""
    if not isinstance(base, dict) or not isinstance(changes, dict):
        return changes
    return {**base, **{name: merged(base.get(name), value) for name, value in changes.items()}}


def snapshot_of(folder, **changes):
    """A compiled configuration: `CONFIG` with changes."""
    path = folder / "farebox.yaml"
    path.write_text(yaml.safe_dump(merged(CONFIG, changes), sort_keys=False))
    return load(path)


TOKENIZER = Tokenizer()  # vocabularies are loaded once for all tests


class Conversation:
    """A pipeline around lists: requests in, calls out, bytes out, rows written."""

    def __init__(self, snapshot, *answers, wait_s=0):
        self.snapshot = snapshot
        self.clock = PushedClock()
        self.upstream = ListedUpstream(list(answers))
        self.ledger = KeptLedger()
        self.accounts = MemoryAccounts()
        tokenizer, habits = TOKENIZER, Habits()
        self.asked, self.decisions, self.fallbacks = [], [], []
        self.gate = Gate(self.clock, wait_s)
        self.settlement = Settlement(self.accounts, self.ledger, tokenizer, habits, self.clock, wait_s=0)
        self.settlement.observers.append(self.gate.observe)
        health = Health()
        self.turns = Turns(health, self.clock, wait_s, retry_s=2.0 if wait_s else 0.0, chance=lambda: 0.0)
        self.services = Services(
            tokenizer, self.upstream, self.settlement, habits, self.gate, health, self.turns, self.clock,
            on_decision=lambda *told: self.decisions.append(told),
            on_fallback=lambda *told: self.fallbacks.append(told),
            on_overhead=lambda seconds: None,
        )  # fmt: skip

    @property
    def caller(self):
        return next(iter(self.snapshot.callers.values()))

    async def ask(self, reply=None, endpoint="chat/completions", headers=None, caller=None, raw=None, **body):
        """Send one request, or the bytes of one, and wait until its money is settled."""
        reply = reply or KeptReply()
        said = {"input": "hello"} if endpoint == "responses" else {"messages": [{"role": "user", "content": "hello"}]}
        body = {"model": "auto", **said, **body}
        self.asked.append(body)
        inbound = Inbound(
            f"fb-{len(self.asked)}",
            endpoint,
            jsonio.dumps(body) if raw is None else raw,
            headers or {},
            caller or self.caller,
            self.clock.seconds(),
        )
        try:
            await serve(inbound, reply, self.snapshot, self.services)
        finally:
            await self.settlement.drain(10)
        return reply

    @property
    def sent(self):
        return [jsonio.loads(call.body) for call in self.upstream.calls]

    @property
    def rows(self):
        return [(e.attempt.model, e.outcome, e.basis, e.cost) for e in self.ledger.closed]

    async def held(self):
        return sum(state.held for state in await self.accounts.states(self.snapshot.budgets, self.clock.now()))

    async def spent(self):
        return sum(state.settled for state in await self.accounts.states(self.snapshot.budgets, self.clock.now()))


def answer(prompt=10, completion=5, text="hi", **more):
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return jsonio.dumps({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage, **more})


def event(told):
    return b"data: " + jsonio.dumps(told) + b"\n\n"


def stream(*words, usage=(10, 5), done=True):
    """The chunks of a streamed answer."""
    out = [event({"choices": [{"index": 0, "delta": {"content": word}}]}) for word in words]
    if usage:
        told = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
        out.append(event({"choices": [], "usage": told}))
    return [*out, b"data: [DONE]\n\n"] if done else out
