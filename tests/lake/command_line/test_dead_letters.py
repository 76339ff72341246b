"""Batches that the tables could not take, as somebody at the lake deals with them."""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("msgspec")

from dolake.command_line import main
from fixtures.lake_servers import LakeProcess, ServedLakes

COLUMNS = [{"name": "id", "declared_type": "INTEGER", "key_position": 1}]
MAKE_T = {"type": "schema", "index": 0, "committed_at": 0, "table": "t", "before": None} | {
    "after": {"table": "t", "columns": COLUMNS}
}


def dolake(*words: str, status: int = 0) -> str:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        found = main(list(words))
    assert found == status, (out.getvalue(), err.getvalue())
    return out.getvalue() if status == 0 else err.getvalue()


def row(lsn: int, table: str) -> dict[str, Any]:
    return {
        "type": "row",
        "lsn": lsn,
        "index": 1,
        "committed_at": 0,
        "operation": "insert",
        "table": table,
        "key": {"id": lsn},
        "after": {"id": lsn},
    }


def post(lake: LakeProcess, lsn: int, *changes: dict[str, Any]) -> tuple[int, Any]:
    batch = {"type": "batch", "sequence": 1, "after_lsn": lsn - 1, "last_lsn": lsn}
    return lake.ask("/cdc?source=shop", {**batch, "changes": changes})


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_halted_source_goes_on_when_its_dead_letter_is_discarded(
    served_lakes: ServedLakes, tmp_path: Path
) -> None:
    lake = served_lakes.start(tmp_path / "lake", "--tier", "P0", "--maintain-every", "0")
    here = ("--warehouse", str(tmp_path / "lake"), "--state", str(tmp_path / "lake-state"))
    there = ("--server", lake.url)
    name = "shop@main-1-2"

    def state() -> str:
        told = json.loads(dolake("dead-letters", "list", *there, "--json"))
        return str(told[0]["state"]) if told else "none"

    assert post(lake, 1, MAKE_T | {"lsn": 1}, row(1, "t"))[0] == 200
    assert post(lake, 2, row(2, "ghost"))[0] == 200  # of a table that was never told of
    eventually(lambda: state() == "halting")
    eventually(lambda: post(lake, 3, row(3, "t"))[0] == 500)  # nothing passes it

    assert name in dolake("dead-letters", "list", *here)
    for shown in (dolake("dead-letters", "show", name, *place) for place in (here, there)):
        letter = json.loads(shown)
        assert "ghost" in letter["error"]
        assert letter["batch"]["changes"][0]["after"] == {"id": 2}
    dolake("dead-letters", "retry", name, *there)
    eventually(lambda: state() == "halting")

    assert "--server" in dolake("dead-letters", "discard", name, *here, status=1)

    def goes_on() -> bool:
        if state() == "halting":  # also again, where the retry was still under way
            dolake("dead-letters", "discard", name, *there)
        return post(lake, 3, row(3, "t"))[0] == 200

    eventually(goes_on)
    assert state() == "dropped"
    assert "undo what came after" in dolake("dead-letters", "retry", name, *there, status=1)
    assert "no dead letter" in dolake("dead-letters", "show", "other", *there, status=1)
    assert lake.ask("/flush", method="POST")[1]["committed_lsn"] == {"shop@main": 3}
    assert lake.stop() == 0

    dolake("dead-letters", "discard", name, *here)  # the source is past it: nobody needs it more
    assert json.loads(dolake("dead-letters", "list", *here, "--json")) == []
    told = json.loads(dolake("query", "select id from shop.t order by id", *here, "--json"))
    assert told == [{"id": 1}, {"id": 3}]
