"""The systemd unit: what it may not do, and that it starts what there is."""

import re
import shutil
import stat
import subprocess
import sys

import pytest
from support import ROOT

from router.cli.serve import command

FOLDER = ROOT / "deploy/systemd"
UNIT = (FOLDER / "farebox@.service").read_text()
INSTALL = (FOLDER / "install").read_text()
WORST = 1.5  # of 10 in `systemd-analyze security`; what is left is the network, and the host's root directory

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="install systemd: the text alone is tested"
)


def said(key):
    return re.findall(rf"^{key}=(.*)$", UNIT, re.MULTILINE)


def test_the_unit_gives_up_every_right_that_it_does_not_need():
    for key in (
        "NoNewPrivileges", "PrivateDevices", "PrivateMounts", "PrivateTmp", "PrivateUsers", "ProtectClock", "ProtectControlGroups",
        "ProtectHome", "ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables", "LockPersonality",
        "MemoryDenyWriteExecute", "RemoveIPC", "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID",
    ):  # fmt: skip
        assert said(key) == ["yes"], key
    assert said("CapabilityBoundingSet") == said("AmbientCapabilities") == [""]
    assert said("ProtectSystem") == ["strict"] and said("ProtectProc") == ["invisible"]
    assert said("SystemCallFilter") == ["@system-service", "~@privileged @resources"]
    assert said("RestrictAddressFamilies") == ["AF_INET AF_INET6 AF_UNIX"]
    assert said("UMask") == ["0077"] and said("StateDirectoryMode") == ["0700"]
    assert said("MemoryMax") and said("TasksMax")
    assert not re.search(r"^ReadWritePaths=", UNIT, re.MULTILINE)  # the state directory is all that is written


def test_the_unit_runs_as_the_user_that_is_made_for_it():
    (user,) = said("User")
    assert user == said("Group")[0] == "farebox"
    made = re.findall(r"^u (\S+) - ", (FOLDER / "farebox.sysusers").read_text(), re.MULTILINE)
    assert made == [user]


def test_the_unit_starts_what_there_is_and_takes_over_from_the_version_before():
    (start,) = said("ExecStart")
    program, verb, *options = start.split()
    assert program == "/opt/farebox/%i/bin/farebox" and verb == command.name
    assert options == ["--takeover"] and any("--takeover" in option.opts for option in command.params)
    assert said("Restart") == ["on-failure"]  # who was taken over from exits 0, and stays away
    assert int(said("TimeoutStopSec")[0]) >= 60
    assert said("WorkingDirectory") == [f"/var/lib/{said('StateDirectory')[0]}"]


def test_a_reload_needs_no_program_that_a_small_machine_lacks():
    assert said("ExecReload") == [
        "/bin/sh -c 'kill -HUP $MAINPID'"
    ]  # there is no kill but the shell's where procps is not


def test_the_environments_file_has_what_the_example_configuration_asks_for_and_no_value():
    text = (FOLDER / "farebox.env").read_text()
    read = set(re.findall(r"\$\{(\w+)", (ROOT / "config/farebox.yaml").read_text()))
    shared = {"FAREBOX_STORE", "FAREBOX_ACCOUNTS", "FAREBOX_NOTICE"}
    assert set(re.findall(r"^(\w+)=$", text, re.MULTILINE)) == read - shared - {"VLLM_URL"}
    assert set(re.findall(r"^#(\w+)=\S", text, re.MULTILINE)) == shared  # an empty one would be no default
    assert not re.search(r"^\w+=\S", text, re.MULTILINE)


def test_what_is_installed_is_checked_against_its_hash_and_overwrites_nothing():
    installs = re.findall(r"pip install (.*)$", INSTALL, re.MULTILINE)
    assert len(installs) == 3
    assert all("--require-hashes" in line or ("--no-deps" in line and "--no-index" in line) for line in installs)
    for name in ("farebox.yaml", "farebox.env"):
        assert f'[ -e "$root/etc/farebox/{name}" ] ||' in INSTALL
    assert "-m 0600 deploy/systemd/farebox.env" in INSTALL
    assert (FOLDER / "install").stat().st_mode & stat.S_IXUSR
    assert not re.search(r"\b(curl|wget)\b", INSTALL)


@needs_systemd
def test_systemd_finds_nothing_to_complain_of(tmp_path):
    unit = tmp_path / "farebox@1.service"
    unit.write_text(UNIT.replace("/opt/farebox/%i/bin/farebox", sys.executable))
    verified = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False, timeout=60
    )
    assert verified.returncode == 0 and unit.name not in verified.stderr, verified.stderr


@needs_systemd
def test_systemd_thinks_well_of_what_the_unit_gives_up(tmp_path):
    unit = tmp_path / "farebox@1.service"
    unit.write_text(UNIT)
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", unit],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if "--offline" in judged.stderr:
        pytest.skip("install systemd 250 or newer")
    (exposure,) = re.findall(r"exposure level for \S+: ([\d.]+)", judged.stdout)
    assert float(exposure) <= WORST, judged.stdout
