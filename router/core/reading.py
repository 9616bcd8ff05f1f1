"""What reads a vendor's answer, for the client and, when it has left, for the bill."""

from typing import Protocol

from router.core.failure import Failure
from router.core.usage import Usage


class Reader(Protocol):
    """One answer, as far as it has come."""

    @property
    def usage(self) -> Usage | None: ...
    @property
    def usage_final(self) -> bool:
        """Whether all of it was told, not only the prompt's part."""

    @property
    def failure(self) -> Failure | None: ...
    @property
    def vendor_cost_nano(self) -> int | None:
        """What the vendor itself says it charges, in nano-units of its currency."""

    @property
    def id(self) -> str:
        """The vendor's own name of the answer, by which its invoice may call it; "" while it has told none."""

    @property
    def service_tier(self) -> str | None:
        """The tier that the vendor says it served."""

    @property
    def model(self) -> str:
        """The model that the vendor says it served; "" if it has not said."""

    @property
    def thought(self) -> bool:
        """Whether thoughts have been told so far."""

    def feed(self, chunk: bytes) -> bytes:
        """Take a piece; returns what the client gets."""

    def finish(self) -> bytes:
        """The answer has ended."""

    def text(self) -> str:
        """The output so far, to be counted if no usage comes."""
