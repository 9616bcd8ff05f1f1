"""The answer itself: an `Ask` and its knobs → `Reply`, every token known before the first is sent. Pure."""

import dataclasses
import random
import zlib

import orjson

from router.mock import schema, text
from router.mock.ask import Ask
from router.mock.steer import Knobs, without

_COMPLETION_CAP = 16  # the old endpoint's default


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """One tool call; `pieces` are its arguments, one per token."""

    id: str
    name: str
    pieces: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    index: int
    pieces: tuple[str, ...]
    finish: str
    calls: tuple[Call, ...] = ()

    @property
    def tokens(self) -> int:
        return len(self.pieces) + sum(len(call.pieces) for call in self.calls)


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """What is served, and what it costs: `cached` is part of `input`, `reasoning` part of `output`."""

    id: str
    created: int
    choices: tuple[Choice, ...]
    input: int
    cached: int
    output: int
    reasoning: int


def compose(ask: Ask, knobs: Knobs, seed: int, name: str, created: int) -> Reply:
    choices, thought = [], 0
    for index in range(len(ask.texts) * ask.n):
        question = without(ask.texts[index // ask.n])
        choice, thinking = _choice(ask, knobs, question, index, random_for(seed, ask.model, question, index))
        choices.append(choice)
        thought += thinking
    prompt = ask.prompt_tokens if knobs.input is None else knobs.input
    return Reply(
        id=name,
        created=created,
        choices=tuple(choices),
        input=prompt,
        cached=min(knobs.cached, prompt),
        output=thought + sum(choice.tokens for choice in choices),
        reasoning=thought,
    )


def random_for(seed: int, model: str, question: str, index: int = 0) -> random.Random:
    """Depends on what is asked and not on how: a proxy that adds `stream_options` gets the same words."""
    return random.Random(zlib.crc32(f"{seed}\0{model}\0{index}\0{question}".encode("utf-8", "replace")))  # noqa: S311 - words, not secrets


def _choice(ask: Ask, knobs: Knobs, question: str, index: int, rng: random.Random) -> tuple[Choice, int]:
    """One choice, and the tokens it was thought about before its first word.

    `out=N` is what is billed, as `usage.completion_tokens` is: thinking is part of it, and so it is of the client's cap.
    """
    cap = None if knobs.ignorecap else ask.cap
    if ask.endpoint == "completions" and cap is None and knobs.out is None:
        cap = _COMPLETION_CAP
    visible = None if knobs.out is None else max(0, knobs.out - knobs.reasoning)
    thinking = knobs.reasoning if knobs.out is None else min(knobs.reasoning, knobs.out)
    choice = _whole(ask, question, index, rng, visible)
    if cap is not None and thinking + choice.tokens > cap:
        thinking = min(thinking, cap)
        choice = _capped(choice, cap - thinking)
    if ask.echo and choice.pieces:
        # Repeated words are not generated ones: they ride in front of the first piece.
        first, *rest = choice.pieces
        choice = dataclasses.replace(choice, pieces=(ask.texts[index // ask.n] + first, *rest))
    return choice, thinking


def _whole(ask: Ask, question: str, index: int, rng: random.Random, visible: int | None) -> Choice:
    if ask.tools:
        return Choice(index, (), "tool_calls", _calls(ask, rng, visible))
    if ask.shape is not None:
        fitted = orjson.dumps(schema.fit(ask.shape, rng)).decode()
        pieces = text.exactly(text.code(fitted), visible)
    else:
        pieces = text.answer(question, rng, visible)
    if ask.stops:
        pieces, _ = text.until(pieces, ask.stops)
    return Choice(index, pieces, "stop")


def _calls(ask: Ask, rng: random.Random, visible: int | None) -> tuple[Call, ...]:
    calls, left = [], len(ask.tools)
    for tool in ask.tools:
        share = None if visible is None else visible // left
        arguments = schema.fit(tool.get("parameters") or {"type": "object"}, rng)
        pieces = text.exactly(text.code(orjson.dumps(arguments).decode()), share)
        calls.append(Call(f"call_{rng.getrandbits(96):024x}", str(tool.get("name", "")), pieces))
        visible, left = (None if visible is None or share is None else visible - share), left - 1
    return tuple(calls)


def _capped(choice: Choice, left: int) -> Choice:
    pieces, calls = choice.pieces[:left], []
    left -= len(pieces)
    for call in choice.calls:
        calls.append(dataclasses.replace(call, pieces=call.pieces[:left]))
        left -= len(calls[-1].pieces)
    return Choice(choice.index, pieces, "length", tuple(calls))
