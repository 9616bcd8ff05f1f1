"""The user's own word on an answer: a webhook, or a function in Python.

A webhook is sent `{"request", "answer", "model", "route"}` and says `{"score": 0..1}`; a function is called with the same
four (two parsed bodies, two names) and returns the score, itself or when awaited.
"""

import asyncio
import inspect
import logging
from dataclasses import dataclass
from typing import Any

from router.core import jsonio
from router.core.cascade import Function, Webhook
from router.core.catalog import Timeouts
from router.core.failure import AttemptFailed
from router.upstream import Upstream, UpstreamCall

log = logging.getLogger("farebox.checker")


@dataclass(frozen=True, slots=True)
class Checker:
    """Scores answers; None where that could not be done, which is logged."""

    told: Webhook | Function
    upstream: Upstream

    async def score(self, asked: bytes, answer: bytes, model: str, route: str) -> float | None:
        """From 0, of no use, to 1, as good as any."""
        try:
            async with asyncio.timeout(self.told.timeout_s):
                if isinstance(self.told, Webhook):
                    value = await self._posted(self.told, asked, answer, model, route)
                else:
                    value = await _called(self.told, asked, answer, model, route)
            score = float(value)
        except (AttemptFailed, TimeoutError, ValueError, TypeError, KeyError) as error:
            log.warning("an answer could not be checked", extra={"error": f"{type(error).__name__}: {error}"})
            return None
        except Exception:  # the user's own code may raise anything
            log.exception("the checker of an answer failed")
            return None
        return score if 0 <= score <= 1 else None

    async def _posted(self, told: Webhook, asked: bytes, answer: bytes, model: str, route: str) -> Any:
        names = jsonio.dumps({"model": model, "route": route})
        body = b'{"request":' + asked + b',"answer":' + answer + b"," + names[1:]
        timeouts = Timeouts(told.timeout_s, told.timeout_s, told.timeout_s, told.timeout_s)
        exchange = self.upstream.open(UpstreamCall(told.url, {"Content-Type": "application/json"}, body, timeouts))
        try:
            await exchange.response()
            raw = await exchange.read()
            if not 200 <= exchange.status < 300:
                raise ValueError(f"status {exchange.status}")
            return jsonio.loads(raw)["score"]
        finally:
            exchange.close()


async def _called(told: Function, asked: bytes, answer: bytes, model: str, route: str) -> Any:
    args = jsonio.loads(asked), jsonio.loads(answer), model, route
    if inspect.iscoroutinefunction(told.call):
        return await told.call(*args)
    return await asyncio.to_thread(told.call, *args)
