"""The power fails: the disk holds what was synced and, of later writes, any of their sectors.

The same activities as under kills run on a disk that forgets (`fixtures/power_cut.py`). Whatever
it held, the database opens by itself and `verify` finds nothing. With durability full or strict
every acknowledged commit is there at its LSN; with normal or off the last ones may be missing, but
those that are there are right.
"""

from __future__ import annotations

import contextlib
import random
import shutil
from pathlib import Path

import pytest

import dosql_dbapi
from dosql_core.database import open_database
from dosql_core.kernel.overlay_map import OverlayMap, create_overlay_map
from fixtures.crash import run_crash_child
from fixtures.crash_activities import ACTIVITIES
from fixtures.power_cut import apply_image

PROGRAM = """
    import sys
    from pathlib import Path
    from fixtures.crash_activities import run_activity
    from fixtures.power_cut import UnsyncedDisk
    activity, path, durability, images, cut_at, count, seed = sys.argv[1:]
    UnsyncedDisk(
        Path(path).parent, Path(images), cut_at=int(cut_at), images=int(count), seed=seed
    ).install()
    run_activity(activity, path, durability, acknowledge)
"""
CUTS_EVERYDAY = 2
CUTS_LONG = 30
IMAGES = 2
EVENTS_MAX = 600
TORN = "select a from t group by a having count(*) <> 2"
MAP_PROGRAM = """
    import sys
    from pathlib import Path
    from dosql_core.kernel.overlay_map import OverlayMap
    from fixtures.power_cut import UnsyncedDisk
    path, images, cut_at, seed = sys.argv[1:]
    UnsyncedDisk(
        Path(path).parent, Path(images), cut_at=int(cut_at), images=12, seed=seed
    ).install()
    pages = OverlayMap(path)
    pages.truncate(90_000)
    for page in range(1, 100_000, 7_000):
        pages.add(page)
        if page % 3 == 0:
            pages.sync()
    pages.sync()
    acknowledge("whole")
"""


# The disk forgets within one process: it would not see what a companion syncs.
@pytest.mark.parametrize("activity", [name for name in ACTIVITIES if name != "accompanied"])
def test_a_power_cut_loses_nothing_acknowledged_and_tears_nothing(
    activity: str, tmp_path: Path, seeded_random: random.Random, is_long_run: bool
) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    database_path = root / "app.db"
    for cut in range(CUTS_LONG if is_long_run else CUTS_EVERYDAY):
        durability = seeded_random.choice(["full", "full", "strict", "normal", "off"])
        images = tmp_path / f"images-{cut}"
        cut_at = int(EVENTS_MAX ** seeded_random.uniform(0.2, 1.0))
        seed = f"{seeded_random.random()}"
        arguments = (activity, database_path, durability, images, cut_at, IMAGES, seed)
        report = run_crash_child(PROGRAM, arguments, moment=None)
        told = [line.split() for line in report.acknowledgements]
        told_of = f"{activity}, {durability}, cut at {cut_at}, seed {seed}"
        for image in sorted(images.iterdir()):
            apply_image(root, image)
            check(database_path, told, durability, seeded_random, f"{told_of}, {image.name}")
        shutil.rmtree(images)


def check(
    path: Path, told: list[list[str]], durability: str, chance: random.Random, told_of: str
) -> None:
    is_durable = durability in ("full", "strict")
    try:
        with open_database(path) as database:
            assert database.verify() == []
            branches = {str(info.name): int(info.lsn) for info in database.branches.list()}
    except Exception as error:
        error.add_note(told_of)
        raise
    commits = [words for words in told if words[0] == "commit"]
    for _, branch, lsn, count, total in chance.sample(commits, min(5, len(commits))):
        if branch not in branches:
            assert not is_durable or ["dropped", branch] in told or told[-1][0] != "dropped"
            continue
        if branches[branch] < int(lsn):
            assert not is_durable, f"{branch} LSN {lsn} of {branches[branch]}: {told_of}"
            continue
        with contextlib.closing(dosql_dbapi.connect(path, branch=branch, as_of=int(lsn))) as past:
            found = past.execute("select count(*), coalesce(sum(a), 0) from t").fetchone()
            assert found == (int(count), int(total)), f"{branch} at LSN {lsn}: {told_of}"
    with contextlib.closing(dosql_dbapi.connect(path)) as connection:
        if connection.execute("select 1 from sqlite_schema where name = 't'").fetchone():
            assert connection.execute(TORN).fetchall() == [], told_of
            kept = [words for words in told if words[0] == "kept"]
            if kept and is_durable:
                (count,) = connection.execute("select count(*) from t").fetchone()
                assert count >= int(kept[-1][1]), told_of
        else:
            assert not (commits and is_durable), told_of


@pytest.mark.parametrize("cut_at", range(1, 12))
def test_a_map_of_pages_opens_whatever_sectors_of_it_were_kept(
    cut_at: int, tmp_path: Path, seeded_random: random.Random
) -> None:
    """A bit may reach the disk before the checksum that covers it, or without it."""
    root, images = tmp_path / "disk", tmp_path / "images"
    root.mkdir()
    path = root / "overlay.map"
    create_overlay_map(str(path), page_size=4096, page_count=100_000)
    seed = f"{seeded_random.random()}"
    report = run_crash_child(MAP_PROGRAM, (path, images, cut_at, seed), moment=None)
    assert report.acknowledgements != ("whole",) or not images.exists()
    for image in images.iterdir() if images.exists() else ():
        apply_image(root, image)
        OverlayMap(str(path)).close()
