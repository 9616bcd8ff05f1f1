"""What there is to see before, or instead of, the page."""

from router.admin.markup import Html, document, tag
from router.admin.view import mark
from router.admin.words import LANGUAGES, TAGS, Words


def door(words: Words, token: str, language: str | None, error: str = "", **places: object) -> str:
    """Where a key is asked for; `error` names what is to be said of the last try."""
    form = tag(
        "form",
        tag("input", type="hidden", name="token", value=token),
        tag("input", name="username", value="farebox", autocomplete="username", hidden=True),
        tag("label", words("key"), for_="key"),
        tag(
            "input",
            id="key",
            name="key",
            type="password",
            required=True,
            autocomplete="current-password",
            autofocus=True,
            aria_describedby="hint",
        ),
        tag("p", words("key_hint"), class_="quiet", id="hint"),
        tag("button", words("log_in")),
        method="post",
        action="login" + (f"?lang={language}" if language else ""),
    )
    return _sheet(
        words,
        tag("p", words("door")),
        tag("p", words(error, **places), class_="over", role="alert") if error else None,
        form,
        tag(
            "nav",
            [
                tag("a", label, href=f"?lang={name}", lang=TAGS[name], hreflang=TAGS[name])
                for name, label in LANGUAGES.items()
                if name != words.language
            ],
            aria_label=words("language"),
            class_="languages",
        ),
    )


def closed(words: Words) -> str:
    """What there is to see without an admin key."""
    return _sheet(
        words,
        tag("p", words("closed")),
        tag("p", tag("code", 'server: {admin_key: "${FAREBOX_ADMIN_KEY}"}')),
        tag("p", words("or_open")),
        tag("p", tag("code", "server: {open_page: true}")),
    )


def unreadable(words: Words, error: str) -> str:
    return _sheet(words, tag("p", words("unreadable")), tag("p", error, class_="over", role="alert", lang="en"))


def _sheet(words: Words, *children: Html | None) -> str:
    sheet = tag("div", tag("h1", mark(), "Farebox"), children, class_="sheet door")
    return document(words("title"), Html(), tag("body", tag("main", sheet)), words.tag)
