"""Which token may send which source."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from dolake.errors import UnauthorizedError

ALL_SOURCES = "*"
_SCHEME = "bearer "


def bearer_token(headers: Mapping[str, str]) -> str | None:
    """The token of an Authorization header; None without one."""
    value = headers.get("authorization", "")
    return value[len(_SCHEME) :].strip() if value.lower().startswith(_SCHEME) else None


def check_token(
    tokens: Mapping[str, tuple[str, ...]], token: str | None, source: str = ALL_SOURCES
) -> None:
    """See that the token opens the source, or, for `*`, the whole lake.

    Errors: UnauthorizedError.
    """
    if not tokens:
        return
    if token is None:
        raise UnauthorizedError("a token was expected, and none was given")
    opened: tuple[str, ...] = ()
    for known, sources in tokens.items():  # all of them, so that the time taken tells nothing
        if hmac.compare_digest(known.encode(), token.encode("utf-8", "replace")):
            opened = sources
    if not opened:
        raise UnauthorizedError("the token is not one of this lake's")
    if ALL_SOURCES not in opened and source not in opened:
        what = "the lake's operations" if source == ALL_SOURCES else f"source {source!r}"
        raise UnauthorizedError(f"the token does not open {what}")
