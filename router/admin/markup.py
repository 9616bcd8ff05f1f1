"""HTML as nested calls. Every text is escaped; only what `tag` itself has made passes as it is."""

from collections.abc import Iterable
from html import escape

_VOID = frozenset({"meta", "link", "input", "br"})  # of HTML; elements of SVG are closed


class Html(str):
    """Markup that is safe to show."""

    __slots__ = ()


Child = str | Html | None


def tag(name: str, /, *children: Child | Iterable[Child], **attributes: str | float | bool | None) -> Html:
    """One element. Texts and attribute values are escaped; an attribute that is None or False is left out.

    A trailing underscore is dropped from attribute names and others become hyphens: `class_`, `aria_label`.
    """
    shown = ""
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        written = key.rstrip("_").replace("_", "-")
        shown += f" {written}" if value is True else f' {written}="{escape(str(value))}"'
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
            out.append(child if isinstance(child, Html) else escape(child))
        else:
            out.append(join(*child))
    return Html("".join(out))


def document(title: str, head: Html, body: Html) -> str:
    """A whole page."""
    return "<!doctype html>\n" + tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="color-scheme", content="light dark"),
            tag("title", title),
            tag("link", rel="stylesheet", href="page.css"),
            head,
        ),
        body,
        lang="en",
    )
