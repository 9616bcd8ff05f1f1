"""aiohttp's side of a connection (see `front`), with an answer in the caller's dialect for what is no request at all."""

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import ContentEncodingError, HttpProcessingError

from router import api
from router.app import Farebox
from router.core.catalog import Endpoint
from router.core.errors import InvalidRequest
from router.incoming import PATHS
from router.tally import new_request_id

log = logging.getLogger("farebox.inside")

HOW: Mapping[str, Any] = MappingProxyType({"access_log": None, "keepalive_timeout": 75.0})
_LINE = re.compile(rb"[^\s/]{1,16} {1,8}(/[^\s?]{0,200})")
_QUOTED = re.compile(r"(?s)\n\n.*|: b['\"].*")  # what the parser shows of the request: there may be a key in it


class Inside(web.RequestHandler):
    """One connection of aiohttp's."""

    __slots__ = ("_asked", "_farebox")

    def __init__(self, farebox: Farebox, server: web.Server) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **HOW)
        self._farebox = farebox
        self._asked = b""  # the path of the last request that has begun

    def data_received(self, data: bytes) -> None:
        if (line := _LINE.match(data)) is not None:
            self._asked = line[1]
        super().data_received(data)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """What aiohttp answers in plain text, and logs with what the request had in it."""
        if not isinstance(exc, HttpProcessingError) or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        why = _QUOTED.sub("", message or "").strip().rstrip(":").replace("\n", " ")
        told = f"the request is not HTTP: {why}"
        if isinstance(exc, ContentEncodingError):
            told = api.UNPACKED
        log.info("a request that cannot be read", extra={"error": why})
        error = InvalidRequest(told)
        self._farebox.metrics.refused["other", error.code] += 1
        shown = api.show(error, new_request_id(self._farebox.clock.now()), self._spoken())
        shown.force_close()
        return shown

    def _spoken(self) -> Endpoint:
        anthropics = self._asked.startswith(b"/v1/messages")
        return "messages" if anthropics else PATHS.get(self._asked, "chat/completions")


def inside(farebox: Farebox, server: web.Server) -> Callable[[], Inside]:
    """How connections of aiohttp's are made."""
    return lambda: Inside(farebox, server)
