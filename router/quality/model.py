"""The artefact: one file with the weights and a data card, and P(acceptable) for requests."""

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from math import isfinite, sqrt
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from router.quality.features import EDGE, ORDERS, PLACES
from router.quality.request import SHAPE, Request, request_of

MAGIC = b"farebox quality 1\n"
Floats = NDArray[np.float32]

_ONES = np.ones(len(ORDERS) * 4 * (2 * EDGE + 4) * 2, np.float32)  # more than a text has pieces


class BadModel(ValueError):
    """A file that is no artefact of this version, or was altered."""


@dataclass(frozen=True)
class Neighbours:
    """Labelled requests with the user's own embeddings: unit vectors, and the scores of each model (NaN: none)."""

    vectors: Floats
    scores: Floats
    count: int = 24

    def near(self, embedding: Iterable[float]) -> Floats:
        """The mean score of the most similar requests, by model; NaN where none of them was scored."""
        vector = np.fromiter(embedding, np.float32)
        if len(vector) != self.vectors.shape[1]:
            raise ValueError(f"an embedding of {len(vector)} numbers; those of the labels have {self.vectors.shape[1]}")
        like = self.vectors @ (vector / max(float(np.linalg.norm(vector)), 1e-9))
        take = np.argpartition(-like, min(self.count, len(like)) - 1)[: self.count]
        found = self.scores[take]
        known = np.isfinite(found)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(known, found, 0).sum(0) / known.sum(0), np.float32)


@dataclass(frozen=True, eq=False)
class Model:
    """P(acceptable | request) of each model. `card` says what it was made from; `reference` is the flagship of the labels."""

    models: tuple[str, ...]
    reference: int
    by_gap: tuple[bool, ...]  # of each model: its gap to the reference speaks, not its head
    weights: NDArray[np.float16]  # (head, place): of a model, or its gap where that speaks
    scale: Floats  # (head): what the stored weights are multiplied with
    shape: Floats  # (head, shape): for shapes as they are
    constant: Floats  # (head)
    routes: Mapping[str, Floats]  # (head): what a route adds
    seen: NDArray[np.uint32]  # the requests that were trained on, by the upper half of their digests, sorted
    card: Mapping[str, Any]
    neighbours: Neighbours | None = None
    _ready: Floats = field(init=False, repr=False)
    _terms: dict[str, list[float]] = field(init=False, repr=False)
    _none: list[float] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        ready = self.weights.astype(np.float32) * self.scale[:, None]
        object.__setattr__(self, "_ready", np.ascontiguousarray(ready.T))
        object.__setattr__(self, "_terms", {name: term.tolist() for name, term in self.routes.items()})
        object.__setattr__(self, "_none", [0.0] * len(self.models))

    @property
    def flagship(self) -> str:
        """The model that the others are compared with."""
        return self.models[self.reference]

    @property
    def hash(self) -> str:
        """The artefact's SHA-256; certificates name it."""
        return str(self.card["hash"])

    @overload
    def score(self, requests: Request | str | Mapping[str, Any], route: str = ...) -> dict[str, float]: ...  # type: ignore[overload-overlap]
    @overload
    def score(
        self, requests: Iterable[Request | str | Mapping[str, Any]], route: str = ...
    ) -> list[dict[str, float]]: ...

    def score(self, requests: Any, route: str = "") -> dict[str, float] | list[dict[str, float]]:
        """P(acceptable) by model, for one request (a `Request`, a prompt, a body) or for each of several."""
        if isinstance(requests, Request | str) or isinstance(requests, Mapping):  # noqa: SIM101 (an abstract class is slow)
            return dict(zip(self.models, self.values(request_of(requests, route)), strict=True))
        return [self.score(request, route) for request in requests]

    def values(self, request: Request) -> list[float]:
        """The same in the order of `models`."""
        found = request.places()
        size = 1 / sqrt(max(len(found), 1))
        text = (_ONES[: len(found)] @ self._ready.take(found, axis=0)).tolist()
        base = (self.constant + self.shape @ request.shape()).tolist()
        term = self._terms.get(request.route, self._none)
        out = [one * size + two + three for one, two, three in zip(text, base, term, strict=True)]
        best = out[self.reference]
        out = [best - value if gap else value for value, gap in zip(out, self.by_gap, strict=True)]
        if self.neighbours is not None and request.embedding is not None:
            near = self.neighbours.near(request.embedding).tolist()
            out = [(value + other) / 2 if isfinite(other) else value for value, other in zip(out, near, strict=True)]
        high, low = max(out), min(out)
        if low >= 0 and high <= 1:
            return out
        move = 1 - high if high > 1 else -low if high - low <= 1 else 0.0
        return [min(1.0, max(0.0, value + move)) for value in out]  # moved together, so that the differences stay

    def _parts(self) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        names = sorted(self.routes)
        terms = (
            np.stack([self.routes[name] for name in names]) if names else np.zeros((0, len(self.models)), np.float32)
        )
        arrays: list[NDArray[Any]] = [self.weights, self.scale, self.shape, self.constant, terms, self.seen]
        if self.neighbours is not None:
            arrays += [self.neighbours.vectors.astype(np.float16), self.neighbours.scores]
        head = {
            "models": self.models,
            "reference": self.reference,
            "by_gap": self.by_gap,
            "routes": names,
            "card": {name: value for name, value in self.card.items() if name != "hash"},
            "arrays": [[array.dtype.str, list(array.shape)] for array in arrays],
        }
        return head, arrays

    def save(self, path: Path | str) -> None:
        """Writes the one file. The same labels give the same bytes."""
        Path(path).write_bytes(self.dump())

    def dump(self) -> bytes:
        """The file's bytes."""
        head, arrays = self._parts()
        body = json.dumps(head, sort_keys=True, ensure_ascii=False).encode() + b"\n"
        body += b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
        return MAGIC + sha256(body).hexdigest().encode() + b"\n" + zlib.compress(body, 6)

    @classmethod
    def load(cls, path: Path | str) -> "Model":
        """Reads a file, and refuses one that was altered."""
        try:
            return cls.parse(Path(path).read_bytes())
        except BadModel as error:
            raise BadModel(f"{path}: {error}") from None

    @classmethod
    def parse(cls, raw: bytes) -> "Model":
        """A model from a file's bytes."""
        if not raw.startswith(MAGIC):
            raise BadModel("this is no quality model of this version; `farebox quality train` makes one")
        told, _, packed = raw[len(MAGIC) :].partition(b"\n")
        try:
            body = zlib.decompress(packed)
        except zlib.error:
            raise BadModel("the file is damaged") from None
        if sha256(body).hexdigest().encode() != told:
            raise BadModel("the file was altered: its hash is not what it says")
        line, _, rest = body.partition(b"\n")
        head = json.loads(line)
        arrays, at = [], 0
        for kind, shape in head["arrays"]:
            array = np.frombuffer(rest, kind, int(np.prod(shape)), at).reshape(shape)
            arrays.append(array)
            at += array.nbytes
        weights, scale, shapes, constant, terms, seen, *near = arrays
        if weights.shape[1] != PLACES or shapes.shape[1] != len(SHAPE):
            raise BadModel("its features are not those of this version; train it anew")
        return cls(
            models=tuple(head["models"]),
            reference=head["reference"],
            by_gap=tuple(head["by_gap"]),
            weights=weights,
            scale=scale,
            shape=shapes,
            constant=constant,
            routes=dict(zip(head["routes"], terms, strict=True)),
            seen=seen,
            card={**head["card"], "hash": told.decode()},
            neighbours=Neighbours(near[0].astype(np.float32), near[1]) if near else None,
        )

    def knows(self, request: Request) -> bool:
        """Whether this request was trained on: it must not measure or certify."""
        digest = np.uint32(request.digest() >> 32)
        at = int(np.searchsorted(self.seen, digest))
        return at < len(self.seen) and bool(self.seen[at] == digest)
