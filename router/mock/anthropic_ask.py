"""Requests on Anthropic's wire: `POST /v1/messages` and `/v1/messages/count_tokens`, refused where the vendor refuses them. Pure.

Source: the types of the anthropic package, 2.13; the sentences are those that its users report.
"""

import base64
import dataclasses
import hashlib
import re
from collections.abc import Iterator
from typing import Any

import orjson

from router.mock import ask as asks
from router.mock.ask import Ask
from router.mock.cache import HOUR, Block
from router.mock.errors import Refused, invalid
from router.mock.incoming import Incoming
from router.mock.text import tokens

_FIELDS = frozenset({
    "model", "messages", "max_tokens", "system", "metadata", "stop_sequences", "stream", "temperature", "top_k",
    "top_p", "tools", "tool_choice", "thinking", "service_tier", "cache_control", "container", "inference_geo",
    "output_config", "speed", "diagnostics", "user_profile_id", "context_management", "mcp_servers", "betas",
    "output_format",
})  # fmt: skip
_BLOCKS = frozenset({
    "text", "image", "document", "search_result", "thinking", "redacted_thinking", "tool_use", "tool_result",
    "server_tool_use", "container_upload", "mcp_tool_use", "mcp_tool_result", "compaction",
})  # fmt: skip
_TTLS = {"5m": 300, "1h": HOUR}
_MOST_MARKS = 4
_LEAST_BUDGET = 1024
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")

_Piece = tuple[str, dict[str, Any], int]  # where in the body, the block, its tokens


def messages(incoming: Incoming) -> Ask:
    asked = incoming.json()
    for key in ("model", "messages", "max_tokens"):
        if key not in asked:
            raise invalid(f"{key}: Field required", key)
    ask = _prompt(asked, "messages")
    cap = asks.count(asked, "max_tokens", least=0)
    thinks, budget, shows = _thinking(asked, cap or 0)
    return dataclasses.replace(
        ask,
        stream=bool(asked.get("stream")),
        cap=cap,
        stops=asks.stops(asked.get("stop_sequences")),
        shape=_shape(asked),
        thinks=thinks,
        budget=budget,
        shows=shows,
        prefix=_prefix(asked, list(_pieces(asked))),
    )


def count_tokens(incoming: Incoming) -> Ask:
    asked = incoming.json()
    for key in ("model", "messages"):
        if key not in asked:
            raise invalid(f"{key}: Field required", key)
    return _prompt(asked, "messages/count_tokens")


def sign(thinking: str) -> str:
    """What proves that a thinking block came from here; it is to be sent back with the block."""
    return base64.b64encode(hashlib.blake2b(thinking.encode("utf-8", "replace"), key=b"mock").digest()).decode()


def authorise(incoming: Incoming) -> None:
    """`x-api-key`, or a bearer token; any key is good but `bad-key`."""
    scheme, _, bearer = incoming.headers.get("authorization", "").partition(" ")
    key = incoming.headers.get("x-api-key", "") or (bearer.strip() if scheme.lower() == "bearer" else "")
    if not key:
        raise Refused(401, message="x-api-key header is required")
    if key == "bad-key":
        raise Refused(401)
    if "anthropic-version" not in incoming.headers:
        raise invalid("anthropic-version: header is required")


def _prompt(asked: dict[str, Any], endpoint: str) -> Ask:
    unknown = sorted(asked.keys() - _FIELDS)
    if unknown:
        raise invalid(f"{unknown[0]}: Extra inputs are not permitted", unknown[0])
    model = asks.model_of(asked)
    turns = asked["messages"]
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, dict) for turn in turns):
        raise invalid("messages: at least one message is required", "messages")
    temperature = asked.get("temperature")
    if isinstance(temperature, int | float) and not 0 <= temperature <= 1:
        raise invalid("temperature: Input should be less than or equal to 1", "temperature")
    for index, turn in enumerate(turns):
        _check_turn(index, turn, last=index == len(turns) - 1)
    _check_tools_answered(turns)
    texts = [_said(turn) for turn in turns if turn.get("role") == "user"]
    answered = any(block.get("type") == "tool_result" for block in _blocks(turns[-1]))
    text = asks.last_text(texts)
    pieces = list(_pieces(asked))
    return Ask(
        endpoint=endpoint,
        model=model,
        texts=(text,),
        prompt_tokens=asks.PER_REQUEST + sum(count for _, _, count in pieces),
        tools=_called(asked, "" if answered else text),
        images=sum(block.get("type") in {"image", "document"} for _, block, _ in pieces),
        asked=asked,
    )


def _blocks(turn: dict[str, Any]) -> list[dict[str, Any]]:
    content = turn.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def _said(turn: dict[str, Any]) -> str:
    return " ".join(str(block.get("text", "")) for block in _blocks(turn) if block.get("type") == "text")


def _check_turn(index: int, turn: dict[str, Any], *, last: bool) -> None:
    role, where = turn.get("role"), f"messages.{index}"
    if role not in {"user", "assistant"} and not (role == "system" and index):
        raise invalid(
            f'messages: Unexpected role "{role}". The Messages API accepts a top-level `system` parameter, not "system" as an '
            "input message role."
        )
    blocks = _blocks(turn)
    if not blocks or blocks == [{"type": "text", "text": ""}]:
        if last and role == "assistant":
            return
        raise invalid(
            f"{where}: all messages must have non-empty content except for the optional final assistant message"
        )
    for at, block in enumerate(blocks):
        kind = block.get("type")
        if kind not in _BLOCKS and not str(kind).endswith("_tool_result"):
            raise invalid(
                f"{where}.content.{at}: Input tag '{kind}' found using 'type' does not match any of the expected tags"
            )
        if kind == "text" and not block.get("text"):
            raise invalid("messages: text content blocks must be non-empty")
        if kind == "tool_use" and not isinstance(block.get("input"), dict):
            raise invalid(f"{where}.content.{at}.tool_use.input: Input should be a valid dictionary")
        if kind == "thinking" and block.get("signature") != sign(str(block.get("thinking", ""))):
            raise invalid(f"{where}.content.{at}: Invalid `signature` in `thinking` block")


def _check_tools_answered(turns: list[dict[str, Any]]) -> None:
    """Each call is answered by the next message, and each answer has its call in the one before."""
    asked: list[str] = []
    for index, turn in enumerate([*turns, {}]):
        answers = [str(b.get("tool_use_id")) for b in _blocks(turn) if b.get("type") == "tool_result"]
        missing = [call for call in asked if call not in answers]
        if missing:
            raise invalid(
                f"messages.{index - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` block in the next message."
            )
        strange = [answer for answer in answers if answer not in asked]
        if strange:
            raise invalid(
                f"messages.{index}.content.0: unexpected `tool_use_id` found in `tool_result` blocks: {', '.join(strange)}. "
                "Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
            )
        asked = [str(block.get("id")) for block in _blocks(turn) if block.get("type") == "tool_use"]


def _pieces(asked: dict[str, Any]) -> Iterator[_Piece]:
    """The prompt block by block, in the order in which it is cached: tools, system, messages."""
    for index, tool in enumerate(asked.get("tools") or ()):
        yield f"tools.{index}", tool, asks.written({k: v for k, v in tool.items() if k != "cache_control"})
    system = asked.get("system") or ()
    for index, block in enumerate([{"type": "text", "text": system}] if isinstance(system, str) else system):
        yield f"system.{index}", block, tokens(str(block.get("text", "")))
    for index, turn in enumerate(asked["messages"]):
        for at, block in enumerate(_blocks(turn)):
            extra = 0 if at else asks.PER_MESSAGE
            yield f"messages.{index}.content.{at}", {"role": turn["role"], **block}, _tokens(block) + extra


def _tokens(block: dict[str, Any]) -> int:
    match block.get("type"):
        case "text":
            return tokens(str(block.get("text", "")))
        case "tool_use":
            return asks.written([block.get("name"), block.get("input")])
        case "tool_result":
            return sum(map(_tokens, _blocks(block)))
        case "thinking" | "redacted_thinking":
            return 0  # of earlier turns, which the vendor leaves out
        case "image" | "document" | "container_upload":
            return asks.PER_IMAGE
        case _:
            return asks.written(block)


def _prefix(asked: dict[str, Any], pieces: list[_Piece]) -> tuple[Block, ...]:
    """Where the prompt may be cached; nothing if no block is marked."""
    blocks, seen, total = [], hashlib.blake2b(digest_size=16), asks.PER_REQUEST
    whole = asked.get("cache_control")  # marks the last block
    for index, (where, block, count) in enumerate(pieces):
        bare = {key: value for key, value in block.items() if key != "cache_control"}
        seen.update(orjson.dumps([where.partition(".")[0], bare]))
        total += count
        mark = block.get("cache_control") or (whole if index == len(pieces) - 1 else None)
        blocks.append(Block(seen.copy().digest(), total, _ttl(where, mark)))
    ttls = [block.ttl for block in blocks if block.ttl]
    if len(ttls) > _MOST_MARKS:
        raise invalid(f"A maximum of {_MOST_MARKS} blocks with cache_control may be provided. Found {len(ttls)}.")
    if ttls != sorted(ttls, reverse=True):
        raise invalid(
            "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. Note that blocks are processed in "
            "the following order: `tools`, `system`, `messages`."
        )
    return tuple(blocks) if ttls else ()


def _ttl(where: str, mark: Any) -> int:
    if mark is None:
        return 0
    if not isinstance(mark, dict) or mark.get("type") != "ephemeral" or mark.get("ttl", "5m") not in _TTLS:
        raise invalid(f"{where}.cache_control: Input tag does not match any of the expected tags: 'ephemeral'")
    return _TTLS[mark.get("ttl", "5m")]


def _called(asked: dict[str, Any], text: str) -> tuple[dict[str, Any], ...]:
    """Client tools only: those that the vendor runs itself have a `type` and no schema."""
    functions = []
    for index, tool in enumerate(asked.get("tools") or ()):
        if tool.get("type", "custom") != "custom":
            continue
        if not isinstance(tool.get("input_schema"), dict) or "type" not in tool["input_schema"]:
            raise invalid(f"tools.{index}.custom.input_schema: Field required")
        if not _TOOL_NAME.fullmatch(str(tool.get("name", ""))):
            raise invalid(f"tools.{index}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
        functions.append({"name": tool["name"], "parameters": tool["input_schema"]})
    choice = asked.get("tool_choice") or {"type": "auto"}
    if "tool_choice" in asked and not asked.get("tools"):
        raise invalid("tool_choice: may only be specified while providing tools")
    kind, alone = choice.get("type"), bool(choice.get("disable_parallel_tool_use"))
    if kind not in {"auto", "any", "tool", "none"}:
        raise invalid(f"tool_choice: Input tag '{kind}' found using 'type' does not match any of the expected tags")
    if kind == "none":
        return ()
    named = str(choice.get("name", "")) if kind == "tool" else ""
    return asks.called(functions, text, demanded=kind == "any", named=named, alone=alone)


def _shape(asked: dict[str, Any]) -> Any:
    wanted = (asked.get("output_config") or {}).get("format") or asked.get("output_format")
    match wanted:
        case None:
            return None
        case {"type": "json_schema", "schema": dict() as schema}:
            if not _closed(schema):
                raise invalid(
                    "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false"
                )
            return schema
        case _:
            raise invalid(
                "output_config.format: Input tag found using 'type' does not match any of the expected tags: 'json_schema'"
            )


def _closed(schema: Any) -> bool:
    """Whether every object in a schema says that it has no other properties."""
    if isinstance(schema, list):
        return all(map(_closed, schema))
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        return False
    return all(_closed(part) for key, part in schema.items() if key not in {"enum", "const", "default", "examples"})


def _thinking(asked: dict[str, Any], cap: int) -> tuple[bool, int | None, bool]:
    """Whether it is asked to think, its budget in tokens, and whether its thoughts are shown."""
    wish = asked.get("thinking") or {"type": "disabled"}
    kind, shows = wish.get("type"), wish.get("display") != "omitted"
    if kind not in {"enabled", "disabled", "adaptive", "between_tools"}:
        raise invalid(f"thinking: Input tag '{kind}' found using 'type' does not match any of the expected tags")
    if kind != "enabled":
        return kind == "adaptive", None, shows and kind == "adaptive"
    budget = wish.get("budget_tokens")
    if not isinstance(budget, int) or budget < _LEAST_BUDGET:
        raise invalid(f"thinking.enabled.budget_tokens: Input should be greater than or equal to {_LEAST_BUDGET}")
    if cap <= budget:
        raise invalid("`max_tokens` must be greater than `thinking.budget_tokens`.")
    if (asked.get("tool_choice") or {}).get("type") in {"any", "tool"}:
        raise invalid("Thinking may not be enabled when tool_choice forces tool use.")
    if asked.get("temperature", 1) != 1:
        raise invalid("`temperature` may only be set to 1 when thinking is enabled.")
    _check_thought_first(asked["messages"])
    return True, budget, shows


def _check_thought_first(turns: list[dict[str, Any]]) -> None:
    """A tool's result comes back behind the thoughts that led to its call."""
    if not any(block.get("type") == "tool_result" for block in _blocks(turns[-1])):
        return
    index = len(turns) - 2
    first = _blocks(turns[index])[0].get("type")
    if first not in {"thinking", "redacted_thinking"}:
        raise invalid(
            f"messages.{index}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{first}`. When `thinking` is "
            "enabled, a final `assistant` message must start with a thinking block (preceeding the lastmost set of `tool_use` and "
            "`tool_result` blocks)."
        )
