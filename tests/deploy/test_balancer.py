"""deploy/nginx/farebox.conf: what it passes on, to whom, and when. A real nginx is asked where there is one."""

import asyncio
import io
import subprocess

import aiohttp
import balancer
import pytest
from aiohttp import web

TEXT = balancer.FILE.read_text()


def test_nothing_is_held_back_and_nothing_that_was_sent_is_sent_again():
    for line in (
        "proxy_buffering off;",
        "proxy_request_buffering off;",
        "client_max_body_size 0;",
        "proxy_http_version 1.1;",
    ):
        assert line in TEXT
    assert "proxy_next_upstream error timeout;" in TEXT  # without non_idempotent: what was sent may have been paid for
    assert TEXT.count(" resolve ") == 4 and "resolver 127.0.0.11 " in TEXT


def test_it_writes_to_temporary_files_alone():
    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"):
        assert f"{kind}_temp_path /tmp/" in TEXT
    assert "pid /tmp/" in TEXT and "access_log off;" in TEXT


class Replica:
    """Says who it is; streams a word, and the next only when it is told to; takes a request and says nothing."""

    def __init__(self, name):
        self.name, self.port, self.go_on = name, 0, asyncio.Event()
        self.seen = []

    async def start(self):
        app = web.Application(client_max_size=2**25)
        app.router.add_route("*", "/{path:.*}", self.answer)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self.runner.addresses[0][1]

    async def answer(self, request):
        self.seen.append(request.path)
        body = await request.read()
        if request.path == "/v1/lost":
            request.transport.abort()
        if request.path != "/v1/stream":
            told = {"name": self.name, "bytes": len(body), "proto": request.headers["X-Forwarded-Proto"]}
            return web.json_response(told)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: first\n\n")
        await self.go_on.wait()
        await response.write(b"data: second\n\n")
        return response


@pytest.fixture
async def replicas():
    both = [Replica("one"), Replica("two")]
    for replica in both:
        await replica.start()
    yield both
    for replica in both:
        await replica.runner.cleanup()


@pytest.fixture
async def front(replicas, tmp_path):
    """A client of the balancer that stands before the replicas."""
    if balancer.version() is None:
        pytest.skip("install nginx: the text alone is tested")
    port, health = balancer.free_port(), balancer.free_port()
    file = balancer.written(tmp_path, port, health, [replica.port for replica in replicas])
    checked = subprocess.run(
        ["nginx", "-t", "-e", tmp_path / "nginx.err", "-c", file],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert checked.returncode == 0, checked.stderr
    with balancer.started(tmp_path, file):
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=aiohttp.ClientTimeout(30)) as session:
            while True:
                try:
                    async with session.get(f"http://127.0.0.1:{health}/") as answer:
                        assert answer.status == 200
                        break
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.01)
            yield session


async def test_each_piece_of_a_stream_is_passed_on_when_it_comes(front, replicas):
    async with front.post("/v1/stream", json={}) as answer:
        first = await answer.content.readuntil(b"\n\n")
        for replica in replicas:
            replica.go_on.set()  # so the first had come before there was a second
        assert (first, await answer.content.read()) == (b"data: first\n\n", b"data: second\n\n")


async def test_requests_of_applications_are_spread_and_a_large_body_passes(front, replicas):
    names = set()
    for _ in range(8):
        async with front.post("/v1/chat/completions", data=io.BytesIO(b"x" * 2**24)) as answer:
            told = await answer.json()
            assert told["bytes"] == 2**24 and told["proto"] == "http"
            names.add(told["name"])
    assert names == {"one", "two"}


async def test_people_stay_with_one_replica(front, replicas):
    names = set()
    for path in ("/", "/admin/v1/spend", "/login") * 4:
        async with front.get(path, headers={"X-Forwarded-Proto": "https"}) as answer:
            told = await answer.json()
            names.add(told["name"])
            assert told["proto"] == "https"
    assert len(names) == 1


async def test_who_takes_no_connection_is_passed_over(front, replicas):
    await replicas[0].runner.cleanup()
    for _ in range(8):
        async with front.post("/v1/chat/completions", json={}) as answer:
            assert answer.status == 200 and (await answer.json())["name"] == "two"


async def test_a_request_that_was_lost_is_not_sent_again(front, replicas):
    async with front.post("/v1/lost", json={}) as answer:
        assert answer.status == 502
    assert [path for replica in replicas for path in replica.seen] == ["/v1/lost"]


async def test_metrics_are_of_each_replica_and_so_of_none(front, replicas):
    async with front.get("/metrics") as answer:
        assert answer.status == 404
    assert not any(replica.seen for replica in replicas)
