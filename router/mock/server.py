"""Which paths there are, and which wire answers on each."""

from collections.abc import Callable

from aiohttp import web

from router.mock import anthropic, gemini, hunyuan, models, ollama, openai, page, qianfan, responses
from router.mock.bill import BillLine, invoice
from router.mock.errors import Refused
from router.mock.incoming import Incoming
from router.mock.serving import Serving, as_json
from router.mock.wires import Wire

_POSTS: dict[str, Wire] = {
    "/v1/chat/completions": openai.CHAT,
    "/v1/completions": openai.COMPLETIONS,
    "/v1/embeddings": openai.EMBEDDINGS,
    "/v1/responses": responses.RESPONSES,
    "/v1beta/openai/chat/completions": openai.CHAT,
    "/v1beta/openai/embeddings": openai.EMBEDDINGS,
    "/v1/messages": anthropic.MESSAGES,
    "/v1/messages/count_tokens": anthropic.COUNT_TOKENS,
    "/anthropic/v1/messages": anthropic.MESSAGES,
    "/anthropic/v1/messages/count_tokens": anthropic.COUNT_TOKENS,
    "/api/chat": ollama.CHAT,
    "/": hunyuan.CHAT,
    "/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/{model}": qianfan.CHAT,
}
# Who refuses to list models, by the style of the list.
_LISTED = {"openai": openai.CHAT, "anthropic": anthropic.MESSAGES, "google": gemini.GENERATE}


def _always(wire: Wire) -> Callable[[Incoming], Wire]:
    return lambda _: wire


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
        for version in ("v1beta", "v1"):
            app.router.add_get(f"/{{vendor}}/{version}/models", self._models)
            app.router.add_get(f"/{{vendor}}/{version}/models/{{model:.+}}", self._models)
        for path, wire in _POSTS.items():
            app.router.add_post(f"/{{vendor}}{path}", self._serving.handler(_always(wire)))
        app.router.add_post("/{vendor}/oauth/2.0/token", self._token)
        for version in ("v1beta", "v1"):
            app.router.add_post(f"/{{vendor}}/{version}/models/{{call:.+}}", self._serving.handler(gemini.wire))
        return app

    async def _show_bill(self, _: web.Request) -> web.Response:
        return as_json(invoice(self._bill), {})

    async def _clear_bill(self, _: web.Request) -> web.Response:
        self._bill.clear()
        return web.Response(status=204)

    async def _token(self, request: web.Request) -> web.Response:
        status, body, headers = qianfan.token(await self._serving.incoming(request))
        return as_json(body, headers, status)

    async def _models(self, request: web.Request) -> web.Response:
        """All models, or the one in the path."""
        incoming = await self._serving.incoming(request)
        style, model = models.style_of(incoming.path, incoming.headers), request.match_info.get("model")
        wire = _LISTED[style]
        try:
            wire.authorise(incoming)
            if model is None:
                return as_json(models.every(style, incoming.vendor), {})
            if model not in models.names(incoming.vendor):
                raise Refused(404, model=model)
            return as_json(models.one(style, incoming.vendor, model), {})
        except Refused as refused:
            status, body, headers = wire.refuse(refused, self._serving.serial())
            return as_json(body, headers, status)


async def _page(request: web.Request) -> web.Response:
    return web.Response(text=page.text(f"http://{request.host}"))
