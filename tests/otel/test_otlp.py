"""What a collector gets over OTLP/HTTP: the scrape's figures, and a trace of each request."""

import asyncio
import contextlib
import gzip
import subprocess
import sys
import time

import pytest
from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from prometheus_client.parser import text_string_to_metric_families
from support import demo_config, rows, serving, write_config

from router.core.entry import Attempt, Entry
from router.core.usage import Usage
from router.otel import names
from router.snapshot import load
from router.yamlfile import BadConfiguration

SEARCH = "fb-demo-search-key"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SECRET = "collector-secret"


class Collector:
    """An OTLP/HTTP receiver; answers `status`."""

    def __init__(self):
        self.metrics, self.traces, self.headers, self.raw = [], [], [], b""
        self.status = 200
        self.told = asyncio.Event()

    async def take(self, request):
        body = await request.read()
        body = gzip.decompress(body) if request.headers.get("Content-Encoding") == "gzip" else body
        self.headers.append(request.headers)
        self.raw += body
        kind = request.match_info["kind"]
        told = {"metrics": ExportMetricsServiceRequest, "traces": ExportTraceServiceRequest}[kind].FromString(body)
        getattr(self, kind).append(told)
        self.told.set()
        return web.Response(status=self.status, content_type="application/x-protobuf")

    @property
    def spans(self):
        return [
            span
            for one in self.traces
            for resource in one.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def latest(self):
        """name → metric, of the last export."""
        (resource,) = self.metrics[-1].resource_metrics
        return {metric.name: metric for scope in resource.scope_metrics for metric in scope.metrics}


def plain(attributes):
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@pytest.fixture
async def collector():
    taken = Collector()
    app = web.Application(client_max_size=2**24)
    app.add_routes([web.post("/v1/{kind}", taken.take)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    taken.url = "http://{}:{}".format(*runner.addresses[0][:2])
    yield taken
    await runner.cleanup()


def told(tmp_path, collector, **more):
    config = demo_config(tmp_path)
    config["otel"] = {"endpoint": collector.url, "headers": {"x-token": SECRET}, "every": "1h", **more}
    return config


async def ask(on, text, model="auto", **headers):
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    async with on.post(key=SEARCH, json=body, headers=headers) as reply:
        assert reply.status == 200, await reply.text()
        return reply.headers["x-farebox-request-id"]


async def test_metrics_are_the_scrapes_and_so_the_ledgers(tmp_path, collector):
    config = told(tmp_path, collector)
    async with serving(config, tmp_path) as on:
        await ask(on, "One. out=20 cached=50 in=200")
        await ask(on, "Two. out=30", "best")
        await on.rows()
        async with on.http.get(on.url + "/metrics") as reply:
            scraped = {family.name: family for family in text_string_to_metric_families(await reply.text())}
    got = collector.latest()
    spent = sum(row["cost"] for row in rows(config["store"]))
    cost = got["farebox.cost"].sum
    assert sum(round(point.as_double * 10**9) for point in cost.data_points) == spent > 0
    assert cost.is_monotonic and cost.aggregation_temporality == 2
    assert {point.start_time_unix_nano for point in cost.data_points} == {0}  # the ledger's, and no reset by a restart
    assert all(point.start_time_unix_nano for point in got["farebox.attempts"].sum.data_points)
    assert plain(cost.data_points[0].attributes).keys() == {"team", "route", "model", "vendor", "tier", "currency"}
    assert len(got) == sum(bool(family.samples) for family in scraped.values())
    assert set(got) == {names.metric(name)[0] for name, family in scraped.items() if family.samples}

    tokens = got["gen_ai.client.token.usage"]
    assert tokens.unit == "{token}" and tokens.histogram.aggregation_temporality == 2
    labels = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.token.type")
    for point in tokens.histogram.data_points:
        told_by = plain(point.attributes)
        assert tuple(told_by) == labels
        ours = dict(
            zip(
                ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_token_type"),
                told_by.values(),
                strict=True,
            )
        )
        samples = [s for s in scraped["gen_ai_client_token_usage"].samples if ours.items() <= s.labels.items()]
        buckets = [s.value for s in samples if s.name.endswith("_bucket")]
        assert list(point.bucket_counts) == [
            after - before for after, before in zip(buckets, [0, *buckets], strict=False)
        ]
        assert list(point.explicit_bounds) == [float(4**i) for i in range(14)]
        assert [point.sum] == [s.value for s in samples if s.name.endswith("_sum")]
        assert [point.count] == [s.value for s in samples if s.name.endswith("_count")]
        assert not point.HasField("min") and not point.HasField("max")
    assert got["gen_ai.client.operation.duration"].unit == "s"
    assert got["process.memory.usage"].gauge.data_points[0].as_double > 10**6
    resource = plain(collector.metrics[-1].resource_metrics[0].resource.attributes)
    assert resource["service.name"] == "farebox" and resource["farebox.currency"] == "USD"


async def test_a_request_is_a_trace_with_a_span_for_each_attempt_and_what_it_cost(tmp_path, collector):
    config = told(tmp_path, collector)
    async with serving(config, tmp_path) as on:
        request_id = await ask(on, "The first vendor fails. status=503 fail=1 id=one out=20 cached=40 in=100")
        ledger = await on.rows()
    assert len(ledger) == len(collector.spans) - 1 == 2
    whole = next(span for span in collector.spans if span.kind == Span.SPAN_KIND_SERVER)
    attempts = [span for span in collector.spans if span.kind == Span.SPAN_KIND_CLIENT]
    assert {span.trace_id for span in collector.spans} == {whole.trace_id} and whole.parent_span_id == b""
    assert {span.parent_span_id for span in attempts} == {whole.span_id}
    assert len({span.span_id for span in collector.spans}) == 3
    failed, served = attempts
    assert failed.status.code == Status.STATUS_CODE_ERROR and plain(failed.attributes)["error.type"]
    assert served.status.code == whole.status.code == Status.STATUS_CODE_UNSET
    seen = plain(served.attributes)
    row = ledger[-1]
    assert served.name == f"chat {row['model']}" and whole.name == "route auto"
    assert (seen["gen_ai.operation.name"], seen["gen_ai.request.model"]) == ("chat", row["model"])
    assert seen["gen_ai.usage.output_tokens"] == 20
    assert seen["gen_ai.usage.input_tokens"] == row["input_fresh"] + row["cache_read"]
    assert seen["gen_ai.usage.cache_read.input_tokens"] == row["cache_read"] == 40
    assert round(seen["farebox.cost"] * 10**9) == row["cost"]
    told_of = plain(whole.attributes)
    assert told_of["farebox.request_id"] == request_id and told_of["farebox.attempts"] == 2
    assert round(told_of["farebox.cost"] * 10**9) == sum(row["cost"] for row in ledger)
    assert (
        whole.start_time_unix_nano
        <= failed.start_time_unix_nano
        <= served.start_time_unix_nano
        <= whole.end_time_unix_nano
    )


async def test_a_trace_goes_on_that_the_client_has_begun_and_only_if_it_is_recorded(tmp_path, collector):
    async with serving(told(tmp_path, collector), tmp_path) as on:
        await ask(on, "Recorded. out=5", traceparent=f"00-{TRACE}-{SPAN}-01")
        await ask(on, "Not recorded. out=5", traceparent=f"00-{'1' * 32}-{SPAN}-00")
        for nonsense in ("00-zz", f"00-{'0' * 32}-{SPAN}-01", f"ff-{TRACE}-{SPAN}-01"):
            await ask(on, "Its own. out=5", traceparent=nonsense)
    traces = [span.trace_id.hex() for span in collector.spans]
    assert traces.count(TRACE) == 2 and "1" * 32 not in traces
    assert len(set(traces)) == 4 and len(traces) == 8
    (begun,) = {span.parent_span_id.hex() for span in collector.spans if span.name == "route auto"} - {""}
    assert begun == SPAN


async def test_spans_go_out_soon_and_metrics_every_so_often(tmp_path, collector, monkeypatch):
    monkeypatch.setattr("router.otel.export.TRACES_S", 0.05)
    async with serving(told(tmp_path, collector, every="100ms"), tmp_path) as on:
        await ask(on, "Now. out=5")
        async with asyncio.timeout(10):
            while not (collector.spans and len(collector.metrics) > 1):
                collector.told.clear()
                await collector.told.wait()


async def test_no_word_of_a_prompt_no_key_and_no_tag_leaves(tmp_path, collector):
    async with serving(told(tmp_path, collector), tmp_path) as on:
        await ask(on, "Confidential merger. out=5", **{"x-farebox-tags": "customer=acme-corp"})
    assert collector.spans and collector.metrics
    for word in (b"onfidential", b"acme", SEARCH.encode(), SECRET.encode()):
        assert word not in collector.raw
    assert {headers["x-token"] for headers in collector.headers} == {SECRET}


@pytest.mark.parametrize("what", ["metrics", "traces"])
async def test_each_half_can_be_turned_off(tmp_path, collector, what):
    async with serving(told(tmp_path, collector, **{what: False}), tmp_path) as on:
        await ask(on, "Half. out=5")
    assert not getattr(collector, what)
    assert collector.metrics or collector.traces


async def test_a_collector_that_is_not_there_harms_nobody(tmp_path, collector, monkeypatch, caplog):
    monkeypatch.setattr("router.otel.export.TRACES_S", 0.01)
    monkeypatch.setattr("router.otel.export.LAST_S", 0.5)
    config = told(tmp_path, collector, every="10ms")
    config["otel"]["endpoint"] = "http://127.0.0.1:9"
    async with serving(config, tmp_path) as on:
        for _ in range(3):
            await ask(on, "Nobody listens. out=5")
        assert len(await on.rows()) == 3
        leaving = time.monotonic()
    assert time.monotonic() - leaving < 5


@contextlib.contextmanager
def installed(monkeypatch, found):
    with monkeypatch.context() as patch:
        patch.setattr("router.settings.find_spec", lambda _: found)
        yield


def test_a_configuration_that_asks_for_it_without_the_extra_says_what_to_install(tmp_path, monkeypatch):
    config = demo_config(tmp_path) | {"otel": {"endpoint": "http://127.0.0.1:4318"}}
    with installed(monkeypatch, None), pytest.raises(BadConfiguration, match=r"pip install 'farebox\[otel\]'"):
        load(write_config(config, tmp_path), "http://127.0.0.1:1")


def test_nothing_of_opentelemetry_is_imported_where_it_is_not_configured(tmp_path):
    script = (
        "import sys\n"
        "import router.server, router.cli.serve\n"
        "from router.app import Farebox\n"
        "from router.clock import SystemClock\n"
        "from router.snapshot import load\n"
        "from pathlib import Path\n"
        f"Farebox(load(Path({str(write_config(demo_config(tmp_path), tmp_path))!r}), 'http://127.0.0.1:1'), SystemClock())\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('opentelemetry', 'requests', 'google')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


def test_vendors_are_named_as_the_conventions_name_them():
    assert names.attributes({"gen_ai_provider_name": "xai"}) == {"gen_ai.provider.name": "x_ai"}
    assert names.attributes({"gen_ai_provider_name": "my-vllm"}) == {"gen_ai.provider.name": "my-vllm"}
    assert names.metric("farebox_overhead_seconds") == ("farebox.overhead", "s")
    assert names.metric("farebox_budget_limit") == ("farebox.budget_limit", "")


def test_what_is_remembered_of_requests_is_bounded(monkeypatch):
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415

    from router.otel import traces  # noqa: PLC0415

    monkeypatch.setattr(traces, "KEPT", 3)
    spans = traces.Spans(Resource({}), InstrumentationScope("farebox"))
    for i in range(9):
        spans.came(f"fb-{i}", f"00-{TRACE}-{SPAN}-01")
        attempt = Attempt(
            f"a{i}", f"fb-{i}", 1, 1, "t", "k", "r", "m", "v", "cheap", "p", "USD", "USD", 0, 0, 0, (), Usage()
        )
        spans.of(Entry(attempt, "error", "reported", Usage(), 0, 0, 0, (), final=False))
    assert len(spans._parents) == len(spans._began) == 3
