"""Changes over WebSocket into a served lake: how many a second, and how soon others see them.

`dolake serve` holds a table of five million rows in a folder. A sender gives it JSON messages, nine
in ten of the changes updates of random rows, as fast as they are acknowledged, and asks for a
flush; then at a fixed rate, while DuckDB in a process of its own asks the catalog for rows it has
not seen, and compares the clock with the time at which each was sent.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from lake_tables import COLUMNS, _copied_batches, _open, _schema
from measure import Settings, Table, finish, percentiles, run_alone, settings, start_alone

MESSAGE_CHANGES = 5000
UNANSWERED = 8
TICK_SECONDS = 0.05
FLUSH_AGE = "0.2"


def make_lake(root: str, rows: int) -> None:
    """A lake with one table, as an initial copy leaves it."""
    _, registry, tables = _open(Path(root))
    tables.initial_copy(1, [(_schema(), _copied_batches(rows))])
    registry.close()


def _message(
    chance: random.Random, sequence: int, lsn: int, rows: int, count: int, sent: float
) -> str:
    """A batch of one commit: `amount` is when it was sent, `n` its number in the run."""
    changes = []
    for index in range(count):
        is_new = chance.random() < 0.1
        number = rows + lsn * count + index if is_new else chance.randrange(rows)
        after = {"id": number, "account": f"a{number % 977}", "amount": sent, "n": lsn}
        changes.append(
            {
                "type": "row",
                "lsn": lsn,
                "index": index,
                "committed_at": int(sent * 1e6),
                "operation": "insert" if is_new else "update",
                "table": "t",
                "key": {"id": number},
                "before": None if is_new else after,
                "after": after,
            }
        )
    return json.dumps(
        {
            "type": "batch",
            "sequence": sequence,
            "after_lsn": lsn - 1,
            "last_lsn": lsn,
            "changes": changes,
        }
    )


def send_fast(url: str, rows: int, messages: int, first_lsn: int) -> dict[str, float]:
    """Send as fast as it is acknowledged; seconds until acknowledged, and until in a snapshot."""
    from websockets.sync.client import connect

    chance = random.Random(first_lsn)
    made = [
        _message(chance, n + 1, first_lsn + n, rows, MESSAGE_CHANGES, time.time())
        for n in range(messages)
    ]
    with connect(url, compression=None, max_size=None) as socket:
        socket.send(json.dumps({"type": "connect", "source": "source"}))
        assert json.loads(socket.recv())["type"] == "welcome"
        began = time.perf_counter()
        waiting = 0
        for message in made:
            socket.send(message)
            waiting += 1
            while waiting >= UNANSWERED:
                waiting -= _acknowledged(socket)
        while waiting:
            waiting -= _acknowledged(socket)
        persisted = time.perf_counter() - began
        socket.send(json.dumps({"type": "flush", "sequence": messages + 1}))
        while not _acknowledged(socket):
            pass
        return {
            "persisted": persisted,
            "committed": time.perf_counter() - began,
            "bytes": sum(map(len, made)),
        }


def _acknowledged(socket: Any) -> int:
    answer = json.loads(socket.recv())
    assert answer["type"] == "ack", answer
    return int(answer["sequence"] != 0)


def send_steadily(url: str, rows: int, rate: int, seconds: float, first_lsn: int) -> int:
    """Send so many changes a second, each message with the time; the last LSN."""
    from websockets.sync.client import connect

    chance = random.Random(first_lsn)
    count = max(1, int(rate * TICK_SECONDS))
    with connect(url, compression=None, max_size=None) as socket:
        socket.send(json.dumps({"type": "connect", "source": "source"}))
        assert json.loads(socket.recv())["type"] == "welcome"
        began = time.perf_counter()
        lsn = first_lsn
        for tick in range(int(seconds / TICK_SECONDS)):
            pause = began + tick * TICK_SECONDS - time.perf_counter()
            if pause > 0:
                time.sleep(pause)
            lsn = first_lsn + tick
            socket.send(_message(chance, tick + 1, lsn, rows, count, time.time()))
            while not _acknowledged(socket):
                pass
    return lsn


def watch(url: str, after: int, last: int, seconds_max: float) -> dict[str, Any]:
    """See rows as they appear in DuckDB over the catalog; how old each commit was when seen."""
    import importlib

    import duckdb

    connection = duckdb.connect(config={"threads": 1})
    for name in ("avro", "httpfs", "iceberg"):
        package = importlib.import_module(f"duckdb_extension_{name}")
        folder = Path(str(package.__file__)).parent / f"extensions/v{duckdb.__version__}"
        connection.execute(f"load '{folder}/{name}.duckdb_extension'")
    connection.execute(
        f"attach '' as lake (type iceberg, endpoint '{url}', authorization_type 'none')"
    )
    deadline = time.monotonic() + seconds_max
    ages: list[float] = []
    queries: list[float] = []
    while after < last and time.monotonic() < deadline:
        began = time.perf_counter()
        found = connection.execute(
            f"select n, min(amount) from lake.source.t where n > {after} and amount > 1e9 "
            "group by n"
        ).fetchall()
        now = time.time()
        queries.append(time.perf_counter() - began)
        for lsn, sent in found:
            ages.append(now - sent)
            after = max(after, lsn)
    return {"ages": ages, "queries": queries, "seen": after}


class Served:
    """`dolake serve` on the lake, and what it has used."""

    def __init__(self, root: Path, log: Path) -> None:
        words = [
            *(sys.executable, "-m", "dolake.command_line", "serve", "--json", "--port", "0"),
            *("--warehouse", str(root / "warehouse"), "--state", str(root)),
            *("--flush-age", FLUSH_AGE, "--messages-per-second", "100000"),
            *("--maintain-every", "0"),
        ]
        self._process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=log.open("wb"), text=True
        )
        assert self._process.stdout is not None
        self.url: str = json.loads(self._process.stdout.readline())["url"]
        self.websocket_url = self.url.replace("http", "ws", 1) + "/ws"

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_bytes(self) -> int:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    def flush_seconds(self) -> list[float]:
        with urllib.request.urlopen(f"{self.url}/status") as response:
            source = json.load(response)["sources"]["source@main"]
        return [float(spent) for spent in source["recent_flush_seconds"]]

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=120)


def measured(how: Settings) -> list[Table]:
    rows = how.scaled(5_000_000, 200_000)
    messages = how.scaled(60, 12)
    seconds = how.scaled(15, 3)
    with tempfile.TemporaryDirectory(dir=how.scratch) as scratch:
        root = Path(scratch)
        run_alone(make_lake, str(root), rows)
        served = Served(root, root / "serve.log")
        try:
            # The first change builds the index of all keys: that is restart time, not speed.
            run_alone(send_fast, served.websocket_url, rows, 1, 2)
            cpu = served.cpu_seconds()
            told = run_alone(send_fast, served.websocket_url, rows, messages, 3).value
            cpu = served.cpu_seconds() - cpu
            flushes = served.flush_seconds()
            lsn = 3 + messages
            fresh = []
            for rate in (1000, 10_000):
                last = lsn + int(seconds / TICK_SECONDS) - 1
                fresh.append((rate, _freshness(served, rows, rate, seconds, lsn, last)))
                lsn = last + 1
            peak = served.peak_bytes()
        finally:
            served.stop()
    return _tables(rows, messages, told, cpu, flushes, fresh, peak)


def _freshness(
    served: Served, rows: int, rate: int, seconds: float, first: int, last: int
) -> dict[str, Any]:
    watcher = start_alone(watch, served.url, first - 1, last, seconds + 60)
    time.sleep(2)  # it loads DuckDB
    run_alone(send_steadily, served.websocket_url, rows, rate, seconds, first)
    with watcher:
        out, errors = watcher.communicate(timeout=seconds + 120)
    if watcher.returncode:
        raise RuntimeError(errors)
    value: dict[str, Any] = json.loads(out.splitlines()[-1])["value"]
    return value


def _tables(
    rows: int,
    messages: int,
    told: dict[str, float],
    cpu: float,
    flushes: list[float],
    fresh: list[tuple[int, dict[str, Any]]],
    peak: int,
) -> list[Table]:
    changes = messages * MESSAGE_CHANGES
    speed = Table(
        f"{changes:,} changes as JSON over WebSocket into a table of {rows:,} rows",
        ["until", "changes/s"],
    )
    speed.add("acknowledged (on the lake's disk)", changes / told["persisted"])
    speed.add("in a snapshot (aim 50,000)", changes / told["committed"])
    speed.notes.append(
        f"by the server's processor time alone {changes / cpu:,.0f} changes/s; "
        f"{told['bytes'] / changes:.0f} bytes a change"
    )
    commits = percentiles(flushes)
    speed.notes.append(
        f"a commit takes p50 {commits.p50 / 1e3:,.0f} ms, p95 {commits.p95 / 1e3:,.0f} ms, "
        f"at most {max(flushes) * 1e3:,.0f} ms"
    )
    speed.notes.append(f"most memory of the server: {peak / 1e6:,.0f} MB")
    freshness = Table(
        "From sending a commit to seeing it in DuckDB, in another process, over the catalog",
        ["changes/s", "p50 s", "p99 s (aim 1)", "a query takes, p50 s"],
    )
    for rate, seen in fresh:
        ages, queries = percentiles(seen["ages"]), percentiles(seen["queries"])
        freshness.add(rate, ages.p50 / 1e6, ages.p99 / 1e6, queries.p50 / 1e6)
    freshness.notes.append(
        f"a snapshot at the latest every {FLUSH_AGE} s; DuckDB, the sender and the lake share one "
        "machine"
    )
    if os.getloadavg()[0] > (os.cpu_count() or 1):
        freshness.notes.append(
            "others kept the machine busy: times by the clock are theirs as much as the lake's"
        )
    return [speed, freshness]


def main() -> None:
    assert len(COLUMNS) == 4
    with settings(__doc__) as how:
        finish("lake_ingest", "Changes into the lake", measured(how), how)


if __name__ == "__main__":
    main()
