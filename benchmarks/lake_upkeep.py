"""Whether maintenance stalls ingest: a steady stream of changes, with and without upkeep beside it.

`dolake serve` holds a table of five million rows. A sender gives it changes at a fixed rate and
notes when each message is acknowledged and when snapshots are committed; then it goes on while
maintenance processes, one after another, compact the table, rewrite its manifests, let go of
snapshots and sweep orphans. A message's time counts from when it was due, so that a stall is not
hidden by the sender waiting, too.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from lake_ingest import TICK_SECONDS, Served, _message, make_lake, send_fast
from measure import Settings, Table, finish, percentiles, run_alone, settings, start_alone

RATE = 5000


def send_and_time(
    url: str, rows: int, rate: int, seconds: float, first_lsn: int
) -> dict[str, list[float]]:
    """Send at a rate; how long each message waited, and how long it was between two snapshots."""
    from websockets.sync.client import connect

    chance = random.Random(first_lsn)
    count = max(1, int(rate * TICK_SECONDS))
    ticks = int(seconds / TICK_SECONDS)
    due_at: dict[int, float] = {}
    waits: list[float] = []
    commits: list[float] = []
    with connect(url, compression=None, max_size=None) as socket:
        socket.send(json.dumps({"type": "connect", "source": "source"}))
        assert json.loads(socket.recv())["type"] == "welcome"

        def listen() -> None:
            while len(waits) < ticks:
                answer = json.loads(socket.recv())
                now = time.perf_counter()
                assert answer["type"] == "ack", answer
                if answer["sequence"]:
                    waits.append(now - due_at[answer["sequence"]])
                else:
                    commits.append(now)

        listening = threading.Thread(target=listen)
        listening.start()
        began = time.perf_counter()
        for tick in range(ticks):
            due = began + tick * TICK_SECONDS
            message = _message(chance, tick + 1, first_lsn + tick, rows, count, time.time())
            time.sleep(max(0.0, due - time.perf_counter()))
            due_at[tick + 1] = due
            socket.send(message)
        listening.join()
    return {"waits": waits, "gaps": [b - a for a, b in itertools.pairwise(commits)]}


def keep_up(root: str, seconds: float) -> dict[str, Any]:
    """Maintain the table again and again, each time in a new process; what that came to."""
    from dolake.maintenance.maintenance_policy import (
        CompactionPolicy,
        ExpiryPolicy,
        MaintenancePolicy,
    )
    from dolake.maintenance.maintenance_process import MaintenanceProcess
    from dolake.warehouse import Warehouse

    # Far more than a schedule would do: whatever has one dead row in a hundred is written anew.
    policy = MaintenancePolicy(
        compaction=CompactionPolicy(files_min=4, dead_share_min=0.01),
        manifests_max=5,
        expiry=ExpiryPolicy(age_seconds_max=2.0, snapshots_kept_min=5),
        orphan_age_seconds_min=600.0,
    )
    warehouse = Warehouse(Path(root) / "warehouse")
    told = {"runs": 0, "files": 0, "rows": 0, "manifests": 0, "snapshots": 0, "conflicts": 0}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        running = MaintenanceProcess(Path(root) / "catalog.db", warehouse, policy)
        for result in running.wait(600):
            told["files"] += result.compaction.files_before
            told["rows"] += result.compaction.rows_written
            told["conflicts"] += result.compaction.conflicts
            told["manifests"] += result.manifests_rewritten
            told["snapshots"] += result.expiry.snapshots
        told["runs"] += 1
    return told


def measured(how: Settings) -> list[Table]:
    rows = how.scaled(5_000_000, 200_000)
    seconds = how.scaled(25, 6)
    with tempfile.TemporaryDirectory(dir=how.scratch) as scratch:
        root = Path(scratch)
        run_alone(make_lake, str(root), rows)
        served = Served(root, root / "serve.log")
        try:
            # The first change builds the index of all keys: that is restart time, not a stall.
            run_alone(send_fast, served.websocket_url, rows, 4, 2)
            lsn = 6
            phases = []
            for is_maintained in (False, True):
                upkeep = start_alone(keep_up, str(root), seconds - 3) if is_maintained else None
                cpu = served.cpu_seconds()
                told = run_alone(
                    send_and_time, served.websocket_url, rows, RATE, seconds, lsn
                ).value
                told["cpu"] = served.cpu_seconds() - cpu
                told["flushes"] = served.flush_seconds()[-len(told["gaps"]) :]
                lsn += int(seconds / TICK_SECONDS)
                phases.append(told)
                if upkeep is not None:
                    with upkeep:
                        out, errors = upkeep.communicate(timeout=600)
                    if upkeep.returncode:
                        raise RuntimeError(errors)
                    done = json.loads(out.splitlines()[-1])["value"]
        finally:
            served.stop()
    return _tables(rows, seconds, phases, done)


def _tables(
    rows: int, seconds: int, phases: list[dict[str, Any]], done: dict[str, Any]
) -> list[Table]:
    table = Table(
        f"{RATE:,} changes a second into {rows:,} rows, with and without maintenance beside",
        ["", "maintenance off", "on", "aim"],
    )
    for name, kind in (
        ("until a message is acknowledged", "waits"),
        ("from snapshot to snapshot", "gaps"),
        ("a commit", "flushes"),
    ):
        off, on = (percentiles(phase[kind]) for phase in phases)
        aim = "500" if kind == "waits" else ""
        table.add(f"{name}, p50 ms", off.p50 / 1e3, on.p50 / 1e3, "")
        table.add(f"{name}, p99 ms", off.p99 / 1e3, on.p99 / 1e3, "")
        table.add(f"{name}, longest ms", off.longest / 1e3, on.longest / 1e3, aim)
    off_cpu, on_cpu = (phase["cpu"] / seconds for phase in phases)
    table.add("the server's processor time, of a core", f"{off_cpu:.0%}", f"{on_cpu:.0%}", "")
    table.notes.append(
        f"beside it, in {done['runs']} processes one after another: {done['files']:,} files with "
        f"{done['rows']:,} rows written anew, {done['manifests']:,} manifests rewritten, "
        f"{done['snapshots']:,} snapshots let go; {done['conflicts']} times a commit of ingest "
        "came first, and only deletes were translated again"
    )
    if os.getloadavg()[0] > (os.cpu_count() or 1):
        table.notes.append(
            "others kept the machine busy: times by the clock are theirs as much as the lake's"
        )
    return [table]


def main() -> None:
    with settings(__doc__) as how:
        finish("lake_upkeep", "Maintenance beside ingest", measured(how), how)


if __name__ == "__main__":
    main()
