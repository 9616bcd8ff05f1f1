"""docs/http.md names every path, header and error that there is."""

import re

from support import ROOT

from router.admin import routes as admin_routes
from router.api import routes as api_routes
from router.core import errors
from router.dialects.wishes import KNOWN
from router.openapi import routes as openapi_routes

DOCS = (ROOT / "docs/http.md").read_text()


def test_every_path_is_documented():
    for route in (*api_routes(), *admin_routes(), *openapi_routes()):
        path = re.sub(r"\{(\w+):[^}]+\}+", r"{\1}", route.path)
        if route.method == "*":
            continue  # what answers 404
        shown = (
            f"`{route.method} {path.removeprefix('/admin/v1/')}`"
            if "/admin/" in path
            else path.replace("{name}", "{id}")
        )
        assert shown in DOCS, path


def test_every_error_is_documented_with_its_status():
    kinds = [errors.RouterError]
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        if kind.__module__ == "router.core.errors":
            assert f"| {kind.status} | `{kind.code}` |" in DOCS, kind


def test_every_wish_is_documented_as_a_header_and_in_the_body():
    for name in KNOWN:
        assert re.search(rf"`x-farebox-{name.replace('_', '-')}: [^`]+` \| `\"{name}\": ", DOCS), name
