"""What maintenance does to a table and when it is worth the while: frozen settings."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class CompactionPolicy:
    """Which data files are written anew.

    Shape: a file is small below `small_file_bytes`, and `files_min` of them in one partition are
           written together; a file of which `dead_share_min` of the rows are deleted is written
           anew by itself, too. A file that comes out has up to `rows_per_file` rows, and so many
           are read at a time.
    Units: bytes as stored, rows.
    """

    small_file_bytes: int = 16 << 20
    file_bytes_max: int = 64 << 20
    files_min: int = 8
    dead_share_min: float = 0.2
    rows_per_file: int = 1_000_000


@dataclass(frozen=True, slots=True)
class ExpiryPolicy:
    """Which snapshots are let go: those beyond both limits, on every branch.

    Units: seconds since a snapshot was committed; a branch's newest `snapshots_kept_min` stay
           whatever their age.
    """

    age_seconds_max: float = 5 * 86_400.0
    snapshots_kept_min: int = 100


@dataclass(frozen=True, slots=True)
class MaintenancePolicy:
    """All that is done to a table, in this order; None leaves a part out.

    Units: `orphan_age_seconds_min` is how old an unnamed file must be to be removed: longer than
           any writer takes from its first file to its commit. `manifests_max` is how many manifests
           a snapshot may have before they are written anew.
    """

    compaction: CompactionPolicy | None = field(default_factory=CompactionPolicy)
    manifests_max: int | None = 20
    expiry: ExpiryPolicy | None = field(default_factory=ExpiryPolicy)
    orphan_age_seconds_min: float | None = 3 * 86_400.0
