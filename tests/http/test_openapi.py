"""`GET /openapi.json` is true: every route is in it and the other way round, and answers to whatever fits it are as it says."""

import os
import re
import urllib.request

import hypothesis
import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from support import FareboxProcess, demo_config

from router.admin import routes as admin_routes
from router.api import routes as api_routes
from router.openapi import OPERATIONS, document
from router.openapi import routes as openapi_routes

EXAMPLES = int(os.environ.get("FAREBOX_EXAMPLES", "12"))  # of each operation; `make fuzz` has more
ADMIN, KEY = "farebox-demo-admin", "fb-demo-search-key"
CHECKS = (
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance, response_schema_conformance,
)  # fmt: skip


def test_every_route_is_in_the_document_and_every_operation_is_a_route():
    served = {
        (route.method, re.sub(r"\{(\w+)(:[^}]+)?\}", r"{\1}", route.path))
        for route in (*api_routes(), *admin_routes(), *openapi_routes())
        if route.method != "*"  # what answers 404
    }
    assert served == set(OPERATIONS)
    assert {(method.upper(), path) for path, told in document()["paths"].items() for method in told} == served


def test_every_schema_of_the_document_is_one_and_is_used():
    told = document()
    for schema in told["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    used = set(re.findall(r"#/components/schemas/(\w+)", str(told)))
    assert used == set(told["components"]["schemas"])


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    folder = tmp_path_factory.mktemp("openapi")
    config = demo_config(folder)
    config["mock"] = {"pace": 0}
    with FareboxProcess(config, folder) as process:
        yield process
        log = process.log
        assert "frames" not in log and "Traceback" not in log and "bug" not in log, log[-3000:]
        assert ADMIN not in log and KEY not in log


def schema_of(process):
    return schemathesis.openapi.from_url(process.url + "/openapi.json")


@pytest.mark.parametrize(("method", "path"), [pytest.param(*key, id=" ".join(key)) for key in OPERATIONS])
def test_answers_are_as_the_document_says(process, method, path):
    operation = schema_of(process)[path][method]
    key = ADMIN if path.startswith("/admin") else KEY

    @hypothesis.given(case=operation.as_strategy())
    @hypothesis.settings(
        max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True,
        phases=[Phase.explicit, Phase.generate],
    )  # fmt: skip
    def ask(case):
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer {key}"}
        if isinstance(case.body, dict) and "model" in case.body and len(str(case.body)) % 3:
            case.body["model"] = (
                "auto" if len(str(case.body)) % 2 else "gpt-4o"
            )  # else hardly any would be one there is
        case.call_and_validate(checks=CHECKS, allow_redirects=False, timeout=20)

    ask()


async def test_answers_about_real_traffic_are_as_the_document_says(running, demo):
    demo["mock"] = {"pace": 0}
    on = await running(demo)
    bearer = {"Authorization": f"Bearer {ADMIN}"}
    told, seen = document(), set()

    async def check(method, path, status=200, auth=bearer, **how):
        pattern = re.sub(
            r"/(decisions|keys|models)/[^/]+$",
            lambda found: f"/{found[1]}/{{{'name' if found[1] == 'models' else 'id'}}}",
            path.partition("?")[0],
        )
        async with on.http.request(method, on.url + path, headers=auth, **how) as reply:
            assert reply.status == status, await reply.text()
            answer = await reply.json()
        shape = told["paths"][pattern][method.lower()]["responses"][str(status)]["content"]["application/json"][
            "schema"
        ]
        jsonschema.Draft202012Validator({**shape, "components": told["components"]}).validate(answer)
        seen.add((method, pattern))
        return answer

    body = {"model": "auto", "messages": [{"role": "user", "content": "Why? out=3"}], "farebox": {"tags": {"a": "b"}}}
    async with on.post(key=KEY, json=body) as reply:
        request_id = reply.headers["x-farebox-request-id"]
    async with on.post(key=KEY, json={**body, "stream": True}) as reply:
        await reply.read()
    await on.rows()
    key = {"x-api-key": KEY}
    assert (await check("GET", "/v1/models", auth=key))["data"]
    await check("GET", "/v1/models/auto", auth=key)
    await check("GET", "/v1/models/nope", 404, auth=key)
    await check("POST", "/v1/messages/count_tokens", auth=key, json={k: body[k] for k in ("model", "messages")})
    assert len((await check("GET", "/admin/v1/ledger"))["data"]) == 2
    assert (await check("GET", "/admin/v1/spend?by=team,route,model,vendor,tier&since=2020-01-01"))["data"]
    assert (await check("GET", "/admin/v1/spend?by=key,day"))["data"]
    assert (await check("GET", "/admin/v1/budgets"))["data"]
    assert (await check("GET", "/admin/v1/prices"))["data"]
    assert (await check("GET", f"/admin/v1/decisions/{request_id}"))["candidates"]
    await check("POST", "/admin/v1/feedback", json={"request_id": request_id, "label": "good"})
    await check("POST", "/admin/v1/feedback", json=[{"request_id": request_id, "score": 0.5, "source": "judge"}])
    await check("POST", "/admin/v1/feedback", 404, json={"request_id": "fb-nobody", "score": 1})
    await check("POST", "/admin/v1/feedback", 400, json={"request_id": request_id, "score": 2})
    made = await check("POST", "/admin/v1/keys", 201, json={"team": "search", "name": "x", "expires": "2030-01-01"})
    assert len((await check("GET", "/admin/v1/keys"))["data"]) > 1
    await check("DELETE", f"/admin/v1/keys/{made['id']}")
    await check("DELETE", f"/admin/v1/keys/{made['id']}", 404)
    await check("POST", "/admin/v1/reload")
    await check("GET", "/admin/v1/ledger?after=x", 400)
    await check("GET", "/admin/v1/ledger", 401, auth={})
    assert {key for key in OPERATIONS if key[1].startswith("/admin")} <= seen


def test_it_needs_no_key(process):
    with urllib.request.urlopen(process.url + "/openapi.json", timeout=10) as reply:
        assert reply.headers["Content-Type"] == "application/json"
