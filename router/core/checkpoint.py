"""A checkpoint: how long the ledger was at an instant and which hash it ended with, to be kept where the ledger is not.

The chain of hashes proves that rows belong together; it has no secret, so who can write the file could make it anew, or
cut off its end. A ledger that still has the row of an old checkpoint, with its hash, has everything up to it as it was.
"""

import hmac
import json
from dataclasses import dataclass

GENESIS_HASH = bytes(32).hex()


class BadCheckpoint(ValueError):
    """A line that is no checkpoint, or none of ours."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    seq: int  # of the last row; 0: there was none
    hash: str  # of that row, in hexadecimal
    at: str  # RFC 3339
    mac: str | None = None  # over the others, with a key that the ledger's machine need not keep

    def signed(self, key: str | None) -> "Checkpoint":
        """The same with a signature; without one where there is no key."""
        return Checkpoint(self.seq, self.hash, self.at, _mac(self, key) if key else None)

    def line(self) -> str:
        """As it is kept: JSON, one line."""
        told = {"seq": self.seq, "hash": self.hash, "at": self.at}
        return json.dumps(told if self.mac is None else {**told, "mac": self.mac})


def _mac(checkpoint: Checkpoint, key: str) -> str:
    told = f"farebox checkpoint {checkpoint.seq} {checkpoint.hash} {checkpoint.at}"
    return hmac.digest(key.encode("utf-8", "surrogateescape"), told.encode("utf-8", "surrogatepass"), "sha256").hex()


def parse(line: str, key: str | None) -> Checkpoint:
    """A line as it was kept; with a key its signature must be that key's.

    Raises:
        BadCheckpoint: it says why.

    """
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        raise BadCheckpoint("is not JSON") from None
    if not isinstance(told, dict):
        raise BadCheckpoint("is not a checkpoint")
    seq, digest, at, mac = (told.get(name) for name in ("seq", "hash", "at", "mac"))
    if type(seq) is not int or seq < 0 or not isinstance(digest, str) or not isinstance(at, str):
        raise BadCheckpoint("is not a checkpoint")
    if mac is not None and not isinstance(mac, str):
        raise BadCheckpoint("is not a checkpoint")
    found = Checkpoint(seq, digest.lower(), at, mac)
    if key and (mac is None or not hmac.compare_digest(mac.encode("utf-8", "replace"), _mac(found, key).encode())):
        raise BadCheckpoint("is not signed with the configured key")
    return found
