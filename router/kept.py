"""The last decisions, for who asks why a request went where it went."""

from collections import OrderedDict
from dataclasses import dataclass

from router.core.policy import Decision

MOST = 2000


@dataclass(slots=True)
class Kept:
    """A decision that can still be asked about."""

    id: str
    team: str
    decision: Decision


class Decisions(OrderedDict[str, Kept]):
    """By request, oldest first."""

    def keep(self, request_id: str, team: str, decision: Decision) -> None:
        self[request_id] = Kept(request_id, team, decision)
        if len(self) > MOST:
            self.popitem(last=False)
