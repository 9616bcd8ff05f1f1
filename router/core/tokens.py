"""How many tokens a prompt comes to, before the vendor says so.

For OpenAI's text models the count is exact (the public cookbook's rule, checked against recorded traffic). Everyone
else's tokenizer is unpublished or heavy, so there the o200k count times a factor is an estimate with a low and a high,
and the high is what money is set aside for. A vendor may bill hidden prompt tokens (145 to 374 at xAI, 300 and more
once tools are sent at Anthropic and DeepSeek; measured on recorded traffic, 2026-11), which `hidden` allows for.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

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
# Exact within the tolerance that recorded traffic shows (one long prompt was off by 19 of 3,152; tool calls by a few).
OPENAI = Counting(exact=True, factor_low=1000, factor_high=1010, hidden=8, hidden_tools=120, image=765, image_high=1445)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What of a request is counted: its texts as a model sees them, and what has no text."""

    texts: tuple[str, ...] = ()
    size: int = 0  # bytes of the texts in UTF-8, or a bound on them
    overhead: int = 0  # tokens of the chat format itself
    tools: bool = False
    images: int = 0
    tokens: int = 0  # counted already: prompts may come as token ids


@dataclass(frozen=True, slots=True)
class Measure:
    """A prompt's count in each encoding that a candidate needs."""

    prompt: Prompt
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Estimate:
    """The prompt tokens that one model will bill."""

    low: int
    tokens: int
    high: int
    exact: bool


def estimate(measure: Measure, counting: Counting) -> Estimate:
    """One model's prompt tokens from the measured counts. A byte-level token is at least one byte, which bounds the text."""
    prompt = measure.prompt
    text = measure.counts[counting.encoding] + prompt.tokens
    fixed = prompt.overhead + counting.per_request
    hidden = counting.hidden + (counting.hidden_tools if prompt.tools else 0)
    most = text * counting.factor_high // 1000
    if not counting.exact:
        most = min(most, max(prompt.size + prompt.tokens, text))
    return Estimate(
        low=text * counting.factor_low // 1000,
        tokens=text * counting.factor // 1000 + fixed + prompt.images * counting.image,
        high=most + fixed + hidden + prompt.images * counting.image_high,
        exact=counting.exact and not prompt.images and not prompt.tools,
    )


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
