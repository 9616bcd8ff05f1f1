"""Which paths there are, and which wire answers on each."""

from collections.abc import Callable
from urllib.parse import urlsplit

from aiohttp import web

from router import vendors
from router.core.catalog import Wire as Wired
from router.mock import anthropic, azure, gemini, hunyuan, models, ollama, openai, page, qianfan, responses, spark
from router.mock.bill import BillLine, invoice
from router.mock.errors import Refused
from router.mock.incoming import Incoming
from router.mock.serving import Serving, as_json
from router.mock.wires import Wire

_OPENAI: dict[str, Wire] = {
    "chat/completions": openai.CHAT,
    "completions": openai.COMPLETIONS,
    "embeddings": openai.EMBEDDINGS,
    "responses": responses.RESPONSES,
}
_POSTS: dict[str, Wire] = {
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


def _openai_bases() -> set[str]:
    """The paths under which vendors have OpenAI's wires."""
    known = [vendor for name in vendors.MODULES if (vendor := vendors.find(name)) is not None]
    wires = [Wired(vendor.dialect, vendor.base_url) for vendor in known] + [
        wire for vendor in known for wire in vendor.also
    ]
    own = [wire for wire in wires if wire.dialect in {"openai", "responses"} and wire.base_url]
    return {urlsplit(wire.base_url).path for wire in own} | {"/v1"}


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
        bases = _openai_bases()
        for base in (*bases, "/v1beta"):
            app.router.add_get(f"/{{vendor}}{base}/models", self._models)
            app.router.add_get(f"/{{vendor}}{base}/models/{{model:.+}}", self._models)
        for base in bases:
            for path, wire in _OPENAI.items():
                app.router.add_post(f"/{{vendor}}{base}/{path}", self._serving.handler(_always(wire)))
        for path, wire in _POSTS.items():
            app.router.add_post(f"/{{vendor}}{path}", self._serving.handler(_always(wire)))
        app.router.add_post("/{vendor}/oauth/2.0/token", self._token)
        for version in ("v1beta", "v1"):
            app.router.add_post(f"/{{vendor}}/{version}/models/{{call:.+}}", self._serving.handler(gemini.wire))
        for call in azure.CALLS:
            app.router.add_post(f"{azure.DEPLOYMENTS}/{call}", self._serving.handler(_always(azure.CALLS[call])))
        for path in spark.PATHS:
            app.router.add_get(f"/{{vendor}}{path}", self._serving.socket_handler(spark.CHAT, spark.unwelcome))
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
        style, model = models.style_of(incoming.rest, incoming.headers), request.match_info.get("model")
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
