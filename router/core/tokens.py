"""How many tokens a prompt comes to, before the vendor says so.

For OpenAI's text models the count is exact (the public cookbook's rule, checked against recorded traffic). Everyone
else's tokenizer is unpublished or heavy, so there the o200k count times a factor is an estimate with a low and a high,
and the high is what money is set aside for. A vendor may bill hidden prompt tokens (145 to 374 at xAI, 300 and more
once tools are sent at Anthropic and DeepSeek; measured on recorded traffic, 2026-11), which `hidden` allows for. That is
what is believed of a stranger; what its bills have taught since, a `Learnt` of `calibration`, takes its place.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Any, NamedTuple

from router.core.value import value

# Han, kana, hangul, their punctuation and full-width forms
_CJK = re.compile("[\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]+")
# Of the characters: from here on most of the tokens are CJK (0.62 o200k tokens to a character, 0.25 in English or code).
CJK_SHARE = 0.3
CJK_SEEN = 1000  # characters that are looked at, evenly spread: some 10 us

# A piece may end before a space between two ASCII letters, or after a line break that a letter follows: no token of a
# tiktoken pattern reaches across either, so counts of the pieces add up to the count of the whole.
_SEAM = re.compile(r"(?<=[A-Za-z])(?= [A-Za-z])|(?<=\n)(?=[A-Za-z])")


@dataclass(frozen=True, slots=True)
class Counting:
    """How a model counts its prompt, relative to one of tiktoken's encodings. Factors are per mille."""

    encoding: str = "o200k_base"
    exact: bool = False
    factor_low: int = 700
    factor: int = 1000
    factor_high: int = 1600
    per_request: int = 3
    hidden: int = 80  # prompt tokens that a vendor may add and bill unseen
    hidden_tools: int = 600  # the same once tools are sent
    image: int = 800  # of usual size; when the size is unknown nothing is fetched to learn it
    image_high: int = 3000


DEFAULT = Counting()
EXACT_WITHIN = 0.01  # a learnt factor that is further from 1 says that the vocabulary is not the one believed
# Exact within the tolerance that recorded traffic shows (one long prompt was off by 19 of 3,152; tool calls by a few).
OPENAI = Counting(exact=True, factor_low=1000, factor_high=1010, hidden=8, hidden_tools=120, image=765, image_high=1445)


@value()
class Prompt:
    """What of a request is counted: its texts as a model sees them, and what has no text."""

    texts: tuple[str, ...] = ()
    size: int = 0  # bytes of the texts in UTF-8, or a bound on them
    overhead: int = 0  # tokens of the chat format itself
    tools: bool = False
    images: int = 0
    tokens: int = 0  # counted already: prompts may come as token ids
    unseen: bool = False  # the vendor adds what is not in the request: a stored conversation, what its own tools find


@value()
class Measure:
    """A prompt's count in each encoding that a candidate needs."""

    prompt: Prompt
    counts: dict[str, int]
    cjk: bool = False  # whether most of it is Chinese, Japanese or Korean, which vendors' tokenizers differ on most


class Learnt(NamedTuple):
    """What a model's bills have taught of its count, for one script, with tools or without: see `calibration`."""

    factor: float  # billed tokens to a counted one
    hidden: float  # tokens that each request is billed besides its text and its chat format; below 0 if that is shorter
    a: float = 0.0  # the variance of the error at `text` counted tokens is a * text**2 + b * text + c
    b: float = 0.0
    c: float = 0.0
    over: float | None = None  # the bound above, in such deviations; None: too little was seen for one
    under: float = 0.0  # the bound below


class Sample(NamedTuple):
    """What an estimate was made of, so that the bill can teach the next one."""

    text: int  # counted tokens of the texts
    fixed: int  # tokens of the chat format
    cjk: bool
    tools: bool
    bounded: bool  # its high and low are learnt ones


class Estimate(NamedTuple):
    """The prompt tokens that one model will bill. (A tuple: one is made for each candidate, in a quarter of the time.)"""

    low: int
    tokens: int
    high: int
    exact: bool
    sample: Sample | None = None  # None: it has more than text, so that its bill teaches nothing about texts

    @property
    def learnt(self) -> bool:
        """Whether its bound comes from what was billed, which holds for nearly all."""
        return self.sample is not None and self.sample.bounded


def is_cjk(texts: Sequence[str], size: int) -> bool:
    """Whether texts of `size` bytes in UTF-8 are Chinese, Japanese or Korean; looks at few characters, or at none."""
    length = sum(map(len, texts))
    if size - length < 2 * CJK_SHARE * length or not length:  # each would have two bytes more than a letter
        return False
    step = -(-length // CJK_SEEN)
    seen = "".join([text[::step] for text in texts])
    return sum(map(len, _CJK.findall(seen))) > CJK_SHARE * len(seen)


def estimate(measure: Measure, counting: Counting, learnt: Learnt | None = None) -> Estimate:
    """One model's prompt tokens from the measured counts and from what it has billed before.

    A byte-level token is at least one byte, which bounds the text. Until enough was seen for a learnt bound, the
    stranger's holds, raised by what is learnt already to be hidden.
    """
    prompt = measure.prompt
    text = measure.counts[counting.encoding] + prompt.tokens
    fixed = prompt.overhead + counting.per_request
    if learnt is None or learnt.over is None:
        low, tokens, high = _of_a_stranger(text, fixed, prompt, counting, learnt)
        bounded = False
    else:
        low, tokens, high = _as_learnt(text, fixed, prompt, counting, learnt, learnt.over)
        bounded = True
    plain = not prompt.images and not prompt.unseen
    exact = counting.exact and plain and not prompt.tools and not _refuted(counting, learnt)
    if prompt.images:
        tokens, high = tokens + prompt.images * counting.image, high + prompt.images * counting.image_high
    sample = Sample(text, fixed, measure.cjk, prompt.tools, bounded) if plain else None
    return Estimate(low, tokens, high, exact, sample)


def _refuted(counting: Counting, learnt: Learnt | None) -> bool:
    """Whether a model that was believed to be countable bills otherwise: in another vocabulary, or more than is seen."""
    return learnt is not None and (abs(learnt.factor - 1) > EXACT_WITHIN or abs(learnt.hidden) > counting.hidden)


def _of_a_stranger(
    text: int, fixed: int, prompt: Prompt, counting: Counting, learnt: Learnt | None
) -> tuple[int, int, int]:
    """(low, tokens, high) by what is believed of the model."""
    if counting.exact and not prompt.tools and _refuted(counting, learnt):
        counting = DEFAULT
    hidden = counting.hidden + (counting.hidden_tools if prompt.tools else 0)
    most = text * counting.factor_high // 1000
    if not counting.exact:
        most = min(most, max(prompt.size + prompt.tokens, text))
    low, high = text * counting.factor_low // 1000, most + fixed + hidden
    tokens = text * counting.factor // 1000 + fixed
    if learnt is None:
        return low, tokens, high
    told = max(0, round(text * learnt.factor + learnt.hidden) + fixed)
    return min(low, told), told, high + max(0, told - tokens)


def _as_learnt(
    text: int, fixed: int, prompt: Prompt, counting: Counting, learnt: Learnt, over: float
) -> tuple[int, int, int]:
    """(low, tokens, high) by what the model has billed."""
    tokens = max(0, round(text * learnt.factor + learnt.hidden) + fixed)
    spread = sqrt((learnt.a * text + learnt.b) * text + learnt.c)
    high = tokens + ceil(over * spread)
    if not counting.exact:
        most = max(prompt.size + prompt.tokens, text) + fixed + ceil(learnt.hidden + over * sqrt(learnt.c))
        high = max(tokens, min(high, most))
    return max(0, tokens - ceil(learnt.under * spread)), tokens, high


def pieces(text: str, size: int) -> Iterator[str]:
    """`text` in pieces of about `size` characters whose token counts add up to that of the whole.

    Without a safe seam near the wanted place a piece grows until one is found.
    """
    start = 0
    while len(text) - start > size:
        seam = _SEAM.search(text, start + size)
        if seam is None:
            break
        yield text[start : seam.start()]
        start = seam.start()
    yield text[start:]


def chat_prompt(
    messages: Sequence[Any], tools: Sequence[Any], response_format: Any, to_json: Callable[[Any], bytes]
) -> Prompt:
    """What an OpenAI chat request puts before the model.

    3 tokens a message and 1 more for a name, roles as text, tools as the TypeScript namespace that the models see (+9,
    -4 beside a system message), 4 more for each tool call of the history and 20 for each turn with several. A schema for
    the answer counts about as much as its compact JSON. Files and audio are counted as an image each.
    """
    texts: list[str] = []
    overhead = images = 0
    system = False
    for message in messages:
        overhead += 4  # 3 and its role, which is one token
        if not isinstance(message, dict):
            continue
        system = system or message.get("role") in {"system", "developer"}
        content = message.get("content")
        if isinstance(content, str):
            texts.append(content)
        elif isinstance(content, list):
            for part in content:
                if isinstance(part, dict) and isinstance(part.get("text"), str):
                    texts.append(part["text"])
                else:
                    images += 1
        if name := message.get("name"):
            overhead += 1
            texts.append(str(name))
        if isinstance(thinking := message.get("reasoning_content"), str):
            texts.append(thinking)
        calls = message.get("tool_calls")
        if isinstance(calls, list):
            overhead += 20 * len(calls) if len(calls) > 1 else 8
            texts.extend(str(call.get("function")) for call in calls if isinstance(call, dict))
    if tools:
        overhead += 5 if system else 9
        texts.append(render_tools(tools))
    if isinstance(response_format, dict) and response_format.get("type") == "json_schema":
        texts.append(to_json(response_format.get("json_schema")).decode())
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    return Prompt(tuple(texts), size, overhead, bool(tools), images)


def render_tools(tools: Sequence[Any]) -> str:
    """Function declarations as the TypeScript namespace that OpenAI's models are shown."""
    lines = ["namespace functions {", ""]
    for tool in tools:
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict):
            lines += [str(tool), ""]
            continue
        if function.get("description"):
            lines.append(f"// {function['description']}")
        parameters = function.get("parameters")
        properties = parameters.get("properties") if isinstance(parameters, dict) else None
        if not isinstance(properties, dict) or not properties:
            lines += [f"type {function.get('name')} = () => any;", ""]
            continue
        required = parameters.get("required") if isinstance(parameters, dict) else None
        required = required if isinstance(required, list) else []
        lines.append(f"type {function.get('name')} = (_: {{")
        for name, schema in properties.items():
            described = isinstance(schema, dict) and schema.get("description")
            if described:
                lines.append(f"// {described}")
            lines.append(f"{name}{'' if name in required else '?'}: {_type(schema)},")
        lines += ["}) => any;", ""]
    return "\n".join([*lines, "} // namespace functions"])


def _type(schema: Any) -> str:
    if not isinstance(schema, dict):
        return "any"
    if isinstance(choices := schema.get("enum"), list):
        return " | ".join(f'"{choice}"' for choice in choices)
    kind = schema.get("type")
    if kind == "array":
        return f"{_type(schema.get('items'))}[]"
    if kind == "object" and isinstance(schema.get("properties"), dict):
        return "{ " + " ".join(f"{name}: {_type(sub)}," for name, sub in schema["properties"].items()) + " }"
    return {"integer": "number", "number": "number", "string": "string", "boolean": "boolean"}.get(str(kind), "any")
