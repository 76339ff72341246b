"""Moments: what AS OF and `as_of=` accept, and how text and values become one; no files here."""

from __future__ import annotations

import datetime
import math
import re
import time
from dataclasses import dataclass

from dosql_core.errors import FutureMomentError, MomentNotFoundError
from dosql_core.identifiers import Microseconds, SqlValue
from dosql_core.language.moments import MomentKind

_RELATIVE = re.compile(
    r"\s*([+-]?)\s*(\d+(?:\.\d+)?)\s*"
    r"(microseconds?|us|milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|h|days?|d|weeks?|w)"
    r"\s*(ago)?\s*",
    re.IGNORECASE,
)
_UNIT_US = {"u": 1, "s": 1_000_000, "h": 3_600_000_000, "d": 86_400_000_000, "w": 604_800_000_000}
_EARLIEST, _LATEST = -62_135_596_800_000_000, 253_402_300_799_999_999
_PREFIXED = re.compile(r"\s*(lsn|version|snapshot|branch|timestamp)\s*:\s*(.*)", re.I | re.S)


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment as asked for, not yet looked up.

    Shape: `value` is an int for LSN (below 0: so many commits before the present), Microseconds
           for TIMESTAMP, a name for SNAPSHOT and BRANCH; `inner` is the moment on that branch.
    """

    kind: MomentKind
    value: int | str
    inner: Moment | None = None

    def __str__(self) -> str:
        if self.kind is MomentKind.TIMESTAMP:
            return f"timestamp {format_time(Microseconds(int(self.value)))}"
        inner = f" {self.inner}" if self.inner else ""
        return f"{self.kind.value.lower()} {self.value}{inner}"


AsOf = Moment | int | str | datetime.datetime | datetime.date


def moment_from(value: AsOf) -> Moment:
    """The moment a Python value stands for.

    An int is an LSN, a datetime a time (naive: UTC); text is "lsn:5", "snapshot:name",
    "branch:name", "branch:name@5" or "branch:name@-1 hour", "-1 hour", or a timestamp.
    Errors: MomentNotFoundError for anything else.
    """
    if isinstance(value, Moment):
        return value
    if isinstance(value, str):
        prefixed = _PREFIXED.fullmatch(value)
        if prefixed:
            return _prefixed_moment(prefixed[1].lower(), prefixed[2].strip())
    elif isinstance(value, int) and not isinstance(value, bool):
        return Moment(MomentKind.LSN, value)
    return Moment(MomentKind.TIMESTAMP, time_from(value))


def _prefixed_moment(word: str, rest: str) -> Moment:
    if word in ("lsn", "version"):
        return Moment(MomentKind.LSN, lsn_from(rest))
    if word == "snapshot":
        return Moment(MomentKind.SNAPSHOT, rest)
    if word == "timestamp":
        return Moment(MomentKind.TIMESTAMP, time_from(rest))
    name, at, inner = rest.partition("@")
    if not at:
        return Moment(MomentKind.BRANCH, name)
    return Moment(MomentKind.BRANCH, name, moment_from(_moment_there(inner)))


def as_of_clause(value: AsOf) -> tuple[str, tuple[SqlValue, ...]]:
    """What stands behind `AS OF` for a value that `moment_from` takes: words, and their parameters.

    Shape: ("BRANCH ? LSN ?", ("dev", 5)). Text that counts from now goes on doing so.
    Errors: MomentNotFoundError for something that is no moment.
    """
    if isinstance(value, Moment):
        words = f"{value.kind.value} ?"
        if value.kind is MomentKind.TIMESTAMP:
            return words, (format_time(Microseconds(int(value.value))),)
        inner, parameters = as_of_clause(value.inner) if value.inner else ("", ())
        return f"{words} {inner}".rstrip(), (value.value, *parameters)
    if isinstance(value, str):
        prefixed = _PREFIXED.fullmatch(value)
        if prefixed is None:
            return "TIMESTAMP ?", (value,)
        word, rest = prefixed[1].lower(), prefixed[2].strip()
        if word in ("lsn", "version"):
            return "LSN ?", (lsn_from(rest),)
        if word != "branch":
            return f"{word.upper()} ?", (rest,)
        name, at, there = rest.partition("@")
        inner, parameters = as_of_clause(_moment_there(there)) if at else ("", ())
        return f"BRANCH ? {inner}".rstrip(), (name, *parameters)
    if isinstance(value, datetime.date):
        return "TIMESTAMP ?", (str(value),)
    return "LSN ?", (lsn_from(value),)


def _moment_there(text: str) -> int | str:
    """What stands behind `branch:name@`: bare digits are an LSN."""
    return int(text) if text.strip().isdecimal() else text


def moment_of_clause(kind: MomentKind, value: SqlValue, inner: Moment | None = None) -> Moment:
    """The moment a clause of SQL stands for, its value computed."""
    if kind is MomentKind.LSN:
        return Moment(kind, lsn_from(value))
    if kind is MomentKind.TIMESTAMP:
        return Moment(kind, time_from(value))
    if not isinstance(value, str):
        raise MomentNotFoundError(f"{value!r} is not the name of a {kind.value.lower()}")
    return Moment(kind, value, inner)


def lsn_from(value: SqlValue) -> int:
    """An LSN, or below 0 an offset from the present.

    Errors: MomentNotFoundError when the value is no whole number.
    """
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d+\s*", value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise MomentNotFoundError(f"{value!r} is not an LSN; expected a whole number")


def time_from(value: SqlValue | datetime.date | datetime.datetime) -> Microseconds:
    """Microseconds since the epoch of a time told as text, datetime, date or Unix seconds.

    Errors: MomentNotFoundError when it is none of these.
    """
    if isinstance(value, datetime.datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
        return _microseconds(aware)
    if isinstance(value, datetime.date):
        return _microseconds(
            datetime.datetime(value.year, value.month, value.day, tzinfo=datetime.UTC)
        )
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return _within_years(value * 1_000_000, value)
    if isinstance(value, str):
        text = value.strip()
        if text.lower() in ("now", "current"):
            return now()
        relative = _RELATIVE.fullmatch(text)
        if relative:
            return _relative_time(relative, text)
        try:
            return time_from(datetime.datetime.fromisoformat(text))
        except ValueError:
            pass
        if text.removeprefix("-").isdecimal():
            raise MomentNotFoundError(
                f"{value!r} is not a moment: an LSN is given as a number, not as a text",
                hint=f"write {text} without quotes, or 'lsn:{text}' where a connection is opened",
            )
    raise MomentNotFoundError(
        f"{value!r} is not a moment",
        hint="write '2026-11-23 10:00:00' (UTC), '-1 hour', or a form with LSN, SNAPSHOT or BRANCH",
    )


def _relative_time(relative: re.Match[str], text: str) -> Microseconds:
    sign, amount, unit, ago = relative.groups()
    unit = unit.lower()
    if unit.startswith(("ms", "milli")):
        unit_us = 1_000
    elif unit.startswith("m") and not unit.startswith("micro"):
        unit_us = 60_000_000
    else:
        unit_us = _UNIT_US["u" if unit.startswith("micro") else unit[0]]
    if sign != "-" and not ago:
        raise FutureMomentError(
            f"{text!r} lies in the future", hint="write '-1 hour' or '1 hour ago'"
        )
    return _within_years(now() - float(amount) * unit_us, text)


def _within_years(microseconds: float, told: object) -> Microseconds:
    """The time, when text can tell it: the years 1 to 9999. Errors: MomentNotFoundError."""
    if not _EARLIEST <= microseconds <= _LATEST:
        raise MomentNotFoundError(f"{told!r} lies outside of the years 1 to 9999")
    return Microseconds(round(microseconds))


def _microseconds(moment: datetime.datetime) -> Microseconds:
    passed = moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return Microseconds((passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds)


def now() -> Microseconds:
    """The present."""
    return Microseconds(time.time_ns() // 1000)


def format_time(at: Microseconds) -> str:
    """A time as text that `time_from` reads back: UTC, microseconds."""
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=at)
    return moment.isoformat(sep=" ", timespec="microseconds")
