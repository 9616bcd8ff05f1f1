"""Files that ship: beside `router/` in a checkout, inside it in an installed wheel."""

from pathlib import Path

_HERE = Path(__file__).resolve().parent


def config_folder() -> Path:
    """The folder with the built-in price book and the example configurations."""
    installed = _HERE / "_config"
    return installed if installed.is_dir() else _HERE.parent / "config"
