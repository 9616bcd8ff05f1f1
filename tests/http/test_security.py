"""The claims of docs/security.md that have no other test: bombs, redirects, base URLs, secrets."""

import asyncio
import gzip
import json
import logging
import re
import zlib
from functools import cache
from pathlib import Path

import aiohttp
import pytest
from support import KEY as KEY_OF_TEAM
from support import VENDOR_KEY, FareboxProcess, RawVendor, demo_config, small_config

from router.logs import JsonLines

KEY = "fb-demo-search-key"
ADMIN = "farebox-demo-admin"
SAY = [{"role": "user", "content": "Why do prices fall? out=3"}]


def rss_kb(process):
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.child.pid}/status").read_text())[1])


@cache
def packed(encoding):
    """400 MB in as many kilobytes."""
    packer, million = zlib.compressobj(9, wbits=31 if encoding == "gzip" else 15), bytes(2**20)
    return b"".join(packer.compress(million) for _ in range(400)) + packer.flush()


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    folder = tmp_path_factory.mktemp("security")
    with FareboxProcess(demo_config(folder), folder) as process:
        yield process


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/messages", "/v1/messages/count_tokens", "/admin/v1/keys", "/login"]
)
def test_a_body_that_unpacks_to_much_more_than_may_be_sent_is_refused_in_bounded_memory(process, path, encoding):
    import http.client  # noqa: PLC0415
    from urllib.parse import urlsplit  # noqa: PLC0415

    bomb = packed(encoding)
    before = rss_kb(process)
    at = urlsplit(process.url)
    connection = http.client.HTTPConnection(at.hostname, at.port, timeout=30)
    kind = "application/x-www-form-urlencoded" if path == "/login" else "application/json"
    bearer = ADMIN if path.startswith("/admin") else KEY
    try:
        connection.request(
            "POST",
            path,
            bomb,
            {"Content-Type": kind, "Content-Encoding": encoding, "Authorization": f"Bearer {bearer}"},
        )
        status = connection.getresponse().status
    except (ConnectionError, http.client.HTTPException):
        status = 413  # cut off while it was still sending
    finally:
        connection.close()
    assert status in {400, 413}
    assert rss_kb(process) - before < 150_000  # max_body_bytes is 20 MB; the body is 400


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_unpacks_to_much_more_than_was_sent_is_no_answer_and_bounded_in_memory(
    farebox_process, vendor, tmp_path, stream
):
    vendor.answers(packed("gzip"))
    vendor.headers = ["Content-Encoding: gzip"]
    if stream:
        vendor.content_type = "text/event-stream"
    process = await asyncio.to_thread(farebox_process, small_config(tmp_path, vendor.url))
    before = rss_kb(process)
    how = {
        "json": {"model": "small", "messages": SAY, "stream": stream},
        "headers": {"Authorization": f"Bearer {KEY_OF_TEAM}"},
    }
    async with aiohttp.ClientSession() as http, http.post(process.url + "/v1/chat/completions", **how) as reply:
        assert reply.status == 502, await reply.text()
    assert rss_kb(process) - before < 150_000


async def test_a_body_may_be_packed(running, demo):
    on = await running(demo)
    body = gzip.compress(json.dumps({"model": "auto", "messages": SAY}).encode())
    async with on.post(
        key=KEY, data=body, headers={"Content-Type": "application/json", "Content-Encoding": "gzip"}
    ) as reply:
        assert reply.status == 200


@pytest.mark.parametrize("client", ["lean", "aiohttp"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_of_a_vendor_is_followed(running, vendor, tmp_path, client, status):
    elsewhere = RawVendor()
    await elsewhere.start()
    config = small_config(tmp_path, vendor.url, server={"port": 0, "http_client": client})
    vendor.answers(b"{}")
    vendor.status, vendor.headers = status, [f"Location: {elsewhere.url}/chat/completions"]
    on = await running(config)
    async with on.post(json={"model": "small", "messages": SAY}) as reply:
        assert reply.status == 502
    assert vendor.calls and not elsewhere.calls
    await elsewhere.stop()


async def test_a_vendors_address_comes_from_the_configuration_and_from_nothing_that_a_client_sends(
    running, vendor, tmp_path
):
    elsewhere = RawVendor()
    await elsewhere.start()
    vendor.answers(b'{"id":"x","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}')
    on = await running(small_config(tmp_path, vendor.url))
    more = dict.fromkeys(("base_url", "api_base", "url", "endpoint", "host", "proxy", "callback_url"), elsewhere.url)
    headers = {"X-Forwarded-Host": "127.0.0.1:1", "X-Base-Url": elsewhere.url, "Forwarded": "host=127.0.0.1:1"}
    for model in ("small", "check/small"):
        async with on.post(json={"model": model, "messages": SAY, **more}, headers=headers) as reply:
            assert reply.status == 200
    for model in (elsewhere.url, f"check/{elsewhere.url}", "check/../small", "check/small/../../x"):
        async with on.post(json={"model": model, "messages": SAY}) as reply:
            assert reply.status == 404
    assert len(vendor.calls) == 2 and not elsewhere.calls
    await elsewhere.stop()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_vendor_that_repeats_our_credential_does_not_tell_it_to_a_client_or_the_log(
    running, vendor, tmp_path, caplog, status, stream
):
    told = f"Incorrect API key provided: {VENDOR_KEY}. Bearer {VENDOR_KEY}"
    error = {"error": {"message": told, "type": VENDOR_KEY, "param": VENDOR_KEY, "code": VENDOR_KEY}}
    vendor.answers(json.dumps(error).encode())
    vendor.status = status
    on = await running(small_config(tmp_path, vendor.url))
    async with on.post(json={"model": "small", "messages": SAY, "stream": stream}) as reply:
        assert VENDOR_KEY not in await reply.text()
        assert VENDOR_KEY not in str(reply.headers)
        assert reply.status >= 400
    rows = await on.rows()
    assert VENDOR_KEY not in str(rows)
    assert VENDOR_KEY not in caplog.text
    async with on.http.get(on.url + "/metrics") as reply:
        assert VENDOR_KEY not in await reply.text()


async def test_a_vendor_that_repeats_our_credential_in_a_stream_does_not_tell_it_to_a_client(running, vendor, tmp_path):
    first = b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"Well"}}]}\n\n'
    vendor.streams(first, b'data: {"error":{"message":"bad key %b"}}\n\n' % VENDOR_KEY.encode())
    on = await running(small_config(tmp_path, vendor.url))
    async with on.post(json={"model": "small", "messages": SAY, "stream": True}) as reply:
        text = await reply.text()
    assert "Well" in text and "bad key [credential]" in text and VENDOR_KEY not in text


async def test_no_secret_is_on_any_page_or_in_any_answer_of_the_admin_api(running, demo):
    demo["vendors"]["openai"] = {"api_key": VENDOR_KEY, "headers": {"X-Org": "secret-header-value"}}
    demo["checkpoints"] = {"file": "unused.jsonl", "key": "secret-of-the-checkpoints"}
    demo["checkpoints"]["file"] = str(Path(demo["store"].removeprefix("sqlite:///")).with_name("kept.jsonl"))
    on = await running(demo)
    async with on.post(key=KEY, json={"model": "auto", "messages": SAY}) as reply:
        request_id = reply.headers["x-farebox-request-id"]
    await on.rows()
    pages = ["/", "/metrics", "/openapi.json", "/v1/models", "/health/ready"]
    pages += [
        f"/admin/v1/{name}" for name in ("spend", "ledger", "budgets", "prices", "keys", f"decisions/{request_id}")
    ]
    for path in pages:
        bearer = KEY if path.startswith("/v1") else ADMIN
        async with on.http.get(on.url + path, headers={"Authorization": f"Bearer {bearer}"}) as reply:
            assert reply.status == 200, path
            text = await reply.text()
        for secret in (VENDOR_KEY, KEY, ADMIN, "secret-header-value", "secret-of-the-checkpoints"):
            assert secret not in text, path


async def test_no_secret_is_in_the_settings_as_they_print(running, demo):
    demo["vendors"]["openai"] = {"api_key": VENDOR_KEY, "api_keys": [VENDOR_KEY + "2"]}
    on = await running(demo)
    for secret in (VENDOR_KEY, KEY, ADMIN):
        assert secret not in repr(on.farebox.snapshot.settings)


def test_a_traceback_in_the_log_has_neither_values_nor_the_message():
    record = logging.LogRecord("farebox", logging.ERROR, __file__, 1, "a bug", (), None)
    try:
        raise ValueError(f"the key is {VENDOR_KEY}")
    except ValueError as error:
        record.exc_info = (type(error), error, error.__traceback__)
    record.authorization = VENDOR_KEY  # not on the list of what a line may say
    line = json.loads(JsonLines().format(record))
    assert line["error"] == "ValueError" and line["frames"]
    assert VENDOR_KEY not in str(line)


@pytest.mark.parametrize("path", ["/", "/page.css", "/login", "/admin/v1/keys", "/admin/nope"])
async def test_what_is_for_people_and_operators_is_sealed(running, demo, path):
    demo["server"]["open_page"] = False
    on = await running(demo)
    async with on.http.get(on.url + path) as reply:
        headers = reply.headers
        if reply.status == 405:
            return
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    if path == "/":
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["spend", "ledger", "budgets", "decisions/x", "prices", "keys"])
@pytest.mark.parametrize("configured", [None, ""])
async def test_the_admin_api_is_closed_without_a_configured_key_whatever_is_sent(running, demo, path, configured):
    demo["server"]["admin_key"] = configured
    on = await running(demo)
    for told in (
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer None"},
        {"x-api-key": ""},
        {"Authorization": f"Bearer {KEY}"},
    ):
        async with on.http.get(f"{on.url}/admin/v1/{path}", headers=told) as reply:
            assert reply.status == 403


def test_keys_are_compared_in_constant_time_or_found_by_their_hash():
    """By the code, since a difference of nanoseconds is no test: no secret is compared by == anywhere in `router`."""
    router = Path(__file__).parents[2] / "router"
    text = "\n".join(path.read_text() for path in router.rglob("*.py") if "mock" not in path.parts)
    assert not re.search(
        r"get_secret_value\(\)\s*[!=]=|[!=]=\s*\w+\.get_secret_value\(\)|admin_key\s*[!=]=\s*told", text
    )
    assert "hmac.compare_digest(hash_key(told), hash_key(key))" in text
    assert "callers.get(hash_key(key))" in text


async def test_a_made_key_is_in_the_store_as_its_hash_alone(running, demo):
    on = await running(demo)
    how = {"headers": {"Authorization": f"Bearer {ADMIN}"}, "json": {"team": "search", "name": "new"}}
    async with on.http.post(on.url + "/admin/v1/keys", **how) as reply:
        key = (await reply.json())["key"]
    async with on.post(key=key, json={"model": "auto", "messages": SAY}) as reply:
        assert reply.status == 200
    await on.rows()
    store = Path(on.farebox.ledger.path)
    for file in await asyncio.to_thread(lambda: list(store.parent.glob(f"{store.name}*"))):
        assert key.encode() not in file.read_bytes(), file


async def test_labels_are_configured_names_and_anything_else_is_other(running, vendor, tmp_path):
    told = "told-by-somebody-7361"
    error = {"error": {"message": told, "type": told, "code": told}}
    vendor.answers(json.dumps(error).encode())
    vendor.status = 418
    on = await running(small_config(tmp_path, vendor.url))
    for key, model in ((told, "small"), (KEY_OF_TEAM, told), (KEY_OF_TEAM, f"check/{told}"), (KEY_OF_TEAM, "small")):
        body = {"model": model, "messages": SAY, "user": told, "farebox": {"tags": {told: told}}}
        async with on.post(key=key, json=body) as reply:
            assert reply.status >= 400
    await on.rows()
    async with on.http.get(on.url + "/metrics") as reply:
        text = await reply.text()
    assert told not in text
    assert 'farebox_refused_total{reason="invalid_api_key",team="other"} 1.0' in text
