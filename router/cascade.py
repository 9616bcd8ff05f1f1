"""Cheap first: a cheap model's whole answer is looked at, and only if it is not good enough a better model is asked.

Off unless a route has `cascade`, for plain requests only, since what was streamed cannot be taken back. Both calls are
charged and in the ledger, so a cheap one is tried only where it costs a fraction of the other.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from router.checker import Checker
from router.core import jsonio
from router.core.cascade import Cascade
from router.core.catalog import ChatRequest
from router.core.checks import Asked, found, in_tool_loop
from router.core.errors import RouterError
from router.core.plan import Plan
from router.core.policy import Decision
from router.dialects.answers import answer_of
from router.habits import Habits
from router.upstream import Upstream

ANSWERED = 16_000  # characters of an answer that a judge is shown
JUDGE = (
    "You judge whether an answer does what was asked. Say one number from 0 (of no use) to 10 (nothing better could be"
    " expected), and no word more."
)
Ask = Callable[[str, bytes], Awaitable[bytes]]
"""Asks a model by its name, as an ordinary request of the same caller. Raises `RouterError`."""


@dataclass(slots=True)
class Kept:
    """A way back that keeps the answer instead of sending it."""

    status: int = 0
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    async def send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.status, self.body, self.headers = status, body, headers

    async def begin(self, headers: Mapping[str, str]) -> None:  # noqa: ARG002 (the port's)
        raise TypeError("a plain answer is no stream")

    async def write(self, data: bytes) -> None:  # noqa: ARG002 (the port's)
        raise TypeError("a plain answer is no stream")


@dataclass(slots=True)
class Cascades:
    """When to try a cheap model first, and whether its answer will do."""

    upstream: Upstream
    habits: Habits
    outcomes: dict[tuple[str, ...], int] = field(default_factory=dict)  # (route, outcome) → how many

    def first(self, chat: ChatRequest, decision: Decision) -> Plan | None:
        """The plan to try before the decision's; None: none, and it is served as decided."""
        told = decision.route.cascade
        if told is None or chat.stream or chat.choices != 1 or chat.endpoint == "embeddings":
            return None
        if decision.route.pinned or in_tool_loop(chat.said) or not decision.below:
            return None
        cheap = min(decision.below, key=lambda plan: plan.expected_nano)
        return cheap if cheap.expected_nano * told.when_ratio <= decision.plans[0].expected_nano else None

    async def wrong(self, chat: ChatRequest, route: str, told: Cascade, plan: Plan, kept: Kept, ask: Ask) -> str:
        """Why an answer will not do; "" if it will."""
        why = await self._wrong(chat, route, told, plan, kept, ask)
        key = route, "escalated" if why else "accepted"
        self.outcomes[key] = self.outcomes.get(key, 0) + 1
        return why

    async def _wrong(self, chat: ChatRequest, route: str, told: Cascade, plan: Plan, kept: Kept, ask: Ask) -> str:
        answer = answer_of(chat.endpoint, kept.body)
        if answer is None:
            return "its answer cannot be read"
        asked = Asked.of(chat.said, self.habits.expected_output(route))
        if why := found(asked, answer, told.checks):
            return why
        body = jsonio.dumps(chat.body)
        if told.checker is not None:
            score = await Checker(told.checker, self.upstream).score(body, kept.body, plan.model.name, route)
            if score is None:
                return "its answer could not be checked"
            if score < told.at_least:
                return f"checker: {score:g} is below {told.at_least:g}"
        if told.judge is not None:
            score = await _judged(told.judge, body, answer.text or kept.body.decode(), ask)
            if score is None:
                return "its answer could not be judged"
            if score < told.at_least:
                return f"judge: {score:g} is below {told.at_least:g}"
        return ""


async def _judged(model: str, asked: bytes, answer: str, ask: Ask) -> float | None:
    shown = f"The request:\n{asked.decode()}\n\nThe answer:\n{answer[:ANSWERED]}"
    messages = [{"role": "system", "content": JUDGE}, {"role": "user", "content": shown}]
    try:
        raw = await ask(model, jsonio.dumps({"model": model, "messages": messages, "temperature": 0}))
    except RouterError:
        return None
    told = answer_of("chat/completions", raw)
    number = re.search(r"\d+(?:\.\d+)?", told.text) if told is not None else None
    return min(1.0, float(number.group()) / 10) if number else None
