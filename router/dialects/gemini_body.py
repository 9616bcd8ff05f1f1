"""A chat completion as Gemini's contents, tools and generation config (ai.google.dev/api/generate-content, types of the
google-genai package 3.6, 2026-11).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from router.dialects.carry import DEFAULTS
from router.dialects.fields import text_of
from router.dialects.hub import arguments, data_url, is_system, names_of

# Kinds of pictures (ai.google.dev/gemini-api/docs/image-understanding, 2026-11).
PICTURES = frozenset({"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"})
# Endings of an address → kinds of pictures that Google fetches itself, if their kind is told; only public https
# addresses (ai.google.dev/gemini-api/docs/file-input-methods, 2026-11; not with Gemini 2.0).
ENDINGS = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".bmp": "image/bmp"}
SOUNDS = frozenset({"wav", "mp3", "aiff", "aac", "ogg", "flac"})  # ai.google.dev/gemini-api/docs/audio, 2026-11

UNSIGNED = "skip_thought_signature_validator"
"""Stands for the signature of a call that another vendor's model made, or whose client did not keep it: Gemini 3 refuses a
call of the history without one (ai.google.dev/gemini-api/docs/thought-signatures#faqs, 2026-11)."""

# Fields that go to the generation config under another name.
NAMES = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "n": "candidateCount",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
INT32 = range(-(2**31), 2**31)  # what a seed may be; OpenAI's are longer, and a hint
# What a schema of a function without parameters may say; Gemini wants none then.
BARE = frozenset({"type", "properties", "required", "additionalProperties", "$schema", "title", "description"})

# How hard to think (ai.google.dev/gemini-api/docs/thinking and /openai, which has the budgets for its own efforts; 2026-11).
LEVELS = {
    "none": "MINIMAL",
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "HIGH",
}
WITH_MINIMAL = ("gemini-3-flash", "gemini-3.1-flash", "gemini-3.5-flash", "gemini-3.6-flash")  # the others begin at LOW
BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576, "xhigh": 24_576}  # tokens
ALWAYS_THINKS = "gemini-2.5-pro"
LEAST = (
    (ALWAYS_THINKS, 128),
    ("gemini-2.5-flash-lite", 512),
)  # tokens of thinking; less is refused, but for none at all


def translate(hub: Mapping[str, Any], name: str, cap: int) -> dict[str, Any]:
    """A chat completion's body as one for a model of this name."""
    system = [part for message in hub["messages"] if is_system(message) for part in _parts(message.get("content"))]
    contents = _contents(hub["messages"], signed=thinks_by(name) == "level")
    body: dict[str, Any] = {"contents": contents or [{"role": "user", "parts": system}]}  # it wants one at least
    if system and contents:
        body["systemInstruction"] = {"parts": system}
    body |= _tools(hub)
    if hub.get("safetySettings") is not None:
        body["safetySettings"] = hub["safetySettings"]
    body["generationConfig"] = _config(hub, name, cap)
    return body


def thinks_by(name: str) -> Literal["level", "budget", "nothing"]:
    """How a model is told how hard to think; each refuses what is not its way."""
    if name.startswith("gemini-2.5"):
        return "budget"
    return "level" if name.startswith("gemini-") and not name.startswith(("gemini-1", "gemini-2")) else "nothing"


# Messages


def _contents(messages: Sequence[Mapping[str, Any]], *, signed: bool) -> list[dict[str, Any]]:
    """The turns. Results of tools that follow one another are one turn, as they answer one turn with as many calls."""
    out: list[dict[str, Any]] = []
    names: dict[str, Any] = {}
    within = False  # results
    for message in messages:
        if is_system(message):
            continue
        if message["role"] == "tool":
            part = _result(message, names)
            if within:
                out[-1]["parts"].append(part)
            else:
                out.append({"role": "user", "parts": [part]})
            within = True
            continue
        parts = _parts(message.get("content"))
        if message["role"] == "assistant":
            calls = message.get("tool_calls") or ()
            names |= names_of(calls)
            parts += _calls(calls, signed=signed)
        if parts:
            out.append({"role": "model" if message["role"] == "assistant" else "user", "parts": parts})
            within = False
    return out


def _result(message: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """A tool's result: as text, whatever it is. As an object its numbers would be read as floats, and its fields `output`
    and `error` as more than they are.
    """
    told = message.get("tool_call_id")
    text = text_of(message.get("content") or "", "content")
    made = {"id": told} if told else {}
    return {"functionResponse": {**made, "name": names.get(str(told)), "response": {"output": text}}}


def _calls(calls: Sequence[Mapping[str, Any]], *, signed: bool) -> list[dict[str, Any]]:
    """Calls of an earlier turn. Of those made at once the first has the signature."""
    out = []
    for i, call in enumerate(calls):
        told: dict[str, Any] = {"name": (call.get("function") or {}).get("name"), "args": arguments(call)}
        if call.get("id"):
            told["id"] = call["id"]
        part: dict[str, Any] = {"functionCall": told}
        if signature := _signature(call) or (UNSIGNED if signed and i == 0 else ""):
            part["thoughtSignature"] = signature
        out.append(part)
    return out


def _signature(call: Mapping[str, Any]) -> str:
    """Where Google's own OpenAI layer has it, and Farebox's answers too."""
    extra = call.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    told = google.get("thought_signature") if isinstance(google, dict) else None
    return told if isinstance(told, str) else ""


def _parts(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"text": content}] if content else []  # an empty part is refused
    return [made for part in content or () if (made := part_of(part))]


def part_of(part: Mapping[str, Any]) -> dict[str, Any] | None:
    """A part of a content; {} if it says nothing, None if it cannot be put on this wire."""
    kind = part.get("type")
    if kind in {"text", "refusal"}:
        text = part.get(str(kind))
        return {"text": text} if text else {}
    told = part.get(str(kind))
    if kind == "image_url":
        return _picture(told.get("url") if isinstance(told, dict) else told)
    if not isinstance(told, dict):
        return None
    if kind == "input_audio":
        form, data = told.get("format"), told.get("data")
        return {"inlineData": {"mimeType": f"audio/{form}", "data": data}} if form in SOUNDS and data else None
    found = data_url(told.get("file_data"))
    if found is None or not (found[0] == "application/pdf" or found[0].startswith("text/")):
        return None
    return {"inlineData": {"mimeType": found[0], "data": found[1]}}


def _picture(url: Any) -> dict[str, Any] | None:
    if (found := data_url(url)) is not None:
        kind = "image/jpeg" if found[0] == "image/jpg" else found[0]
        return {"inlineData": {"mimeType": kind, "data": found[1]}} if kind in PICTURES else None
    if not isinstance(url, str) or not url.startswith("https://"):
        return None
    path = url.partition("?")[0].partition("#")[0].lower()
    told = next((kind for ending, kind in ENDINGS.items() if path.endswith(ending)), None)
    return {"fileData": {"mimeType": told, "fileUri": url}} if told else None


# Tools


def _tools(hub: Mapping[str, Any]) -> dict[str, Any]:
    """`tools` and `toolConfig`, where there are tools. Among allowed tools the model may choose, so only those are told."""
    tools = [_tool(tool["function"]) for tool in hub.get("tools") or ()]
    if not tools:
        return {}
    mode, names = choice_of(hub.get("tool_choice"))
    if mode == "AUTO" and names:
        tools = [tool for tool in tools if tool["name"] in names]
    body: dict[str, Any] = {"tools": [{"functionDeclarations": tools}]}
    if mode:
        config = {"mode": mode, **({"allowedFunctionNames": names} if mode == "ANY" and names else {})}
        body["toolConfig"] = {"functionCallingConfig": config}
    return body


def choice_of(told: Any) -> tuple[Literal["AUTO", "ANY", "NONE", ""], list[Any]]:
    """(mode, the functions that it is about; all of them if none) of a `tool_choice`; ("", []) for what is not known."""
    if isinstance(told, str):
        mode: Literal["AUTO", "ANY", "NONE", ""] = "AUTO" if told == "auto" else "NONE" if told == "none" else ""
        return "ANY" if told == "required" else mode, []
    if not isinstance(told, dict):
        return "", []
    if told.get("type") == "function":
        return "ANY", [(told.get("function") or {}).get("name")]
    if told.get("type") != "allowed_tools":
        return "", []
    allowed = told.get("allowed_tools") or {}
    names = [(tool.get("function") or {}).get("name") for tool in allowed.get("tools") or ()]
    return "ANY" if allowed.get("mode") == "required" else "AUTO", names


def _tool(function: Mapping[str, Any]) -> dict[str, Any]:
    told = {"name": function.get("name")}
    if function.get("description"):
        told["description"] = function["description"]
    schema = function.get("parameters") or {}
    if not schema.keys() <= BARE or schema.get("properties") or schema.get("additionalProperties"):
        told["parametersJsonSchema"] = schema
    return told


# The generation config


def _config(hub: Mapping[str, Any], name: str, cap: int) -> dict[str, Any]:
    told = {own: hub.get(theirs) for theirs, own in NAMES.items() if hub.get(theirs) not in DEFAULTS.get(theirs, ())}
    config = {own: value for own, value in told.items() if value is not None}
    config["maxOutputTokens"] = cap  # with what is thought
    if stop := hub.get("stop"):
        config["stopSequences"] = [stop] if isinstance(stop, str) else stop
    seed = hub.get("seed")
    if isinstance(seed, int) and seed in INT32:
        config["seed"] = seed
    form = hub.get("response_format") or {}
    if form.get("type") in {"json_object", "json_schema"}:
        config["responseMimeType"] = "application/json"
        if schema := (form.get("json_schema") or {}).get("schema"):
            config["responseJsonSchema"] = schema
    if thinking := _thinking(hub.get("reasoning_effort"), name, cap):
        config["thinkingConfig"] = thinking
    return config


def _thinking(effort: Any, name: str, cap: int) -> dict[str, Any]:
    """How hard to think; {} where that is the model's own affair."""
    how = thinks_by(name)
    if effort not in BUDGETS or how == "nothing":
        return {}
    if how == "budget":
        return _budget(BUDGETS[effort], name, cap)
    level = LEVELS[effort]
    if level == "MINIMAL" and not name.startswith(WITH_MINIMAL):
        level = "LOW"
    return {"thinkingLevel": level, **({} if effort == "none" else {"includeThoughts": True})}


def _budget(wanted: int, name: str, cap: int) -> dict[str, Any]:
    """A budget that leaves room for an answer under the cap. What does not fit is not thought at all, where that may be."""
    least = next((tokens for prefix, tokens in LEAST if name.startswith(prefix)), 1)
    budget = min(wanted, cap - 1)
    if budget >= least:
        return {"thinkingBudget": budget, "includeThoughts": True}
    if not name.startswith(ALWAYS_THINKS):
        return {"thinkingBudget": 0}
    return {"thinkingBudget": least} if cap > least else {}
