"""The JSON API for operators and the page."""

from aiohttp import web


def routes() -> list[web.RouteDef]:
    return []
