"""What can be seen of an answer for nothing: signs that it is surely not good enough.

Each check says what it found, or "". They know no model and cost less than a millisecond; what passes them may still be wrong.
"""

import ast
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from router.core import jsonio
from router.core.schema import misfit

Check = Literal["finish", "empty", "refused", "language", "schema", "tools", "code", "length"]
MOST_CODE = 20_000  # characters of an answer's blocks that are parsed: 20 ms, or 50 where they are made for it
FEW_LETTERS = 40  # below this an answer's script says nothing: a name, a number, a formula
UNUSUAL = 10.0  # times shorter or longer than the route's answers usually are
SHOWN = 2000  # characters of a text whose script is looked at


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
    usual_output: int | None = None  # tokens that the route's answers usually have; None: too few were seen
    schemas: Mapping[str, Any] = field(default_factory=dict)  # by tool

    @classmethod
    def of(cls, body: Mapping[str, Any], usual_output: int | None = None) -> "Asked":
        """Raises nothing: what is not as it should be is as if it were not there."""
        schemas: dict[str, Any] = {}
        for tool in _list(body.get("tools")):
            kind = tool.get("type") if isinstance(tool, Mapping) else None
            function = tool.get(kind) if kind in ("function", "custom") else None  # it may be unhashable
            if isinstance(function, Mapping) and isinstance(function.get("name"), str):
                schemas[function["name"]] = function.get("parameters", True) if kind == "function" else FREE
        for function in _list(body.get("functions")):
            if isinstance(function, Mapping) and isinstance(function.get("name"), str):
                schemas[function["name"]] = function.get("parameters", True)
        return cls(body, usual_output, schemas)


FREE = object()  # in place of a schema, for tools that are given any text


def found(asked: Asked, answer: Answer, checks: Sequence[Check]) -> str:
    """The first thing that is wrong with an answer; "" if none of the checks finds any."""
    for name in checks:
        if wrong := _CHECKS[name](asked, answer):
            return f"{name}: {wrong}"
    return ""


def in_tool_loop(body: Mapping[str, Any]) -> bool:
    """Whether a request (in the hub's words) brings results of tools that nobody has answered yet, whatever else its client
    says with them (an Anthropic turn may hold results and words), or waits for some.
    """
    messages = list(_messages(body))
    if messages and (messages[-1].get("tool_calls") or messages[-1].get("function_call")):
        return True
    while messages and messages[-1].get("role") == "assistant":  # the beginning of the answer, put in its mouth
        messages.pop()
    for message in reversed(messages):
        if message.get("role") in ("tool", "function"):  # it may be unhashable
            return True
        if message.get("role") == "assistant":
            return False
    return False


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


# How refusals begin, in the vendors' own models (their published examples and system cards, read 2026-11). An apology that
# goes on otherwise ("I'm sorry, I misread the table") is none.
_REFUSALS = re.compile(
    r"^\W*(?:(?:i['’]?m (?:really |very |so )?)?sorry,? (?:but )?i(?:['’]?m (?:not able|unable)| am (?:not able|unable)| can(?:not|['’]t| not)| won['’]t| do not| don['’]t)"
    r"|i can(?:not|['’]t) (?:help|assist|comply|provide|do that)"
    r"|i['’]?m (?:not able|unable) to|as an ai(?: language)? model,? i|很?抱歉,?[,，]?\s*我(?:不能|无法|没有办法)|对不起[,，]?\s*我(?:不能|无法)"
    r"|作为(?:一个)?(?:人工智能|AI)[^。]{0,12}[,，]我(?:不能|无法))",
    re.IGNORECASE,
)


def _refused(_asked: Asked, answer: Answer) -> str:
    if answer.refusal:
        return "it refuses"
    return "it begins as a refusal does" if _REFUSALS.match(answer.text[:200]) else ""


# By script: that of Japanese is Chinese too, and kana beside it say no more than that.
_SCRIPTS: Mapping[str, tuple[str, int]] = {
    "Latin": ("A-Za-z\u00c0-\u024f", 1), "Chinese": ("\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff", 3),
    "Korean": ("\uac00-\ud7a3", 2), "Cyrillic": ("\u0400-\u04ff", 1), "Greek": ("\u0370-\u03ff", 1),
    "Arabic": ("\u0600-\u06ff", 1), "Hebrew": ("\u0590-\u05ff", 1), "Devanagari": ("\u0900-\u097f", 1),
    "Thai": ("\u0e00-\u0e7f", 1),
}  # fmt: skip
_LETTERS = {name: (re.compile(f"[{letters}]"), weight) for name, (letters, weight) in _SCRIPTS.items()}
# Whoever names a language, or asks for a translation, may well want another than he writes in.
_NAMES_A_LANGUAGE = re.compile(
    r"英|中文|汉语|漢語|翻|译|訳|日语|日文|日本語|韩语|韓|法语|德语|俄语|한국어|영어|번역|перев|английс|русск|китайс"
    r"|chinese|mandarin|english|japanese|korean|russian|ukrainian|greek|arabic|hebrew|hindi|thai|translat|language|locali[sz]",
    re.IGNORECASE,
)


def _language(asked: Asked, answer: Answer) -> str:
    said, told = _last_user_text(asked.body)[:SHOWN], answer.text[:SHOWN]
    if _wants_json(asked.body) or "```" in told or told.lstrip()[:1] in ("{", "[", "<"):
        return ""  # what is written for programs is mostly Latin
    wants, has = _scripts(said), _scripts(told)
    if not wants or sum(has.values()) < FEW_LETTERS:
        return ""
    most_wanted, most = max(wants, key=wants.__getitem__), max(has, key=has.__getitem__)
    rest = has.get(most_wanted, 0) / sum(has.values())
    if most_wanted == most or rest > FEW_OF_IT or has[most] <= sum(has.values()) / 2:
        return ""
    instructions = _instructions(asked.body)
    if (
        wants.get(most)
        or _NAMES_A_LANGUAGE.search(said + "\n" + instructions)
        or _scripts(instructions).get(most, 0) > 9
    ):
        return ""
    return f"a question in {most_wanted} letters has an answer in {most} ones"


FEW_OF_IT = 0.05  # of an answer's letters: quoted names


def _instructions(body: Mapping[str, Any]) -> str:
    told = [_text(message) for message in _messages(body) if message.get("role") in ("system", "developer")]
    return "\n".join(told)[: 2 * SHOWN]


def _scripts(text: str) -> dict[str, int]:
    """Letters by script; a letter that says more counts for more."""
    known = {"Latin": _LETTERS["Latin"]} if text.isascii() else _LETTERS
    counts = {name: weight * len(letters.findall(text)) for name, (letters, weight) in known.items()}
    return {name: count for name, count in counts.items() if count}


def _wants_json(body: Mapping[str, Any]) -> bool:
    told = body.get("response_format")
    return isinstance(told, Mapping) and told.get("type") in ("json_object", "json_schema")  # it may be unhashable


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
        return "it calls no tool" if choice == "required" or _is_one(choice) else ""
    for name, given in answer.calls:
        if name not in asked.schemas:
            return "it calls a tool that there is not"
        if asked.schemas[name] is FREE:
            continue
        value = given
        if isinstance(given, str):
            try:
                value = jsonio.loads((given or "{}").encode("utf-8", "replace"))
            except ValueError:
                return f"the arguments of {name} are no JSON"
        if wrong := misfit(value, asked.schemas[name]):
            return f"the arguments of {name}: {wrong}"
    return ""


def _is_one(choice: Any) -> bool:
    """Whether a tool that has to be called is named."""
    return isinstance(choice, Mapping) and choice.get("type") in ("function", "custom")  # it may be unhashable


_BLOCK = re.compile(r"^```[ \t]*(python|py|json)[ \t]*\n(.*?)^```", re.MULTILINE | re.DOTALL | re.IGNORECASE)


def _code(_asked: Asked, answer: Answer) -> str:
    left = MOST_CODE
    for block in _BLOCK.finditer(answer.text):
        language, text = block.groups()
        if (left := left - len(text)) < 0:
            return ""
        if "..." in text or ">>>" in text:  # left out on purpose, or a session
            continue
        try:
            if language.lower() == "json":
                jsonio.loads(text.encode("utf-8", "replace"))
            else:
                with warnings.catch_warnings():  # of doubtful escapes, and the like
                    warnings.simplefilter("ignore")
                    ast.parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return f"{'JSON' if language.lower() == 'json' else 'Python'} in it does not parse"
    return ""


def _length(asked: Asked, answer: Answer) -> str:
    if not asked.usual_output or not answer.output_tokens or answer.calls:
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
    return next((_text(message) for message in reversed(_messages(body)) if message.get("role") == "user"), "")


def _messages(body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [message for message in _list(body.get("messages")) if isinstance(message, Mapping)]


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = [part.get("text") for part in _list(content) if isinstance(part, Mapping)]
    return "\n".join(part for part in parts if isinstance(part, str))


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
