"""Requests on Google's wire: `models/{model}:generateContent` and its relatives, refused where the vendor refuses them. Pure.

Source: the types of the google-genai package, 3.6. Field names may be written in camelCase or snake_case, as in all of Google's JSON.
"""

import re
from collections.abc import Mapping
from typing import Any

from router.mock import ask as asks
from router.mock.ask import Ask
from router.mock.errors import Refused, invalid
from router.mock.incoming import Incoming
from router.mock.text import tokens

_FIELDS = frozenset({
    "contents", "systemInstruction", "tools", "toolConfig", "safetySettings", "generationConfig", "cachedContent",
    "labels", "model", "serviceTier", "store",
})  # fmt: skip
_SETTINGS = frozenset({
    "stopSequences", "responseMimeType", "responseSchema", "responseJsonSchema", "candidateCount", "maxOutputTokens",
    "temperature", "topP", "topK", "seed", "presencePenalty", "frequencyPenalty", "responseLogprobs", "logprobs",
    "thinkingConfig", "responseModalities", "mediaResolution", "speechConfig", "imageConfig", "responseFormat",
    "enableEnhancedCivicAnswers",
})  # fmt: skip
# What Google's own schema language knows; `responseJsonSchema` and `parametersJsonSchema` take JSON Schema.
_SCHEMA = frozenset({
    "type", "format", "title", "description", "nullable", "enum", "items", "maxItems", "minItems", "properties",
    "required", "minProperties", "maxProperties", "minLength", "maxLength", "pattern", "example", "anyOf",
    "propertyOrdering", "default", "minimum", "maximum",
})  # fmt: skip
_SIGNED = ("gemini-3", "gemini-4")


def generate(incoming: Incoming) -> Ask:
    asked = _camel(incoming.json(), "GenerateContentRequest", _FIELDS)
    model, verb = call_of(incoming)
    settings = _camel(asked.get("generationConfig") or {}, "generation_config", _SETTINGS)
    contents, count, images = _contents(asked, model)
    last = _parts(contents[-1])
    answered = any("functionResponse" in part for part in last)
    text = asks.last_text(_said(turn) for turn in contents if turn.get("role", "user") == "user")
    thinking = _camel(settings.get("thinkingConfig") or {}, "thinking_config", None)
    budget = thinking.get("thinkingBudget")
    thinks = bool(thinking) and budget != 0
    return Ask(
        endpoint="generateContent",
        model=model,
        texts=(text,),
        prompt_tokens=count,
        stream=verb == "streamGenerateContent",
        n=asks.choices(settings, "candidateCount"),
        cap=asks.count(settings, "maxOutputTokens"),
        stops=asks.stops(settings.get("stopSequences")),
        tools=_called(asked, "" if answered else text),
        shape=_shape(settings),
        images=images,
        thinks=thinks,
        budget=budget if isinstance(budget, int) and budget > 0 else None,
        shows=thinks and bool(thinking.get("includeThoughts")),
    )


def count_tokens(incoming: Incoming) -> Ask:
    asked = incoming.json()
    inner = asked.get("generateContentRequest") or asked.get("generate_content_request") or asked
    model, _ = call_of(incoming)
    contents, count, images = _contents(_camel(inner, "CountTokensRequest", _FIELDS), model)
    text = asks.last_text(map(_said, contents))
    return Ask("countTokens", model, (text,), count, images=images)


def embed(incoming: Incoming) -> Ask:
    model, verb = call_of(incoming)
    asked = incoming.json()
    many = asked.get("requests") if verb == "batchEmbedContents" else [asked]
    if not isinstance(many, list) or not many or not all(isinstance(one, dict) for one in many):
        raise invalid("* BatchEmbedContentsRequest.requests: at least one request is required")
    texts = []
    for index, one in enumerate(many):
        named = str(one.get("model", f"models/{model}"))
        if verb == "batchEmbedContents" and named.removeprefix("models/") != model:
            raise invalid(f"* BatchEmbedContentsRequest.requests[{index}].model: must match the model of the batch")
        text = " ".join(str(part.get("text", "")) for part in _parts(one.get("content") or {}))
        if not text:
            raise invalid("* EmbedContentRequest.content: content is not specified")
        texts.append(text)
    first = _camel(many[0], "EmbedContentRequest", None)
    dimensions = asks.dimensions_of(first, model, "outputDimensionality")
    return Ask(verb, model, tuple(texts), sum(map(tokens, texts)), n=0, dimensions=dimensions)


def signs(model: str) -> bool:
    """Whether a model of this name signs the thought that led to a call, and wants that back with the call's result."""
    return model.startswith(_SIGNED)


def call_of(incoming: Incoming) -> tuple[str, str]:
    """Model and verb: `/v1beta/models/{model}:{verb}`."""
    model, _, verb = incoming.rest.rpartition("/models/")[2].rpartition(":")
    return model, verb


def authorise(incoming: Incoming) -> None:
    """`x-goog-api-key` or `?key=`; any key is good but `bad-key`. A bearer token is another product's."""
    key = incoming.headers.get("x-goog-api-key") or incoming.query.get("key", "")
    if key == "bad-key":
        raise Refused(400, "invalid_api_key")
    if not key and incoming.headers.get("authorization"):
        raise Refused(
            401,
            message="Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
            "authentication credential.",
        )
    if not key:
        raise Refused(
            403,
            message="Method doesn't allow unregistered callers (callers without established identity). Please use API Key or "
            "other form of API consumer identity to call this API.",
        )


def _camel(given: Any, where: str, known: frozenset[str] | None) -> dict[str, Any]:
    """The fields under their camelCase names; an unknown one is refused."""
    if not isinstance(given, Mapping):
        raise invalid(f"Invalid JSON payload received. '{where}' is not an object.")
    fields = {re.sub(r"_([a-z])", lambda found: found[1].upper(), key): value for key, value in given.items()}
    for name in fields:
        if known is not None and name not in known:
            raise invalid(
                f"Invalid JSON payload received. Unknown name \"{name}\" at '{where}': Cannot find field.", name
            )
    return fields


def _contents(asked: dict[str, Any], model: str) -> tuple[list[dict[str, Any]], int, int]:
    """The turns, the tokens of the whole prompt, and how many parts are not text."""
    contents = asked.get("contents")
    if isinstance(contents, dict):
        contents = [contents]
    if not isinstance(contents, list) or not contents or not all(isinstance(turn, dict) for turn in contents):
        raise invalid("* GenerateContentRequest.contents: contents is not specified")
    count, images = 0, 0
    for index, turn in enumerate(contents):
        if turn.get("role", "user") not in {"user", "model", "function"}:
            raise invalid("Please use a valid role: user, model.")
        if not _parts(turn):
            raise invalid(f"* GenerateContentRequest.contents[{index}].parts: contents.parts must not be empty.")
        for part in _parts(turn):
            cost, other = _cost(part)
            count, images = count + cost, images + other
    _check_calls(contents, model)
    for part in _parts(asked.get("systemInstruction") or {}):
        count += _cost(part)[0]
    if asked.get("tools"):
        count += asks.written(asked["tools"])
    return contents, count, images


def _parts(turn: Any) -> list[dict[str, Any]]:
    """A turn's parts, with camelCase names."""
    if isinstance(turn, str):
        return [{"text": turn}]
    parts = turn.get("parts") if isinstance(turn, dict) else None
    given = parts if isinstance(parts, list) else [parts]
    return [_camel(part, "contents.parts", None) for part in given if isinstance(part, dict)]


def _said(turn: dict[str, Any]) -> str:
    return " ".join(str(part["text"]) for part in _parts(turn) if "text" in part and not part.get("thought"))


def _cost(part: dict[str, Any]) -> tuple[int, int]:
    """Tokens of a part, and 1 if it is not text."""
    if part.get("thought"):
        return 0, 0
    if "text" in part:
        return tokens(str(part["text"])), 0
    if "inlineData" in part or "fileData" in part:
        return asks.PER_IMAGE, 1
    told = part.get("functionCall") or part.get("functionResponse") or part
    return asks.written({key: value for key, value in told.items() if key != "thoughtSignature"}), 0


def _check_calls(contents: list[dict[str, Any]], model: str) -> None:
    """As many results behind a turn as it made calls, and, for models that sign, the signature of each turn's first call."""
    last_said = max(
        (i for i, turn in enumerate(contents) if turn.get("role", "user") == "user" and _said(turn)), default=0
    )
    calls = 0
    for index, turn in enumerate(contents):
        parts = _parts(turn)
        results = sum("functionResponse" in part for part in parts)
        if results != calls:
            raise invalid(
                "Please ensure that the number of function response parts is equal to the number of function call parts of the "
                "function call turn."
            )
        made = [part for part in parts if "functionCall" in part]
        calls = len(made)
        if made and index > last_said and signs(model) and not made[0].get("thoughtSignature"):
            raise invalid(
                f"Function call is missing a thought_signature in functionCall parts. Function call "
                f"`default_api:{made[0]['functionCall'].get('name')}`, position {index + 1}."
            )
    if calls:
        raise invalid(
            "Please ensure that function call turn comes immediately after a user turn or after a function response turn."
        )


def _called(asked: dict[str, Any], text: str) -> tuple[dict[str, Any], ...]:
    functions = []
    for index, tool in enumerate(asked.get("tools") or ()):
        declared = _camel(tool, "tools", None).get("functionDeclarations") or ()
        for at, one in enumerate(declared):
            function = _camel(one, "function_declarations", None)
            where = f"tools[{index}].function_declarations[{at}].parameters"
            schema = function.get("parametersJsonSchema") or _json_schema(function.get("parameters"), where)
            functions.append({"name": function.get("name"), "parameters": schema})
    config = _camel(asked.get("toolConfig") or {}, "tool_config", None)
    calling = _camel(config.get("functionCallingConfig") or {}, "function_calling_config", None)
    mode, allowed = str(calling.get("mode", "AUTO")).upper(), calling.get("allowedFunctionNames")
    if allowed and mode not in {"ANY", "VALIDATED"}:
        raise invalid("Please set allowed_function_names only when function calling mode is ANY.")
    if mode == "NONE":
        return ()
    chosen = [function for function in functions if not allowed or function["name"] in allowed]
    if allowed and not chosen:
        raise invalid("allowed_function_names must be a subset of the declared functions.")
    return asks.called(chosen, text, demanded=mode == "ANY")


def _shape(settings: dict[str, Any]) -> Any:
    kind = settings.get("responseMimeType", "text/plain")
    schema = settings.get("responseJsonSchema")
    if schema is None:
        schema = _json_schema(settings.get("responseSchema"), "generation_config.response_schema")
    if kind == "application/json":
        return asks.ANY_OBJECT if schema is None else schema
    if schema is None:
        return None
    if kind != "text/x.enum":
        raise invalid(
            "* GenerateContentRequest.generation_config.response_schema: only allowed for response_mime_type application/json"
        )
    return schema


def _json_schema(schema: Any, where: str) -> Any:
    """Google's schema as a JSON schema: types in lower case, `nullable` as a type."""
    if schema is None:
        return None
    fields = _camel(schema, where, _SCHEMA)
    made = {key: value for key, value in fields.items() if key not in {"nullable", "propertyOrdering", "example"}}
    if "type" in made:
        kind = str(made["type"]).lower()
        made["type"] = [kind, "null"] if fields.get("nullable") else kind
    if "items" in made:
        made["items"] = _json_schema(made["items"], f"{where}.items")
    if "anyOf" in made:
        made["anyOf"] = [_json_schema(one, f"{where}.any_of[{i}]") for i, one in enumerate(made["anyOf"])]
    if "properties" in made:
        properties = made["properties"].items()
        made["properties"] = {name: _json_schema(one, f"{where}.properties[{name}]") for name, one in properties}
    for key in ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"):
        if key in made:
            made[key] = int(made[key])  # 64-bit numbers are strings in Google's JSON
    return made
