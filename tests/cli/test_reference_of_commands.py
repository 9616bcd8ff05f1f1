"""docs/cli.md names every command and option that there is, and every --help works."""

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from router.cli import COMMANDS, cli

DOCS = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")


def walk(command, words=()):
    yield " ".join(words), command
    if isinstance(command, click.Group):
        with click.Context(command) as context:
            for name in command.list_commands(context):
                yield from walk(command.get_command(context, name), (*words, name))


EVERY = dict(walk(cli))
LEAVES = {words: command for words, command in EVERY.items() if not isinstance(command, click.Group)}


def section(words):
    """The part of the reference on a command."""
    found = re.search(rf"^##+ `farebox {words}[^`]*`$(.*?)(?=^##|\Z)", DOCS, re.MULTILINE | re.DOTALL)
    assert found, f"docs/cli.md has no section on `farebox {words}`"
    return found[0]


@pytest.mark.parametrize("words", LEAVES)
def test_the_reference_names_each_option_and_argument_of_a_command(words):
    text = section(words)
    for parameter in LEAVES[words].params:
        if isinstance(parameter, click.Argument):
            assert (parameter.metavar or parameter.name).upper() in text
        elif not parameter.hidden and parameter.name not in {"config", "help"}:
            assert any(f"`{name}" in text or f"[{name}" in text for name in parameter.opts), parameter.name


@pytest.mark.parametrize("words", LEAVES)
def test_the_reference_shows_an_example_of_each_command(words):
    assert f"$ farebox {words}" in DOCS


def test_the_reference_has_no_command_or_option_that_is_not_there():
    named = {
        found.split(" [")[0]
        for found in re.findall(r"^##+ `farebox ([a-z ]+?)(?: [^a-z`][^`]*)?`$", DOCS, re.MULTILINE)
    }
    assert named <= set(EVERY)
    options = {name for command in EVERY.values() for parameter in command.params for name in parameter.opts}
    assert set(re.findall(r"`(--[a-z-]+)", DOCS)) <= options | {"--help", "--version"}


@pytest.mark.parametrize("words", EVERY)
def test_every_help_works_and_tells_something_of_each_option(run, words):
    told = run(*words.split(), "--help").stdout
    assert "Usage: " in told
    for parameter in EVERY[words].params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, f"{words} {parameter.name}"


@pytest.mark.parametrize("words", LEAVES)
def test_every_command_takes_a_configuration(words):
    assert any(parameter.name == "config" for parameter in LEAVES[words].params)


def test_each_command_is_the_one_that_the_list_names():
    assert {command.name for name, command in EVERY.items() if name in COMMANDS} == set(COMMANDS)


@pytest.mark.parametrize("words", [["nonsense"], ["ledger", "nonsense"], ["report", "--nonsense"], ["prices", "show"]])
def test_wrong_usage_is_exit_2(run, words):
    run(*words, code=2)


def test_help_of_everything_imports_no_server_and_no_rich():
    code = "import sys, router.cli.report, router.cli.prices, router.cli.explain, router.cli.ledger, router.cli.keys\n"
    code += "print([name for name in ('aiohttp', 'rich', 'tiktoken') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
