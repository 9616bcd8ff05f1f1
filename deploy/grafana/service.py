"""The dashboards for whoever runs it: the vendors, and the proxy itself."""

from typing import Any

from panels import SOON, Row, choice, columns, lines, made_of, mean, number, quantile, rate, steps_over_time

VENDOR = '{vendor=~"$vendor"}'
GEN_AI = '{gen_ai_provider_name=~"$vendor"}'
FAILED = '{vendor=~"$vendor", result!~"ok|left|cut"}'
MODEL = "{{vendor}}/{{model}}"
DURATION = "gen_ai_client_operation_duration_seconds"
FIRST = "gen_ai_client_operation_time_to_first_chunk_seconds"


def vendors() -> Any:
    """How fast, how well, how dear."""
    by_model = ", gen_ai_request_model"
    output = '{gen_ai_provider_name=~"$vendor", gen_ai_token_type="output"}'
    written = rate("gen_ai_client_token_usage_sum", "gen_ai_request_model", output)
    speed = [
        lines(
            f"{what}, p{round(share * 100)}", about,
            (quantile(share, metric, by_model, GEN_AI), "{{gen_ai_request_model}}"), unit="s",
        )
        for what, about, metric in (
            ("First token", "From the call to the first chunk, or to the whole of an answer that is not streamed", FIRST),
            ("Whole answer", "Of an attempt that was answered", DURATION),
        )
        for share in (0.5, 0.95)
    ]  # fmt: skip
    speed.append(
        lines(
            "Output tokens per second", "Billed output over the time of whole attempts",
            (
                f"{written} / sum by (gen_ai_request_model) (rate({DURATION}_sum{GEN_AI}[{SOON}]))",
                "{{gen_ai_request_model}}",
            ),
        )
    )  # fmt: skip
    speed.append(
        lines("Attempts", "Calls to vendors", (rate("farebox_attempts_total", "vendor, model", VENDOR), MODEL), unit="reqps")
    )  # fmt: skip
    failed, all_of = (rate("farebox_attempts_total", "vendor", labels) for labels in (FAILED, VENDOR))
    errors = [
        lines("Failed", "Share of calls", (f"({failed} or {all_of} * 0) / {all_of}", "{{vendor}}"), unit="percentunit"),
        lines(
            "By result", "Other than ok", (rate("farebox_attempts_total", "vendor, result", '{vendor=~"$vendor", result!="ok"}'), "{{vendor}}: {{result}}"),
            unit="reqps",
        ),
        lines("Breakers", "1 while a model is not asked because of what its vendor answered", (f"max by (vendor, model) (farebox_breaker_open{VENDOR})", MODEL)),
        lines(
            "Fallbacks", "Moves to the next candidate", (rate("farebox_fallbacks_total", "route, from, to", ""), "{{route}}: {{from}} to {{to}}"), unit="reqps",
        ),
        lines(
            "Prompt estimates, mean error", "Share of what was billed", (mean("farebox_estimate_error_ratio", "vendor, model"), MODEL), unit="percentunit",
        ),
        lines(
            "What does not agree", "Per hour: charges of a vendor's own that are not its list price, answers at another price, prompts billed beyond their bound, candidates without a price",
            *[
                (f"{rate(f'farebox_{name}_total', 'vendor, model', VENDOR)} * 3600", f"{text}: {MODEL}")
                for name, text in (
                    ("vendor_cost_mismatch", "other charge"), ("served_at_another_price", "other model"),
                    ("estimate_bound_broken", "bound broken"), ("unpriced", "no price"),
                )
            ],
        ),
    ]  # fmt: skip
    kinds = [
        steps_over_time(
            f"{kind.replace('_', ' ').capitalize()}, per million", "The price in force, in the vendor's currency, as it was over time",
            (f'max by (vendor, model, currency) (farebox_price{{vendor=~"$vendor", kind="{kind}"}})', MODEL + " {{currency}}"),
        )
        for kind in ("input", "output", "cache_read")
    ]  # fmt: skip
    tokens, price = (
        "sum by (vendor, model) (rate(farebox_tokens_total",
        "max by (vendor, model, kind, currency) (farebox_price",
    )
    prices = [
        *kinds,
        columns(
            "Prices in force", "Per million tokens, in the vendor's currency", {},
            *[(f'max by (vendor, model, currency) (farebox_price{{vendor=~"$vendor", kind="{kind}"}})', kind) for kind in ("input", "cache_read", "cache_write", "output")],
        ),
        columns(
            "Prices that changed in a day", "From what, to what", {},
            (f"{price}{VENDOR} offset 1d) != {price}{VENDOR})", "yesterday"),
            (f"{price}{VENDOR}) != {price}{VENDOR} offset 1d)", "now"),
        ),
        lines(
            "Paid per million tokens", "Spend over billed tokens, cached or not, in the reporting currency: what a million has really come to",
            (f"sum by (vendor, model) (rate(farebox_cost_total{VENDOR}[1h])) / {tokens}{VENDOR}[1h])) * 1e6", MODEL),
        ),
    ]  # fmt: skip
    return made_of(
        "farebox-vendors", "Farebox: vendors", "How fast, how well and at what price vendors answer.",
        (Row("Speed", 2, 8, speed), Row("Errors", 3, 8, errors), Row("Prices", 3, 8, prices)),
        choice("vendor", "Vendor", "label_values(farebox_attempts_total, vendor)"), since="now-24h",
    )  # fmt: skip


def proxy() -> Any:
    """Whether Farebox itself is well."""
    now = [
        number("In flight", "Requests being served", "sum(farebox_in_flight)", legend=""),
        number("Overhead, p99", "Of the last five minutes", "histogram_quantile(0.99, sum by (le) (rate(farebox_overhead_seconds_bucket[5m])))", "s", legend=""),
        number("Ledger lag", "Age of the oldest write that is not durable yet", "max(farebox_ledger_lag_seconds)", "s", legend=""),
        number("Store down", "1 while the ledger cannot be written", "max(farebox_store_down)", legend=""),
        number("Failed reloads, 24 h", "The configuration before stays in force", 'sum(increase(farebox_config_reloads_total{result="failed"}[1d]))', legend="", decimals=0),
        number("Up for", "Since the process started", 'time() - min(process_start_time_seconds{job="farebox"})', "s", legend=""),
    ]  # fmt: skip
    traffic = [
        lines("Requests", "By what became of them", (rate("farebox_requests_total", "outcome", ""), "{{outcome}}"), unit="reqps"),
        lines("Refused", "Before any attempt", (rate("farebox_refused_total", "reason", ""), "{{reason}}"), unit="reqps"),
        lines("In flight and in line", "A line that never empties means that the limit is the bottleneck", ("sum(farebox_in_flight)", "in flight"), ("sum by (limit) (farebox_waiting)", "waits for a limit: {{limit}}")),
        lines(
            "Overhead", "The part of a request that is Farebox's own",
            *[(quantile(share, "farebox_overhead_seconds"), name) for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))], unit="s",
        ),
        lines("Clients cut off", "Per hour, by why", (f"{rate('farebox_clients_cut_total', 'why', '')} * 3600", "{{why}}")),
        lines("Answered without the ledger", "Per hour: attempts that are in the journal only", (f"{rate('farebox_journalled_total', 'team', '')} * 3600", "{{team}}")),
    ]  # fmt: skip
    money = [
        lines("Ledger lag", "Age of the oldest write that is not durable yet", ("farebox_ledger_lag_seconds", "{{instance}}"), unit="s"),
        lines("Promised quality", "The lower bound that is in force, by route and team", ("min by (route, team) (farebox_quality_bound)", "{{route}} {{team}}"), unit="percentunit"),
        lines("Broken promises", "1 while a route's bound does not hold", ("farebox_quality_broken", "{{route}}")),
    ]  # fmt: skip
    process = [
        lines("Memory", "Resident", ('process_resident_memory_bytes{job="farebox"}', "{{instance}}"), unit="bytes"),
        lines("Processor", "Cores in use", (f'rate(process_cpu_seconds_total{{job="farebox"}}[{SOON}])', "{{instance}}")),
        lines("Open files", "And how many may be", ('process_open_fds{job="farebox"}', "{{instance}}"), ('process_max_fds{job="farebox"}', "{{instance}} at most")),
    ]  # fmt: skip
    return made_of(
        "farebox-proxy", "Farebox: the proxy itself", "Traffic, overhead, the ledger and the process.",
        (Row("Now", 6, 4, now), Row("Traffic", 3, 8, traffic), Row("Record and promise", 3, 8, money), Row("Process", 3, 8, process)),
        since="now-6h",
    )  # fmt: skip
