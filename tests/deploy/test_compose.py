"""deploy/compose.yaml and deploy/compose-single.yaml: what they start, what that may do, and that their parts find each other."""

import itertools
import json
import os
import re
import shutil
import subprocess

import pytest
import yaml
from support import ROOT

from router.yamlfile import load

DEPLOY = ROOT / "deploy"
TEXTS = {name: (DEPLOY / f"{name}.yaml").read_text() for name in ("compose", "compose-single")}
FILES = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
REPLICAS, SINGLE = (FILES[name]["services"] for name in FILES)
SERVICES = [(file, name) for file, content in FILES.items() for name in content["services"]]
FAREBOX = [SINGLE["farebox"], REPLICAS["farebox-1"], REPLICAS["farebox-2"]]
EXAMPLE = (DEPLOY / "example.env").read_text()
# Compose's own words, as far as they are used here: one that is misspelt would be found only where it is run.
KEYS = {
    "build", "image", "user", "read_only", "cap_drop", "security_opt", "tmpfs", "pids_limit", "mem_limit", "restart", "logging", "ports",
    "networks", "environment", "volumes", "ulimits", "stop_grace_period", "stop_signal", "command", "entrypoint", "healthcheck",
    "depends_on", "shm_size",
}  # fmt: skip
KEEP_NOTHING = {"balancer", "redis"}

every_service = pytest.mark.parametrize(("file", "name"), SERVICES, ids="/".join)
every_file = pytest.mark.parametrize("file", FILES)


def compose():
    """Docker Compose as there is one: a program of its own, or docker's."""
    for program in (["docker-compose"], ["docker", "compose"]):
        if shutil.which(program[0]):
            told = subprocess.run([*program, "version"], capture_output=True, check=False, timeout=60)
            if told.returncode == 0:
                return program
    return None


@every_file
def test_the_file_says_only_what_compose_knows(file):
    content = FILES[file]
    assert set(content) <= {"name", "x-sealed", "x-farebox", "services", "networks", "volumes"}
    for service in content["services"].values():
        assert set(service) <= KEYS
        assert re.fullmatch(r"\d+[kmg]", service["mem_limit"])
        assert isinstance(service["pids_limit"], int)
        assert set(service.get("healthcheck", {})) <= {"test", "interval", "timeout", "retries", "start_period"}
        assert service["restart"] == "unless-stopped"
        assert set(service["networks"]) <= set(content["networks"])
        for other, wait in service.get("depends_on", {}).items():
            assert other in content["services"] and wait == {"condition": "service_healthy"}


@every_file
def test_compose_takes_the_file_and_asks_for_every_secret_that_is_missing(file):
    program = compose()
    if program is None:
        pytest.skip("install docker compose: what the file says is tested alone")
    words = [*program, "-f", str(DEPLOY / f"{file}.yaml"), "--env-file", "/dev/null", "config", "--quiet"]
    bare = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    needed = sorted(set(re.findall(r"\$\{(\w+):\?", TEXTS[file])))
    for missing in needed:
        given = {name: "abc" for name in needed if name != missing}
        told = subprocess.run(words, env=bare | given, capture_output=True, text=True, check=False, timeout=60)
        assert told.returncode != 0 and missing in told.stderr
    told = subprocess.run(
        words, env=bare | dict.fromkeys(needed, "abc"), capture_output=True, text=True, check=False, timeout=60
    )
    assert (told.returncode, told.stderr) == (0, "")


@every_service
def test_the_compose_file_runs_the_image_unprivileged_and_read_only(file, name):
    service = FILES[file]["services"][name]
    user, _, _ = service["user"].partition(":")
    assert int(user) > 0 and service["read_only"] is True
    assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"} & set(service)
    assert service["mem_limit"] and service["pids_limit"]
    assert all("noexec,nosuid,nodev" in place for place in service["tmpfs"])
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    kept, mounted = [], []
    for mount in service.get("volumes", ()):
        (kept if mount.partition(":")[0] in FILES[file]["volumes"] else mounted).append(mount)
    assert len(kept) == (name not in KEEP_NOTHING)
    assert all(mount.endswith(":ro") for mount in mounted)
    assert all((DEPLOY / mount.split(":")[0]).exists() for mount in mounted)
    assert "docker.sock" not in str(service)


@every_file
def test_every_volume_is_somebodys_and_nobody_elses(file):
    used = [
        mount.partition(":")[0] for service in FILES[file]["services"].values() for mount in service.get("volumes", ())
    ]
    assert all(used.count(volume) == 1 for volume in FILES[file]["volumes"])


@pytest.mark.parametrize("service", FAREBOX, ids=["single", "1", "2"])
def test_farebox_is_built_from_here_and_gets_what_its_configuration_asks_for(service):
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert f"USER {service['user']}\n" in dockerfile
    assert all(f"ARG {name}=" in dockerfile for name in service["build"]["args"])
    assert service["volumes"][0].endswith(":/var/lib/farebox") and "VOLUME /var/lib/farebox\n" in dockerfile
    wanted = set(re.findall(r"\$\{(\w+)\}", (ROOT / "config/farebox.yaml").read_text()))
    assert wanted <= set(service["environment"])


def test_one_process_has_its_ledger_in_a_file_and_the_time_to_drain():
    service = SINGLE["farebox"]
    assert not {"deploy", "scale"} & set(service)
    assert int(service["stop_grace_period"].removesuffix("s")) >= 60
    told = load(ROOT / "config/farebox.yaml", dict.fromkeys(service["environment"], "x")).data
    assert told["store"].startswith("sqlite:///") and told["accounts"] is None


def test_replicas_are_alike_but_for_their_own_files_and_share_what_the_configuration_takes_from_the_environment():
    one, two = (REPLICAS[name] for name in ("farebox-1", "farebox-2"))
    assert {**one, "volumes": 0} == {**two, "volumes": 0}
    assert {mount.split(":")[0] for mount in (one["volumes"][0], two["volumes"][0])} == {"farebox-1", "farebox-2"}
    environment = one["environment"]
    told = load(ROOT / "config/farebox.yaml", environment).data
    assert told["store"] == "postgresql://farebox@postgres/farebox" == environment["FAREBOX_STORE"]
    assert told["accounts"] == environment["FAREBOX_ACCOUNTS"] and told["accounts"].endswith("@redis:6379/0")
    notice = int(told["server"]["notice"].removesuffix("s"))
    assert int(one["stop_grace_period"].removesuffix("s")) >= notice + 60
    assert set(one["environment"]) > set(SINGLE["farebox"]["environment"])


def test_only_those_who_have_to_talk_to_one_another_share_a_network():
    networks = FILES["compose"]["networks"]
    meet = {
        frozenset((one, other))
        for one, other in itertools.combinations(REPLICAS, 2)
        if set(REPLICAS[one]["networks"]) & set(REPLICAS[other]["networks"])
    }
    replicas = ("farebox-1", "farebox-2")
    wanted = [(replica, other) for replica in replicas for other in ("balancer", "postgres", "redis", "prometheus")]
    assert meet == {frozenset(pair) for pair in (*wanted, replicas, ("prometheus", "grafana"))}
    out = {name for name, network in networks.items() if not (network or {}).get("internal")}
    reach = {name for name, service in REPLICAS.items() if set(service["networks"]) & out}
    assert reach == {
        *replicas,
        "balancer",
        "grafana",
    }  # to vendors; the others for their ports, which an internal network has not
    assert all("ports" in REPLICAS[name] for name in reach.difference(replicas))


def test_passwords_are_nowhere_but_in_variables_that_must_be_set():
    for file, text in TEXTS.items():
        for name in re.findall(r"\$\{(\w*PASSWORD\w*)", text):
            assert f"${{{name}:?" in text and f"${{{name}}}" not in text and f"${{{name}:-" not in text, (file, name)
    assert (
        "requirepass $$REDISCLI_AUTH\n" in TEXTS["compose"]
    )  # read from its input: arguments can be seen from outside
    assert "PASSWORD" not in str([service.get("command") for service in REPLICAS.values()])


def test_postgresql_keeps_its_files_in_its_volume_and_makes_its_user_and_database():
    service = REPLICAS["postgres"]
    places = dict(mount.removesuffix(":ro").split(":") for mount in service["volumes"])
    assert service["environment"]["PGDATA"].startswith(places["postgres"] + "/")
    script = (DEPLOY / "postgres/init.sh").read_text()
    assert places["./postgres/init.sh"].startswith("/docker-entrypoint-initdb.d/")
    assert (
        "CREATE ROLE farebox LOGIN PASSWORD :'password';" in script
        and "CREATE DATABASE farebox OWNER farebox;" in script
    )
    assert "SUPERUSER" not in script and (DEPLOY / "postgres/init.sh").stat().st_mode & 0o111


def test_redis_writes_nothing_down_and_forgets_nothing_by_itself():
    """An old file of leases, or leases that were put out for room, would let a budget be spent twice."""
    (said,) = re.findall(r"exec redis-server - <<END\n(.*)END\n", REPLICAS["redis"]["command"][-1], re.DOTALL)
    told = dict(line.split(" ", 1) for line in said.splitlines())
    assert told["save"] == '""' and told["appendonly"] == "no" and told["maxmemory-policy"] == "noeviction"
    most, held = (int(re.match(r"\d+", text)[0]) for text in (REPLICAS["redis"]["mem_limit"], told["maxmemory"]))
    assert held < most


def test_every_variable_that_is_read_is_in_the_example_and_no_other():
    told = re.findall(r"^#?([A-Z_]+)=", EXAMPLE, re.MULTILINE)
    assert sorted(told) == sorted(set(re.findall(r"(?<!\$)\$\{(\w+)", "".join(TEXTS.values()))))
    assert not re.search(r"^[A-Z_]+=\S", EXAMPLE, re.MULTILINE)  # no value, so no key that everybody has
    assert "deploy/.env" in (ROOT / ".gitignore").read_text().split()


def test_every_image_can_be_pinned_by_its_digest_and_none_is_latest():
    defaults = dict(re.findall(r"\$\{(\w+_IMAGE):-([^}]+)\}", "".join(TEXTS.values())))
    assert set(defaults) == {
        "PYTHON_IMAGE", "PROMETHEUS_IMAGE", "GRAFANA_IMAGE", "NGINX_IMAGE", "POSTGRES_IMAGE", "REDIS_IMAGE",
    }  # fmt: skip
    for name, image in defaults.items():
        assert f"#{name}={image}@sha256:DIGEST\n" in EXAMPLE
        assert re.search(r":v?\d+\.\d+", image)
    assert "imagetools inspect" in EXAMPLE
    assert f"ARG PYTHON_IMAGE={defaults['PYTHON_IMAGE']}\n" in (DEPLOY / "Dockerfile").read_text()


@every_file
def test_prometheus_scrapes_each_process_and_else_does_what_it_does_beside_one(file):
    beside = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    inside = yaml.safe_load((DEPLOY / f"prometheus/{file}.yml").read_text())
    served = [name for name in FILES[file]["services"] if name.startswith("farebox")]
    assert inside["scrape_configs"][0]["static_configs"] == [{"targets": [f"{name}:8080" for name in served]}]
    inside["scrape_configs"][0]["static_configs"] = beside["scrape_configs"][0]["static_configs"]
    assert inside == beside
    service = FILES[file]["services"]["prometheus"]
    told = dict(word.removeprefix("--").split("=") for word in service["command"])
    mounted = {mount.split(":")[1]: mount.split(":")[0] for mount in service["volumes"]}
    assert mounted[told["config.file"]] == f"./prometheus/{file}.yml"
    assert mounted[told["storage.tsdb.path"]] == "prometheus"
    assert mounted["/etc/prometheus/rules"] == "./prometheus/rules"  # where `rules/*.yml` is looked for


def test_prometheus_has_no_way_out_and_nobody_but_grafana_asks_it():
    for content in FILES.values():
        service = content["services"]["prometheus"]
        assert all(content["networks"][network] == {"internal": True} for network in service["networks"])
        assert "ports" not in service


def test_both_files_watch_alike():
    for name in ("prometheus", "grafana"):
        alone, many = ({**services[name], "networks": 0} for services in (SINGLE, REPLICAS))
        assert str(alone).replace("compose-single.yml", "compose.yml") == str(many)


def test_grafana_finds_prometheus_and_the_dashboards():
    provisioning = DEPLOY / "grafana/provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090" and source["isDefault"] is True
    (provider,) = yaml.safe_load((provisioning / "dashboards/farebox.yaml").read_text())["providers"]
    grafana = REPLICAS["grafana"]
    mounted = {mount.split(":")[1]: mount.split(":")[0] for mount in grafana["volumes"]}
    assert mounted["/etc/grafana/provisioning"] == "./grafana/provisioning"
    folder = DEPLOY / mounted[provider["options"]["path"]]
    dashboards = [json.loads(file.read_text()) for file in folder.rglob("*.json")]
    assert len({dashboard["uid"] for dashboard in dashboards}) == len(dashboards) >= 4
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (folder / home.removeprefix(provider["options"]["path"] + "/")).is_file()
