"""Requests to OpenAI's `POST /v1/responses`, refused where the vendor refuses them. Pure.

Source: the types of the openai package, 3.57.
"""

from typing import Any

from router.mock import ask as asks
from router.mock.ask import Ask
from router.mock.errors import Refused, invalid
from router.mock.incoming import Incoming
from router.mock.text import tokens

_FIELDS = frozenset({
    "access_programs", "background", "background_options", "context_management", "conversation", "image", "include",
    "input", "instructions", "max_output_tokens", "max_tool_calls", "metadata", "model", "moderation",
    "parallel_tool_calls", "previous_response_id", "prompt", "prompt_cache_key", "prompt_cache_options",
    "prompt_cache_retention", "reasoning", "safety_identifier", "service_tier", "store", "stream", "stream_options",
    "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p", "truncation", "user",
})  # fmt: skip
_MOVED = {"messages": "input", "max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens", "response_format": "text.format"}  # fmt: skip
_LEAST_CAP = 16
_SAID_BY = {
    "user": frozenset({"input_text", "input_image", "input_file", "input_audio"}),
    "assistant": frozenset({"output_text", "refusal"}),
}


def read(incoming: Incoming) -> Ask:
    asked = incoming.json()
    _check_fields(asked)
    items = _items(asked)
    _check_calls(items, follows=bool(asked.get("previous_response_id")))
    text = asks.last_text(_said(item) for item in items if item.get("role") == "user")
    answered = items[-1].get("type") == "function_call_output"
    shape, extra = _shape(asked)
    costs = [_cost(item) for item in items]
    instructions = asked.get("instructions")
    reasoning = asked.get("reasoning") or {}
    thinks = reasoning.get("effort", "none") not in {"none", "minimal", None}
    return Ask(
        endpoint="responses",
        model=asks.model_of(asked),
        texts=(text,),
        prompt_tokens=asks.PER_REQUEST
        + extra
        + sum(cost for cost, _ in costs)
        + (asks.written(asked["tools"]) if asked.get("tools") else 0)
        + (tokens(instructions) + asks.PER_MESSAGE if isinstance(instructions, str) else 0),
        stream=bool(asked.get("stream")),
        cap=_cap(asked),
        tools=_called(asked, "" if answered else text),
        shape=shape,
        images=sum(images for _, images in costs),
        thinks=thinks,
        shows=bool(reasoning.get("summary")),
        asked=asked,
    )


def _check_fields(asked: dict[str, Any]) -> None:
    for key in asked:
        if key in _MOVED:
            raise invalid(
                f"Unsupported parameter: '{key}'. In the Responses API, this parameter has moved to '{_MOVED[key]}'.",
                key,
                "unsupported_parameter",
            )
        if key not in _FIELDS:
            raise invalid(f"Unknown parameter: '{key}'.", key, "unknown_parameter")
    earlier = asked.get("previous_response_id")
    if earlier is not None and not str(earlier).startswith("resp_"):
        raise Refused(
            400,
            "previous_response_not_found",
            f"Previous response with id '{earlier}' not found.",
            param="previous_response_id",
        )


def _cap(asked: dict[str, Any]) -> int | None:
    cap = asks.count(asked, "max_output_tokens")
    if cap is not None and cap < _LEAST_CAP:
        raise invalid(
            f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= {_LEAST_CAP}, but got {cap} instead.",
            "max_output_tokens",
            "integer_below_min_value",
        )
    return cap


def _items(asked: dict[str, Any]) -> list[dict[str, Any]]:
    given = asked.get("input")
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    items = asks.objects(asked, "input")
    for index, item in enumerate(items):
        role = item.get("role")
        if "role" not in item and "type" not in item:
            raise invalid(
                f"Missing required parameter: 'input[{index}].type'.", f"input[{index}]", "missing_required_parameter"
            )
        if role is not None and role not in {"user", "assistant", "system", "developer"}:
            raise invalid(f"Invalid value: '{role}'.", f"input[{index}].role", "invalid_value")
        allowed = _SAID_BY["assistant" if role == "assistant" else "user"]
        for at, part in enumerate(_parts(item)):
            if role is not None and part.get("type") not in allowed:
                names = ", ".join(f"'{name}'" for name in sorted(allowed))
                raise invalid(
                    f"Invalid value: '{part.get('type')}'. Supported values are: {names}.",
                    f"input[{index}].content[{at}]",
                    "invalid_value",
                )
    return items


def _parts(item: dict[str, Any]) -> list[dict[str, Any]]:
    content = item.get("content")
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


def _check_calls(items: list[dict[str, Any]], *, follows: bool) -> None:
    """Each call has its output and each output its call, unless that is in a response before."""
    made = [str(item.get("call_id")) for item in items if item.get("type") == "function_call"]
    told = [str(item.get("call_id")) for item in items if item.get("type") == "function_call_output"]
    for call in made:
        if call not in told:
            raise invalid(f"No tool output found for function call {call}.", "input")
    for call in told:
        if call not in made and not follows:
            raise invalid(f"No tool call found for function call output with call_id {call}.", "input")


def _said(item: dict[str, Any]) -> str:
    content = item.get("content")
    return content if isinstance(content, str) else " ".join(str(part.get("text", "")) for part in _parts(item))


def _cost(item: dict[str, Any]) -> tuple[int, int]:
    """Tokens of an item, and how many of its parts are not text."""
    match item.get("type", "message"):
        case "message":
            images = sum("text" not in part for part in _parts(item))
            words = [str(part["text"]) for part in _parts(item) if "text" in part] or [_said(item)]
            return asks.PER_MESSAGE + sum(map(tokens, words)) + images * asks.PER_IMAGE, images
        case "function_call":
            return asks.written([item.get("name"), item.get("arguments")]), 0
        case "function_call_output":
            output = item.get("output")
            return tokens(output) if isinstance(output, str) else asks.written(output), 0
        case "reasoning":
            return 0, 0
        case _:
            return asks.written(item), 0


def _called(asked: dict[str, Any], text: str) -> tuple[dict[str, Any], ...]:
    functions = []
    for index, tool in enumerate(asked.get("tools") or ()):
        if tool.get("type") != "function":
            continue
        if not tool.get("name"):
            where = f"tools[{index}].name"
            raise invalid(f"Missing required parameter: '{where}'.", where, "missing_required_parameter")
        functions.append({"name": tool["name"], "parameters": tool.get("parameters")})
    choice = asked.get("tool_choice", "auto")
    if choice == "none":
        return ()
    alone = asked.get("parallel_tool_calls") is False
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        names = [tool.get("name") for tool in choice.get("tools") or ()]
        functions = [function for function in functions if function["name"] in names]
        choice = choice.get("mode", "auto")
    if isinstance(choice, dict) and choice.get("type") == "function" and not choice.get("name"):
        raise invalid(
            "Missing required parameter: 'tool_choice.name'.", "tool_choice.name", "missing_required_parameter"
        )
    named = str(choice.get("name") or "") if isinstance(choice, dict) else ""
    return asks.called(functions, text, demanded=choice == "required", named=named, alone=alone)


def _shape(asked: dict[str, Any]) -> tuple[Any, int]:
    """The schema the answer must fit, and what it costs in prompt tokens."""
    match (asked.get("text") or {}).get("format"):
        case {"type": "json_schema", "name": str(), "schema": schema}:
            return schema, asks.written(schema)
        case {"type": "json_schema", **rest}:
            where = "text.format.schema" if "name" in rest else "text.format.name"
            raise invalid(f"Missing required parameter: '{where}'.", where, "missing_required_parameter")
        case {"type": "json_object"}:
            return asks.ANY_OBJECT, 0
        case _:
            return None, 0
