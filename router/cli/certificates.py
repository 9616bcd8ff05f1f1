"""What the commands that make or show certificates share."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from router.cli.common import load_or_exit, no
from router.quality.certificate import Certificate


@contextmanager
def refusing() -> Iterator[None]:
    """What is wrong with labels, files or a promise is an answer: exit 1."""
    try:
        yield
    except (ValueError, OSError) as error:
        no(error)


def today() -> str:
    """The UTC day."""
    return datetime.now(UTC).date().isoformat()


def dated(made: list[Certificate], config: Path | None) -> list[Certificate]:
    """The same, with what the vendors call their models now, if a configuration is given that knows it: once one of them is
    sold under another name, the promise is stale.
    """
    if config is None or not made:
        return made
    models = load_or_exit(config).catalog.models
    out = []
    for each in made:
        names = {name: models[name].wire_name for name in (each.flagship, *each.models) if name in models}
        out.append(replace(each, versions=names or None))
    return out


def tell_certificates(made: list[Certificate], format_: str) -> None:
    """Promises as a table tells them, or in JSON."""
    if format_ == "json":
        print(json.dumps([each.as_json() for each in made], indent=2, ensure_ascii=False))
        return
    for each in made:
        print(each.tell())
        limit = f"threshold {each.threshold:.4f}" if each.threshold is not None else f"multiplier {each.multiplier:.4g}"
        naive = (
            ""
            if each.naive_threshold is None
            else f" (the point estimate's, which promises nothing: {each.naive_threshold:.4f})"
        )
        by = f"scores of {each.artefact}" if each.kind == "cascade" else f"artefact {each.artefact[:12]}"
        print(
            f"  {limit}{naive}; lost on the labels {each.loss:.4f}; {by}; prices {each.prices or 'of the labels'}; seed {each.seed}"
        )
        print(f"  {each.method}")
