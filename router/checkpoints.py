"""Checkpoints of the ledger as they are kept: in the log always, and in a file where one is configured."""

import asyncio
import logging
import os
from pathlib import Path

from router.core.checkpoint import Checkpoint
from router.core.limits import moment
from router.settings import CheckpointSettings
from router.stores.ports import StoreDown
from router.stores.reading import StoredLedger

log = logging.getLogger("farebox.checkpoints")


async def keep_checkpoint(settings: CheckpointSettings | None, ledger: StoredLedger, now: int) -> None:
    """Write down how far the ledger has come. What cannot be written is told and stops nothing: requests come first."""
    try:
        seq, digest = await ledger.last() or (0, b"")
    except StoreDown as error:
        log.error("no checkpoint: the ledger cannot be read", extra={"error": str(error)})  # noqa: TRY400 (the cause is in the message)
        return
    if not seq:
        return
    at = moment(now).isoformat(timespec="seconds").replace("+00:00", "Z")
    kept = Checkpoint(seq, digest.hex(), at).signed(settings.secret if settings else None)
    log.info("checkpoint", extra={"checkpoint": kept.line()})
    if settings is not None:
        try:
            await asyncio.to_thread(_append, settings.file, f"{kept.line()}\n")
        except OSError as error:
            log.error("a checkpoint could not be written", extra={"error": str(error)})  # noqa: TRY400 (the cause is in the message)


def _append(file: Path, line: str) -> None:
    """Appended and on the disk; a file that can only be appended to is enough."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(handle, line.encode())
        os.fsync(handle)
    finally:
        os.close(handle)
