"""What the page says, in English and Chinese: one table, and the language that a visitor reads.

A sentence may have places, `{name}`. Names of teams, models and vendors, stay as they are; what the core says of a decision is in `said`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter

from router.admin.markup import Child, Html, join
from router.admin.said import in_chinese

LANGUAGES: Mapping[str, str] = {"en": "English", "zh": "中文"}
TAGS: Mapping[str, str] = {"en": "en", "zh": "zh-Hans"}

WORDS: Mapping[str, tuple[str, str]] = {
    # The frame
    "title": ("Farebox: spend and budgets", "Farebox：花费与预算"),
    "skip": ("Skip to the figures", "跳到数据"),
    "span": ("Span of time", "时间范围"),
    "span_day": ("24 hours", "24 小时"),
    "span_week": ("7 days", "7 天"),
    "span_month": ("30 days", "30 天"),
    "span_all": ("All time", "全部"),
    "since_day": ("in the last 24 hours", "最近 24 小时"),
    "since_week": ("in the last 7 days", "最近 7 天"),
    "since_month": ("in the last 30 days", "最近 30 天"),
    "since_all": ("since the first request", "自第一个请求起"),
    "language": ("Language", "语言"),
    "team": ("Team", "团队"),
    "team_only": ("{team}, read only", "{team}（只读）"),
    "log_in": ("Log in", "登录"),
    "log_out": ("Log out", "退出"),
    "as_of": ("As of {at} UTC.", "截至 {at}（UTC）。"),
    "refresh_on": ("Refresh every 10 seconds", "每 10 秒刷新"),
    "refresh_off": ("Stop refreshing", "停止刷新"),
    "colophon": ("Times are UTC; amounts are rounded for the eye.", "时间均为 UTC；金额为便于阅读已取整。"),
    "lost": ("No answer from Farebox; these figures are old.", "Farebox 没有响应；以下数据已过时。"),
    "problems": ("The configuration on disk was not loaded", "磁盘上的配置没有载入"),
    "problems_why": (
        "Farebox goes on with the one before it. What is wrong:", "Farebox 继续使用之前的配置。问题如下："
    ),
    "reading": (
        "The ledger is still being read; sums over time are not there yet.", "账本仍在读取；按时间的合计尚未就绪。"
    ),
    # Tiles
    "figures": ("At a glance", "概览"),
    "spent": ("Spent", "花费"),
    "estimated": ("{share} of it estimated", "其中估算 {share}"),
    "nothing_yet": ("nothing yet", "暂无"),
    "saved": ("Saved", "节省"),
    "of_flagship": ("{share} of the flagship's price", "旗舰价的 {share}"),
    "requests": ("Requests", "请求数"),
    "failed": ("{count} failed", "失败 {count}"),
    "in_flight": ("{count} in flight", "进行中 {count}"),
    "modest": ("Cheap or free tier", "低价或免费档"),
    "of_answered": ("of {count} answered", "占 {count} 个已应答"),
    # Budgets
    "budgets": ("Budgets", "预算"),
    "no_budget": (
        "No budget is configured: every team may spend without a limit.", "没有配置预算：每个团队的花费都不受限制。"
    ),
    "no_own_budget": ("Your team has no budget: it may spend without a limit.", "你的团队没有预算：花费不受限制。"),
    "everybody": ("Everybody", "所有团队"),
    "of_key": ("{team}, key {key}", "{team}，密钥 {key}"),
    "per_hour": ("per hour", "每小时"),
    "per_day": ("per day", "每天"),
    "per_week": ("per week", "每周"),
    "per_month": ("per month", "每月"),
    "per_quarter": ("per quarter", "每季度"),
    "per_year": ("per year", "每年"),
    "per_total": ("in total", "总计"),
    "of_limit": ("of {limit} spent", "/ 限额 {limit}"),
    "bar": ("{spent} spent, {held} held", "已用 {spent}，预留 {held}"),
    "bar_forecast": ("{spent} spent, {held} held, forecast {forecast}", "已用 {spent}，预留 {held}，预计 {forecast}"),
    "left": ("Left", "剩余"),
    "held": ("Held", "预留"),
    "forecast": ("Forecast", "预计"),
    "soft": ("Only cheap from", "超过后仅低价档"),
    "resets": ("Resets", "重置"),
    "resets_in": ("in {time}", "{time}后"),
    "never": ("never", "从不"),
    "state_ok": ("On course", "正常"),
    "state_over": ("Heading above its limit", "预计超限"),
    "state_soft": ("Only the cheap tier", "仅低价档"),
    "state_spent": ("Used up", "已用尽"),
    "held_key": ("held by requests in flight", "进行中的请求所预留"),
    "forecast_key": ("forecast for the end of the window", "周期结束时的预计"),
    # Cost over time
    "over_time": ("Cost over time", "费用趋势"),
    "by_model": ("By model", "按模型"),
    "by_tier": ("By tier", "按档位"),
    "chart": (
        "{what}, {currency}, {first} to {last}: {total} in all, most at {peak} with {most}.",
        "{what}，{currency}，{first} 至 {last}：合计 {total}，最高为 {peak} 的 {most}。",
    ),
    "per_step_3600": ("per hour", "每小时"),
    "per_step_21600": ("per 6 hours", "每 6 小时"),
    "per_step_86400": ("per day", "每天"),
    "per_step_604800": ("per week", "每周"),
    "per_step_2592000": ("per 30 days", "每 30 天"),
    "others": ("others", "其他"),
    "as_table": ("The same as a table", "以表格显示"),
    "from": ("From (UTC)", "起始（UTC）"),
    "total": ("Total", "合计"),
    "nothing_spent": ("Nothing has been spent in this span of time.", "此时间范围内没有花费。"),
    # What routing saved
    "routing": ("What routing saved", "路由节省"),
    "as_routed": ("As routed", "按路由"),
    "at_fixed": ("Everything at the one model that would do", "全部用最合适的单一模型"),
    "at_flagship": ("Everything at the flagship", "全部用旗舰"),
    "saved_share": ("{share} less than at the flagship", "比全部用旗舰少 {share}"),
    "saved_caption": (
        "The flagship's price for the same tokens, at the time of each request.", "同样的词元按每次请求当时的旗舰价计算。"
    ),
    "sure_flagship": (
        "Against the flagship {share}; 95 %: {low} to {high}, from {days} days.",
        "相比旗舰 {share}；95% 区间：{low} 至 {high}（{days} 天）。",
    ),
    "sure_fixed": (
        "Against the one model that would do {share}; 95 %: {low} to {high}, from {days} days.",
        "相比最合适的单一模型 {share}；95% 区间：{low} 至 {high}（{days} 天）。",
    ),
    "too_few_days": ("An interval takes five days; there are {days}.", "给出区间需要五天数据，目前为 {days} 天。"),
    "answered_by": ("Requests by tier", "各档位请求"),
    "tier_free": ("free", "免费"),
    "tier_cheap": ("cheap", "低价"),
    "tier_mid": ("mid", "中档"),
    "tier_flagship": ("flagship", "旗舰"),
    # Tables
    "spend": ("Spend", "花费明细"),
    "team_caption": (
        "By team. Saved: what the flagship would have cost more.", "按团队。节省：旗舰会多花的部分。"
    ),
    "model": ("Model", "模型"),
    "vendor": ("Vendor", "供应商"),
    "tier": ("Tier", "档位"),
    "tokens_in": ("Tokens in", "输入词元"),
    "tokens_out": ("Tokens out", "输出词元"),
    "cost": ("Cost", "费用"),
    "by_tier_column": ("Answered by tier", "应答档位"),
    # Decisions
    "decisions": ("Last decisions", "最近的决策"),
    "no_decision": ("No request has been decided yet.", "还没有作出过决策。"),
    "decisions_caption": ("The newest first; open one to see every candidate.", "最新的在前；展开可见所有候选。"),
    "time": ("Time", "时间"),
    "route": ("Route", "路由"),
    "chosen": ("Chosen", "选中"),
    "why": ("Why", "原因"),
    "outcome": ("Outcome", "结果"),
    "outcome_ok": ("ok", "成功"),
    "outcome_error": ("error", "出错"),
    "outcome_cut": ("cut", "中断"),
    "outcome_left": ("client left", "客户端离开"),
    "outcome_abandoned": ("abandoned", "被放弃"),
    "outcome_open": ("in flight", "进行中"),
    "then": (", then ", "，然后 "),
    "place": ("place {place}, about {cost}", "第 {place}，约 {cost}"),
    "candidates": ("Candidates for request {id}", "请求 {id} 的候选"),
    # Vendors
    "vendors": ("Vendors", "供应商状况"),
    "vendors_caption": (
        "How each is now, and how it did in the last 24 hours.", "当前状况，以及最近 24 小时的表现。"
    ),
    "state": ("State", "状态"),
    "well": ("Well", "正常"),
    "limited": ("Rate limited for {seconds} s", "被限速，还有 {seconds} 秒"),
    "full": ("Its limit here is used up", "本地限额已用完"),
    "open": ("Breaker open: {fault}; next try in {seconds} s", "已熔断：{fault}；{seconds} 秒后再试"),
    "attempts": ("Attempts", "尝试"),
    "failed_share": ("Failed", "失败"),
    "first_word": ("First byte", "首字节"),
    "fault_bad_request": ("bad request", "请求有误"),
    "fault_context_too_long": ("prompt too long", "提示过长"),
    "fault_content_filtered": ("content filtered", "内容被过滤"),
    "fault_auth": ("credential refused", "凭据被拒"),
    "fault_permission": ("not permitted", "无权限"),
    "fault_quota_exhausted": ("no money on the account", "账户余额不足"),
    "fault_rate_limited": ("rate limited", "被限速"),
    "fault_not_found": ("model not found", "找不到模型"),
    "fault_overloaded": ("overloaded", "过载"),
    "fault_server": ("server error", "服务器错误"),
    "fault_timeout": ("timeout", "超时"),
    "fault_connect": ("no connection", "无法连接"),
    "fault_reset": ("connection lost", "连接中断"),
    "fault_garbage": ("unreadable answer", "无法解析的回答"),
    # Prices
    "prices": ("Prices in force", "现行价格"),
    "prices_caption": (
        "Per million tokens, in the vendor's currency. A range depends on the request: its length, hour or thinking.",
        "每百万词元，以供应商的货币计。区间取决于请求：长度、时段或是否思考。",
    ),
    "input": ("Input", "输入"),
    "cached": ("Cached", "缓存"),
    "output": ("Output", "输出"),
    "since": ("Since", "起始"),
    "no_price": ("no price: {why}", "没有价格：{why}"),
    "changes": ("Next price changes", "即将变更的价格"),
    "changes_caption": ("In the next 90 days, as far as the price books know.", "未来 90 天内，据价目表所知。"),
    "no_change": (
        "Nothing changes in the next 90 days, as far as the price books know.", "据价目表所知，未来 90 天内没有变更。"
    ),
    "what": ("What", "项目"),
    "before": ("Before", "之前"),
    "after": ("After", "之后"),
    "change": ("Change", "变化"),
    "unknown": ("unknown: refused", "未知：拒绝"),
    "in_time": ("{day}, in {time}", "{day}，{time}后"),
    # Quality
    "quality": ("Quality certificates", "质量证书"),
    "quality_caption": (
        "With probability 1 − δ, a route's answers fall short of the flagship by at most ε.",
        "以 1 − δ 的概率，路由的回答与旗舰的差距不超过 ε。",
    ),
    "samples": ("Labels", "标注数"),
    "day": ("Date", "日期"),
    "cert_valid": ("in force", "有效"),
    "cert_stale": ("stale", "已过期"),
    "cert_broken": ("broken", "已失效"),
    # The door
    "door": ("This page shows spend and budgets.", "此页显示花费与预算。"),
    "key": ("Key", "密钥"),
    "key_hint": (
        "The admin key shows everything; a team's key shows that team, read only.",
        "管理密钥可见全部；团队密钥仅可见该团队，只读。",
    ),
    "wrong_key": ("That is not the admin key, nor a team's.", "这不是管理密钥，也不是团队的密钥。"),
    "too_many": ("Too many wrong keys from your address; try again in {seconds} s.", "你的地址输错太多次；请在 {seconds} 秒后再试。"),
    "elsewhere": ("Log in on this page, not from another site.", "请在此页登录，而不是从其他网站。"),
    "not_the_form": ("That was not this page's form, or an old one. Try again.", "这不是此页的表单，或已过期。请再试一次。"),
    "closed": (
        "This page is closed, because no admin key is configured. To open it, set one in the configuration:",
        "此页已关闭，因为没有配置管理密钥。要打开它，请在配置中设置：",
    ),
    "or_open": (
        "or, where everybody who reaches this port may see spend and budgets:",
        "或者，如果能访问此端口的人都可以看到花费与预算：",
    ),
    "unreadable": ("The store cannot be read:", "无法读取存储："),
    # Units of time
    "unit_d": ("d", "天"),
    "unit_h": ("h", "小时"),
    "unit_min": ("min", "分"),
    "unit_s": ("s", "秒"),
}  # fmt: skip

_PLACES = Formatter()
_FAULTS = {key.removeprefix("fault_"): chinese for key, (_, chinese) in WORDS.items() if key.startswith("fault_")}


@dataclass(frozen=True, slots=True)
class Words:
    """The table, read in one language."""

    language: str = "en"

    def __call__(self, key: str, /, **places: object) -> str:
        text = WORDS[key][1 if self.language == "zh" else 0]
        return text.format(**places) if places else text

    def html(self, key: str, /, **places: Child) -> Html:
        """The same around markup."""
        pieces: list[Child] = []
        for literal, name, _, _ in _PLACES.parse(self(key)):
            pieces.append(literal)
            if name is not None:
                pieces.append(places[name])
        return join(*pieces)

    def said(self, text: str) -> str | None:
        """What the core has said, in this language; None where there are no words for it."""
        return in_chinese(text, _FAULTS) if self.language == "zh" else text

    @property
    def tag(self) -> str:
        return TAGS[self.language]


def choose(asked: str | None, accepted: str) -> str:
    """The language that was asked for, or else the first of `Accept-Language` that the page has, or else English."""
    if asked is not None and asked in LANGUAGES:
        return asked
    best, language = 0.0, "en"
    for told in accepted[:1000].split(","):
        name, _, quality = told.partition(";")
        found = name.strip().lower().partition("-")[0]
        weight = _weight(quality)
        if found in LANGUAGES and weight > best:
            best, language = weight, found
    return language


def _weight(told: str) -> float:
    name, _, value = told.strip().partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
