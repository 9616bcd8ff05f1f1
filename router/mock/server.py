"""Which paths there are, and which wire answers on each."""

from collections.abc import Callable

from aiohttp import web

from router.mock import anthropic, models, openai, openai_errors, page
from router.mock.bill import BillLine, invoice
from router.mock.errors import Refused
from router.mock.serving import Serving, as_json
from router.mock.wires import Wire

_POSTS: dict[str, Wire] = {
    "/v1/chat/completions": openai.CHAT,
    "/v1/completions": openai.COMPLETIONS,
    "/v1/embeddings": openai.EMBEDDINGS,
    "/v1/messages": anthropic.MESSAGES,
    "/v1/messages/count_tokens": anthropic.COUNT_TOKENS,
    "/anthropic/v1/messages": anthropic.MESSAGES,
    "/anthropic/v1/messages/count_tokens": anthropic.COUNT_TOKENS,
}


class Vendors:
    """All vendors as one application."""

    def __init__(self, bill: list[BillLine], seed: int, clock: Callable[[], float], pace: float) -> None:
        self._bill = bill
        self._serving = Serving(bill, seed, clock, pace)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_get("/", _page)
        app.router.add_get("/bill", self._show_bill)
        app.router.add_delete("/bill", self._clear_bill)
        app.router.add_get("/{vendor}/v1/models", _models)
        app.router.add_get("/{vendor}/v1/models/{model:.+}", _model)
        for path, wire in _POSTS.items():
            app.router.add_post(f"/{{vendor}}{path}", self._serving.handler(wire))
        return app

    async def _show_bill(self, _: web.Request) -> web.Response:
        return as_json(invoice(self._bill), {})

    async def _clear_bill(self, _: web.Request) -> web.Response:
        self._bill.clear()
        return web.Response(status=204)


async def _page(request: web.Request) -> web.Response:
    return web.Response(text=page.text(f"http://{request.host}"))


async def _models(request: web.Request) -> web.Response:
    try:
        openai_errors.authorise({name.lower(): value for name, value in request.headers.items()})
    except Refused as refused:
        return as_json(openai_errors.body(refused), {}, refused.status)
    return as_json({"object": "list", "data": models.of(request.match_info["vendor"])}, {})


async def _model(request: web.Request) -> web.Response:
    try:
        openai_errors.authorise({name.lower(): value for name, value in request.headers.items()})
        found = [m for m in models.of(request.match_info["vendor"]) if m["id"] == request.match_info["model"]]
        if not found:
            raise Refused(404, model=request.match_info["model"])
    except Refused as refused:
        return as_json(openai_errors.body(refused), {}, refused.status)
    return as_json(found[0], {})
