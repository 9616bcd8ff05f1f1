"""What the same libraries do when they do nothing else: aiohttp's server and client passing bytes, without Farebox.

passthrough.py PORT VENDOR_PORT SLOW_VENDOR_PORT
"""

import sys

import aiohttp
import uvloop
from aiohttp import web

PORT, VENDOR, SLOW = map(int, sys.argv[1:])
SESSION = web.AppKey("session", aiohttp.ClientSession)


async def session(app):
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as app[SESSION]:
        yield


async def relay(request):
    body = await request.read()
    headers = {"Content-Type": "application/json"}
    port = SLOW if request.path.startswith("/slow/") else VENDOR
    url = f"http://127.0.0.1:{port}{request.path}"
    async with request.app[SESSION].post(url, data=body, headers=headers) as answer:
        if answer.content_type != "text/event-stream":
            return web.Response(body=await answer.read(), content_type=answer.content_type, status=answer.status)
        reply = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await reply.prepare(request)
        while piece := await answer.content.readany():
            await reply.write(piece)
        return reply


async def ready(_):
    return web.Response(text="ok")


uvloop.install()
app = web.Application(client_max_size=2**25)
app.add_routes([web.post("/{path:.*}", relay), web.get("/health/ready", ready)])
app.cleanup_ctx.append(session)
web.run_app(app, host="127.0.0.1", port=PORT, access_log=None, print=None)
