"""The user's own word on an answer: a webhook, or a function in Python.

A webhook is sent `{"request", "answer", "model", "route"}` and says `{"score": 0..1}`; a function is called with the same
four (two parsed bodies, two names) and returns the score, itself or when awaited.
"""

import asyncio
import inspect
import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from router.core import jsonio
from router.core.cascade import Function, Webhook
from router.core.catalog import Timeouts
from router.core.failure import AttemptFailed
from router.upstream import Upstream, UpstreamCall

log = logging.getLogger("farebox.checker")

AT_ONCE = 8  # calls of one function; others wait, within their time


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
        except AttemptFailed as error:
            log.warning("an answer could not be checked", extra={"error": str(error.failure)})
            return None
        except (TimeoutError, ValueError, TypeError, KeyError) as error:  # whose message may quote the answer
            log.warning("an answer could not be checked", extra={"error": type(error).__name__})
            return None
        except (Exception, SystemExit):  # the user's own code may raise anything, and must not end the process
            log.exception("the checker of an answer failed")
            return None
        if not 0 <= score <= 1:
            log.warning("an answer could not be checked", extra={"error": "its score is not from 0 to 1"})
            return None
        return score

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
    args = jsonio.loads(asked), jsonio.loads_reply(answer), model, route
    if inspect.iscoroutinefunction(told.call):
        return await told.call(*args)
    threads = _THREADS.setdefault(told.call, Threads(AT_ONCE))
    value = await asyncio.wrap_future(threads.call(told.call, *args))
    return await value if inspect.isawaitable(value) else value


class Threads:
    """Some threads for code that may hang. Nobody else's work waits behind it, and the process ends without it."""

    __slots__ = ("_begun", "_most", "_work")

    def __init__(self, most: int) -> None:
        self._most, self._begun = most, 0
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = queue.SimpleQueue()

    def call(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Its result. If it is cancelled before its turn, it is never called."""
        done: Future[Any] = Future()
        self._work.put((done, function, args))
        if self._begun < self._most:
            self._begun += 1
            threading.Thread(target=self._run, name="checker", daemon=True).start()
        return done

    def _run(self) -> None:
        while True:
            done, function, args = self._work.get()
            if not done.set_running_or_notify_cancel():
                continue
            try:
                done.set_result(function(*args))
            except BaseException as error:  # noqa: BLE001 (it is told to whoever waits)
                done.set_exception(error)


_THREADS: dict[Callable[..., Any], Threads] = {}
