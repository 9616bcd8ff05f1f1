"""What is under deploy/ fits what it deploys. A real Prometheus reads it in tests/admin/test_prometheus.py."""

import fnmatch
import importlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support import ROOT

GRAFANA = ROOT / "deploy/grafana"
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()


@pytest.fixture(scope="module")
def build():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(GRAFANA)
        patch.setattr(sys, "dont_write_bytecode", True)
        return importlib.import_module("build")


DASHBOARDS = [json.loads(file.read_text()) for file in sorted(GRAFANA.glob("*.json"))]
every_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard["uid"])


def queries(dashboard):
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]


def test_the_dashboards_are_what_their_script_writes(build):
    there = {file.name: file.read_text() for file in GRAFANA.glob("*.json")}
    assert there == build.texts(), "run: python deploy/grafana/build.py"


async def test_every_metric_that_a_dashboard_asks_for_is_one_that_farebox_has(running, demo):
    on = await running(demo)
    known = {family.name: family.type for family in on.farebox.metrics.registry.collect()}
    endings = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
    names = {name + ending for name, kind in known.items() for ending in endings[kind]}
    asked = {
        name
        for dashboard in DASHBOARDS
        for query in queries(dashboard)
        for name in re.findall(r"\b(?:farebox|gen_ai|process)_\w+(?=[{\[ )]|$)", query)
    }
    assert asked - {"gen_ai_request_model"} <= names
    assert names <= asked | names  # what is asked for is found by the expression above
    assert len(asked) > 40


def test_the_dashboards_show_what_finance_and_operators_need():
    asked = " ".join(query for dashboard in DASHBOARDS for query in queries(dashboard))
    for metric in (
        "farebox_cost_total", "farebox_vendor_cost_total", "farebox_saved_total", "farebox_fixed_model_cost_total", "farebox_requests_total",
        "farebox_refused_total", "farebox_attempts_total", "farebox_tokens_total", "farebox_estimated_cost_total", "farebox_budget_spent",
        "farebox_budget_held", "farebox_budget_remaining", "farebox_budget_forecast", "farebox_overhead_seconds_bucket", "farebox_ledger_lag_seconds",
        "farebox_price{", "gen_ai_client_operation_time_to_first_chunk_seconds_bucket", "gen_ai_client_operation_duration_seconds_bucket",
    ):  # fmt: skip
        assert metric in asked
    for label in ("team", "model", "tier", "vendor", "currency"):
        assert re.search(rf"sum by \([^)]*\b{label}\b[^)]*\) \(farebox_cost_total", asked)


@every_dashboard
def test_a_dashboards_panels_have_their_own_ids_and_places_and_take_the_source_from_its_variable(dashboard):
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken))
    assert all(x < 24 for x, _ in taken)
    sources = [panel["datasource"] for panel in panels if panel["type"] != "row"]
    sources += [target["datasource"] for panel in panels for target in panel.get("targets", ())]
    assert all(source == {"type": "prometheus", "uid": "${DS_PROMETHEUS}"} for source in sources)
    assert all(panel["title"] and (panel["type"] == "row" or panel["description"]) for panel in panels)
    assert dashboard["templating"]["list"][0]["name"] == "DS_PROMETHEUS"
    variables = {variable["name"] for variable in dashboard["templating"]["list"]} | {"__rate_interval"}
    for query in queries(dashboard):
        assert set(re.findall(r"\$(\w+)", query)) <= variables, query


def test_prometheus_is_told_where_the_demo_serves():
    told = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    (job,) = told["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["127.0.0.1:8080"]}]


def test_the_image_copies_only_what_is_there_and_not_ignored():
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [
        word for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()
    ]
    assert len(copied) >= 7
    for path in copied:
        assert (ROOT / path).exists()
        assert any(fnmatch.fnmatch(path.split("/")[0], pattern) for pattern in allowed), path


def test_the_image_installs_only_what_is_locked_and_does_not_run_as_root():
    installs = re.findall(r"pip .*?install ([^\\&]+)", DOCKERFILE)
    assert len(installs) == 3
    assert all("--require-hashes" in line or ("--no-deps" in line and "--no-index" in line) for line in installs)
    last = DOCKERFILE.split("FROM ")[-1]
    assert "\nUSER 65532:65532\n" in last
    assert last.index("USER") < last.index("ENTRYPOINT")
    assert 'ENTRYPOINT ["farebox"]\nCMD ["serve", "--host", "0.0.0.0"]' in last


def test_the_image_holds_no_secret_and_fetches_nothing_unchecked():
    assert not re.search(r"(?i)\b(secret|password|token|api_key)\s*=", DOCKERFILE)
    assert not re.search(r"\b(curl|wget|ADD|apt-get|sudo|chmod 777|latest)\b", DOCKERFILE)
    assert DOCKERFILE.count("\nUSER ") == 1


@pytest.mark.parametrize(
    ("linter", "files"),
    [("hadolint", ["Dockerfile"]), ("shellcheck", ["postgres/init.sh", "systemd/install"])],
    ids=["hadolint", "shellcheck"],
)
def test_linters_find_nothing_to_complain_of(linter, files):
    if shutil.which(linter) is None:
        pytest.skip(f"install {linter}: the text alone is tested")
    done = subprocess.run(
        [linter, *(ROOT / "deploy" / file for file in files)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def sbom():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "requirements")
        patch.setattr(sys, "dont_write_bytecode", True)
        return importlib.import_module("sbom")


def test_the_bill_of_materials_is_what_the_lock_file_says(sbom):
    assert sbom.TARGET.read_text() == sbom.text(), "run: make sbom"
    told = json.loads(sbom.text())
    lock = (ROOT / "requirements/shared.txt").read_text()
    assert {(part["name"], part["version"]) for part in told["components"]} == {
        (name.lower(), version) for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", lock, re.MULTILINE)
    }
    assert sum(len(part["hashes"]) for part in told["components"]) == lock.count("--hash=sha256:")
    assert len(told["dependencies"][0]["dependsOn"]) > 8


def test_the_bill_of_materials_is_cyclonedx(sbom):
    import jsonschema  # noqa: PLC0415
    from cyclonedx.schema import _res  # noqa: PLC0415
    from referencing import Registry, Resource  # noqa: PLC0415

    def schema(name):
        return json.loads((Path(_res.__file__).parent / f"{name}.SNAPSHOT.schema.json").read_text())

    base = "http://cyclonedx.org/schema/"
    registry = Registry().with_resources(
        [(f"{base}{name}.SNAPSHOT.schema.json", Resource.from_contents(schema(name))) for name in ("spdx", "jsf-0.82")]
    )
    jsonschema.Draft7Validator(schema("bom-1.6"), registry=registry).validate(json.loads(sbom.text()))


@pytest.mark.parametrize("name", ["run.txt", "build.txt", "otel.txt", "shared.txt", "dev.txt"])
def test_every_locked_package_has_hashes(name):
    text = (ROOT / "requirements" / name).read_text()
    packages = re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]
    assert len(packages) > 3
    for package in packages:
        assert re.match(r"[\w.-]+==", package) and "--hash=sha256:" in package, package[:80]
