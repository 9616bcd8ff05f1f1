"""A LiteLLM proxy's config.yaml, as a Farebox configuration and a list of what could not be carried.

Each `model_name` becomes a route of the same name, so clients go on as they are; each entry behind it a model called
`model_name@vendor`. Entries that differ in nothing but their key become one model of a vendor with several keys.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from router import vendors
from router.migration.imported import Imported, items, mapping
from router.migration.litellm_names import ADDRESSES, OWN, VENDORS, period, reference, split
from router.migration.litellm_vendors import address_of, reach, vendor_of


class Listed(NamedTuple):
    """What the price book has for a model."""

    price: dict[str, str] | None  # of this instant, as a `price` of the configuration
    tier: str | None


Known = Callable[[str, str, str], Listed]
"""(vendor, model, currency) → what it costs there."""

TEAM = "default"
CARRIED: dict[str, set[str]] = {
    "model_list": set(),
    "environment_variables": set(),
    "router_settings": {"fallbacks", "context_window_fallbacks", "default_fallbacks", "model_group_alias", "timeout", "enable_pre_call_checks"},
    "litellm_settings": {"fallbacks", "context_window_fallbacks", "default_fallbacks", "request_timeout", "max_budget", "budget_duration", "default_team_settings"},
    "general_settings": {"master_key", "alerting", "alert_to_webhook_url"},
}  # fmt: skip
COSTS = {
    "input_cost_per_token": "input", "output_cost_per_token": "output", "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
}  # fmt: skip
PARAMS = {
    "model", "api_key", "api_base", "base_url", "api_version", "rpm", "tpm", "max_parallel_requests", "timeout", "stream_timeout",
    "organization", "extra_headers",
}  # fmt: skip
WHY = {
    "routing_strategy": "the cheapest model of a route that meets its quality is taken",
    "num_retries": "what a vendor refused before it worked is tried again anyway, and then the next candidate",
    "allowed_fails": "breakers are part of Farebox and need no setting",
    "cooldown_time": "breakers are part of Farebox and need no setting",
    "drop_params": "a field that a vendor cannot carry is refused by its name, or dropped where it is only a hint",
    "content_policy_fallbacks": "a refusal for its content is told to the caller",
    "database_url": "give Farebox a database of its own in `store`; virtual keys, teams and spend of LiteLLM's are not read: see docs/migrating-from-litellm.md",
    "store_model_in_db": "models that are kept in LiteLLM's database are not read",
    "provider_budget_config": "budgets are of teams, keys and everybody, not of vendors",
    "cache": "answers are kept where a route says so, with `cache`",
    "cache_params": "answers are kept where a route says so, with `cache`",
    "redis_host": "replicas share budgets in the store; `accounts` names a Redis that takes that off it",
    "include": "other files are not read: import each",
}


def convert(data: Mapping[str, Any], known: Known) -> Imported:
    """Everything that can be carried."""
    out = Imported()
    router, settings, general = (
        mapping(data.get(name)) for name in ("router_settings", "litellm_settings", "general_settings")
    )
    timeout = router.get("timeout") or settings.get("request_timeout")
    for number, entry in enumerate(items(data.get("model_list"))):
        _model(out, f"model_list[{number}]", mapping(entry), known, timeout)
    _aliases(out, mapping(router.get("model_group_alias")))
    for name in ("fallbacks", "context_window_fallbacks"):
        for where, place in (("router_settings", router), ("litellm_settings", settings)):
            _fallbacks(out, f"{where}.{name}", place.get(name))
    for place in (router, settings):
        for name in out.routes if place.get("default_fallbacks") else ():
            _fallbacks(out, "default_fallbacks", [{name: place["default_fallbacks"]}])
    _money(out, settings)
    _access(out, general)
    _left(out, data)
    return out


def _model(out: Imported, where: str, entry: Mapping[str, Any], known: Known, timeout: Any) -> None:
    params, info = mapping(entry.get("litellm_params")), mapping(entry.get("model_info"))
    route, asked = str(entry.get("model_name", "")), str(params.get("model", ""))
    where = f"{where} ({route})"
    prefix, wire_name = split(asked)
    mode = info.get("mode") or ("embedding" if "embedding" in wire_name else "chat")
    address = address_of(prefix, params)
    if why := _cannot(route, asked, prefix, mode, address):
        return out.note(where, why)
    base = VENDORS.get(prefix, prefix)
    priced_as = _priced_as(out, where, base, wire_name, route, info, known)
    before = set(out.vendors)
    vendor = vendor_of(out, base, address)
    told: dict[str, Any] = {"vendor": vendor, "name": wire_name}
    if not _priced(out, told, base, priced_as or wire_name, {**params, **info}, known):
        if vendor not in before:  # made for this model alone
            del out.vendors[vendor]
        shown = f"{base}/{priced_as or wire_name}"
        return out.note(where, f"{shown} has no price in force: add it, with its `price` per million tokens")
    reach(out, where, vendor, base, params, timeout)
    unknown = sorted(str(key) for key in params if key not in PARAMS and key not in COSTS)
    if unknown:
        out.note(where, f"{', '.join(unknown)}: not carried")
    if priced_as and "price" not in told:
        told["priced_as"] = priced_as
    if mode == "embedding":
        told["kind"] = "embedding"
    _limits(told, {**entry, **params})
    _place(out, route, told)
    return None


def _cannot(route: str, asked: str, prefix: str, mode: str, address: str) -> str:
    """Why an entry is not carried at all; blank if it is."""
    if "*" in route or "*" in asked:
        return "a wildcard is not carried: list the models that are used"
    if not route or any(char in route for char in " ,|"):
        return "its name cannot be a route's: it has a space, a comma or a bar, or is blank"
    if prefix not in VENDORS and prefix not in ADDRESSES:
        return f"{asked}: no vendor of Farebox's is called so"
    if mode not in {"chat", "completion", "embedding", "responses"}:
        return f"mode {mode} is not served"
    if not address and (prefix in ADDRESSES or prefix in {"azure", "hosted_vllm"}):
        return f"{asked} has no api_base, and without it no address"
    return ""


def _priced_as(
    out: Imported, where: str, base: str, wire_name: str, route: str, info: Mapping[str, Any], known: Known
) -> str | None:
    """Which model's price holds, where it is not that of the name on the wire."""
    if info.get("base_model"):
        return split(str(info["base_model"]))[1]
    if base != "azure-openai" or known(base, wire_name, "USD").price:
        return None
    guess = route.replace("gpt-35", "gpt-3.5")  # the name of a deployment says nothing
    if not known(base, guess, "USD").price:
        return None
    out.note(where, f"gives no base_model: its price is taken to be that of {guess}, after its name")
    return guess


def _place(out: Imported, route: str, told: dict[str, Any]) -> None:
    """Put a model into its route, unless it is one that is there, with another key."""
    names = [name for name in out.models if name.startswith(f"{route}@")]
    if any({**out.models[name], "limits": 0} == {**told, "limits": 0} for name in names):
        return
    name = f"{route}@{told['vendor']}"
    name = name if name not in out.models else f"{name}-{len(names) + 1}"
    out.models[name] = told
    if told.get("price") == "free":
        out.note(f"models.{name}", "free, as LiteLLM counts it: say what it costs you with `price`, per million tokens")
    found = out.routes.setdefault(route, {"models": []})
    found["models"].append(name)
    if len(found["models"]) > 1:
        out.note(
            f"routes.{route}",
            "LiteLLM spreads requests over its entries; Farebox asks the cheapest, the others if that fails",
        )


def _priced(out: Imported, told: dict[str, Any], base: str, name: str, costs: Mapping[str, Any], known: Known) -> bool:
    """Give the model its price and its tier where the book does not; False if nobody knows what it costs."""
    vendor = told["vendor"]
    currency = out.vendors[vendor].get("currency") or _currency(base)
    listed = Listed(None, None) if vendor.startswith("own-") else known(base, name, currency)
    given = _given(costs)
    if given is not None:
        told["price"] = given
    elif listed.price is None:
        if base not in OWN and not vendor.startswith("own-"):
            return False
        told["price"] = "free"
        out.note(
            f"models.{told['name']}",
            "a server of your own: free, as LiteLLM counts it; say what it costs you with `price`",
        )
    elif vendor != base:
        told["price"] = {"currency": currency, **listed.price}
    if listed.tier is None or vendor != base:
        told["tier"] = listed.tier or ("free" if told.get("price") == "free" else "mid")
    return True


def _currency(base: str) -> str:
    found = vendors.find(base)
    return "USD" if found is None else found.currency


def _given(costs: Mapping[str, Any]) -> dict[str, str] | str | None:
    """The price that LiteLLM was told, per million tokens; None if it was not told any."""
    if costs.get("input_cost_per_token") is None and costs.get("output_cost_per_token") is None:
        return None
    price = {"currency": "USD", "input": "0", "output": "0"}
    for theirs, ours in COSTS.items():
        if costs.get(theirs) is not None:
            amount = f"{Decimal(str(costs[theirs])) * 10**6:f}"
            price[ours] = amount.rstrip("0").rstrip(".") if "." in amount else amount
    return "free" if price["input"] == price["output"] == "0" else price


def _limits(told: dict[str, Any], params: Mapping[str, Any]) -> None:
    for theirs, ours in (
        ("rpm", "requests_per_minute"),
        ("tpm", "tokens_per_minute"),
        ("max_parallel_requests", "concurrent"),
    ):
        if isinstance(params.get(theirs), int) and params[theirs] > 0:
            told.setdefault("limits", {})[ours] = params[theirs]


def _aliases(out: Imported, aliases: Mapping[str, Any]) -> None:
    for alias, target in aliases.items():
        name = target.get("model") if isinstance(target, Mapping) else target
        if name in out.routes and alias not in out.routes:
            out.routes[str(alias)] = {"models": list(out.routes[name]["models"])}
        else:
            out.note(
                f"router_settings.model_group_alias.{alias}", f"{name} was not carried, or the alias is a model's name"
            )


def _fallbacks(out: Imported, where: str, told: Any) -> None:
    for pair in items(told):
        for route, names in mapping(pair).items():
            if route == "*":
                for each in list(out.routes):
                    _fallbacks(out, where, [{each: names}])
                continue
            if route not in out.routes:
                out.note(f"{where}.{route}", "the model was not carried")
                continue
            for name in [names] if isinstance(names, str) else items(names):
                if name not in out.routes:
                    out.note(f"{where}.{route}", f"{name} was not carried")
                    continue
                own, fallback = out.routes[route]["models"], out.routes[route].setdefault("fallback", [])
                fallback += [
                    model for model in out.routes[name]["models"] if model not in own and model not in fallback
                ]
            if not out.routes[route].get("fallback"):
                out.routes[route].pop("fallback", None)


def _money(out: Imported, settings: Mapping[str, Any]) -> None:
    if budget := _budget(out, "litellm_settings", settings):
        out.budgets.append(budget)
    for number, told in enumerate(items(settings.get("default_team_settings"))):
        team, where = mapping(told), f"litellm_settings.default_team_settings[{number}]"
        name = str(team.get("team_alias") or team.get("team_id") or "")
        if not name or any(char in name for char in " |,/"):
            out.note(where, "its team has no name that Farebox could take")
            continue
        budget = _budget(out, where, team)
        made = out.teams[name] = {"routes": list(out.routes), "budgets": [budget] if budget else []}
        limits: dict[str, Any] = {}
        _limits(limits, {"rpm": team.get("rpm_limit"), "tpm": team.get("tpm_limit")})
        made.update(limits)
        out.note(f"teams.{name}", f"needs keys: `farebox keys create --team {name} --name …`")


def _budget(out: Imported, where: str, told: Mapping[str, Any]) -> dict[str, Any] | None:
    limit = told.get("max_budget")
    if not isinstance(limit, int | float) or limit <= 0:
        if limit is not None:
            out.note(f"{where}.max_budget", "is no amount above 0")
        return None
    per, exact = period(told.get("budget_duration"))
    if told.get("budget_duration"):
        how = "" if exact else f", the nearest to {told['budget_duration']}"
        out.note(
            f"{where}.budget_duration", f"is a calendar {per} here{how}; LiteLLM counts from when the budget was made"
        )
    return {"limit": f"{Decimal(str(limit)):f}", "currency": "USD", "per": per}


def _access(out: Imported, general: Mapping[str, Any]) -> None:
    team: dict[str, Any] = {"keys": [], "routes": list(out.routes), "budgets": []}
    key = reference(general.get("master_key"))
    if key and (str(key).startswith("${") or len(str(key)) >= 8):
        out.server["admin_key"] = str(key)
        team["keys"].append({"name": "master", "value": str(key)})
        out.note(
            "general_settings.master_key",
            "opens the admin API, and is a key of the team `default` so that clients go on; give them keys of their own",
        )
    elif key:
        out.note(
            "general_settings.master_key",
            "is shorter than 8 characters, which no key of Farebox's is: set server.admin_key, and make keys with `farebox keys create`",
        )
    out.teams.setdefault(TEAM, team)
    if "slack" in items(general.get("alerting")):
        out.alerts.append({"name": "slack", "kind": "slack", "url": "${SLACK_WEBHOOK_URL}"})
    if "webhook" in items(general.get("alerting")):
        out.alerts.append({"name": "webhook", "url": "${WEBHOOK_URL}"})


def _left(out: Imported, data: Mapping[str, Any]) -> None:
    """Notes on every setting that nothing above has read."""
    for section, told in data.items():
        if section not in CARRIED:
            out.note(str(section), WHY.get(str(section), "is not carried"))
            continue
        for key in mapping(told):
            if section != "environment_variables" and key not in CARRIED[section]:
                out.note(f"{section}.{key}", WHY.get(key, "is not carried"))
    for name in mapping(data.get("environment_variables")):
        out.note(f"environment_variables.{name}", "set it in the environment of `farebox serve`")
