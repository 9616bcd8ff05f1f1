"""What can be seen of an answer for nothing: signs that it is surely not good enough.

Each check says what it found, or "". They know no model and cost microseconds; what passes them may still be wrong.
"""

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from router.core import jsonio
from router.core.schema import misfit

Check = Literal["finish", "empty", "refused", "language", "schema", "tools", "code", "length"]
LARGEST_CODE = 100_000  # characters of a block that are parsed: a parser's work grows with them
FEW_LETTERS = 40  # below this an answer's script says nothing: a name, a number, a formula
UNUSUAL = 10.0  # times shorter or longer than the route's answers usually are


@dataclass(frozen=True, slots=True)
class Answer:
    """A plain answer in one vocabulary, whatever its dialect."""

    text: str = ""
    finish: str = ""  # the dialect's own word
    refusal: str = ""
    calls: Sequence[tuple[str, Any]] = ()  # a tool's name and its arguments, as text or as a value
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What the checks need to know of the request, in the hub's words."""

    body: Mapping[str, Any]
    usual_output: int | None = None  # tokens that the route's answers usually have
    schemas: Mapping[str, Any] = field(default_factory=dict)  # by tool

    @classmethod
    def of(cls, body: Mapping[str, Any], usual_output: int | None = None) -> "Asked":
        """Raises nothing: what is not as it should be is as if it were not there."""
        schemas: dict[str, Any] = {}
        for tool in _list(body.get("tools")):
            function = tool.get("function") if isinstance(tool, Mapping) else None
            if isinstance(function, Mapping) and isinstance(function.get("name"), str):
                schemas[function["name"]] = function.get("parameters", True)
        return cls(body, usual_output, schemas)


def found(asked: Asked, answer: Answer, checks: Sequence[Check]) -> str:
    """The first thing that is wrong with an answer; "" if none of the checks finds any."""
    for name in checks:
        if wrong := _CHECKS[name](asked, answer):
            return f"{name}: {wrong}"
    return ""


def in_tool_loop(body: Mapping[str, Any]) -> bool:
    """Whether a request (in the hub's words) brings the results of tools that the last answer has called."""
    messages = _list(body.get("messages"))
    last = messages[-1] if messages else None
    return isinstance(last, Mapping) and last.get("role") in ("tool", "function")  # it may be unhashable


# Words for "there was no room for more", by the dialect: OpenAI's and Anthropic's finish reasons, Responses' status
CUT = frozenset({"length", "max_tokens", "incomplete", "model_context_window_exceeded"})
FILTERED = frozenset({"content_filter", "refusal"})


def _finish(asked: Asked, answer: Answer) -> str:
    if answer.finish in FILTERED:
        return "it was filtered"
    return "it ended for want of room" if answer.finish in CUT and not _was_asked_short(asked) else ""


def _was_asked_short(asked: Asked) -> bool:
    """Whether the client itself set a cap: a dearer model would end there too."""
    return any(asked.body.get(name) for name in ("max_tokens", "max_completion_tokens"))


def _empty(_asked: Asked, answer: Answer) -> str:
    return "" if answer.text.strip() or answer.calls or answer.refusal else "it says nothing"


# How refusals begin, in the vendors' own models (their published examples and system cards, read 2026-11).
_REFUSALS = re.compile(
    r"^\W*(?:i['’]?m (?:really |very )?sorry,? (?:but )?(?:i|that)|sorry,? (?:but )?i (?:can|am)|i can(?:not|['’]t) (?:help|assist|comply|provide|do that)"
    r"|i['’]?m (?:not able|unable) to|as an ai(?: language)? model,? i|很?抱歉,?[,，]?\s*我(?:不能|无法|没有办法)|对不起[,，]?\s*我(?:不能|无法)"
    r"|作为(?:一个)?(?:人工智能|AI)[^。]{0,12}[,，]我(?:不能|无法))",
    re.IGNORECASE,
)


def _refused(_asked: Asked, answer: Answer) -> str:
    if answer.refusal:
        return "it refuses"
    return "it begins as a refusal does" if _REFUSALS.match(answer.text[:200]) else ""


def _language(asked: Asked, answer: Answer) -> str:
    said, told = _last_user_text(asked.body), answer.text
    if _letters(told) < FEW_LETTERS or "```" in told or not said:
        return ""
    wants, has = _chinese(said), _chinese(told)
    if wants > 0.5 and has < 0.05 and not re.search(r"英|翻译|译|english|translate", said, re.IGNORECASE):
        return "a question in Chinese has an answer without any"
    if wants == 0 and has > 0.5 and not re.search(r"chinese|mandarin|translat", said, re.IGNORECASE):
        return "a question without Chinese has an answer in it"
    return ""


def _schema(asked: Asked, answer: Answer) -> str:
    told = asked.body.get("response_format")
    kind = told.get("type") if isinstance(told, Mapping) else None
    if kind not in ("json_object", "json_schema") or answer.calls:  # it may be unhashable
        return ""
    try:
        value = jsonio.loads(answer.text.encode("utf-8", "replace"))
    except ValueError:
        return "it is no JSON"
    if kind == "json_object":
        return "" if isinstance(value, dict) else "it is no JSON object"
    named = told.get("json_schema") if isinstance(told, Mapping) else None
    return misfit(value, named.get("schema", True)) if isinstance(named, Mapping) else ""


def _tools(asked: Asked, answer: Answer) -> str:
    choice = asked.body.get("tool_choice")
    if not answer.calls:
        return "it calls no tool" if choice == "required" or isinstance(choice, Mapping) else ""
    for name, given in answer.calls:
        if name not in asked.schemas:
            return "it calls a tool that there is not"
        value = given
        if isinstance(given, str):
            try:
                value = jsonio.loads((given or "{}").encode("utf-8", "replace"))
            except ValueError:
                return f"the arguments of {name} are no JSON"
        if wrong := misfit(value, asked.schemas[name]):
            return f"the arguments of {name}: {wrong}"
    return ""


_BLOCK = re.compile(r"^```[ \t]*(python|py|json)[ \t]*\n(.*?)^```", re.MULTILINE | re.DOTALL | re.IGNORECASE)


def _code(_asked: Asked, answer: Answer) -> str:
    for language, text in _BLOCK.findall(answer.text):
        if len(text) > LARGEST_CODE or "..." in text or ">>>" in text:  # left out on purpose, or a session
            continue
        try:
            if language.lower() == "json":
                jsonio.loads(text.encode("utf-8", "replace"))
            else:
                ast.parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return f"{'JSON' if language.lower() == 'json' else 'Python'} in it does not parse"
    return ""


def _length(asked: Asked, answer: Answer) -> str:
    if asked.usual_output is None or not answer.output_tokens or answer.calls:
        return ""
    ratio = answer.output_tokens / asked.usual_output
    if 1 / UNUSUAL <= ratio <= UNUSUAL:
        return ""
    return f"it is {'shorter' if ratio < 1 else 'longer'} than the route's answers are by far"


_CHECKS: Mapping[Check, Callable[[Asked, Answer], str]] = {
    "finish": _finish, "empty": _empty, "refused": _refused, "language": _language, "schema": _schema,
    "tools": _tools, "code": _code, "length": _length,
}  # fmt: skip
EVERY: tuple[Check, ...] = tuple(_CHECKS)


def _last_user_text(body: Mapping[str, Any]) -> str:
    for message in reversed(_list(body.get("messages"))):
        if isinstance(message, Mapping) and message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, str):
                return content
            parts = [part.get("text") for part in _list(content) if isinstance(part, Mapping)]
            return "\n".join(part for part in parts if isinstance(part, str))
    return ""


def _letters(text: str) -> int:
    return sum((3 if letter >= "\u2e80" else 1) for letter in text[:2000] if letter.isalpha())


def _chinese(text: str) -> float:
    """The share of Chinese characters among letters; a character says about what three letters do."""
    part = text[:2000]
    chinese = 3 * sum("\u4e00" <= letter <= "\u9fff" for letter in part)
    others = sum(letter.isalpha() and letter < "\u2e80" for letter in part)
    return chinese / (chinese + others) if chinese + others else 0.0


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
