"""`alerts` of the configuration: who is told of budgets and of spend that is out of proportion."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from router.core.alerts import Target
from router.core.money import NANO, amount_nano
from router.priceentry import Strict
from router.webhooks import key_of


class AlertSettings(Strict):
    name: str = Field(min_length=1, max_length=64, pattern=r"^[^\s|]+$")
    kind: Literal["generic", "slack", "feishu", "dingtalk"] = "generic"
    url: SecretStr
    secret: SecretStr | None = None
    on: Annotated[list[Literal["budget", "anomaly"]], Field(min_length=1)] = ["budget", "anomaly"]  # noqa: RUF012 (pydantic copies it)
    teams: list[str] | None = None
    anomaly_least: Annotated[int, BeforeValidator(amount_nano)] = NANO

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if not url.startswith(("https://", "http://")) or any(char.isspace() for char in url):
            raise ValueError("is not an address that begins with https:// or http://")
        return value

    @model_validator(mode="after")
    def _can_be_signed(self) -> "AlertSettings":
        if self.kind == "slack" and self.secret is not None and self.secret.get_secret_value():
            raise ValueError("Slack's webhooks are not signed; their address is the secret")
        if self.kind == "generic" and self.secret is not None:
            key_of(self.secret.get_secret_value())
        return self

    @property
    def compiled(self) -> Target:
        secret = "" if self.secret is None else self.secret.get_secret_value()
        owners = None if self.teams is None else frozenset(self.teams)
        url, topics = self.url.get_secret_value(), frozenset[str](self.on)
        return Target(self.name, self.kind, url, secret, topics, owners, self.anomaly_least)
