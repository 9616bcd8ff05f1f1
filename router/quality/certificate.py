"""A certificate: what was promised, on which labels, and how to decide by it. Importing this needs no numpy."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

VERSION = 1


class CannotCertify(ValueError):
    """The labels do not support the promise. `needed` is about how many would, None if none of them would."""

    def __init__(self, message: str, needed: int | None = None) -> None:
        super().__init__(message)
        self.needed = needed


@dataclass(frozen=True, slots=True)
class Certificate:
    """With confidence 1 − δ the mean loss of quality against always the flagship is at most ε, on traffic like the labels'.

    `two-tier`: down when P(flagship) − P(cheap) is at most `threshold`. `list`: the model with the highest
    min(P, P(flagship)) − `multiplier` · cost / flagship's cost. `cascade`: an answer that is there already is accepted when the
    score of its checker or judge is at least `threshold`. `basis` says what ε is of: `points` of score, or a `share` of the
    flagship's own mean score.
    """

    kind: Literal["two-tier", "list", "cascade"]
    flagship: str
    models: tuple[str, ...]  # those that may answer instead
    epsilon: float
    delta: float
    n: int
    method: str
    basis: Literal["points", "share"] = "points"
    threshold: float | None = None
    multiplier: float | None = None
    naive_threshold: float | None = None  # the point estimate's, which breaks its promise two times in five
    relative_costs: Mapping[str, float] | None = None  # of the labels, in flagship's costs
    routed_down: float = 0.0  # share of the labels
    loss: float = 0.0  # mean, on the labels
    flagship_score: float = 1.0  # mean, on the labels
    saving: float = 0.0  # share of the flagship's cost
    saving_low: float = 0.0
    saving_high: float = 0.0  # 95 %
    human: int | None = None  # of n, labels by people where the rest is a judge's
    route: str = ""  # "" is every route
    date: str = ""
    artefact: str = ""  # hash of the model; of a cascade, who scores the answers
    prices: str = ""  # date of the price book
    versions: Mapping[str, str] | None = (
        None  # what the vendors called the models then, where a configuration was given
    )
    seed: int = 0

    @property
    def quality(self) -> float:
        """The share of the flagship's quality that is promised. From points by the flagship's mean score on the labels."""
        if self.basis == "share":
            return 1 - self.epsilon
        return max(0.0, 1 - self.epsilon / self.flagship_score) if self.flagship_score > 0 else 0.0

    @property
    def confidence(self) -> float:
        """1 − δ."""
        return 1 - self.delta

    @property
    def stated(self) -> str:
        """The promise in the words of a decision's reason."""
        return f"{self.quality:.0%} with {self.confidence:.0%} confidence"

    def meets(self, quality: float, artefact: str | None = None) -> bool:
        """Whether the promise is at least this share of the flagship's quality, and was made with this model."""
        return self.quality >= quality - 1e-9 and (artefact is None or artefact == self.artefact)

    def decide(self, scores: Mapping[str, float], costs: Mapping[str, float] | None = None) -> str:
        """The model for a request with these P(acceptable). A model that has none is not chosen; in doubt the flagship.

        `costs` (any one unit) are those expected of this request; without them, or without the flagship's, those of the labels.
        """
        best = scores.get(self.flagship)
        if best is None or self.kind == "cascade":  # which decides nothing before there is an answer
            return self.flagship
        if self.kind == "two-tier":
            (cheap,) = self.models
            down = cheap in scores and self.threshold is not None and best - scores[cheap] <= self.threshold
            return cheap if down else self.flagship
        if costs is None or not costs.get(self.flagship):
            costs = self.relative_costs or {}
        whole = costs.get(self.flagship) or 1.0
        chosen, value = self.flagship, best - (self.multiplier or 0.0)
        for name in self.models:
            if name in scores and name in costs:
                worth = min(scores[name], best) - (self.multiplier or 0.0) * costs[name] / whole
                if worth > value:
                    chosen, value = name, worth
        return chosen

    def accepts(self, score: float | None) -> bool:
        """Whether a cascade may pass on an answer of this score; None: it has none."""
        is_cascade = self.kind == "cascade" and self.threshold is not None
        return is_cascade and score is not None and score >= (self.threshold or 0.0)

    def tell(self) -> str:
        """The promise in a sentence."""
        what = "of the flagship's quality" if self.basis == "share" else "points of score"
        at_most = f"{100 * self.epsilon:g} % {what}" if self.basis == "share" else f"{self.epsilon:g} {what}"
        where = f"route {self.route}" if self.route else "all routes"
        down = "of the cheap answers accepted" if self.kind == "cascade" else "routed down"
        return (
            f"{where}: with {100 * self.confidence:g} % confidence at most {at_most} lost against always {self.flagship}; "
            f"saves {100 * self.saving:.1f} % (95 %: {100 * self.saving_low:.1f} to {100 * self.saving_high:.1f}), "
            f"{100 * self.routed_down:.1f} % {down}, from {self.n} labels{f' of {self.date}' if self.date else ''}"
        )

    @property
    def digest(self) -> str:
        """What tells this certificate from every other."""
        return blake2b(json.dumps(self.as_json(), sort_keys=True).encode(), digest_size=12).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """As it is stored."""
        return {"version": VERSION, **asdict(self), "models": list(self.models)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Certificate":
        """From what is stored; what a later version added is left out, another major version refused."""
        if value.get("version") != VERSION:
            raise ValueError(f"a certificate of version {value.get('version')}; this is version {VERSION}")
        known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        return cls(**{**known, "models": tuple(value["models"])})

    def save(self, path: Path | str) -> None:
        """A file with this certificate alone."""
        save([self], path)

    @classmethod
    def load(cls, path: Path | str, route: str = "") -> "Certificate":
        """The certificate for a route from a file: its own, else that of all routes."""
        found = {each.route: each for each in load(path)}
        if route not in found and "" not in found:
            raise ValueError(f"{path}: no certificate for route {route!r}; there are {', '.join(map(repr, found))}")
        return found.get(route) or found[""]


def save(certificates: Iterable[Certificate], path: Path | str) -> None:
    """Writes certificates, one per route, as one JSON file."""
    told = [each.as_json() for each in certificates]
    Path(path).write_text(json.dumps({"certificates": told}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def load(path: Path | str) -> tuple[Certificate, ...]:
    """The certificates of a file."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
        return tuple(Certificate.from_json(each) for each in value["certificates"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: this is no file of certificates: {error}") from None
