"""A configuration that is being put together from somebody else's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from router import vendors


@dataclass
class Imported:
    """The parts of a Farebox configuration, as plain values, and notes: (where, what)."""

    server: dict[str, Any] = field(default_factory=dict)
    vendors: dict[str, dict[str, Any]] = field(default_factory=dict)
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    routes: dict[str, dict[str, Any]] = field(default_factory=dict)
    teams: dict[str, dict[str, Any]] = field(default_factory=dict)
    budgets: list[dict[str, Any]] = field(default_factory=list)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)

    @property
    def yuan(self) -> bool:
        """Whether somebody bills in it."""
        return any(
            (found := vendors.find(name)) is not None and told.get("currency", found.currency) == "CNY"
            for name, told in self.vendors.items()
        )

    def note(self, where: str, what: str) -> None:
        if (where, what) not in self.notes:
            self.notes.append((where, what))


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else []
