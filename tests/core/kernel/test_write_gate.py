"""The queue of the writers of one process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from dosql_core.errors import DatabaseLockedError
from dosql_core.kernel.turnstile import Turnstile
from dosql_core.kernel.write_gate import WriteGate
from fixtures.crash import child_environment

PATIENCE = 60.0


@pytest.fixture
def gate(tmp_path):
    turnstile = Turnstile(str(tmp_path))
    yield WriteGate(turnstile)
    turnstile.close()


def until(condition) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_writers_pass_in_the_order_in_which_they_came(gate):
    passed: list[int] = []

    def write(number: int) -> None:
        gate.enter(PATIENCE)
        passed.append(number)
        gate.leave()

    gate.enter(PATIENCE)
    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for already_waiting, thread in enumerate(threads):
        thread.start()
        until(lambda expected=already_waiting + 1: len(gate.waiters) == expected)
    gate.leave()
    for thread in threads:
        thread.join()
    assert passed == list(range(8))


def test_who_waited_in_vain_holds_nobody_up(gate):
    gate.enter(PATIENCE)
    with pytest.raises(DatabaseLockedError):
        gate.enter(0.0)
    gate.leave()
    gate.enter(0.0)
    gate.leave()


def test_who_is_interrupted_holds_nobody_up(gate):
    """By Ctrl-C, for which another signal stands here."""

    def interrupt(_number: object, _frame: object) -> None:
        raise KeyboardInterrupt

    def wake() -> None:
        until(lambda: gate.waiters)
        os.kill(os.getpid(), signal.SIGUSR1)

    former = signal.signal(signal.SIGUSR1, interrupt)
    try:
        gate.enter(PATIENCE)
        waking = threading.Thread(target=wake)
        waking.start()
        with pytest.raises(KeyboardInterrupt):
            gate.enter(PATIENCE)
        waking.join()
        assert not gate.waiters
        gate.leave()
        gate.enter(0.0)
        gate.leave()
    finally:
        signal.signal(signal.SIGUSR1, former)


@pytest.mark.parametrize("is_contended", [False, True])
def test_no_two_writers_are_inside_at_once(gate, is_contended):
    inside, met = [0], []

    def write_often() -> None:
        for number in range(300):
            if is_contended and number % 7 == 0:
                gate.turnstile.announce()
            gate.enter(PATIENCE)
            inside[0] += 1
            met.append(inside[0])
            inside[0] -= 1
            gate.leave()

    threads = [threading.Thread(target=write_often) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(met) == 1800
    assert set(met) == {1}
    gate.enter(0.0)  # nobody kept the turn
    gate.leave()


def test_nobody_gives_up_while_the_keeper_has_the_turn(gate):
    """A checkpoint after a commit of gigabytes takes longer than any timeout."""
    gate.enter(0)
    gate.is_maintained = True
    passed = threading.Event()

    def wait_for_the_turn() -> None:
        gate.enter(0.01)
        passed.set()

    waiting = threading.Thread(target=wait_for_the_turn)
    waiting.start()
    until(lambda: gate.waiters)
    assert not passed.wait(0.1)
    gate.is_maintained = False
    gate.leave()
    assert passed.wait(PATIENCE)
    waiting.join()
    gate.leave()


def test_nor_while_the_keeper_of_another_process_has_the_lock(gate, tmp_path):
    """Whoever has the turn waits for that one, and the queue behind him with him."""
    other = Turnstile(str(tmp_path))
    gate.enter(0)
    passed = threading.Event()

    def wait_for_the_turn() -> None:
        gate.enter(0.01)
        passed.set()

    with other.keeping():
        waiting = threading.Thread(target=wait_for_the_turn)
        waiting.start()
        until(lambda: gate.waiters)
        assert not passed.wait(0.2)
        gate.leave()
        assert passed.wait(PATIENCE)
    waiting.join()
    gate.leave()
    other.close()


def test_a_process_in_the_queue_waits_for_the_keeper_as_well(tmp_path):
    first, second = Turnstile(str(tmp_path)), Turnstile(str(tmp_path))
    first.enter(0)
    passed = threading.Event()

    def wait_for_the_turn() -> None:
        second.enter(0.01)
        passed.set()

    with first.keeping():
        waiting = threading.Thread(target=wait_for_the_turn)
        waiting.start()
        assert not passed.wait(0.2)
        assert waiting.is_alive()
        first.leave(others_wait=False)
        assert passed.wait(PATIENCE)
    waiting.join()
    second.leave(others_wait=False)
    with pytest.raises(DatabaseLockedError):
        first.enter(0)
        second.enter(0.01)
    first.close()
    second.close()


STOPPED = """
import sys, threading, time
from dosql_core.kernel.turnstile import Turnstile
from dosql_core.kernel.write_gate import WriteGate
gate = WriteGate(Turnstile(sys.argv[1]))
gate.enter(0)
def leave_soon():
    while not gate.waiters:
        time.sleep(0.001)
    print("waiting", flush=True)
    sys.stdin.readline()
    gate.leave()
threading.Thread(target=leave_soon, daemon=True).start()
gate.enter(1.0)
print("passed", flush=True)
"""


def test_time_in_which_the_process_does_not_run_is_nobodys_patience(tmp_path):
    """It is stopped, as one is that a busy machine does not get round to."""
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=child_environment(),
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGSTOP)
        process.stdin.write("\n")
        process.stdin.flush()
        time.sleep(1.5)
        process.send_signal(signal.SIGCONT)
        assert process.stdout.readline() == "passed\n"


def test_what_was_announced_before_a_reboot_says_nothing(gate):
    gate.turnstile.announce()
    assert gate.turnstile.is_contended()
    gate.turnstile.contended_until[0] += 10**15  # the clock begins anew with the machine
    assert not gate.turnstile.is_contended()
    assert gate.turnstile.contended_until[0] == 0
