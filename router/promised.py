"""What a configuration promises: a quality model, and certificates that were made with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from router.quality.certificate import Certificate, load

if TYPE_CHECKING:
    from router.quality.model import Model


@dataclass(frozen=True, slots=True, eq=False)
class Promised:
    """See above; a certificate per route, or one for all."""

    model: "Model"
    certificates: Mapping[str, Certificate]  # by route; "" is every route

    def of(self, route: str) -> Certificate | None:
        """The one that a route decides by."""
        return self.certificates.get(route) or self.certificates.get("")


def read_promised(model: Path, certificates: Path) -> Promised:
    """Raises `ValueError` with what is wrong with the files."""
    from router.quality.model import Model  # noqa: PLC0415 (it brings numpy, which is only needed here)

    try:
        return Promised(Model.load(model), {each.route: each for each in load(certificates)})
    except OSError as error:
        raise ValueError(f"{error.filename}: {error.strerror}") from None
