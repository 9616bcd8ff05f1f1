"""An imported configuration as YAML with comments."""

import json
import re
from collections.abc import Mapping
from typing import Any

from router.migration.imported import Imported

_PLAIN = re.compile(r"[A-Za-z_][\w.@-]*")
_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}


def text(imported: Imported, source: str) -> str:
    """The file; notes on a part stand above it, all others at the end."""
    notes: dict[str, list[str]] = {}
    for where, what in imported.notes:
        notes.setdefault(where, []).append(what)
    lines = [f"# From {source}, a configuration of LiteLLM's. docs/migrating-from-litellm.md has what differs.", ""]
    if imported.server:
        lines += [f"server: {flow(imported.server)}", ""]
    lines += ["store: sqlite:///var/farebox.db", "currency: USD"]
    if imported.yuan:
        lines += ["exchange_rates:", '  CNY: [{from: 2024-01-01, rate: "0.14"}]  # a stand-in: set your own']
    lines.append("")
    for section in ("vendors", "models", "routes", "teams"):
        lines.append(f"{section}:")
        for name, told in getattr(imported, section).items():
            lines += [f"  # {what}" for what in notes.pop(f"{section}.{name}", ())]
            lines.append(f"  {scalar(name)}: {flow(told)}")
        lines.append("")
    for section in ("budgets", "alerts"):
        if told := getattr(imported, section):
            lines += [f"{section}:", *(f"  - {flow(each)}" for each in told), ""]
    if notes:
        lines.append("# What was not carried, or is otherwise here:")
        lines += [f"# - {_line(where)}: {_line(what)}" for where, all_of in notes.items() for what in all_of]
    return "\n".join(lines).rstrip("\n") + "\n"


def flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(key)}: {flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(flow(each) for each in value) + "]"
    return scalar(value)


def scalar(value: Any) -> str:
    """Plain where it cannot be read as anything else."""
    if not isinstance(value, str):
        return json.dumps(value)
    plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS
    return value if plain else json.dumps(value, ensure_ascii=False)


def _line(told: str) -> str:
    return " ".join(told.split())
