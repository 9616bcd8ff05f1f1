"""deploy/compose.yaml: what it starts, what that may do, and that its parts find each other."""

import json
import re

import pytest
import yaml
from support import ROOT

DEPLOY = ROOT / "deploy"
TEXT = (DEPLOY / "compose.yaml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]
# Compose's own words, as far as they are used here: one that is misspelt would be found only where it is run.
KEYS = {
    "build", "image", "user", "read_only", "cap_drop", "security_opt", "tmpfs", "pids_limit", "mem_limit", "restart", "logging", "ports",
    "networks", "environment", "volumes", "ulimits", "stop_grace_period", "command", "healthcheck", "depends_on",
}  # fmt: skip

every_service = pytest.mark.parametrize("name", SERVICES)


def test_the_file_says_only_what_compose_knows():
    assert set(COMPOSE) == {"name", "x-sealed", "services", "networks", "volumes"}
    for service in SERVICES.values():
        assert set(service) <= KEYS
        assert re.fullmatch(r"\d+[kmg]", service["mem_limit"])
        assert isinstance(service["pids_limit"], int)
        assert set(service.get("healthcheck", {})) <= {"test", "interval", "timeout", "retries", "start_period"}
        assert service["restart"] == "unless-stopped"
        assert set(service["networks"]) <= set(COMPOSE["networks"])


@every_service
def test_the_compose_file_runs_the_image_unprivileged_and_read_only(name):
    service = SERVICES[name]
    user, _, _ = service["user"].partition(":")
    assert int(user) > 0 and service["read_only"] is True
    assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"} & set(service)
    assert service["mem_limit"] and service["pids_limit"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    kept, *mounted = service["volumes"]
    volume, _, _ = kept.partition(":")
    assert volume in COMPOSE["volumes"]
    assert all(mount.endswith(":ro") for mount in mounted)
    assert all((DEPLOY / mount.split(":")[0]).exists() for mount in mounted)
    assert "docker.sock" not in str(service)


def test_farebox_is_built_from_here_and_gets_what_its_configuration_asks_for():
    service = SERVICES["farebox"]
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert f"USER {service['user']}\n" in dockerfile
    assert all(f"ARG {name}=" in dockerfile for name in service["build"]["args"])
    assert service["volumes"][0] == "farebox:/var/lib/farebox" and "VOLUME /var/lib/farebox\n" in dockerfile
    wanted = set(re.findall(r"\$\{(\w+)\}", (ROOT / "config/farebox.yaml").read_text()))
    assert wanted <= set(service["environment"])


def test_farebox_has_one_process_and_the_time_to_drain():
    service = SERVICES["farebox"]
    assert not {"deploy", "scale"} & set(service)
    assert int(service["stop_grace_period"].removesuffix("s")) >= 60


def test_every_variable_that_is_read_is_in_the_example_and_no_other():
    example = (DEPLOY / "example.env").read_text()
    told = re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE)
    assert sorted(told) == sorted(set(re.findall(r"\$\{(\w+)", TEXT)))
    assert not re.search(r"^[A-Z_]+=\S", example, re.MULTILINE)  # no value, so no key that everybody has
    assert "deploy/.env" in (ROOT / ".gitignore").read_text().split()


def test_every_image_can_be_pinned_by_its_digest_and_none_is_latest():
    example = (DEPLOY / "example.env").read_text()
    defaults = dict(re.findall(r"\$\{(\w+_IMAGE):-([^}]+)\}", TEXT))
    assert set(defaults) == {"PYTHON_IMAGE", "PROMETHEUS_IMAGE", "GRAFANA_IMAGE"}
    for name, image in defaults.items():
        assert f"#{name}={image}@sha256:DIGEST\n" in example
        assert re.search(r":v?\d+\.\d+", image)
    assert "imagetools inspect" in example
    assert f"ARG PYTHON_IMAGE={defaults['PYTHON_IMAGE']}\n" in (DEPLOY / "Dockerfile").read_text()


def test_prometheus_scrapes_the_container_and_else_does_what_it_does_beside_a_process():
    beside = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    inside = yaml.safe_load((DEPLOY / "prometheus/compose.yml").read_text())
    assert inside["scrape_configs"][0]["static_configs"] == [{"targets": ["farebox:8080"]}]
    inside["scrape_configs"][0]["static_configs"] = beside["scrape_configs"][0]["static_configs"]
    assert inside == beside
    service = SERVICES["prometheus"]
    told = dict(word.removeprefix("--").split("=") for word in service["command"])
    mounted = {mount.split(":")[1]: mount.split(":")[0] for mount in service["volumes"]}
    assert mounted[told["config.file"]] == "./prometheus/compose.yml"
    assert mounted[told["storage.tsdb.path"]] == "prometheus"
    assert mounted["/etc/prometheus/rules"] == "./prometheus/rules"  # where `rules/*.yml` is looked for


def test_prometheus_is_reached_by_grafana_alone_and_reaches_farebox_alone():
    assert COMPOSE["networks"]["watching"] == {"internal": True}
    assert SERVICES["prometheus"]["networks"] == ["watching"] and "ports" not in SERVICES["prometheus"]
    assert all("watching" in service["networks"] for service in SERVICES.values())


def test_grafana_finds_prometheus_and_the_dashboards():
    provisioning = DEPLOY / "grafana/provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090" and source["isDefault"] is True
    (provider,) = yaml.safe_load((provisioning / "dashboards/farebox.yaml").read_text())["providers"]
    mounted = {mount.split(":")[1]: mount.split(":")[0] for mount in SERVICES["grafana"]["volumes"]}
    assert mounted["/etc/grafana/provisioning"] == "./grafana/provisioning"
    folder = DEPLOY / mounted[provider["options"]["path"]]
    dashboards = [json.loads(file.read_text()) for file in folder.rglob("*.json")]
    assert len({dashboard["uid"] for dashboard in dashboards}) == len(dashboards) >= 4
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (folder / home.removeprefix(provider["options"]["path"] + "/")).is_file()
