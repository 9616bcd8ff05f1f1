"""Zhipu (GLM), China site (docs.bigmodel.cn). International accounts: https://api.z.ai/api/paas/v4 and `currency: USD`.

Codes from docs.z.ai/api-reference/api-code (2026-11): money, plans and overload come as 429 too. temperature and top_p lie
strictly between 0 and 1; zai-sdk brings them to 0.01 and 0.99 as here. Of `tool_choice` it knows `auto` only. Responses have an address of
their own, which `dialect: responses` chooses.
"""

from router.core.catalog import Quirks, Vendor, Wire
from router.core.failure import Fault

FAULTS = {
    **dict.fromkeys(("1000", "1001", "1002", "1003", "1004"), Fault.AUTH),
    **dict.fromkeys(("1110", "1111", "1112", "1121", "1220"), Fault.PERMISSION),  # the account; the model
    **dict.fromkeys(
        ("1113", "1304", "1308", "1309", "1310"), Fault.QUOTA_EXHAUSTED
    ),  # arrears; a day's, a plan's limit
    **dict.fromkeys(("1302", "1303"), Fault.RATE_LIMITED),
    **dict.fromkeys(("1211", "1221", "1222"), Fault.NOT_FOUND),
    **dict.fromkeys(("1230", "1234"), Fault.SERVER),
    "1261": Fault.CONTEXT_TOO_LONG,
    "1301": Fault.CONTENT_FILTERED,
    "1305": Fault.OVERLOADED,
}

QUIRKS = Quirks(
    one_cap_field=True,
    thinking=(("glm-4.5", "type"), ("glm-4.6", "type"), ("glm-4.7", "type"), ("glm-5", "type")),
    refuses=(
        ("", frozenset({"n", "logprobs", "top_logprobs", "presence_penalty", "frequency_penalty", "logit_bias"})),
    ),
    choices=frozenset({"auto"}),
    ranges={"temperature": (0.01, 0.99), "top_p": (0.01, 0.99)},
    faults=FAULTS,
    finishes={
        "sensitive": Fault.CONTENT_FILTERED,
        "model_context_window_exceeded": Fault.CONTEXT_TOO_LONG,
        "network_error": Fault.SERVER,
    },
)

VENDOR = Vendor(
    name="zhipu",
    base_url="https://open.bigmodel.cn/api/paas/v4",
    currency="CNY",
    quirks=QUIRKS,
    also=(Wire("responses", "https://open.bigmodel.cn/api/v1", QUIRKS),),
)
