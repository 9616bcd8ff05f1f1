"""A call as a dialect writes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True, slots=True, repr=False)  # its address and headers hold credentials, which no log may show
class Sent:
    """One request to a vendor: the rim adds time-outs and the vendor's configured headers."""

    url: str
    headers: Mapping[str, str]
    body: bytes


def credential(header: str, key: str) -> Mapping[str, str]:
    """A credential where a vendor wants it: as `Bearer KEY` in `Authorization`, bare in any other header; none for none."""
    if not key:
        return {}
    return {header: f"Bearer {key}" if header == "Authorization" else key}


def is_formed(key: str, form: str) -> bool:
    """Whether a credential has all the parts of a form such as `SecretId:SecretKey`."""
    parts = key.split(":", form.count(":"))
    return len(parts) == form.count(":") + 1 and all(parts)


def under(base_url: str, version: str, path: str) -> str:
    """The address of `path` at a vendor whose base URL was given with or without the API's version."""
    tail = base_url.rsplit("/", 1)[-1]
    versioned = tail[:1] == "v" and tail[1:2].isdigit()
    return f"{base_url}{'' if versioned else version}{path}"


def deployed(base_url: str, path: str, deployment: str = "") -> str:
    """The address of `path` under an OpenAI-wire base URL, behind which a query stays.

    An address under `/openai` with an API version in its query is Azure's classic one, where each deployment has a path of
    its own, but for responses; one that was given with some deployment is that of all
    (learn.microsoft.com/azure/ai-foundry/openai/reference, 2026-11).
    """
    base, _, query = base_url.partition("?")
    if not query:
        return f"{base}{path}"
    resource = base.partition("/deployments/")[0].rstrip("/")
    if resource.endswith("/openai") and "api-version=" in query:
        own = f"/deployments/{quote(deployment, safe='')}" if deployment else ""
        return f"{resource}{own}{path}?{query}"
    return f"{base.rstrip('/')}{path}?{query}"
