"""The house's layers, drawn from the imports; see the README's architecture section."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROUTER = Path(__file__).resolve().parent.parent / "router"
FILES = sorted(ROUTER.rglob("*.py"))

# What may be imported, by layer. Names are modules under `router`; "std" is the standard library.
CORE = {"core"}
PURE = CORE | {"dialects", "vendors"}
LAYERS = {
    "core": (CORE, {"orjson"}),
    "dialects": (CORE | {"dialects"}, set()),
    "vendors": (CORE | {"vendors"}, set()),
    "stores": (CORE | {"stores"}, {"orjson", "psycopg", "redis"}),
    "quality": ({"quality"}, {"numpy"}),
    "clock": (set(), set()),
    "resources": (set(), set()),
    "habits": (CORE | {"stores"}, set()),
    "tokenizer": (CORE, {"tiktoken", "tiktoken_ext"}),
    "upstream": (CORE | {""}, {"aiohttp", "multidict"}),
    "http1": (CORE | {"upstream"}, {"httptools"}),
    "incoming": (CORE, {"httptools", "multidict"}),
    "sockets": (CORE | {"", "upstream"}, {"aiohttp"}),
    "lean": (CORE | {"", "http1", "upstream"}, set()),
    "logs": (CORE, set()),
    "yamlfile": (set(), {"yaml"}),
    "calendars": (CORE | {"yamlfile", "resources"}, {"pydantic"}),
    "priceentry": (CORE | {"calendars", ""}, {"pydantic"}),
    "pricebook": (CORE | {"calendars", "priceentry", "yamlfile", "resources", ""}, {"pydantic"}),
    "migration": (PURE | {"", "migration"}, set()),
    "webhooks": (CORE, set()),
    "alertsettings": (CORE | {"priceentry", "webhooks"}, {"pydantic"}),
    "alerts": (CORE | {"clock", "snapshot", "stores", "upstream", "webhooks"}, set()),
    "fields": (CORE, {"pydantic"}),
    "routesettings": (CORE | {"fields", "priceentry"}, {"pydantic"}),
    "settings": (
        CORE | {"alertsettings", "fields", "pricebook", "priceentry", "routesettings", "stores", "yamlfile"},
        {"pydantic"},
    ),
    "compiler": (PURE | {"promised", "", "routesettings", "settings", "pricebook", "priceentry", "yamlfile"}, set()),
    "promised": (CORE | {"quality"}, set()),
    "promises": ({"core", "promised", "quality"}, set()),
    "snapshot": (CORE | {"promised", "compiler", "settings", "stores", "yamlfile"}, set()),
    "checkpoints": (CORE | {"settings", "stores"}, set()),
    "waiting": (CORE | {"clock"}, set()),
    "gate": (CORE | {"clock", "waiting"}, set()),
    "turns": (CORE | {"clock", "waiting"}, set()),
    "lending": (CORE | {"stores"}, {"orjson"}),
    "sharing": (CORE | {"quotas", "settlement", "stores"}, set()),
    "kept": (CORE, set()),
    "room": (CORE | {"clock"}, set()),
    "freewindows": (CORE, set()),
    "quotas": (CORE | {"freewindows", "stores"}, set()),
    "distribution": (set(), {"prometheus_client"}),
    "gauges": (CORE | {"promises", "quotas", "snapshot"}, {"prometheus_client"}),
    "metrics": (CORE | {"distribution", "gauges", "snapshot", "stores"}, {"prometheus_client"}),
    "otel": (CORE | {"", "metrics", "otel", "settings"}, {"opentelemetry", "prometheus_client"}),
    "tally": (CORE | {"quotas", "upstream"}, set()),
    "settlement": (CORE | {"clock", "habits", "quotas", "stores", "tally", "tokenizer"}, set()),
    "grants": (PURE | {"clock", "upstream"}, set()),
    "told": (PURE | {"tally", "upstream"}, set()),
    "relay": (PURE | {"clock", "grants", "tally", "told", "upstream"}, set()),
    "hedge": (PURE | {"clock", "relay", "tally"}, set()),
    "flight": (CORE | {"relay", "tally"}, set()),
    "warm": (CORE | {"clock"}, set()),
    "cache": (CORE | {"clock", "flight", "relay", "settlement", "stores", "tally", "told"}, set()),
    "checker": (CORE | {"upstream"}, set()),
    "cascade": (PURE | {"checker", "habits", "upstream"}, set()),
    "shadow": (PURE | {"clock", "relay", "settlement", "tally", "turns"}, set()),
    "labels": (
        CORE
        | {"quality"}
        | {
            "checker",
            "clock",
            "relay",
            "room",
            "settings",
            "settlement",
            "shadow",
            "snapshot",
            "stores",
            "tally",
            "turns",
        },
        {"prometheus_client"},
    ),
    "services": (
        CORE
        | {"cascade", "clock", "gate", "grants", "habits", "hedge", "relay", "settlement", "tokenizer", "turns"}
        | {"labels", "promises", "cache", "upstream", "warm"},
        set(),
    ),
    "attempts": (CORE | {"cascade", "clock", "gate", "hedge", "relay", "services", "tally", "told", "turns"}, set()),
    "pipeline": (
        PURE | {"attempts", "cascade", "clock", "relay", "services", "snapshot", "tally", "told", "turns"},
        set(),
    ),
}
ANYTHING = {
    "app", "server", "listening", "handover", "front", "inside", "api", "auth", "admin", "cli", "mock", "openapi", "workers", "__main__", "",
}  # fmt: skip


def place(file):
    part = file.relative_to(ROUTER).parts[0].removesuffix(".py")
    return "" if part == "__init__" else part


def imports(file):
    """(top-level package, part of `router` or None) for each import, also inside functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module]
            if node.module == "router":
                names = [
                    f"router.{alias.name}"
                    if (ROUTER / alias.name).exists() or (ROUTER / f"{alias.name}.py").exists()
                    else "router"
                    for alias in node.names
                ]
        else:
            continue
        for name in names:
            top, *rest = name.split(".")
            yield (top, rest[0] if rest else "") if top == "router" else (top, None)


def test_every_module_has_its_layer():
    assert {place(file) for file in FILES} == LAYERS.keys() | ANYTHING


@pytest.mark.parametrize(
    "file", [file for file in FILES if place(file) in LAYERS], ids=lambda file: str(file.relative_to(ROUTER))
)
def test_a_module_imports_only_from_its_layer_and_those_below(file):
    ours, foreign = LAYERS[place(file)]
    for top, part in imports(file):
        if part is not None:
            assert part in ours, f"{file.name} imports router.{part}"
        else:
            assert top in sys.stdlib_module_names or top in foreign, f"{file.name} imports {top}"


def test_the_core_has_no_clock_no_randomness_and_no_files():
    for file in (ROUTER / "core").glob("*.py"):
        used = {top for top, _ in imports(file)}
        assert not used & {"time", "random", "secrets", "os", "pathlib", "socket", "asyncio", "logging"}, file.name


def test_the_core_names_no_vendor():
    from typing import get_args  # noqa: PLC0415

    from router.core.catalog import DialectName  # noqa: PLC0415
    from router.vendors import MODULES  # noqa: PLC0415

    dialects = set(get_args(DialectName))

    for file in (ROUTER / "core").glob("*.py"):
        strings = {node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)}
        assert not strings & (MODULES.keys() - dialects), file.name  # those are the names of dialects too


def test_background_tasks_have_an_owner():
    """A bare create_task is lost when nobody refers to it; each place that makes one keeps it."""
    makers = {file.name for file in FILES if ".create_task(" in file.read_text() and place(file) != "mock"}
    assert makers == {
        "app.py", "cache.py", "front.py", "history.py", "lean.py", "leased.py", "lending.py", "server.py", "settlement.py", "shadow.py",
        "siblings.py", "sockets.py", "station.py", "upstream.py",
    }  # fmt: skip


@pytest.mark.parametrize("module", ["router.pipeline", "router.snapshot", "router.server", "router.cli.serve"])
def test_a_module_can_be_imported_alone_and_does_nothing(module, tmp_path):
    script = (
        "import sys, socket\n"
        "def no(*a, **k): raise SystemExit('work at import')\n"
        "socket.socket.connect = no\n"
        f"import {module}\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())


def test_no_file_is_two_rooms():
    long = {str(f.relative_to(ROUTER)): n for f in FILES if (n := len(f.read_text().splitlines())) > 400}
    assert not long
