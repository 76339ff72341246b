"""Numbers and times as people read them: sizes, counts, durations, moments."""

from __future__ import annotations

import datetime

_SIZE_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")
_AGES = (
    (365 * 86_400, "year"),
    (30 * 86_400, "month"),
    (86_400, "day"),
    (3_600, "hour"),
    (60, "minute"),
    (1, "second"),
)


def size_text(size_bytes: float) -> str:
    """A number of bytes in the unit that keeps it short: `740 bytes`, `1.5 MB`."""
    size = float(size_bytes)
    for unit in _SIZE_UNITS:
        if abs(size) < 1000 or unit == _SIZE_UNITS[-1]:
            break
        size /= 1000
    if unit == "bytes":
        return counted(int(size), "byte")
    return f"{size:.0f} {unit}" if abs(size) >= 100 else f"{size:.1f} {unit}"


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """`1 row`, `2 rows`, `336,776 rows`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def duration_text(seconds: float) -> str:
    """How long something took, with the precision that matters: `0.24 ms`, `3.1 s`, `2 min 5 s`."""
    if seconds < 0.001:
        return f"{seconds * 1000:.2f} ms"
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def time_text(moment: datetime.datetime) -> str:
    """The moment in UTC, with its microseconds, in the form AS OF TIMESTAMP accepts."""
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def age_text(moment: datetime.datetime, now: datetime.datetime | None = None) -> str:
    """How long ago the moment was: `now`, `3 minutes ago`."""
    seconds = ((now or datetime.datetime.now(datetime.UTC)) - moment).total_seconds()
    for unit_seconds, noun in _AGES:
        if seconds >= unit_seconds:
            return f"{counted(int(seconds // unit_seconds), noun)} ago"
    return "now"
