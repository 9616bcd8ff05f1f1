"""A real browser: headless Chromium, told what to do over its DevTools socket, so that a test may choose width and
colours and hears what the browser complains about.
"""

import asyncio
import base64
import contextlib
import itertools
import shutil
from pathlib import Path

import aiohttp
from support import unavailable

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-port=0",
)  # fmt: skip


def binary():
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    return found or unavailable("the page's browser tests need Chromium: apt-get install chromium")


@contextlib.asynccontextmanager
async def browser(folder):
    """Chromium with a profile of its own; hands out `open_page`."""
    profile = folder / "chromium"
    with (folder / "chromium.log").open("wb") as log:
        child = await asyncio.create_subprocess_exec(
            binary(), *FLAGS, f"--user-data-dir={profile}", "about:blank", stdout=log, stderr=log
        )
    try:
        async with asyncio.timeout(60):
            while not (port := _port(profile)):
                assert child.returncode is None, (folder / "chromium.log").read_text(errors="replace")
                await asyncio.sleep(0.05)
        async with aiohttp.ClientSession() as http:
            devtools = f"http://127.0.0.1:{port}"
            yield lambda url, **how: open_page(http, devtools, url, **how)
            await _close(http, devtools)
            async with asyncio.timeout(10):
                await child.wait()
    finally:
        if child.returncode is None:
            child.terminate()
        await child.wait()


async def _close(http, devtools):
    """Let it end by itself, so that none of its processes stays behind."""
    async with http.get(f"{devtools}/json/version") as reply:
        told = await reply.json()
    async with http.ws_connect(told["webSocketDebuggerUrl"]) as socket:
        await socket.send_json({"id": 1, "method": "Browser.close"})
        await socket.receive()


def _port(profile):
    with contextlib.suppress(OSError, IndexError):
        return (profile / "DevToolsActivePort").read_text().splitlines()[0]


@contextlib.asynccontextmanager
async def open_page(http, devtools, url, *, width=1280, dark=False, scripts=True):
    """A tab that has loaded `url`."""
    async with http.put(f"{devtools}/json/new?about:blank") as reply:
        target = await reply.json()
    async with http.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
        page = Page(socket)
        for domain in ("Page", "Runtime", "Log", "Network"):
            await page.call(f"{domain}.enable")
        await page.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        colours = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await page.call("Emulation.setEmulatedMedia", features=[colours])
        await page.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        await page.go(url)
        yield page
    async with http.get(f"{devtools}/json/close/{target['id']}") as reply:
        await reply.read()


class Page:
    """One tab. `complaints` is what its console has shown, `asked` every address it has asked for."""

    def __init__(self, socket):
        self._socket = socket
        self._numbers = itertools.count(1)
        self.complaints = []
        self.asked = []
        self.loads = 0

    async def call(self, method, **parameters):
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(30):
            while (told := await self._next()).get("id") != number:
                pass
        assert "error" not in told, (method, told["error"])
        return told["result"]

    async def _next(self):
        told = await self._socket.receive_json()
        if told.get("method") in {"Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"}:
            self.complaints.append(told["params"])
        elif told.get("method") == "Network.requestWillBeSent":
            self.asked.append(told["params"]["request"]["url"])
        elif told.get("method") == "Page.loadEventFired":
            self.loads += 1
        return told

    async def go(self, url):
        before = self.loads
        await self.call("Page.navigate", url=url)
        await self.loaded(before)

    async def loaded(self, before):
        """Wait until the tab has loaded once more than `before`."""
        async with asyncio.timeout(30):
            while self.loads <= before:
                await self._next()

    async def value(self, expression):
        """What a JavaScript expression is in this tab."""
        told = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def settled(self, expression):
        """What a promise of this tab comes to."""
        told = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def key(self, name, code, text=""):
        """Press and let go of a key."""
        both = {"key": name, "code": name, "windowsVirtualKeyCode": code}
        await self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **both)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **both)

    async def press(self, selector):
        """Click something that loads another page."""
        before = self.loads
        await self.value(f"document.querySelector({selector!r}).click()")
        await self.loaded(before)

    async def dom(self):
        return await self.value("document.documentElement.outerHTML")

    async def picture(self, file: Path):
        told = await self.call("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        file.write_bytes(base64.b64decode(told["data"]))
