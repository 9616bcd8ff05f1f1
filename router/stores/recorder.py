"""The ledger as the settlement writes it: the store, and where it fails and the configuration says so, the journal.

Once a write has failed the store is left alone and looked at again every `RETRY_S`, so that requests do not wait for a
disk that does not answer. When it can be written, what the journal has is taken in, and all goes on as before.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from router.core.entry import Attempt, Entry
from router.stores.journal import Journal
from router.stores.leases import Buried
from router.stores.ports import StoreDown
from router.stores.reading import StoredLedger

log = logging.getLogger("farebox.store")

RETRY_S = 1.0
OnFailure = Literal["refuse", "serve"]


@dataclass(slots=True)
class Recorder:
    """`open` and `close` of the port `Ledger`."""

    ledger: StoredLedger
    journal: Journal
    on_failure: OnFailure = "refuse"
    left: Sequence[Journal] = ()  # by workers that there are no more
    let_through: Counter[str] = field(default_factory=Counter)  # attempts that only the journal has seen begin, by team
    down: bool = False
    _begun: dict[str, Attempt] = field(default_factory=dict)  # of those in the journal, what is still on its way
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def open(self, attempt: Attempt) -> None:
        """Raises `StoreDown`."""
        if self.on_failure == "refuse" or not (self.down or self.journal):
            try:
                await self.ledger.open(attempt)
            except Buried:  # the store is well: it says that what is set aside for this attempt has been given back
                raise
            except StoreDown as error:
                self._fails(error)
                if self.on_failure == "refuse":
                    raise
            else:
                self._works()
                return
        await self._write(attempt)
        self._begun[attempt.id] = attempt
        self.let_through[attempt.team] += 1

    async def close(self, entry: Entry) -> None:
        """Raises `StoreDown`."""
        if not (self.journal or (self.down and self.on_failure == "serve")):
            try:
                await self.ledger.close(entry)
            except StoreDown as error:
                self._fails(error)
                if self.on_failure == "refuse":
                    raise
            else:
                self._works()
                return
        await self._write(entry)
        self._begun.pop(entry.attempt.id, None)

    async def _write(self, record: Attempt | Entry) -> None:
        async with self._turn:
            await asyncio.to_thread(self.journal.append, record)

    def _fails(self, error: StoreDown) -> None:
        if not self.down:
            log.error("the store cannot be written", extra={"error": str(error), "reason": self.on_failure})
        self.down = True

    def _works(self) -> None:
        if self.down:
            log.warning("the store can be written again")
        self.down = False

    @property
    def refuses(self) -> bool:
        """Whether nothing can be served now."""
        return self.down and self.on_failure == "refuse"

    async def start(self) -> None:
        """Take in what an earlier process left in the journal; attempts that it did not close are then to be recovered.

        Raises `StoreDown`.
        """
        if self.on_failure == "serve" or self.journal.path.is_file():
            await asyncio.to_thread(self.journal.open)
        if self.journal:
            await self._take_in(alive=False)
        for journal in self.left:
            await self._take_over(journal)

    async def _take_over(self, left: Journal) -> None:
        own, self.journal = self.journal, left
        try:
            await asyncio.to_thread(left.open)
            if left:
                await self._take_in(alive=False)
        finally:
            left.close()
            self.journal = own
        await asyncio.to_thread(left.path.unlink)

    async def follow(self, on_failure: OnFailure) -> None:
        """The configuration has changed. Raises `StoreDown`."""
        if on_failure == "serve" != self.on_failure and self.ledger.shared:  # others go by the name that it began with
            log.warning("where processes share a store only a restart lets one serve without it")
            return
        if on_failure == "serve":
            await asyncio.to_thread(self.journal.open)
        self.on_failure = on_failure

    async def mend(self) -> None:
        """Try the store again from time to time while it is down or the journal has something for it."""
        while True:
            await asyncio.sleep(RETRY_S)
            with contextlib.suppress(StoreDown):
                await self.retry()

    async def retry(self) -> None:
        """Take in what the journal has, if the store can be written. Raises `StoreDown`."""
        if self.down:
            await self.ledger.probe()
            self._works()
        if self.journal:
            await self._take_in(alive=True)

    async def _take_in(self, *, alive: bool) -> None:
        """Write the journal's records to the store, and empty it. Attempts of this process that are still on their way
        stay open there.
        """
        async with self._turn:
            records = await asyncio.to_thread(lambda: list(self.journal.records()))
            for record in records:
                if isinstance(record, Entry):
                    await self.ledger.close(record)
                elif not alive or record.id in self._begun:
                    await self.ledger.open(record)
            await asyncio.to_thread(self.journal.empty)
            self._begun.clear()
        entries = sum(isinstance(record, Entry) for record in records)
        log.warning("the journal was taken into the ledger", extra={"count": entries})

    def stop(self) -> None:
        self.journal.close()
