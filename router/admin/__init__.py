"""The JSON API for operators and the page."""

from aiohttp import web

from router.admin.api import routes as api_routes
from router.admin.page import routes as page_routes


def routes() -> list[web.RouteDef]:
    return [*page_routes(), *api_routes()]
