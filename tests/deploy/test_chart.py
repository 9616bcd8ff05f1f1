"""The Helm chart in its two shapes: its values, and what is rendered of them. Where there is a helm it renders anew and lints."""

import importlib.util
import json
import re
import shutil
import subprocess

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


def of(shape):
    """Each object by its kind: there is one of each."""
    return by_kind(render.rendered(shape).read_text())


def the_pod(shape):
    return of(shape)["Deployment"]["spec"]["template"]["spec"]


@pytest.fixture(scope="module", params=render.SHAPES)
def shape(request):
    return request.param


@pytest.fixture(scope="module")
def rendered(shape):
    return of(shape)


@pytest.fixture(scope="module")
def pod(rendered):
    return rendered["Deployment"]["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def container(pod):
    (only,) = pod["containers"]
    return only


def test_what_was_rendered_is_of_this_chart(shape):
    first = render.rendered(shape).read_text().splitlines()[0]
    assert first == f"# chart {render.fingerprint(shape)}", "run: python tests/deploy/chart/render.py (it needs helm)"


def test_the_chart_has_the_programs_version():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__


def test_every_value_that_a_template_asks_for_is_there_and_known_to_the_schema():
    asked = {
        tuple(name.split("."))
        for file in (CHART / "templates").iterdir()
        for name in re.findall(r"\.Values\.([\w.]+)", file.read_text())
    }
    assert len(asked) > 35
    for path in asked:
        value, known = VALUES, SCHEMA
        for name in path:
            assert name in value and name in known["properties"], path
            value, known = value[name], known["properties"][name]
            known = SCHEMA["definitions"][known["$ref"].rpartition("/")[2]] if "$ref" in known else known
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
        {"redis": {"existingSecret": "leases"}},
    ],
    ids=str,
)
def test_values_that_a_store_of_one_process_cannot_have_are_refused(wrong):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(VALUES | wrong, SCHEMA)


SHARED = {"postgresql": {"existingSecret": "store", "key": "url"}}


@pytest.mark.parametrize(
    "more",
    [
        {"replicas": 7},
        {"replicas": 1},
        {"redis": {"existingSecret": "leases"}},
        {"autoscaling": {"enabled": True, "inFlight": 0, "cpu": 60}},
        {"autoscaling": {"enabled": True, "inFlight": 500, "cpu": 0}},
    ],
    ids=str,
)
def test_with_postgresql_there_may_be_any_number_of_replicas(more):
    jsonschema.validate(VALUES | SHARED | more, SCHEMA)


@pytest.mark.parametrize(
    "wrong",
    [
        {"replicas": 0},
        {"replicas": 1.5},
        {"autoscaling": {"enabled": True, "inFlight": 0, "cpu": 0}},
        {"topologySpread": "Always"},
        {"networkPolicy": {"postgresql": {"to": [], "port": 5432}}},  # in a policy nobody named is everybody
    ],
    ids=str,
)
def test_values_that_replicas_cannot_have_are_refused(wrong):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(VALUES | SHARED | wrong, SCHEMA)


def test_one_pod_at_a_time_has_the_ledger_in_sqlite():
    rendered, pod = of("sqlite"), the_pod("sqlite")
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
    assert rendered["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 0
    assert "topologySpreadConstraints" not in pod


def test_replicas_on_postgresql_are_replaced_one_by_one_and_claim_nothing():
    rendered, pod = of("postgresql"), the_pod("postgresql")
    assert not rendered.keys() & {"PersistentVolumeClaim", "Secret"}
    assert rendered["Deployment"]["spec"]["strategy"] == {
        "type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }  # fmt: skip
    assert rendered["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
    assert [volume["name"] for volume in pod["volumes"] if "emptyDir" in volume] == ["own", "tmp"]
    spread = pod["topologySpreadConstraints"]
    assert [one["topologyKey"] for one in spread] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    assert all(one["labelSelector"]["matchLabels"] == SELECTOR for one in spread)


def test_replicas_get_the_addresses_of_their_stores_from_secrets_and_the_configuration_takes_them():
    (container,) = the_pod("postgresql")["containers"]
    told = {variable["name"]: variable.get("valueFrom") for variable in container["env"]}
    assert told["FAREBOX_STORE"] == {"secretKeyRef": {"name": "farebox-store", "key": "uri"}}
    assert told["FAREBOX_ACCOUNTS"] == {"secretKeyRef": {"name": "farebox-redis", "key": "url"}}
    text = of("postgresql")["ConfigMap"]["data"]["farebox.yaml"]
    assert "${FAREBOX_STORE}" in text and "${FAREBOX_ACCOUNTS" in text
    (alone,) = the_pod("sqlite")["containers"]
    assert not {"FAREBOX_STORE", "FAREBOX_ACCOUNTS"} & {variable["name"] for variable in alone["env"]}


async def test_the_autoscaler_goes_by_a_figure_that_there_is_and_the_replicas_are_its_own(running, demo):
    rendered = of("postgresql")
    spec = rendered["HorizontalPodAutoscaler"]["spec"]
    in_flight, cpu = spec["metrics"]
    on = await running(demo)
    kinds = {family.name: family.type for family in on.farebox.metrics.registry.collect()}
    assert kinds[in_flight["pods"]["metric"]["name"]] == "gauge"
    assert cpu["resource"]["target"] == {"type": "Utilization", "averageUtilization": 70}
    assert spec["scaleTargetRef"]["name"] == rendered["Deployment"]["metadata"]["name"]
    assert spec["minReplicas"] > 1 and "replicas" not in rendered["Deployment"]["spec"]
    (container,) = the_pod("postgresql")["containers"]
    assert container["resources"]["requests"]["cpu"]  # else there is nothing to be a share of


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


def test_the_volumes_are_where_the_image_writes_and_the_configuration_is_where_it_is_looked_for(container, shape):
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    written = mounts["ledger" if shape == "sqlite" else "own"]
    assert f"WORKDIR {written['mountPath']}\n" in DOCKERFILE
    assert not any("subPath" in mount for mount in mounts.values())
    assert mounts["config"]["readOnly"] is True
    variables = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert variables["FAREBOX_CONFIG"] == f"{mounts['config']['mountPath']}/farebox.yaml"
    assert container["envFrom"] == [{"secretRef": {"name": "farebox-keys"}}]


def test_the_configuration_arrives_as_it_was_written_and_fits_the_pod(rendered, pod, shape, tmp_path):
    given = yaml.safe_load(render.values(shape).read_text())["config"]
    text = rendered["ConfigMap"]["data"]["farebox.yaml"]
    assert text == given
    (tmp_path / "farebox.yaml").write_text(text)
    names = dict.fromkeys(re.findall(r"\$\{(\w+)\}", text), "x" * 12) | {
        "FAREBOX_STORE": "postgresql://farebox@db/farebox"
    }
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


def test_the_network_policy_closes_both_ways_and_opens_what_is_needed():
    spec = of("sqlite")["NetworkPolicy"]["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    (rule,) = spec["ingress"]
    assert len(rule["from"]) == 2 and rule["ports"] == [{"port": "http", "protocol": "TCP"}]
    names, vendors, more = spec["egress"]
    assert [port["port"] for port in names["ports"]] == [53, 53]
    (outside,) = vendors["to"]
    assert "169.254.0.0/16" in outside["ipBlock"]["except"] and vendors["ports"] == [{"port": 443, "protocol": "TCP"}]
    assert more["to"]


def test_the_network_policy_lets_replicas_reach_their_stores():
    _, _, postgresql, redis = of("postgresql")["NetworkPolicy"]["spec"]["egress"]
    assert postgresql == {"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}], "ports": [{"port": 5432, "protocol": "TCP"}]}
    assert redis["to"] == [{"podSelector": {"matchLabels": {"app": "redis"}}}] and redis["ports"][0]["port"] == 6380


def test_the_ingress_shows_what_applications_call_and_no_metrics():
    (rule,) = of("sqlite")["Ingress"]["spec"]["rules"]
    assert [path["path"] for path in rule["http"]["paths"]] == ["/v1"]


@needs_helm
def test_helm_renders_what_is_kept_here(rendered, shape):
    done = render.template(shape)
    assert done.returncode == 0, done.stderr
    assert by_kind(done.stdout) == rendered  # as values: helms differ in how they indent


@needs_helm
def test_helm_lints_the_chart(shape):
    done = render.helm("lint", "--strict", CHART, *render.KUBERNETES, "--values", render.values(shape))
    assert done.returncode == 0, done.stdout


@needs_helm
@pytest.mark.parametrize(
    ("values", "why"),
    [
        (["replicas=2"], "/replicas"),
        (["config="], "config is missing"),
        (["ingress.enabled=true"], "ingress.host is missing"),
        (["image.digest=sha256:DIGEST"], "/image/digest"),
        (["postgresql.existingSecret=s"], "FAREBOX_STORE"),
        (
            ["postgresql.existingSecret=s", "config=store: ${FAREBOX_STORE}\nserver: {on_store_failure: serve}"],
            "journal",
        ),
        (
            ["postgresql.existingSecret=s", "redis.existingSecret=s", "config=store: ${FAREBOX_STORE}"],
            "FAREBOX_ACCOUNTS",
        ),
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


@needs_helm
def test_a_claim_that_is_there_is_not_mounted_by_replicas():
    values = ["existingConfigMap=mine", "persistence.existingClaim=kept", "postgresql.existingSecret=s", "replicas=3"]
    told = [word for value in values for word in ("--set", value)]
    found = by_kind(render.helm("template", "farebox", CHART, *render.KUBERNETES, *told).stdout)
    assert "kept" not in str(found) and found["Deployment"]["spec"]["replicas"] == 3


@pytest.mark.skipif(
    shutil.which("kubectl-validate") is None,
    reason="install kubectl-validate: the fields that are used here are tested alone",
)
@pytest.mark.parametrize("version", ["1.27", "1.30"])
def test_kubernetes_knows_every_field_of_what_is_rendered(rendered, version, tmp_path):
    """The oldest that the chart says it runs on, and the newest that the program has the schemas of."""
    assert ">=1.27.0" in yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"]
    file = tmp_path / "rendered.yaml"
    ours = [document for kind, document in rendered.items() if kind != "ServiceMonitor"]  # which is the operator's
    file.write_text(yaml.safe_dump_all(ours))
    done = subprocess.run(
        ["kubectl-validate", "--version", version, file], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
