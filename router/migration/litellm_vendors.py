"""Who is behind an entry of LiteLLM's `model_list`, where, and with which key."""

from collections.abc import Mapping
from typing import Any

from router import vendors
from router.migration.imported import Imported, mapping
from router.migration.litellm_names import ABROAD, ADDRESSES, KEYS, reference


def address_of(prefix: str, params: Mapping[str, Any]) -> str:
    """Where it is, as Farebox has it: blank for the vendor's own."""
    address = reference(params.get("api_base") or params.get("base_url") or "")
    if not address:
        return ADDRESSES.get(prefix) or ABROAD.get(prefix, "")
    address = str(address).rstrip("/").removesuffix("/chat/completions")
    if prefix == "azure":
        version = reference(params.get("api_version"))
        path = "" if "/openai" in address else "/openai"
        return (
            f"{address}{path}?api-version={version}"
            if version and not address.endswith("/v1")
            else f"{address}{path or ''}{'' if '/v1' in address else '/v1'}"
        )
    if prefix in {"ollama", "ollama_chat"} and not address.endswith("/v1"):
        return f"{address}/v1"
    return address


def vendor_of(out: Imported, base: str, address: str) -> str:
    """The vendor of an entry, made if it is new; its name."""
    found = vendors.find(base)
    if found is not None and address == found.base_url:
        address = ""
    own = base == "openai" and address != ""  # another server on OpenAI's wire: not OpenAI's prices
    stem = "own-openai" if own else base
    names = (stem, *(f"{stem}-{number}" for number in range(2, 1000)))
    name = next(
        name for name in names if out.vendors.get(name, {}).get("base_url", "") == address or name not in out.vendors
    )
    if name in out.vendors:
        return name
    told = out.vendors[name] = {}
    if vendors.find(name) is None:
        told["dialect"] = found.dialect if found is not None and not own else "openai"
    if address:
        told["base_url"] = address
    if address in ABROAD.values():
        told["currency"] = "USD"
    if base == "azure-openai" and name != base:
        out.note(
            f"vendors.{name}",
            "a second resource of Azure's: an OpenAI-wire server to Farebox, with the key in the header `api-key`",
        )
    return name


def reach(out: Imported, where: str, name: str, base: str, params: Mapping[str, Any], timeout: Any) -> None:
    """What a vendor is asked with: keys, patience, headers."""
    told = out.vendors[name]
    _key(out, where, name, base, told, params)
    for key, value in (("total", params.get("timeout") or timeout), ("first_byte", params.get("stream_timeout"))):
        if isinstance(value, int | float) and value > 0:
            told.setdefault("timeout", {})[key] = f"{value:g}s"
    if params.get("organization"):
        told.setdefault("headers", {})["OpenAI-Organization"] = reference(params["organization"])
    for key, value in mapping(params.get("extra_headers")).items():
        told.setdefault("headers", {})[str(key)] = str(reference(value))


def _key(out: Imported, where: str, name: str, base: str, told: dict[str, Any], params: Mapping[str, Any]) -> None:
    key = reference(params.get("api_key"))
    if not key and base in KEYS:
        key = "${" + KEYS[base] + "}"
        out.note(where, f"gives no api_key: {KEYS[base]} is taken from the environment, as LiteLLM does")
    if not key or str(key).lower() in {"none", "na", "fake-key", "anything"}:
        return
    if base == "azure-openai" and name != base:
        told.setdefault("headers", {}).setdefault("api-key", str(key))
        return
    keys = told.setdefault("api_keys", [])
    if str(key) not in keys:
        keys.append(str(key))
        if len(keys) > 1:
            out.note(f"vendors.{name}", "has several keys, which take turns for all of its models")
        if not str(key).startswith("${"):
            out.note(f"vendors.{name}", "has a key in the file, as LiteLLM's had: better `${NAME}` and the environment")
