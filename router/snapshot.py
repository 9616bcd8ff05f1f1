"""The configuration compiled to one frozen object: a request reads it once and keeps it to the end."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from router.compiler import Compiler, caller_of
from router.core.alerts import Target
from router.core.catalog import (
    Caller,
    Catalog,
)
from router.core.currency import ExchangeRates
from router.core.limits import Budget
from router.promised import Promised
from router.settings import Settings, read_leniently
from router.stores.ports import StoredKey
from router.yamlfile import BadConfiguration, Problem


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The configuration of one moment."""

    settings: Settings
    catalog: Catalog
    callers: Mapping[str, Caller]  # sha256 of the key → who it is
    teams: Mapping[str, Caller]  # by name, as a caller without a key: for stored keys, `explain` and the page
    rates: ExchangeRates
    budgets: tuple[Budget, ...]
    encodings: tuple[str, ...]
    vendors: frozenset[str]
    warnings: tuple[Problem, ...] = ()
    targets: tuple[Target, ...] = ()  # of alerts
    path: Path | None = None
    loaded_at: int = 0
    promised: Promised | None = None

    def stamp(self) -> tuple[tuple[str, int, int], ...]:
        """Names, times and sizes of the files that it came from, as they are now."""
        if self.path is None:
            return ()
        files = [self.path]
        for place in self.settings.prices:
            at = self.path.parent / place
            files += [at] if at.is_file() else sorted(at.glob("*.y*ml")) if place != "builtin" and at.is_dir() else []
        return tuple(_stat(file) for file in files)

    def budgets_by_owner(self) -> Mapping[str, tuple[Budget, ...]]:
        out: dict[str, tuple[Budget, ...]] = {}
        for budget in self.budgets:
            out[budget.owner] = (*out.get(budget.owner, ()), budget)
        return out

    def with_keys(self, stored: Sequence[StoredKey]) -> Mapping[str, Caller]:
        """The callers with those added whose keys are in the store; a key of a team that is gone is nobody's."""
        callers = dict(self.callers)
        for key in stored:
            if key.revoked is None and (team := self.teams.get(key.team)):
                callers.setdefault(key.sha256, caller_of(team, key.name, (), key.expires))
        return callers


def _stat(file: Path) -> tuple[str, int, int]:
    try:
        found = file.stat()
    except OSError:
        return str(file), 0, 0
    return str(file), found.st_mtime_ns, found.st_size


def _not_followed_from(earlier: Sequence[Problem], later: Sequence[Problem]) -> list[Problem]:
    """Problems that are more than echoes: not at or below what was wrong already, and not about a name that it took."""
    names = {word for problem in earlier for word in re.split(r"[.\[\]]", problem.key)[:2] if word}
    return [
        problem
        for problem in later
        if not any(
            problem.key.startswith(before.key) or before.key.startswith(problem.key) for before in earlier if before.key
        )
        and not any(f"'{name}'" in problem.message for name in names)
    ]


def load(
    path: Path,
    mock_url: str | None = None,
    environment: Mapping[str, str] | None = None,
    books: Sequence[Path] = (),
) -> Snapshot:
    """Read, check and compile a configuration.

    Args:
        path: the YAML file; price books are found relative to it.
        mock_url: where the mock vendors are, for a configuration with `mock`.
        environment: for `${NAME}`; the process's own by default.
        books: more price books, which win over those of the configuration.

    Raises:
        BadConfiguration: with every problem of the configuration and its price books.

    """
    settings, file, problems = read_leniently(path, environment)
    if settings is None:
        raise BadConfiguration(problems)
    if not file.data:  # valid, and everybody's keys would be gone
        raise BadConfiguration([Problem(str(path), None, "", "is empty, as a file is that is being written")])
    if books:
        more = [str(book.absolute()) for book in books]
        settings = settings.model_copy(update={"prices": [*settings.prices, *more]})
    return _compiled(Compiler(settings, file, mock_url), path.parent, problems)


def _compiled(compiler: Compiler, folder: Path, earlier: Sequence[Problem]) -> Snapshot:
    """Settings as a snapshot. Raises `BadConfiguration`, also with the problems that the settings had before."""
    settings, file = compiler.settings, compiler.file
    compiler.read_books(folder)
    models = compiler.models()
    routes = compiler.routes(models)
    promised = compiler.promised(folder, routes)
    shared = compiler.budgets(settings.budgets, "*", ("budgets",))
    teams, callers = compiler.teams(routes, shared)
    compiler.check_currencies()
    targets = compiler.targets()
    if earlier or compiler.problems:
        raise BadConfiguration([*earlier, *_not_followed_from(earlier, compiler.problems)])
    by_vendor = {f"{m.vendor}/{name}": m for m in models.values() for name in (m.name, m.wire_name)}
    return Snapshot(
        settings=settings,
        catalog=Catalog(models, routes, by_vendor),
        callers=callers,
        teams=teams,
        rates=settings.rates(),
        budgets=tuple(compiler.all_budgets),
        encodings=tuple(sorted({model.counting.encoding for model in models.values()})),
        vendors=frozenset(model.vendor for model in models.values()),
        warnings=tuple(compiler.warnings),
        targets=targets,
        path=Path(file.name),
        loaded_at=int(datetime.now(UTC).timestamp()),
        promised=promised,
    )
