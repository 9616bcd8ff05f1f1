"""Azure's classic address of OpenAI's wire: each deployment has a path, and the query has a version. Pure.

Source: learn.microsoft.com/azure/ai-foundry/openai/reference, 2026-11. The deployment decides which model answers, whatever the body
says.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import orjson

from router.mock import openai
from router.mock.ask import Ask
from router.mock.errors import Refused
from router.mock.incoming import Incoming
from router.mock.wires import Told, Wire

DEPLOYMENTS = "/{vendor:azure-openai}/openai/deployments/{deployment}"


def _authorise(incoming: Incoming) -> None:
    openai.authorise(incoming)
    if not incoming.query.get("api-version"):
        raise Refused(404, "404", "Resource not found")


def _refuse(refused: Refused, serial: str) -> Told:
    """The gateway in front of the models has codes of its own: statuses."""
    status, body, headers = openai.refuse(refused, serial)
    told: dict[str, Any] = body["error"]
    if status == 401:
        told = {"code": "401", "message": "Access denied due to invalid subscription key or wrong API endpoint."}
    elif status == 404:
        missing = "The API deployment for this resource does not exist."
        told = {"code": refused.code or "DeploymentNotFound", "message": refused.message or missing}
    return status, {"error": told}, headers


def _of_deployment(wire: Wire) -> Wire:
    def read(incoming: Incoming) -> Ask:
        deployment = incoming.rest.removeprefix("/openai/deployments/").partition("/")[0]
        body = orjson.dumps({**incoming.json(), "model": deployment})
        return wire.read(dataclasses.replace(incoming, body=body))

    return dataclasses.replace(wire, authorise=_authorise, read=read, refuse=_refuse)


CALLS: Mapping[str, Wire] = {
    "chat/completions": _of_deployment(openai.CHAT),
    "completions": _of_deployment(openai.COMPLETIONS),
    "embeddings": _of_deployment(openai.EMBEDDINGS),
}
