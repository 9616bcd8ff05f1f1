"""YAML with line numbers and values from the environment, so that every problem can say where it is."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one is ten times faster, where libyaml was there

Key = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a file, and what would be right."""

    file: str
    line: int | None
    key: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class BadConfiguration(Exception):
    """Every problem that was found, at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.file, problem.line or 0)))
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(frozen=True, slots=True)
class YamlFile:
    """What a file says, and on which line each key stands."""

    name: str
    data: Any
    lines: Mapping[Key, int]
    problems: tuple[Problem, ...] = ()  # what did not keep it from being read: a variable that is not set, a key twice

    def problem(self, key: Key, message: str) -> Problem:
        """A problem at a key, on its own line or the nearest one above."""
        at = key
        while at and at not in self.lines:
            at = at[:-1]
        return Problem(self.name, self.lines.get(at), show_key(key), message)


def show_key(key: Key) -> str:
    """teams.search.budgets[0].limit"""
    shown = ""
    for part in key:
        shown += f"[{part}]" if isinstance(part, int) else f".{part}" if shown else str(part)
    return shown


def load(path: Path, environment: Mapping[str, str] | None = None) -> YamlFile:
    """Read a file; `${NAME}` and `${NAME:-default}` are replaced.

    Raises:
        BadConfiguration: unreadable or not YAML; what is less than that is in the file's `problems`.

    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfiguration([Problem(str(path), None, "", f"cannot be read: {error}")]) from None
    reader = _Reader(str(path), os.environ if environment is None else environment)
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        data = reader.value(loader, node, ()) if node is not None else {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        message = f"not valid YAML: {getattr(error, 'problem', None) or error}"
        raise BadConfiguration([Problem(str(path), mark and mark.line + 1, "", message)]) from None
    except RecursionError:
        raise BadConfiguration([Problem(str(path), None, "", "is nested too deeply, or holds itself")]) from None
    finally:
        loader.dispose()
    return YamlFile(str(path), data, reader.lines, tuple(reader.problems))


_Pairs = dict[str, tuple[yaml.Node, yaml.Node]]


class _Reader:
    """Turns nodes into values and remembers where they stood."""

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        self._name = name
        self._environment = environment
        self.lines: dict[Key, int] = {}
        self.problems: list[Problem] = []
        self._twice: set[yaml.Node] = set()

    def value(self, loader: Any, node: yaml.Node, key: Key) -> Any:
        self.lines.setdefault(key, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            told = self._pairs(loader, node, key).items()
            out: dict[str, Any] = {}
            for name, (name_node, value_node) in told:
                at = (*key, name)
                self.lines[at] = name_node.start_mark.line + 1
                out[name] = self.value(loader, value_node, at)
            return out
        if isinstance(node, yaml.SequenceNode):
            return [self.value(loader, child, (*key, i)) for i, child in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and "${" in node.value:
            return self._scalar(loader, node, key)
        return self._made(loader, node, key)

    def _pairs(self, loader: Any, node: yaml.MappingNode, key: Key) -> _Pairs:
        """What a mapping says, with what it merges by `<<`: its own keys win, then the first of several that are merged."""
        own: _Pairs = {}
        merged: _Pairs = {}
        told: set[str] = set()
        for name_node, value_node in node.value:
            merges = name_node.tag == "tag:yaml.org,2002:merge"
            name = "<<" if merges else str(self._made(loader, name_node, key))
            if name in told and name_node not in self._twice:
                line = name_node.start_mark.line + 1
                self.problems.append(Problem(self._name, line, show_key((*key, name)), "is written twice"))
                self._twice.add(name_node)  # the mapping may be merged elsewhere too
            told.add(name)
            if merges:
                merged = self._merged(loader, value_node, key)
            else:
                own[name] = name_node, value_node
        return merged | own

    def _merged(self, loader: Any, node: yaml.Node, key: Key) -> _Pairs:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: _Pairs = {}
        for source in reversed(sources):
            if not isinstance(source, yaml.MappingNode):
                line = source.start_mark.line + 1
                message = "`<<` merges what is no mapping: give one, or a list of them"
                self.problems.append(Problem(self._name, line, show_key(key), message))
                continue
            merged |= self._pairs(loader, source, key)
        return merged

    def _made(self, loader: Any, node: yaml.Node, key: Key) -> Any:
        """What a scalar says; what looks like a date or a number and is none is a problem, and None."""
        try:
            return loader.construct_object(node, deep=True)
        except ValueError as error:  # 2024-13-01, or a number of thousands of digits
            line = node.start_mark.line + 1
            self.problems.append(Problem(self._name, line, show_key(key), f"not a value of YAML: {error}"))
            return None

    def _scalar(self, loader: Any, node: yaml.ScalarNode, key: Key) -> Any:
        line = node.start_mark.line + 1

        def replace(match: re.Match[str]) -> str:
            name, default = match.groups()
            value = self._environment.get(name, default)
            if value is None:
                self.problems.append(
                    Problem(self._name, line, show_key(key), f"the environment variable {name} is not set")
                )
                return ""
            return value

        text = _VARIABLE.sub(replace, node.value)
        if node.style in {"'", '"', "|", ">"}:
            return text
        tag = loader.resolve(yaml.ScalarNode, text, (True, False))  # an unquoted ${PORT} is a number if it says one
        return self._made(loader, yaml.ScalarNode(tag, text, node.start_mark, node.end_mark), key)
