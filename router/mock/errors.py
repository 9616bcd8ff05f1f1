"""What a vendor refuses, before any wire has put it into words. Pure."""

# Codes that mean the same at every vendor, though each writes them differently; any other code is a vendor's own.
_BY_CODE = {
    "context_length_exceeded": "context",
    "content_filter": "filter",
    "content_policy_violation": "filter",
    "insufficient_quota": "quota",
    "rate_limit_exceeded": "rate",
    "invalid_api_key": "auth",
    "expired_token": "expired",
    "overloaded": "overloaded",
}
_BY_STATUS = {
    400: "invalid",
    401: "auth",
    402: "quota",
    403: "permission",
    404: "not_found",
    413: "too_large",
    429: "rate",
    503: "overloaded",
    504: "timeout",
    529: "overloaded",
}


class Refused(Exception):
    """A request that gets an error. `message` is empty where the vendor's usual words will do; `code` is one of the codes above,
    a vendor's own, or empty; `model`, `prompt` (tokens) and `key` are for those words. `ok`: the status is to be 200 all the same.
    """

    def __init__(
        self,
        status: int,
        code: str = "",
        message: str = "",
        *,
        param: str | None = None,
        model: str = "",
        prompt: int = 0,
        key: str = "",
        ok: bool = False,
    ) -> None:
        super().__init__(message or code or str(status))
        self.status, self.code, self.message, self.param = status, code, message, param
        self.model, self.prompt, self.key, self.ok = model, prompt, key, ok

    @property
    def kind(self) -> str:
        """What went wrong, in the mock's own words."""
        return _BY_CODE.get(self.code) or _BY_STATUS.get(self.status) or ("server" if self.status >= 500 else "invalid")


Words = dict[str, tuple[int, str, str]]  # kind → status, code, message of a vendor


def worded(refused: Refused, words: Words, longest: int) -> tuple[int, str, str]:
    """Status, code and message in a vendor's words: the ordered status and code where they are the vendor's own, else the usual ones.

    `longest` is the vendor's context in tokens; `{model}`, `{input}`, `{longest}` and `{key}` in messages are filled in.
    """
    status, code, message = words.get(refused.kind) or words["server" if refused.status >= 500 else "invalid"]
    if refused.code not in _BY_CODE:
        status, code = refused.status, refused.code or code
    # A context error about few tokens would contradict itself.
    numbers = {"{input}": max(refused.prompt, longest + 1), "{longest}": longest}
    said = refused.message or message
    for name, value in ({"{model}": refused.model, "{key}": refused.key} | numbers).items():
        said = said.replace(name, str(value))
    return status, code, said


def invalid(message: str, param: str | None = None, code: str = "") -> Refused:
    """A request the vendor cannot read."""
    return Refused(400, code, message, param=param)
