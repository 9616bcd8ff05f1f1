"""The documentation is held to the code: every setting, file and command in it is there, and its examples run."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel
from support import FareboxProcess, demo_config

from router import vendors
from router.dialects import DIALECTS
from router.resources import config_folder
from router.settings import Settings
from router.snapshot import load

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
CONFIGURATION = (ROOT / "docs/configuration.md").read_text()
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").glob("*.md")
)


def models_in(model, seen=()):
    """Every settings model that the file's model is made of."""
    for field in model.model_fields.values():
        for found in re.findall(r"router\.\w+\.(\w+)", str(field.annotation)):
            inner = getattr(sys.modules["router.settings"], found, None)
            if isinstance(inner, type) and issubclass(inner, BaseModel) and inner not in seen:
                yield inner
                yield from models_in(inner, (*seen, inner))


def test_every_setting_is_in_the_reference():
    names = set(Settings.model_fields)
    for model in models_in(Settings):
        if model.__name__ not in {"PriceSettings", "RatesSettings"}:  # docs/prices.md
            names |= {field.alias or name for name, field in model.model_fields.items()}
    missing = {
        name
        for name in names
        if f"`{name}`" not in CONFIGURATION and f"## {name}" not in CONFIGURATION and f"{name}:" not in CONFIGURATION
    }
    headings = " ".join(re.findall(r"^#+ (.*)$", CONFIGURATION, re.MULTILINE))
    assert {name for name in missing if name not in headings} == set()


def test_every_known_vendor_is_in_the_reference_and_has_a_price_file():
    (told,) = re.findall(r"^Known: (.*?)\.", CONFIGURATION, re.MULTILINE | re.DOTALL)
    assert told.replace("\n", " ").split(", ") == list(vendors.MODULES)
    for name in vendors.MODULES:
        assert (config_folder() / f"prices/{name}.yaml").is_file(), name


def test_the_tree_in_the_readme_is_the_tree():
    tree = README[README.index("```\nrouter/") : README.index("config/           demo.yaml")]
    told = set(re.findall(r"\b(\w+\.py)\b", tree)) | {
        f"{name}/" for name in re.findall(r"^  (\w+)/", tree, re.MULTILINE)
    }
    there = {path.name for path in (ROOT / "router").glob("*.py")} - {"__init__.py", "__main__.py"}
    there |= {f"{path.name}/" for path in (ROOT / "router").iterdir() if (path / "__init__.py").exists()}
    assert told == there


OWN_WIRES = dict.fromkeys(["ollama", "hunyuan", "qianfan"], "Any client, a vendor on a wire of its own")
OWN_WIRES["spark"] = "Any client, a vendor on Spark's WebSocket"


@pytest.mark.parametrize("dialect", OWN_WIRES)
def test_what_a_native_wire_carries_is_in_the_reference(dialect):
    told = (ROOT / "docs/dialects.md").read_text()
    (section,) = re.findall(rf"## {OWN_WIRES[dialect]}\n(.*?)\n## ", told, re.DOTALL)
    carries = DIALECTS[dialect].carries
    for name in (carries.fields | carries.own | carries.dropped.keys()) - {"stream"}:
        assert f"`{name}" in section, name
    assert f"`{dialect}`" in CONFIGURATION


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document):
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), target


def test_the_readmes_budget_is_a_configuration_that_is_right(tmp_path):
    (block,) = (block for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if "teams:" in block)
    (tmp_path / "farebox.yaml").write_text(block)
    names = re.findall(r"\$\{(\w+)\}", block)
    snapshot = load(tmp_path / "farebox.yaml", environment=dict.fromkeys(names, "x" * 12))
    assert len(snapshot.budgets) == 2 and not snapshot.warnings


def test_the_commented_example_is_right():
    text = (config_folder() / "farebox.yaml").read_text()
    names = re.findall(r"\$\{(\w+)\}", text)
    load(config_folder() / "farebox.yaml", environment={name: f"{i}-{name}" for i, name in enumerate(names)})


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    with FareboxProcess(demo_config(folder), folder) as process:
        yield process


def test_the_readmes_python_answers(demo):
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    script = block.replace("http://127.0.0.1:8080", demo.url)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) > 0


def test_the_readmes_curl_answers(demo):
    (command,) = re.findall(r"\$ (curl -s .*?)\n```", README, re.DOTALL)
    words = shlex.split(command.replace("\\\n", " ").replace("http://127.0.0.1:8080", demo.url))
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert yaml.safe_load(done.stdout)["usage"]["cost"] > 0


def test_the_request_that_make_run_prints_answers(demo):
    lines = iter(demo.child.stdout.readline, "")  # what was printed after the line that said where it serves
    command = [next(line for line in lines if line.startswith("curl "))]
    while command[-1].endswith("\\\n"):
        command.append(next(lines))
    done = subprocess.run(["bash", "-c", "".join(command)], capture_output=True, text=True, check=True)
    assert yaml.safe_load(done.stdout)["choices"][0]["message"]["content"]


def test_documents_speak_of_the_project_alone():
    for document in DOCUMENTS:
        text = document.read_text()
        assert not re.search(r"/(work|root|home|tmp)/", text), document.name


def test_every_test_that_the_threat_model_names_is_there():
    told = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/security.md").read_text()))
    there = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)\(", file.read_text())
    }
    assert len(told) > 30
    assert told <= there
