"""Asking a lake that is served elsewhere, over HTTP."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Annotated, Any

import typer

from dolake.errors import LakeUnreachableError, RefusedError

_ANSWER_SECONDS = 120

ServerTokenOption = Annotated[
    str | None, typer.Option(metavar="TOKEN", envvar="DOLAKE_TOKEN", help="For --server.")
]


def ask(server: str, token: str | None, path: str, *, method: str = "GET") -> Any:
    """What the lake answers, in JSON.

    Errors: LakeUnreachableError; RefusedError with what it says where it will not.
    """
    request = urllib.request.Request(server.rstrip("/") + path, method=method)
    if token:
        request.add_header("authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            raw = error.read().decode("utf-8", "replace")
        raise _refusal(raw, f"{error.code} {error.reason}") from error
    except (OSError, ValueError) as error:
        raise LakeUnreachableError(f"{server}: {error}") from error


def _refusal(raw: str, status: str) -> RefusedError:
    try:
        told = json.loads(raw)
        return RefusedError(told["message"], code=told["code"], hint=told.get("recovery_hint"))
    except (ValueError, KeyError, TypeError):
        return RefusedError(status)
