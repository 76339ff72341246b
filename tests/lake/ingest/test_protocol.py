"""A real server, spoken to in raw messages: what is right is answered, what is wrong is refused."""

from __future__ import annotations

import gzip
import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import pytest

pytest.importorskip("msgspec")

import msgspec
from websockets.exceptions import ConnectionClosed
from websockets.sync import client
from websockets.sync.client import ClientConnection

from dolake.ingest.lake_tables import SourceKey
from fixtures.file_tables import stored_rows
from fixtures.lake_servers import FileLakes, LakeProcess

SHOP = SourceKey("shop", "main")
PATIENCE_SECONDS = 60  # only a lake that hangs takes so long
connect = partial(client.connect, open_timeout=PATIENCE_SECONDS, close_timeout=PATIENCE_SECONDS)


def unpacked(raw: str | bytes) -> dict[str, Any]:
    """A message, whichever form it has."""
    found: dict[str, Any] = json.loads(raw) if isinstance(raw, str) else msgspec.msgpack.decode(raw)
    return found


class Line:
    """A connection that speaks JSON as a person would write it."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    def say(self, **message: Any) -> dict[str, Any]:
        """Send a message; the first answer that is about it."""
        self.socket.send(json.dumps(message))
        return self.hear()

    def hear(self) -> dict[str, Any]:
        while True:
            answer = json.loads(self.socket.recv(PATIENCE_SECONDS))
            if answer["type"] != "ack" or answer["sequence"] != 0:  # 0 tells of commits
                return answer


@contextmanager
def line(lake: LakeProcess, source: str = "shop", **more: Any) -> Iterator[Line]:
    with connect(lake.websocket_url, compression=None, max_size=None) as socket:
        opened = Line(socket)
        welcome = opened.say(type="connect", source=source, **more)
        assert welcome["type"] == "welcome", welcome
        yield opened


def row(lsn: int, index: int = 0, **more: Any) -> dict[str, Any]:
    identity = lsn * 1000 + index
    return {
        "type": "row",
        "lsn": lsn,
        "index": index,
        "committed_at": 0,
        "operation": "insert",
        "table": "t",
        "key": {"id": identity},
        "after": {"id": identity, "value": "v"},
        **more,
    }


def batch(sequence: int, after: int, last: int, *rows: dict[str, Any], **more: Any) -> Any:
    changes = rows or tuple(row(lsn) for lsn in range(after + 1, last + 1))
    return {
        "type": "batch",
        "sequence": sequence,
        "after_lsn": after,
        "last_lsn": last,
        "changes": changes,
        **more,
    }


def lsns(lakes: FileLakes, key: SourceKey = SHOP) -> list[int]:
    _, rows = stored_rows(lakes.tables(), key)
    return sorted({each["id"] // 1000 for each in rows["t"].values()})


def test_the_life_of_a_connection(file_lakes: FileLakes) -> None:
    lake = file_lakes.start(flush={"age_seconds_max": 3600})
    with line(lake) as opened:
        ack = opened.say(**batch(1, 0, 3))
        assert (ack["status"], ack["lsn"], ack["committed_lsn"]) == ("persisted", 3, 0)
        assert opened.say(**batch(2, 0, 3))["status"] == "duplicate"
        beat = opened.say(type="heartbeat", sent_at=5)
        assert (beat["type"], beat["sent_at"], beat["committed_lsn"]) == ("heartbeat", 5, 0)
        ack = opened.say(type="flush", sequence=3)
        assert (ack["status"], ack["committed_lsn"]) == ("ok", 3)
    with connect(lake.websocket_url) as socket:  # resumption: the lake knows where
        welcome = Line(socket).say(type="connect", source="shop", last_acknowledged_lsn=1)
        assert (welcome["accepted_lsn"], welcome["committed_lsn"]) == (3, 3)
        assert not welcome["needs_copy"]
    assert lsns(file_lakes) == [1, 2, 3]


def test_messages_may_be_msgpack_and_are_answered_so(file_lakes: FileLakes) -> None:
    lake = file_lakes.start()
    with connect(lake.websocket_url) as socket:
        socket.send(msgspec.msgpack.encode({"type": "connect", "source": "shop"}))
        assert unpacked(socket.recv(PATIENCE_SECONDS))["type"] == "welcome"
        message = {
            "type": "batch",
            "sequence": 1,
            "after_lsn": 0,
            "last_lsn": 1,
            "tables": [["t", ["id", "value"], ["id"]]],
            "changes": [[0, 1, 0, 0, 0, 0, None, None, [1000, [b"\x01\x02"]]]],
        }
        socket.send(msgspec.msgpack.encode(message))
        assert unpacked(socket.recv(PATIENCE_SECONDS))["status"] == "persisted"
    lake.stop()
    assert stored_rows(file_lakes.tables(), SHOP)[1]["t"]["[1000]"]["value"] == "0102"


def test_what_is_wrong_is_refused_with_a_reason_and_the_connection_goes_on(
    file_lakes: FileLakes,
) -> None:
    lake = file_lakes.start(limits={"event_bytes_max": 2000, "message_bytes_max": 10_000})
    now = time.time_ns() // 1000
    wrong = [
        ({"type": "nothing"}, "invalid_format"),
        ({"type": "connect", "source": "shop"}, "invalid_format"),
        (batch(2, 7, 9), "invalid_sequence"),
        (batch(3, 3, 2), "invalid_format"),
        (batch(4, 1, 3, row(3), row(2)), "invalid_format"),
        (batch(5, 1, 3, row(2), row(2)), "invalid_format"),
        (batch(6, 1, 2, row(1)), "invalid_format"),
        (batch(7, 1, 2, row(3)), "invalid_format"),
        (batch(8, 1, 2, row(2, operation="update", after=None)), "invalid_format"),
        (batch(9, 1, 2, row(2, key={})), "invalid_format"),
        (batch(10, 1, 2, row(2, after={"id": 1, "value": "x" * 3000})), "too_large"),
        (batch(11, 1, 2, row(2, after={"id": 1, "value": "x" * 20_000})), "too_large"),
        (batch(12, 1, 2, row(2, committed_at=now + 3_600_000_000)), "clock_skew"),
        (batch(13, 1, 4, row(2), more=True), "invalid_format"),
        (batch(14, 1, 2, row(2), part=1), "invalid_sequence"),
        ({"type": "copy_end", "sequence": 15}, "invalid_sequence"),
        ({"type": "copy_begin", "sequence": 16, "lsn": 0, "tables": []}, "invalid_sequence"),
    ]
    with line(lake) as opened:
        assert opened.say(**batch(1, 0, 1))["status"] == "persisted"
        for message, reason in wrong:
            nack = opened.say(**message)
            assert (nack["type"], nack["reason"]) == ("nack", reason), (message, nack)
            assert nack["expected_lsn"] == 1
            assert nack["message"] and nack["code"]
        for raw in ("{", "", "null", "[]", '"x"', b"", b"\xc1", b"\x00" * 100):
            opened.socket.send(raw)
            answer = opened.socket.recv(PATIENCE_SECONDS)
            assert unpacked(answer)["reason"] == "invalid_format"
        assert opened.say(**batch(17, 1, 2))["status"] == "persisted"
    lake.stop()
    assert lsns(file_lakes) == [1, 2]


def test_a_message_beyond_all_limits_ends_the_connection_and_loses_nothing(
    file_lakes: FileLakes,
) -> None:
    lake = file_lakes.start(limits={"message_bytes_max": 10_000})
    with line(lake) as opened:
        opened.say(**batch(1, 0, 1))
        with pytest.raises(ConnectionClosed) as raised:
            opened.socket.send("x" * 100_000)
            opened.hear()
        assert raised.value.rcvd is not None and raised.value.rcvd.code == 1009
    with line(lake) as opened:
        assert opened.say(**batch(2, 1, 2))["lsn"] == 2


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        ({"type": "connect", "source": "shop"}, "unauthorized"),
        ({"type": "connect", "source": "shop", "token": "wrong"}, "unauthorized"),
        ({"type": "connect", "source": "shop", "token": "mail token"}, "unauthorized"),
        ({"type": "connect", "source": "shop", "token": "all", "sent_at": 0}, "clock_skew"),
        ({"type": "heartbeat"}, "invalid_format"),
        ({"type": "connect", "source": ""}, "invalid_format"),
        ({"type": "connect", "source": "x" * 300}, "invalid_format"),
    ],
)
def test_who_may_not_send_is_told_so(
    file_lakes: FileLakes, first: dict[str, Any], reason: str
) -> None:
    lake = file_lakes.start(tokens={"mail token": ["mail"], "all": ["*"]})
    with connect(lake.websocket_url) as socket:
        nack = Line(socket).say(**first)
        assert (nack["type"], nack["reason"]) == ("nack", reason)
        with pytest.raises(ConnectionClosed):
            socket.recv(PATIENCE_SECONDS)
    for token in ("shop token", "all"):
        opened = {"shop token": {"source": "mail", "token": "mail token"}}
        with line(lake, **opened.get(token, {"token": "all"})):
            pass


def test_a_database_that_takes_anothers_name_is_refused(file_lakes: FileLakes) -> None:
    lake = file_lakes.start()
    with line(lake, database_id="a"):
        pass
    with connect(lake.websocket_url) as socket:
        nack = Line(socket).say(type="connect", source="shop", database_id="b")
        assert "is the database a" in nack["message"]


def test_too_many_messages_a_second_are_refused_with_a_delay(file_lakes: FileLakes) -> None:
    # One message, and a second one where that took two seconds: however slow the machine is.
    lake = file_lakes.start(limits={"messages_per_second": 0.5})
    with line(lake) as opened:
        sent = 0
        while (answer := opened.say(**batch(sent + 1, sent, sent + 1)))["type"] == "ack":
            sent += 1
            assert sent < 20
        assert answer["reason"] == "rate_limited" and answer["retry_after_seconds"] > 0
        time.sleep(answer["retry_after_seconds"])
        assert opened.say(**batch(sent + 1, sent, sent + 1))["type"] == "ack"
    with line(lake, "other") as opened:  # each source has a rate of its own
        assert opened.say(**batch(1, 0, 1))["type"] == "ack"


def test_too_many_connections_are_refused(file_lakes: FileLakes) -> None:
    lake = file_lakes.start(limits={"connections_max": 2})
    with line(lake, "a"), line(lake, "b"):
        with connect(lake.websocket_url) as socket:
            nack = json.loads(socket.recv(PATIENCE_SECONDS))
            assert nack["reason"] == "rate_limited"
        assert lake.ask("/status")[1]["connections"] == 2
    lake = file_lakes.start("second", limits={"connections_per_second": 0.01})
    with connect(lake.websocket_url) as socket:
        assert json.loads(socket.recv(PATIENCE_SECONDS))["reason"] == "rate_limited"


def test_a_source_that_connects_anew_takes_the_place_of_its_dead_connection(
    file_lakes: FileLakes,
) -> None:
    lake = file_lakes.start()
    with line(lake) as first:
        first.say(**batch(1, 0, 1, row(1), more=True))
        with line(lake) as second:
            nack = first.hear()
            assert nack["reason"] == "source_in_use"
            assert second.say(**batch(1, 0, 1))["status"] == "persisted"
    lake.stop()
    assert lsns(file_lakes) == [1]


def test_a_connection_that_came_earlier_does_not_take_the_place_of_a_later_one(
    file_lakes: FileLakes,
) -> None:
    """A sender whose line broke connects anew, and then its first connection is heard of."""
    lake = file_lakes.start()
    with connect(lake.websocket_url) as first, line(lake) as second:
        with suppress(ConnectionClosed):
            Line(first).say(type="connect", source="shop")
            nack = Line(first).hear()
            assert nack["reason"] == "source_in_use"
        assert second.say(**batch(1, 0, 3))["status"] == "persisted"


def test_a_server_that_stops_flushes_and_says_so(file_lakes: FileLakes) -> None:
    lake = file_lakes.start(flush={"age_seconds_max": 3600})
    with line(lake) as opened:
        opened.say(**batch(1, 0, 5))
        assert lake.stop() == 0
        assert opened.hear()["reason"] == "shutting_down"
    assert lsns(file_lakes) == [1, 2, 3, 4, 5]


def test_batches_may_be_posted(file_lakes: FileLakes) -> None:
    lake = file_lakes.start(limits={"message_bytes_max": 10_000})
    place = "/cdc?source=shop"
    status, ack = lake.ask(place, batch(1, 0, 2))
    assert (status, ack["status"], ack["lsn"]) == (200, "persisted", 2)
    assert lake.ask(place, batch(1, 0, 2))[1]["status"] == "duplicate"
    status, nack = lake.ask(place, batch(2, 5, 6))
    assert (status, nack["reason"], nack["expected_lsn"]) == (409, "invalid_sequence", 2)
    assert lake.ask(place, b"{")[0] == 400
    assert lake.ask(place, b"x" * 20_000)[0] == 413
    assert lake.ask(place, {"type": "flush", "sequence": 1})[0] == 400
    assert lake.ask("/cdc", batch(1, 0, 2))[0] == 400
    packed = msgspec.msgpack.encode({"type": "batch", "sequence": 9, "after_lsn": 2, "last_lsn": 3})
    status, raw = lake.ask(place, packed, **{"content-type": "application/msgpack"})
    assert (status, msgspec.msgpack.decode(raw)["lsn"]) == (200, 3)
    status, where = lake.ask(place)
    assert (where["accepted_lsn"], where["needs_copy"]) == (3, False)
    status, flushed = lake.ask("/flush", {}, "POST")
    assert status == 200 and set(flushed["committed_lsn"]) == {"shop@main"}
    assert lsns(file_lakes) == [1, 2]


def test_operations(file_lakes: FileLakes) -> None:
    lake = file_lakes.start(tokens={"secret": ["*"], "shop": ["shop"]})
    admin = {"authorization": "Bearer secret"}
    assert lake.ask("/health") == (200, {"status": "ok"})
    for path in ("/status", "/metrics", "/config", "/dead-letters"):
        assert lake.ask(path)[0] == 401
        assert lake.ask(path, authorization="Bearer shop")[0] == 401
        assert lake.ask(path, **admin)[0] == 200
    assert lake.ask("/cdc?source=shop", batch(1, 0, 1))[0] == 401
    assert lake.ask("/cdc?source=shop", batch(1, 0, 1), authorization="Bearer shop")[0] == 200
    status, config = lake.ask("/config", {"flush": {"age_seconds_max": 9.5}}, "PATCH", **admin)
    assert (status, config["flush"]["age_seconds_max"]) == (200, 9.5)
    assert lake.ask("/config", {"flush": {"age": 1}}, "PATCH", **admin)[0] == 400
    metrics = lake.ask("/metrics", **admin)[1].decode()
    assert 'dolake_changes_total{source="shop"} 1.0' in metrics
    assert 'dolake_nacks_total{reason="unauthorized"}' in metrics
    source = lake.ask("/status", **admin)[1]["sources"]["shop@main"]
    assert (source["accepted_lsn"], source["tier"], source["error"]) == (1, "P1", None)
    assert lake.ask("/sources/shop/resume", {"drop": True}, **admin)[0] == 200


def test_noise_between_good_messages_loses_nothing(
    file_lakes: FileLakes, seeded_random: random.Random
) -> None:
    """Mutations of good messages: each is answered, and what was acknowledged is what is stored."""
    lake = file_lakes.start(limits={"connections_per_second": 1000.0})
    accepted = 0
    sequence = 0
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        with suppress(ConnectionClosed), line(lake) as opened:
            for _ in range(seeded_random.randrange(1, 40)):
                sequence += 1
                good = json.dumps(batch(sequence, accepted, accepted + 2)).encode()
                if seeded_random.random() < 0.3:
                    answer = opened.say(**json.loads(good))
                    assert answer["status"] == "persisted", answer
                    accepted = answer["lsn"]
                    continue
                bad = mutated(good, seeded_random)
                opened.socket.send(bad, text=seeded_random.random() < 0.7 and _is_text(bad))
                accepted = max(accepted, heard_lsn(opened))
    _, where = lake.ask("/cdc?source=shop")
    assert where["accepted_lsn"] >= accepted
    assert lake.stop() == 0
    watermark, _ = stored_rows(file_lakes.tables(), SHOP)
    assert watermark >= accepted - 2  # a mutation may have left a batch without changes


def heard_lsn(opened: Line) -> int:
    """The LSN of the answer, in whichever form it comes; 0 for a nack."""
    while True:
        answer = unpacked(opened.socket.recv(PATIENCE_SECONDS))
        if answer.get("sequence") != 0:
            return int(answer.get("lsn", 0))


def mutated(raw: bytes, chance: random.Random) -> bytes:
    kind = chance.randrange(5)
    place = chance.randrange(len(raw))
    if kind == 0:
        return raw[:place]
    if kind == 1:
        return raw[:place] + bytes([chance.randrange(256)]) + raw[place + 1 :]
    if kind == 2:
        return raw[:place] + raw[chance.randrange(len(raw)) :]
    if kind == 3:
        return gzip.compress(raw)
    return chance.randbytes(chance.randrange(300))


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
