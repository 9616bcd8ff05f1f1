"""A request as the quality model sees it: its text, its shape, and the route that it came by."""

import json
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import log1p
from typing import Any

import numpy as np
from numpy.typing import NDArray

from router.quality.features import EDGE, Places, clip, places

Vector = NDArray[np.float32]

SHAPE = (
    "length", "words", "lines", "digits", "digit share", "capitals", "beyond ascii", "questions", "operators", "brackets",
    "stops", "word length", "tools", "tools' size", "schema", "images", "turns", "output cap", "no output cap", "input tokens",
)  # fmt: skip
_KINDS = (  # of bytes: question, operator, bracket, semicolon (a bracket and a stop), stop, newline, other space, digit, capital,
    b"?", b"+-*/=^\\$", b"{}()<>[]_`", b";", b",.:", b"\n", b" \t\r", b"0123456789", bytes(range(65, 91)), bytes(range(128, 256)),
)  # and beyond ASCII  # fmt: skip
_KIND = bytes(next((kind for kind, of in enumerate(_KINDS) if byte in of), len(_KINDS)) for byte in range(256))


@dataclass(frozen=True, slots=True)
class Request:
    """What is known of a request before it is answered. `embedding` is the user's own, for neighbours."""

    text: str
    route: str = ""
    tools: int = 0
    tools_size: int = 0  # characters of their schemas
    schema: bool = False
    images: int = 0
    turns: int = 1
    output_cap: int | None = None
    input_tokens: int | None = None  # None: taken from the text's length, as in most labels
    embedding: tuple[float, ...] | None = None
    pieces: bytes | None = None  # of a text that was not kept, its places, little-endian
    figures: tuple[float, ...] | None = None  # and its shape

    def places(self) -> Places:
        """The places of the text's pieces."""
        return places(self.text) if self.pieces is None else np.frombuffer(self.pieces, "<u4").astype(np.uint32)

    def shape(self) -> Vector:
        """The figures of `SHAPE`."""
        if self.figures is not None:
            return np.array(self.figures, np.float32)
        raw = clip(self.text).encode("utf-8", "replace")
        counts = np.bincount(np.frombuffer(raw.translate(_KIND), np.uint8), minlength=len(_KINDS) + 1).tolist()
        questions, operators, brackets, semicolons, stops, lines, spaces, digits, capitals, foreign, _ = counts
        size = max(len(raw), 1)
        words = lines + spaces + 1
        tokens = self.input_tokens if self.input_tokens is not None else (len(self.text) + foreign) / 4
        return np.array(
            (
                log1p(len(self.text)),
                log1p(words),
                log1p(lines),
                log1p(digits),
                digits / size,
                capitals / size,
                foreign / size,
                log1p(questions),
                log1p(operators),
                log1p(brackets + semicolons),
                log1p(stops + semicolons),
                min(size / words, 30.0),
                log1p(self.tools),
                log1p(self.tools_size),
                float(self.schema),
                log1p(self.images),
                log1p(self.turns),
                log1p(self.output_cap or 0),
                float(self.output_cap is None),
                log1p(tokens),
            ),
            np.float32,
        )

    def digest(self) -> int:
        """64 bits that tell this request from others, so that labels of several models find each other."""
        said = f"{self.route}\0{self.tools}\0{self.schema}\0{self.images}\0{self.text}".encode("utf-8", "replace")
        return int.from_bytes(blake2b(said + (self.pieces or b""), digest_size=8).digest(), "big")


def request_of(value: Any, route: str = "") -> Request:
    """A request from a prompt, a chat body, or a row of labels (`prompt` or `request`, `route`, `tools`, `embedding`)."""
    if isinstance(value, Request):
        return value
    if isinstance(value, str):
        return Request(value, route)
    if not isinstance(value, Mapping):
        raise TypeError(f"a request is a text or an object, not {type(value).__name__}")
    if isinstance(value.get("features"), str) and "prompt" not in value and "request" not in value:
        return _kept(value, route)
    body = value.get("request", value)
    if isinstance(body, str):
        body = {"prompt": body}
    if not isinstance(body, Mapping):
        raise TypeError("`request` is a text or a request body")
    text, images, turns = _said(body)
    tools, size = _tools(body.get("tools") or value.get("tools"))
    vector = value.get("embedding")
    cap = body.get("max_completion_tokens") or body.get("max_tokens") or body.get("max_output_tokens")
    form = body.get("response_format")
    return Request(
        text=text,
        route=str(value.get("route") or route),
        tools=tools,
        tools_size=size,
        schema=isinstance(form, Mapping) and form.get("type") in {"json_schema", "json_object"},
        images=images,
        turns=turns,
        output_cap=cap if isinstance(cap, int) else None,
        embedding=tuple(map(float, vector)) if isinstance(vector, list | tuple) else None,
    )


def _kept(row: Mapping[str, Any], route: str) -> Request:
    """A request of `farebox quality labels`, whose text was not kept."""
    shape = row.get("shape") or {}
    figures = shape.get("figures")
    if not isinstance(figures, list) or len(figures) != len(SHAPE):
        raise ValueError("`features` without the figures of their shape; give `prompt`")
    return Request(
        "", str(row.get("route") or route), pieces=b64decode(row["features"]), figures=tuple(map(float, figures))
    )


def _said(body: Mapping[str, Any]) -> tuple[str, int, int]:
    """The texts that the caller wrote, how many images, how many turns."""
    messages = body.get("messages") or body.get("input") or ()
    if isinstance(messages, str) or not messages:
        prompt = body.get("prompt") or messages or ""
        return prompt if isinstance(prompt, str) else "\n".join(map(str, prompt)), 0, 1
    texts, images, turns = [], 0, 0
    if isinstance(system := body.get("system") or body.get("instructions"), str):
        texts.append(system)
    for message in messages:
        if not isinstance(message, Mapping):
            continue
        role = message.get("role", "user")
        turns += role == "user"
        if role not in {"system", "developer", "user"}:
            continue
        content = message.get("content")
        for part in [content] if isinstance(content, str) else content or ():
            if isinstance(part, str):
                texts.append(part)
            elif isinstance(part, Mapping):
                images += "image" in str(part.get("type"))
                if isinstance(part.get("text"), str):
                    texts.append(part["text"])
    return "\n".join(texts), images, max(turns, 1)


def _tools(tools: Any) -> tuple[int, int]:
    if isinstance(tools, str):
        try:
            tools = json.loads(tools)
        except ValueError:
            return 1, len(tools)
    if not tools:
        return 0, 0
    many = len(tools) if isinstance(tools, Sequence) else 1
    return many, len(json.dumps(tools, ensure_ascii=False))


def language(text: str) -> str:
    """`zh`, `ja`, `ko`, `other` or `en`, by the script alone: enough to see whether one is served worse."""
    part = text[:EDGE]
    counts = {"zh": 0, "ja": 0, "ko": 0, "other": 0, "en": 0}
    for letter in part:
        code = ord(letter)
        if code < 0x80:
            counts["en"] += letter.isalpha()
        elif 0x4E00 <= code < 0xA000 or 0x3400 <= code < 0x4DC0:
            counts["zh"] += 3  # a character says as much as three letters
        elif 0x3040 <= code < 0x3100:
            counts["ja"] += 6  # kana among characters is Japanese
        elif 0xAC00 <= code < 0xD7B0:
            counts["ko"] += 3
        elif letter.isalpha():
            counts["other"] += code >= 0x250  # Latin with accents is left to `en`
    return max(counts, key=lambda name: (counts[name], name == "en"))
