"""What a configuration promises: a quality model, and certificates that were made with it."""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from router.core.cascade import Certified
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

    def unusable(self, certificate: Certificate, routes: Container[str], models: Container[str]) -> str:
        """Why a certificate decides nothing here; "" if it does."""
        if certificate.artefact != self.model.hash:
            return "was made with another quality model, so it is not used; calibrate anew"
        if certificate.route and certificate.route not in routes:
            return "is for a route that there is not"
        if missing := [name for name in (certificate.flagship, *certificate.models) if name not in models]:
            return f"names models that are not configured: {', '.join(missing)}"
        return ""


def read_promised(model: Path, certificates: Path) -> Promised:
    """Raises `ValueError` with what is wrong with the files."""
    from router.quality.model import Model  # noqa: PLC0415 (it brings numpy, which is only needed here)

    try:
        return Promised(Model.load(model), {each.route: each for each in load(certificates) if each.kind != "cascade"})
    except OSError as error:
        raise ValueError(f"{error.filename}: {error.strerror}") from None


def read_certified(path: Path, route: str, scored_by: str, models: Container[str]) -> tuple[Certified | None, str]:
    """The certificate of a route's cascade from a file, or why it is not in force. Raises `ValueError` if it cannot be read.

    Args:
        path: what `farebox quality cascade` has written.
        route: whose cascade it is for.
        scored_by: who scores the answers now.
        models: those that are configured.

    """
    try:
        found = {each.route: each for each in load(path) if each.kind == "cascade"}
    except OSError as error:
        raise ValueError(f"{error.filename}: {error.strerror}") from None
    certificate = found.get(route) or found.get("")
    if certificate is None or certificate.threshold is None:
        return None, "holds no certificate for this cascade"
    if certificate.artefact != scored_by:
        return None, f"is about scores of {certificate.artefact or 'nobody'}, not of {scored_by}"
    if missing := [name for name in (certificate.flagship, *certificate.models) if name not in models]:
        return None, f"names models that are not configured: {', '.join(missing)}"
    (cheap,) = certificate.models
    certified = Certified(
        certificate.digest, cheap, certificate.flagship, certificate.threshold,
        certificate.quality, certificate.epsilon, certificate.delta, certificate.n, certificate.date, certificate.versions,
    )  # fmt: skip
    return certified, ""
