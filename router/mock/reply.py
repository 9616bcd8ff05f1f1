"""The answer itself: an `Ask` and its knobs → `Reply`, every token known before the first is sent. Pure."""

import dataclasses
import random
import zlib

import orjson

from router.mock import schema, text
from router.mock.ask import Ask
from router.mock.cache import Cached
from router.mock.steer import Knobs, without

_COMPLETION_CAP = 16  # the old endpoint's default
_NATURAL_THINKING = (12, 40)  # tokens of thought that nobody asked a length of


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """One tool call; `pieces` are its arguments, one per token."""

    id: str
    name: str
    pieces: tuple[str, ...]

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """One answer, one piece per token. `finish` is `stop`, `length`, `tool_calls` or `content_filter`, `stopped` the stop sequence
    that ended it; `thinking` counts the tokens before its first word, and `thoughts` are those if they are to be shown.
    """

    index: int
    pieces: tuple[str, ...]
    finish: str
    calls: tuple[Call, ...] = ()
    stopped: str = ""
    thinking: int = 0
    thoughts: tuple[str, ...] = ()

    @property
    def tokens(self) -> int:
        return len(self.pieces) + sum(len(call.pieces) for call in self.calls)

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def thought(self) -> str:
        return "".join(self.thoughts)


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """What is served, and what it costs: `cached` and the two written counts are part of `input`, `reasoning` is part of `output`."""

    id: str
    created: int
    choices: tuple[Choice, ...]
    input: int
    cached: int
    output: int
    reasoning: int
    written_5m: int = 0
    written_1h: int = 0
    seed: int = 0

    @property
    def hidden(self) -> int:
        """Tokens of thinking that no part of the answer shows."""
        return self.reasoning - sum(len(choice.thoughts) for choice in self.choices)


def compose(ask: Ask, knobs: Knobs, seed: int, name: str, created: int, cached: Cached) -> Reply:
    choices = []
    for index in range(len(ask.texts) * ask.n):
        question = without(ask.texts[index // ask.n])
        choices.append(_choice(ask, knobs, question, index, seed))
    thought = sum(choice.thinking for choice in choices)
    prompt = ask.prompt_tokens if knobs.input is None else knobs.input
    read = min(cached.read if knobs.cached is None else knobs.cached, prompt)
    hour = min(cached.written_1h if knobs.written1h is None else knobs.written1h, prompt - read)
    return Reply(
        id=name,
        created=created,
        choices=tuple(choices),
        input=prompt,
        cached=read,
        output=thought + sum(choice.tokens for choice in choices),
        reasoning=thought,
        written_5m=min(cached.written_5m if knobs.written is None else knobs.written, prompt - read - hour),
        written_1h=hour,
        seed=seed,
    )


def random_for(seed: int, model: str, question: str, index: int = 0) -> random.Random:
    """Depends on what is asked and not on how: a proxy that adds `stream_options` gets the same words."""
    return random.Random(zlib.crc32(f"{seed}\0{model}\0{index}\0{question}".encode("utf-8", "replace")))  # noqa: S311 - words, not secrets


def _choice(ask: Ask, knobs: Knobs, question: str, index: int, seed: int) -> Choice:
    """One choice. `out=N` is what is billed: thinking is part of it, and so it is of the client's cap."""
    cap = None if knobs.ignorecap else ask.cap
    if ask.endpoint == "completions" and cap is None and knobs.out is None:
        cap = _COMPLETION_CAP
    # Thoughts have their own dice, so that the words are the same with and without them.
    dice = random_for(seed, ask.model, question, -1 - index)
    thinking = _thinking(ask, knobs, dice)
    visible = None if knobs.out is None else knobs.out - thinking
    choice = _whole(ask, question, index, random_for(seed, ask.model, question, index), visible)
    if cap is not None and thinking + choice.tokens > cap:
        thinking = min(thinking, cap)
        choice = _capped(choice, cap - thinking, "length")
    if knobs.filtered is not None:
        choice = dataclasses.replace(_capped(choice, knobs.filtered, "content_filter"), calls=())
    if ask.echo and choice.pieces:
        # Repeated words are not generated ones: they ride in front of the first piece.
        first, *rest = choice.pieces
        choice = dataclasses.replace(choice, pieces=(ask.texts[index // ask.n] + first, *rest))
    if not thinking:
        return choice
    shown = text.answer(question, dice, thinking) if ask.shows else ()
    return dataclasses.replace(choice, thinking=thinking, thoughts=shown)


def _thinking(ask: Ask, knobs: Knobs, dice: random.Random) -> int:
    """Tokens thought before the first word: as many as ordered, else some if the client asked for thinking."""
    if knobs.reasoning is not None:
        thinking = knobs.reasoning
    elif ask.thinks:
        thinking = dice.randint(*_NATURAL_THINKING)
        thinking = thinking if ask.budget is None else min(thinking, ask.budget)
        thinking = thinking if knobs.out is None else min(thinking, knobs.out // 2)
    else:
        return 0
    return thinking if knobs.out is None else min(thinking, knobs.out)


def _whole(ask: Ask, question: str, index: int, rng: random.Random, visible: int | None) -> Choice:
    if ask.tools:
        return Choice(index, (), "tool_calls", _calls(ask, rng, visible))
    if ask.shape is not None:
        fitted = orjson.dumps(schema.fit(ask.shape, rng)).decode()
        pieces = text.exactly(text.code(fitted), visible)
    else:
        pieces = text.answer(question, rng, visible)
    stopped = ""
    if ask.stops:
        pieces, stopped = text.until(pieces, ask.stops)
    return Choice(index, pieces, "stop", stopped=stopped)


def _calls(ask: Ask, rng: random.Random, visible: int | None) -> tuple[Call, ...]:
    calls, left = [], len(ask.tools)
    for tool in ask.tools:
        share = None if visible is None else visible // left
        arguments = schema.fit(tool.get("parameters") or {"type": "object"}, rng)
        pieces = text.exactly(text.code(orjson.dumps(arguments).decode()), share)
        calls.append(Call(f"call_{rng.getrandbits(96):024x}", str(tool.get("name", "")), pieces))
        visible, left = (None if visible is None or share is None else visible - share), left - 1
    return tuple(calls)


def _capped(choice: Choice, left: int, finish: str) -> Choice:
    pieces, calls = choice.pieces[:left], []
    left -= len(pieces)
    for call in choice.calls:
        calls.append(dataclasses.replace(call, pieces=call.pieces[:left]))
        left -= len(calls[-1].pieces)
    return Choice(choice.index, pieces, finish, tuple(calls))
