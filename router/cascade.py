"""Cheap first: a cheap model's whole answer is looked at, and only if it is not good enough a better model is asked.

Off unless a route has `cascade`, for plain requests only, since what was streamed cannot be taken back. Both calls are
charged and in the ledger, so a cheap one is tried only where it costs a fraction of the other.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from router.checker import Checker
from router.core import jsonio
from router.core.cascade import Cascade, Certified, Doubt, short_of
from router.core.catalog import ChatRequest
from router.core.checks import Answer, Asked, found, in_tool_loop
from router.core.errors import RouterError
from router.core.plan import Plan
from router.core.policy import Decision
from router.dialects.answers import READ, answer_of
from router.dialects.hub import spoken
from router.dialects.turn import ODD
from router.habits import Habits
from router.upstream import Upstream

SHOWN = 16_000  # characters of a request, and of an answer, that a judge is shown: it is paid by them
JUDGE = (
    "You judge whether an answer does what was asked. Say one number from 0 (of no use) to 10 (nothing better could be"
    " expected), and no word more."
)
VERDICT = re.compile(r"\W*(\d+(?:\.\d+)?)(?:\s*/\s*10)?\W*")  # with its asterisks or its full stop, and nothing else
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
    is_broken: Callable[[str, Certified], bool] = lambda _route, _certified: False  # by live labels of the route
    outcomes: dict[tuple[str, ...], int] = field(default_factory=dict)  # (route, outcome) → how many

    def first(self, chat: ChatRequest, decision: Decision) -> Plan | None:
        """The plan to try before the decision's; None: none, and it is served as decided.

        What only a vendor of the client's own dialect understands is left alone: it may hold results of tools that nobody
        else can see, and a conversation that this vendor keeps would go on with another's answer. Where a certified promise
        decides, it alone does, kept or broken: it says nothing of answers that a cascade lets pass. A certificate of the
        cascade's own says which of them it may.
        """
        told = decision.route.cascade
        if told is None or chat.stream or chat.choices != 1 or chat.endpoint not in READ:
            return None
        if (
            decision.route.pinned
            or decision.judged is not None
            or in_tool_loop(chat.said)
            or chat.stays
            or chat.prompt.unseen
            or not (below := self._allowed(told, decision))
        ):
            return None
        cheap, plan = min(below, key=lambda plan: plan.expected_nano), decision.plans[0]
        pays = cheap.expected_nano < plan.expected_nano
        return cheap if pays and cheap.expected_nano * told.when_ratio <= plan.expected_nano else None

    def _allowed(self, told: Cascade, decision: Decision) -> tuple[Plan, ...]:
        """Those that may be tried first. Under a certificate that is only what it speaks of, while it holds and suffices."""
        certified = told.certified
        if certified is None:
            return decision.below
        if decision.plans[0].model.name != certified.flagship or not certified.meets(decision.need):
            return ()
        if self.is_broken(decision.route.name, certified):
            return ()
        return tuple(plan for plan in decision.below if plan.model.name == certified.cheap)

    def count(self, route: str, doubt: Doubt | None) -> None:
        """One cheap answer is passed on, or why it is not."""
        key = route, "accepted" if doubt is None else "unchecked" if doubt.unchecked else "escalated"
        self.outcomes[key] = self.outcomes.get(key, 0) + 1

    async def doubt(
        self, chat: ChatRequest, route: str, told: Cascade, plan: Plan, kept: Kept, ask: Ask
    ) -> Doubt | None:
        """Why an answer will not do; None if it will."""
        answer = answer_of(chat.endpoint, kept.body)
        if answer is None:
            return Doubt("its answer cannot be read")
        usual = self.habits.expected_output(route) if self.habits.likely_output(route) is not None else None
        if why := found(Asked.of(chat.said, usual), answer, told.checks):
            return Doubt(why)
        doubt = None
        if told.checker is not None:
            checker = Checker(told.checker, self.upstream)
            doubt = short_of(
                told, "checker", await checker.score(jsonio.dumps(chat.body), kept.body, plan.model.name, route)
            )
        if told.judge is not None and doubt is None:
            doubt = short_of(told, "judge", await _judged(told.judge, chat.said, answer, ask))
        return doubt


async def _judged(model: str, asked: Mapping[str, Any], answer: Answer, ask: Ask) -> float | None:
    """None where the judge could not be asked, said something else than a number, or would not have seen it all."""
    try:
        request = _shown(asked)
        told = answer.text + "".join(f"\n[calls {name}: {_plain(given)}]" for name, given in answer.calls)
    except ODD:  # such as tools that are nested too deep to be written
        return None
    if request is None or len(told) > SHOWN:
        return None
    messages = [
        {"role": "system", "content": JUDGE},
        {"role": "user", "content": f"The request:\n{request}\n\nThe answer:\n{told}"},
    ]
    try:
        raw = await ask(model, jsonio.dumps({"model": model, "messages": messages}))
    except RouterError:
        return None
    verdict = answer_of("chat/completions", raw)
    number = VERDICT.fullmatch(verdict.text.strip()) if verdict is not None else None
    score = float(number[1]) / 10 if number else None
    return score if score is not None and score <= 1 else None


def _shown(asked: Mapping[str, Any]) -> str | None:
    """A request as a judge is shown it; None if it is too long, or has pictures or sounds, which would be paid as text."""
    told, size = [], 0
    for message in asked.get("messages") or ():
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if part.get("type") not in ("text", "refusal"):
                return None
        told.append(f"{message.get('role')}: {spoken(content)}")
        size += len(told[-1])
        if size > SHOWN:
            return None
    told += [f"{name}: {_plain(asked[name])}" for name in ("tools", "response_format") if asked.get(name)]
    text = "\n\n".join(told)
    return text if len(text) <= SHOWN else None


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else jsonio.dumps(value).decode()
