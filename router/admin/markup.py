"""HTML as nested calls. Every text is escaped; only what `tag` itself has made passes as it is."""

import re
from collections.abc import Iterable
from functools import cache
from html import escape

_SPECIAL = re.compile("[&<>\"']")
_VOID = frozenset({"meta", "link", "input", "br"})  # of HTML; elements of SVG are closed


class Html(str):
    """Markup that is safe to show."""

    __slots__ = ()


@cache
def _written(name: str) -> str:
    return name.rstrip("_").replace("_", "-")


def _escaped(text: str) -> str:
    """Most texts have nothing to escape."""
    return escape(text) if _SPECIAL.search(text) else text


Child = str | Html | None


def tag(name: str, /, *children: Child | Iterable[Child], **attributes: str | float | bool | None) -> Html:
    """One element. Texts and attribute values are escaped; an attribute that is None or False is left out.

    A trailing underscore is dropped from attribute names and others become hyphens: `class_`, `aria_label`.
    """
    shown = ""
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        written = _written(key)
        shown += f" {written}" if value is True else f' {written}="{_escaped(str(value))}"'
    if name in _VOID:
        return Html(f"<{name}{shown}>")
    return Html(f"<{name}{shown}>{join(*children)}</{name}>")


def join(*children: Child | Iterable[Child]) -> Html:
    """Pieces one after the other."""
    out = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, str):
            out.append(child if isinstance(child, Html) else _escaped(child))
        else:
            out.append(join(*child))
    return Html("".join(out))


def document(title: str, head: Html, body: Html, language: str = "en") -> str:
    """A whole page. Its script only saves loading it anew; without one it says the same."""
    return "<!doctype html>\n" + tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="color-scheme", content="light dark"),
            tag("title", title),
            tag("link", rel="stylesheet", href="page.css"),
            tag("link", rel="icon", href="page.svg", type="image/svg+xml"),
            head,
        ),
        body,
        lang=language,
    )
