"""Labels: what each model's answer to a request was worth, read row by row, and gathered per request.

    {"prompt": "…", "model": "gpt-4o-mini", "score": 0.5, "cost": 0.0002, "route": "auto"}
    {"request": {…}, "scores": {"gpt-4o": 1, "gpt-4o-mini": 0}, "costs": {"gpt-4o": 0.01, "gpt-4o-mini": 0.0006}}

or CSV with the columns `prompt, model, score[, cost, route]`, or `prompt, score:NAME, …[, cost:NAME, …]`. Rows of one
request (same text, route and shape) are put together, wherever they stand.
"""

import csv
import gzip
import io
import json
from array import array
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from router.quality.request import Request, language, request_of

LONGEST = 1 << 27  # bytes of one field: a prompt


class BadLabels(ValueError):
    """A row that is no label; says which and why."""


class Label(NamedTuple):
    """One row: a request, and of each model that answered it the score and, where known, the cost."""

    request: Request
    scores: dict[str, float]
    costs: dict[str, float]
    language: str


def label_of(row: Mapping[str, Any], number: int = 0) -> Label:
    """A row as an object, checked."""
    try:
        request = request_of(row)
        if "scores" in row:
            scores = {str(k): float(v) for k, v in row["scores"].items() if v is not None}
            costs = {str(k): float(v) for k, v in (row.get("costs") or row.get("cost") or {}).items() if v is not None}
        else:
            name = str(row["model"])
            scores = {name: float(row["score"])}
            costs = {name: float(row["cost"])} if row.get("cost") not in {None, ""} else {}
    except KeyError as error:
        raise BadLabels(f"row {number}: {error.args[0]!r} is missing") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise BadLabels(f"row {number}: {error}") from None
    if bad := [name for name, score in scores.items() if not 0 <= score <= 1]:
        raise BadLabels(f"row {number}: the score of {bad[0]!r} is {scores[bad[0]]}; scores are from 0 to 1")
    if bad := [name for name, cost in costs.items() if not 0 <= cost < float("inf")]:
        raise BadLabels(f"row {number}: the cost of {bad[0]!r} is {costs[bad[0]]}")
    return Label(request, scores, costs, str(row.get("lang") or language(request.text)))


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    with path.open("rb") as raw:
        plain: Any = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
        with io.TextIOWrapper(plain, encoding="utf-8-sig", newline="") as text:
            yield text


def read(*paths: Path) -> Iterator[dict[str, Any]]:
    """The rows of files of JSON lines or CSV, gzipped or not, one at a time."""
    for path in paths:
        name = path.name.removesuffix(".gz")
        with _opened(path) as text:
            yield from _csv(text) if name.endswith(".csv") else _lines(text, path)


def _lines(text: IO[str], path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(text, 1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                raise BadLabels(f"{path}:{number}: {error}") from None
            if not isinstance(row, dict):
                raise BadLabels(f"{path}:{number}: a row is an object")
            yield row


def _csv(text: IO[str]) -> Iterator[dict[str, Any]]:
    usual = csv.field_size_limit(LONGEST)  # of the whole process, so only while it is needed
    try:
        yield from _csv_rows(text)
    finally:
        csv.field_size_limit(usual)


def _csv_rows(text: IO[str]) -> Iterator[dict[str, Any]]:
    for row in csv.DictReader(text):
        out: dict[str, Any] = {key: value for key, value in row.items() if value}
        for kind in ("score", "cost"):
            named = {key.split(":", 1)[1]: out.pop(key) for key in list(out) if key and key.startswith(f"{kind}:")}
            if named:
                out[f"{kind}s"] = named
        if "request" in out and out["request"].lstrip().startswith("{"):
            out["request"] = json.loads(out["request"])
        yield out


class Table:
    """Labels gathered per request: who scored what at which cost, without the texts."""

    def __init__(self) -> None:
        self.models: list[str] = []
        self.routes: list[str] = []
        self.languages: list[str] = []
        self._rows: dict[int, int] = {}
        self._names: dict[str, int] = {}
        self._cells: tuple[array[Any], ...] = array("q"), array("H"), array("d"), array("d")
        self._route, self._language = array("i"), array("i")
        self._places: dict[str, int] = {}
        self._tongues: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, label: Label, digest: int | None = None) -> tuple[int, bool]:
        """The row of a label's request, and whether it is a new one."""
        digest = label.request.digest() if digest is None else digest
        row = self._rows.setdefault(digest, len(self._rows))
        if new := row == len(self._route):
            self._route.append(_number(self._places, self.routes, label.request.route))
            self._language.append(_number(self._tongues, self.languages, label.language))
        for name, score in label.scores.items():
            for column, value in zip(
                self._cells, (row, _number(self._names, self.models, name), score, label.costs.get(name, np.nan)),
                strict=True,
            ):  # fmt: skip
                column.append(value)
        return row, new

    def digests(self) -> NDArray[np.uint32]:
        """The upper halves of the requests' digests, sorted."""
        return np.sort(np.fromiter((digest >> 32 for digest in self._rows), np.uint32, len(self._rows)))

    def rows_of(self, other: "Table") -> NDArray[np.int64]:
        """For each request of another table its row here, -1 if it is not here."""
        return np.array([self._rows.get(digest, -1) for digest in other._rows], np.int64)  # noqa: SLF001 (its own kind)

    def matrix(self) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Scores and costs, a row per request and a column per model; NaN where there is none. The mean of several."""
        shape = len(self), len(self.models)
        rows, names = np.frombuffer(self._cells[0], np.int64), np.frombuffer(self._cells[1], np.uint16)
        at = rows * shape[1] + names
        out = []
        for cells in self._cells[2:]:
            values = np.frombuffer(cells, np.float64)
            known = np.isfinite(values)
            sums = np.bincount(at[known], weights=values[known], minlength=shape[0] * shape[1])
            counts = np.bincount(at[known], minlength=shape[0] * shape[1])
            with np.errstate(invalid="ignore", divide="ignore"):
                out.append((sums / counts).reshape(shape))
        return out[0].astype(np.float32), out[1]

    def route_numbers(self) -> NDArray[np.int32]:
        """Of each row, its place in `routes`."""
        return np.frombuffer(self._route, np.int32).copy()

    def language_numbers(self) -> NDArray[np.int32]:
        """Of each row, its place in `languages`."""
        return np.frombuffer(self._language, np.int32).copy()


def labels(rows: Iterable[Any]) -> Iterator[Label]:
    """Labels from objects as in a file, or that are labels already."""
    for number, row in enumerate(rows, 1):
        yield row if isinstance(row, Label) else label_of(row, number)


def _number(known: dict[str, int], names: list[str], name: str) -> int:
    if name not in known:
        known[name] = len(names)
        names.append(name)
    return known[name]
