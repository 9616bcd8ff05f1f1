"""The Helm chart: its values, and what is rendered of it. Where there is a helm it renders anew and lints."""

import importlib.util
import json
import re

import jsonschema
import pytest
import yaml
from support import ROOT

from router import __version__
from router.snapshot import load

CHART = ROOT / "deploy/helm/farebox"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
SELECTOR = {"app.kubernetes.io/name": "farebox", "app.kubernetes.io/instance": "farebox"}

_spec = importlib.util.spec_from_file_location("render", ROOT / "tests/deploy/chart/render.py")
render = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(render)

needs_helm = pytest.mark.skipif(render.helm("version") is None, reason="install helm: what it rendered is tested alone")


def by_kind(text):
    found = [document for document in yaml.safe_load_all(text) if document]
    assert len({document["kind"] for document in found}) == len(found)
    return {document["kind"]: document for document in found}


@pytest.fixture(scope="module")
def rendered():
    """Each object by its kind: there is one of each."""
    return by_kind(render.RENDERED.read_text())


@pytest.fixture(scope="module")
def pod(rendered):
    return rendered["Deployment"]["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def container(pod):
    (only,) = pod["containers"]
    return only


def test_what_was_rendered_is_of_this_chart():
    first = render.RENDERED.read_text().splitlines()[0]
    assert first == f"# chart {render.fingerprint()}", "run: python tests/deploy/chart/render.py (it needs helm)"


def test_the_chart_has_the_programs_version():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__


def test_every_value_that_a_template_asks_for_is_there_and_known_to_the_schema():
    asked = {
        tuple(name.split("."))
        for file in (CHART / "templates").iterdir()
        for name in re.findall(r"\.Values\.([\w.]+)", file.read_text())
    }
    assert len(asked) > 30
    for path in asked:
        value, known = VALUES, SCHEMA
        for name in path:
            assert name in value and name in known["properties"], path
            value, known = value[name], known["properties"][name]
    assert {path[0] for path in asked} == set(VALUES)


def test_the_values_are_what_the_schema_allows():
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(VALUES, SCHEMA)


@pytest.mark.parametrize(
    "wrong",
    [
        {"replicas": 2},
        {"replicaCount": 1},
        {"image": {"repository": "farebox", "digest": "sha256:DIGEST"}},
        {"persistence": {"accessMode": "ReadWriteMany"}},
        {"autoscaling": {"enabled": True}},
    ],
    ids=str,
)
def test_values_that_a_store_of_one_process_cannot_have_are_refused(wrong):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(VALUES | wrong, SCHEMA)


def test_one_pod_at_a_time_has_the_ledger(rendered, pod):
    assert rendered.keys() >= {
        "Deployment", "Service", "ConfigMap", "PersistentVolumeClaim", "PodDisruptionBudget", "NetworkPolicy", "ServiceAccount",
        "ServiceMonitor", "Ingress",
    }  # fmt: skip
    assert not rendered.keys() & {"HorizontalPodAutoscaler", "Secret"}
    spec = rendered["Deployment"]["spec"]
    assert spec["replicas"] == 1 and spec["strategy"] == {"type": "Recreate"}
    claim = rendered["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert {"name": "ledger", "persistentVolumeClaim": {"claimName": "farebox"}} in pod["volumes"]


def test_the_reasons_for_one_replica_and_no_autoscaler_are_beside_the_value():
    text = (CHART / "values.yaml").read_text()
    (reason,) = re.findall(r"((?:^#.*\n)+)^replicas: 1$", text, re.MULTILINE)
    assert "SQLite" in reason and "HorizontalPodAutoscaler" in reason and "Recreate" in reason


def test_the_pod_is_unprivileged_and_read_only(pod, container):
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True and context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert f"USER {context['runAsUser']}:{context['runAsGroup']}" in DOCKERFILE
    assert context["fsGroup"] == context["runAsGroup"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & pod.keys()
    assert not any("hostPath" in volume for volume in pod["volumes"])
    assert container["resources"]["limits"]["memory"] and "cpu" not in container["resources"]["limits"]
    assert re.search(r":[\w.]+@sha256:[0-9a-f]{64}$", container["image"])


def test_the_volumes_are_where_the_image_writes_and_the_configuration_is_where_it_is_looked_for(container):
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert f"WORKDIR {mounts['ledger']['mountPath']}\n" in DOCKERFILE
    assert not any("subPath" in mount for mount in mounts.values())
    assert mounts["config"]["readOnly"] is True
    variables = {variable["name"]: variable["value"] for variable in container["env"]}
    assert variables["FAREBOX_CONFIG"] == f"{mounts['config']['mountPath']}/farebox.yaml"
    assert container["envFrom"] == [{"secretRef": {"name": "farebox-keys"}}]


def test_the_configuration_arrives_as_it_was_written_and_fits_the_pod(rendered, pod, tmp_path):
    given = yaml.safe_load((render.HERE / "values.yaml").read_text())["config"]
    text = rendered["ConfigMap"]["data"]["farebox.yaml"]
    assert text == given
    (tmp_path / "farebox.yaml").write_text(text)
    names = dict.fromkeys(re.findall(r"\$\{(\w+)\}", text), "x" * 12)
    server = load(tmp_path / "farebox.yaml", environment=names).settings.server
    assert server.max_body_bytes == 20971520
    assert pod["terminationGracePeriodSeconds"] >= server.notice + 2 * server.drain


async def test_the_probes_ask_for_what_is_served(container, running, demo):
    on = await running(demo)
    paths = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {
        "startupProbe": "/health/live", "livenessProbe": "/health/live", "readinessProbe": "/health/ready",
    }  # fmt: skip
    for path in paths.values():
        answer = await on.http.get(on.url + path)
        assert answer.status == 200
    (port,) = container["ports"]
    assert container["args"] == ["serve", "--host", "0.0.0.0", "--port", str(port["containerPort"])]
    assert {container[name]["httpGet"]["port"] for name in paths} == {port["name"]}


def test_whatever_selects_the_pod_selects_it(rendered):
    labels = rendered["Deployment"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        rendered["Service"]["spec"]["selector"],
        *(rendered[kind]["spec"]["selector"]["matchLabels"] for kind in ("Deployment", "PodDisruptionBudget")),
        rendered["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector == SELECTOR for selector in selectors) and SELECTOR.items() <= labels.items()


def test_prometheus_finds_the_service_as_the_job_that_rules_and_dashboards_name(rendered):
    monitor, service = rendered["ServiceMonitor"]["spec"], rendered["Service"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,), (port,) = monitor["endpoints"], service["spec"]["ports"]
    assert endpoint["port"] == port["name"] and endpoint["path"] == "/metrics"
    job = service["metadata"]["labels"][monitor["jobLabel"]]
    assert f'up{{job="{job}"}}' in (ROOT / "deploy/prometheus/rules/alerts.yml").read_text()


def test_the_network_policy_closes_both_ways_and_opens_what_is_needed(rendered):
    spec = rendered["NetworkPolicy"]["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    (rule,) = spec["ingress"]
    assert len(rule["from"]) == 2 and rule["ports"] == [{"port": "http", "protocol": "TCP"}]
    names, vendors, more = spec["egress"]
    assert [port["port"] for port in names["ports"]] == [53, 53]
    (outside,) = vendors["to"]
    assert "169.254.0.0/16" in outside["ipBlock"]["except"] and vendors["ports"] == [{"port": 443, "protocol": "TCP"}]
    assert more["to"]


def test_the_ingress_shows_what_applications_call_and_no_metrics(rendered):
    (rule,) = rendered["Ingress"]["spec"]["rules"]
    assert [path["path"] for path in rule["http"]["paths"]] == ["/v1"]


@needs_helm
def test_helm_renders_what_is_kept_here(rendered):
    done = render.template()
    assert done.returncode == 0, done.stderr
    assert by_kind(done.stdout) == rendered  # as values: helms differ in how they indent


@needs_helm
def test_helm_lints_the_chart():
    done = render.helm("lint", "--strict", CHART, *render.KUBERNETES, "--values", render.HERE / "values.yaml")
    assert done.returncode == 0, done.stdout


@needs_helm
@pytest.mark.parametrize(
    ("values", "why"),
    [
        (["replicas=2"], "/replicas"),
        (["config="], "config is missing"),
        (["ingress.enabled=true"], "ingress.host is missing"),
        (["image.digest=sha256:DIGEST"], "/image/digest"),
    ],
    ids=str,
)
def test_helm_refuses_what_would_not_run(values, why):
    told = [word for value in ["config=x", *values] for word in ("--set", value)]
    done = render.helm("template", "farebox", CHART, *render.KUBERNETES, *told)
    assert done.returncode != 0 and why in done.stderr


@needs_helm
def test_without_any_source_nobody_is_let_in():
    done = render.helm(
        "template", "farebox", CHART, *render.KUBERNETES, "--set", "config=x", "--set-json", "networkPolicy.from=[]",
        "--show-only", "templates/networkpolicy.yaml",
    )  # fmt: skip
    spec = yaml.safe_load(done.stdout)["spec"]
    assert "Ingress" in spec["policyTypes"] and "ingress" not in spec


@needs_helm
def test_what_is_there_already_is_used_and_not_made():
    values = ["existingConfigMap=mine", "persistence.existingClaim=kept", "serviceAccount.create=false"]
    told = [word for value in values for word in ("--set", value)]
    found = by_kind(render.helm("template", "farebox", CHART, *render.KUBERNETES, *told).stdout)
    assert found.keys() == {"Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"}
    pod = found["Deployment"]["spec"]["template"]["spec"]
    ledger, config, _ = pod["volumes"]
    assert ledger["persistentVolumeClaim"]["claimName"] == "kept" and config["configMap"]["name"] == "mine"
    assert pod["serviceAccountName"] == "default"
