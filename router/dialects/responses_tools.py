"""Tools on the Responses wire: those of the client, which the hub knows too, and those that a vendor itself runs."""

from collections.abc import Iterator, Mapping
from typing import Any

from router.core.catalog import ChatRequest, Quirks
from router.core.errors import InvalidRequest

# Tools that the client runs, and the items of their use: all that a model sees of them is in the request.
OF_THE_CLIENT = frozenset(
    {
        "function", "custom", "custom_tool_call", "custom_tool_call_output", "apply_patch", "apply_patch_call",
        "apply_patch_call_output", "local_shell", "local_shell_call", "local_shell_call_output", "namespace",
    }
)  # fmt: skip
# Tools of a vendor that are billed by tokens alone, or by the search, which prices have. Others have a fee by the call, the
# session or the picture (platform.openai.com/docs/pricing, 2026-11).
WITHOUT_A_FEE = OF_THE_CLIENT | {
    "web_search", "web_search_preview", "mcp", "computer", "computer_use_preview", "tool_search",
}  # fmt: skip


def to_hub(body: Mapping[str, Any], hub: dict[str, Any], stays: list[str], unseen: list[dict[str, Any]]) -> None:
    """Put the tools and the choice among them into the hub's body.

    Raises:
        InvalidRequest: `tools` is no array of objects.

    """
    told = body.get("tools")
    if told is not None and not (isinstance(told, list) and all(isinstance(tool, dict) for tool in told)):
        raise InvalidRequest("`tools` must be an array of objects", param="tools")
    tools = []
    for i, tool in enumerate(told or ()):
        if tool.get("type") != "function":
            stays.append(f"`tools[{i}]` of type {tool.get('type')}")
            unseen.append(tool)
        elif not isinstance(tool.get("name"), str):
            raise InvalidRequest(f"`tools[{i}].name` must be a string", param=f"tools[{i}].name")
        else:
            if tool.get("defer_loading"):
                stays.append(f"`tools[{i}].defer_loading`")
            tools.append(_function(tool))
    if not tools:
        return
    hub["tools"] = tools
    _choice(body.get("tool_choice"), hub, stays)
    if body.get("parallel_tool_calls") is False:
        hub["parallel_tool_calls"] = False


def _function(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": tool["name"], "parameters": tool.get("parameters") or {"type": "object", "properties": {}}}
    if tool.get("description"):
        function["description"] = tool["description"]
    if tool.get("strict"):
        function["strict"] = True
    return {"type": "function", "function": function}


def _choice(told: Any, hub: dict[str, Any], stays: list[str]) -> None:
    """Among allowed tools only those are told to the vendor: few others know how to allow some of what they are told."""
    if isinstance(told, str):
        hub["tool_choice"] = told
        return
    if not isinstance(told, dict):
        return
    if told.get("type") == "function":
        hub["tool_choice"] = {"type": "function", "function": {"name": told.get("name")}}
    elif told.get("type") == "allowed_tools":
        allowed = told.get("tools")
        names = [tool.get("name") for tool in allowed if isinstance(tool, dict)] if isinstance(allowed, list) else []
        hub["tools"] = [tool for tool in hub["tools"] if tool["function"]["name"] in names]
        if hub["tools"]:
            hub["tool_choice"] = told.get("mode") or "auto"
        else:
            del hub["tools"]
    else:
        stays.append(f"`tool_choice` of type {told.get('type')}")


def has_a_fee(chat: ChatRequest, quirks: Quirks) -> str:
    """Why a request on this wire has a cost that nobody would know: a tool with a fee that is neither in the usage nor in
    a price, at a vendor that does not tell what it charges; "" if it has none.
    """
    if chat.endpoint != "responses" or quirks.cost_field is not None:
        return ""
    for at, tools in _tools(chat.body):
        for i, tool in enumerate(tools if isinstance(tools, list) else ()):
            kind = str(tool.get("type")) if isinstance(tool, dict) else ""
            if kind not in WITHOUT_A_FEE and not (kind == "shell" and _is_local(tool)):
                return f"`{at}[{i}]` of type {kind} has a fee that no usage tells and no price has"
    return ""


def _tools(body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(where, the tools there): the request's own, and those that an item adds."""
    yield "tools", body.get("tools")
    items = body.get("input")
    for i, item in enumerate(items if isinstance(items, list) else ()):
        if item.get("type") == "additional_tools":
            yield f"input[{i}].tools", item.get("tools")


def _is_local(tool: Mapping[str, Any]) -> bool:
    """A shell of the client's own, not in a container that is rented."""
    place = tool.get("environment")
    return isinstance(place, dict) and place.get("type") == "local"
