"""Values out of JSON that somebody else wrote, each of the type it must have or a clear error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dolake.errors import TableMetadataError

Json = dict[str, Any]

_NOTHING = object()
LONG_MIN, LONG_MAX = -(2**63), 2**63 - 1


def object_of(value: Any, what: str) -> Json:
    """The value, which must be a JSON object."""
    if not isinstance(value, dict):
        raise TableMetadataError(f"{what} is {shown(value)}; a JSON object was expected")
    return value


def integer(holder: Mapping[str, Any], key: str, what: str, default: Any = _NOTHING) -> int:
    """The whole number under a key, within 64 bits; without it the default, if there is one."""
    value = holder.get(key, default)
    if value is default and default is not _NOTHING:
        return value  # type: ignore[no-any-return]
    if not isinstance(value, int) or isinstance(value, bool) or not LONG_MIN <= value <= LONG_MAX:
        raise _wrong(holder, key, what, "a whole number of 64 bits")
    return value


def text(holder: Mapping[str, Any], key: str, what: str, default: Any = _NOTHING) -> str:
    """The text under a key, not empty; without it the default, if there is one."""
    value = holder.get(key, default)
    if value is default and default is not _NOTHING:
        return value  # type: ignore[no-any-return]
    if not isinstance(value, str) or not value:
        raise _wrong(holder, key, what, "a text")
    return value


def boolean(holder: Mapping[str, Any], key: str, what: str, default: Any = _NOTHING) -> bool:
    """The truth value under a key; without it the default, if there is one."""
    value = holder.get(key, default)
    if not isinstance(value, bool):
        raise _wrong(holder, key, what, "true or false")
    return value


def mapping(holder: Mapping[str, Any], key: str, what: str) -> Json:
    """The JSON object under a key."""
    value = holder.get(key)
    if not isinstance(value, dict):
        raise _wrong(holder, key, what, "a JSON object")
    return value


def objects(holder: Mapping[str, Any], key: str, what: str, default: Any = _NOTHING) -> list[Json]:
    """The list of JSON objects under a key; without it the default, if there is one."""
    value = holder.get(key, default)
    if value is default and default is not _NOTHING:
        return list(value)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise _wrong(holder, key, what, "a list of JSON objects")
    return value


def integers(holder: Mapping[str, Any], key: str, what: str) -> list[int]:
    """The list of whole numbers under a key."""
    value = holder.get(key)
    if not isinstance(value, list) or not all(
        isinstance(item, int) and not isinstance(item, bool) for item in value
    ):
        raise _wrong(holder, key, what, "a list of whole numbers")
    return value


def texts(holder: Mapping[str, Any], key: str, what: str, default: Any = _NOTHING) -> list[str]:
    """The list of texts under a key; without it the default, if there is one."""
    value = holder.get(key, default)
    if value is default and default is not _NOTHING:
        return list(value)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _wrong(holder, key, what, "a list of texts")
    return value


def properties_of(holder: Mapping[str, Any], key: str, what: str) -> dict[str, str]:
    """The properties under a key, texts by text; none where the key is missing or null."""
    value = holder.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise _wrong(holder, key, what, "a JSON object of texts")
    return dict(value)


def shown(value: Any) -> str:
    """A value as a message shows it, however long it is."""
    told = repr(value)
    return told if len(told) <= 80 else f"{told[:77]}..."


def _wrong(holder: Mapping[str, Any], key: str, what: str, expected: str) -> TableMetadataError:
    found = f"is {shown(holder[key])}" if key in holder else "is missing"
    return TableMetadataError(f"{key!r} of {what} {found}; {expected} was expected")
