"""What is certified of a route's quality; where nothing is, the page has no section for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from router.admin.markup import Html, tag
from router.admin.tables import table
from router.admin.words import Words


@dataclass(frozen=True, slots=True)
class Certificate:
    """With probability 1 - delta, a route's answers fall short of the flagship's by at most epsilon."""

    route: str
    epsilon: str  # decimals, as they are shown
    delta: str
    samples: int
    day: str  # 2026-11-25
    state: Literal["valid", "stale", "broken"]


def certificates_table(found: Sequence[Certificate], words: Words) -> Html:
    rows = [
        (
            one.route, one.epsilon, one.delta, f"{one.samples:,}", one.day,
            tag("span", words(f"cert_{one.state}"), class_=f"badge {'good' if one.state == 'valid' else 'bad'}"),
        )
        for one in found
    ]  # fmt: skip
    columns = (words("route"), "ε", "δ", words("samples"), words("day"), words("state"))
    return table(words("quality_caption"), columns, rows, frozenset({1, 2, 3}))
