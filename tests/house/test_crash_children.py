"""The crash machinery itself: a test of it that could not fail would make every crash test one."""

from __future__ import annotations

import random

import pytest

from fixtures.crash import CrashMoment, run_crash_child

COUNTING_FOR_EVER = """
    import itertools, time
    for number in itertools.count():
        acknowledge(number)
        time.sleep(0.001)
"""


def test_a_killed_child_leaves_every_whole_acknowledgement() -> None:
    report = run_crash_child(COUNTING_FOR_EVER, moment=CrashMoment(20, 0.01))
    assert report.was_killed
    assert len(report.acknowledgements) >= 20
    assert report.acknowledgements == tuple(str(n) for n in range(len(report.acknowledgements)))


def test_a_child_that_finishes_before_its_moment_was_not_killed() -> None:
    report = run_crash_child("acknowledge('done')", moment=CrashMoment(1, 300.0))
    assert not report.was_killed
    assert report.acknowledgements == ("done",)


def test_a_child_that_fails_by_itself_is_never_taken_for_a_crash() -> None:
    with pytest.raises(AssertionError, match="no such luck"):
        run_crash_child("raise SystemExit('no such luck')", moment=CrashMoment(1, 0.0))


def test_a_child_that_hangs_is_ended_and_told() -> None:
    with pytest.raises(AssertionError, match="did not end within"):
        run_crash_child("import time; time.sleep(60)", moment=None, timeout_seconds=0.5)


def test_the_children_of_a_child_are_killed_with_it() -> None:
    program = """
        import subprocess, sys, time
        grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        acknowledge(grandchild.pid)
        time.sleep(600)
    """
    # The grandchild inherited standard error: this returns at once only when both are gone.
    report = run_crash_child(program, moment=CrashMoment(1, 0.0), timeout_seconds=120)
    assert report.was_killed


def test_the_same_seed_picks_the_same_moment() -> None:
    moments = {CrashMoment.pick(random.Random(7), seconds_max=1.0) for _ in range(3)}
    assert len(moments) == 1
