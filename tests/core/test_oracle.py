"""Whatever is written, forked, captured, checkpointed, compacted, restored, reopened, and by whom:
every LSN of every branch reads as the copy that the test kept of it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as hypothesis_seed
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import dosql_dbapi
from dosql_core.database import open_database
from dosql_core.errors import Error, HistoryExpiredError
from dosql_core.options import Retention
from fixtures.oracle import SCHEMA, SERIES, Dump, OtherProcess, Statement, dump, statements
from fixtures.programs import run_sqlite

fractions = st.floats(0, 1)
BRANCHES_MAX = 6


class KeptBranch:
    """One branch, its connection, and a dump of each of its moments."""

    def __init__(self, name: str, con: Any, states: dict[int, Dump], parent: str | None) -> None:
        self.name = name
        self.con = con
        self.states = states
        self.parent = parent
        self.fork_lsn = max(states)
        self.kept_from = 0

    @property
    def newest(self) -> int:
        return max(self.states)


class Databases(RuleBasedStateMachine):
    """One database, its branches, two more processes."""

    others: dict[str, OtherProcess]

    @initialize(
        page_size=st.sampled_from([None, 512, 1024, 4096, 65536]),
        auto_vacuum=st.sampled_from([0, 1, 2]),
        encoding=st.sampled_from(["UTF-8", "UTF-16le"]),
    )
    def begin(self, page_size: int | None, auto_vacuum: int, encoding: str) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="dosql-oracle-"))
        self.path = self.root / "app.db"
        self.reader: tuple[Any, int, Dump] | None = None
        self.other_branch: str | None = None
        self.branch_count = 0
        if page_size is not None:
            run_sqlite(
                self.path,
                f"pragma page_size = {page_size}",
                f"pragma auto_vacuum = {auto_vacuum}",
                f"pragma encoding = '{encoding}'",
                "create table adopted(a)",
                "insert into adopted values ('before')",
            )
        con = self.connect("main")
        con.execute("begin")
        for sql in SCHEMA:
            con.execute(sql)
        con.execute("commit")
        lsn = 2 if page_size is not None else 1
        assert con.lsn == lsn
        self.branches = {"main": KeptBranch("main", con, {lsn: dump(con)}, None)}
        if page_size is not None:
            with dosql_dbapi.connect(self.path, as_of=1) as first:
                self.branches["main"].states[1] = dump(first)
            first.close()

    def connect(self, branch: str) -> Any:
        con = dosql_dbapi.connect(
            self.path, isolation_level=None, branch=branch, durability="normal"
        )
        con.execute("pragma foreign_keys = on")
        return con

    def pick(self, fraction: float) -> KeptBranch:
        return list(self.branches.values())[round(fraction * (len(self.branches) - 1))]

    def note(self, branch: KeptBranch) -> None:
        """Keep what the last commit left; nothing may have changed without an LSN."""
        branch.con.execute("select 1").fetchall()
        lsn, seen = branch.con.lsn, dump(branch.con)
        if lsn == branch.newest:
            assert seen == branch.states[lsn], f"{branch.name} changed without an LSN"
            return
        assert lsn == branch.newest + 1, f"{branch.name} went from {branch.newest} to {lsn}"
        branch.states[lsn] = seen

    # -- writing -----------------------------------------------------------------------------------

    @rule(which=fractions, statement=statements())
    def execute(self, which: float, statement: Statement) -> None:
        branch = self.pick(which)
        attempt(branch.con, statement)
        self.note(branch)

    @rule(
        which=fractions,
        steps=st.lists(
            st.one_of(
                statements(),
                st.sampled_from([("savepoint s", []), ("rollback to s", []), ("release s", [])]),
            ),
            min_size=1,
            max_size=6,
        ),
        mode=st.sampled_from(["begin", "begin immediate", "begin exclusive", "savepoint outer_"]),
        ends=st.sampled_from(["commit", "rollback"]),
    )
    def transact(self, which: float, steps: list[Statement], mode: str, ends: str) -> None:
        branch = self.pick(which)
        branch.con.execute(mode)
        for statement in steps:
            attempt(branch.con, statement)
        if branch.con.in_transaction:
            branch.con.execute(ends)
        self.note(branch)

    @rule(
        which=fractions, rows=st.integers(500, 3000), ends=st.sampled_from(["commit", "rollback"])
    )
    def spill(self, which: float, rows: int, ends: str) -> None:
        """More pages than the cache holds: frames reach the WAL before the commit, or without."""
        branch = self.pick(which)
        branch.con.execute("pragma cache_size = 10")
        branch.con.execute("begin")
        attempt(
            branch.con,
            (f"insert into t(a, c) select value, randomblob(500) from ({SERIES})", [rows]),
        )
        attempt(branch.con, ("delete from t where a % 3 = 0 and id > 100", []))
        branch.con.execute(ends)
        self.note(branch)
        attempt(branch.con, ("delete from t where id > 200", []))
        self.note(branch)

    @rule(which=fractions)
    def vacuum(self, which: float) -> None:
        branch = self.pick(which)
        attempt(branch.con, ("vacuum", []))
        self.note(branch)

    @rule(which=fractions, statement=statements())
    def write_beside_an_attached_database(self, which: float, statement: Statement) -> None:
        branch = self.pick(which)
        branch.con.execute("attach ? as beside", (str(self.root / "beside.db"),))
        branch.con.execute("begin")
        branch.con.execute("create table if not exists beside.t2(a)")
        attempt(branch.con, ("insert into beside.t2 select a from main.t", []))
        attempt(branch.con, statement)
        if branch.con.in_transaction:
            branch.con.execute("commit")
        branch.con.execute("detach beside")
        self.note(branch)

    @rule(statement=statements())
    def write_by_a_foreign_program(self, statement: Statement) -> None:
        main = self.branches["main"]
        sqlite = self.others["sqlite"]
        sqlite.call("open", str(self.path), None)
        sqlite.call("run", *statement)
        sqlite.call("close")
        self.note(main)

    @rule(which=fractions, statement=statements())
    def write_by_another_process(self, which: float, statement: Statement) -> None:
        branch = self.pick(which)
        other = self.others["dosql"]
        if self.other_branch != branch.name:
            other.call("close")
            assert other.call("open", str(self.path), branch.name) is None
            self.other_branch = branch.name
        answer = other.call("run", *statement)
        self.note(branch)
        assert isinstance(answer, str) or answer == branch.newest

    # -- what must change nothing ------------------------------------------------------------------

    @rule(which=fractions)
    def checkpoint(self, which: float) -> None:
        branch = self.pick(which)
        branch.con.execute("pragma wal_checkpoint").fetchall()
        self.note(branch)

    @rule()
    def compact(self) -> None:
        self.branches["main"].con.execute("compact history").fetchall()

    @rule()
    def other_process_leaves(self) -> None:
        self.others["dosql"].call("close")
        self.other_branch = None

    @rule(other_stays=st.booleans())
    def reopen(self, other_stays: bool) -> None:
        if not other_stays:
            self.other_process_leaves()
        self.end_reader()
        for branch in self.branches.values():
            branch.con.close()
        for branch in self.branches.values():
            branch.con = self.connect(branch.name)
            self.note(branch)

    @rule(which=fractions)
    def begin_reading(self, which: float) -> None:
        """A long read transaction: it sees one moment, and knows which."""
        if self.reader is not None:
            con, lsn, seen = self.reader
            assert (con.lsn, dump(con)) == (lsn, seen)
            self.end_reader()
        branch = self.pick(which)
        con = self.connect(branch.name)
        con.execute("begin")
        con.execute("select count(*) from sqlite_schema").fetchall()
        assert con.lsn == branch.newest
        self.reader = con, con.lsn, dump(con)

    def end_reader(self) -> None:
        if self.reader is not None:
            self.reader[0].execute("commit")
            self.reader[0].close()
            self.reader = None

    # -- branches, snapshots, restoring ------------------------------------------------------------

    @precondition(lambda self: len(self.branches) < BRANCHES_MAX)
    @rule(which=fractions, moment=st.none() | fractions)
    def fork(self, which: float, moment: float | None) -> None:
        parent = self.pick(which)
        self.branch_count += 1
        name = f"b{self.branch_count}"
        lsns = sorted(parent.states)
        lsn = lsns[-1] if moment is None else lsns[round(moment * (len(lsns) - 1))]
        if not self.check(parent, lsn):
            return
        as_of = "" if moment is None else f" as of lsn {lsn}"
        parent.con.execute(f"create branch {name}{as_of}")
        states = {at: seen for at, seen in parent.states.items() if at <= lsn}
        self.branches[name] = KeptBranch(name, self.connect(name), states, parent.name)
        assert self.branches[name].con.lsn == lsn
        assert dump(self.branches[name].con) == states[lsn]

    @rule(which=fractions)
    def drop(self, which: float) -> None:
        branch = self.pick(which)
        if branch.name == "main" or any(
            other.parent == branch.name for other in self.branches.values()
        ):
            return
        self.leave(branch)
        with open_database(self.path) as database:
            database.branches.drop(branch.name, force=True)
        del self.branches[branch.name]

    @rule(which=fractions)
    def hydrate(self, which: float) -> None:
        branch = self.pick(which)
        self.leave(branch)
        with open_database(self.path) as database:
            if not database.branches.get(branch.name).is_hydrated:
                path = Path(database.branches.hydrate(branch.name))
                assert path.read_bytes()[:15] == b"SQLite format 3"
        branch.con = self.connect(branch.name)
        self.note(branch)

    def leave(self, branch: KeptBranch) -> None:
        """Let nobody have the branch open."""
        branch.con.close()
        self.end_reader()
        if self.other_branch == branch.name:
            self.other_process_leaves()

    @rule(which=fractions, moment=fractions)
    def restore(self, which: float, moment: float) -> None:
        branch = self.pick(which)
        lsns = sorted(branch.states)
        lsn = lsns[round(moment * (len(lsns) - 1))]
        if not self.check(branch, lsn):
            return
        branch.con.execute(f"restore to lsn {lsn}")
        self.note(branch)
        assert branch.states[branch.newest] == branch.states[lsn]

    @rule(which=fractions, moment=fractions)
    def check_a_moment(self, which: float, moment: float) -> None:
        branch = self.pick(which)
        lsns = sorted(branch.states)
        self.check(branch, lsns[round(moment * (len(lsns) - 1))])

    @rule(commits=st.integers(1, 20))
    def forget(self, commits: int) -> None:
        """Follow a retention policy once: what it may not drop stays readable."""
        with open_database(self.path) as database:
            database.set_retention(Retention(commits_max=commits))
            database.compact()
            database.set_retention(Retention())
        for branch in self.branches.values():
            branch.kept_from = max(branch.kept_from, branch.newest - commits)
        for branch in self.branches.values():
            for lsn in sorted(branch.states):
                self.check(branch, lsn)

    def keeper_of(self, branch: KeptBranch, lsn: int) -> KeptBranch:
        """The branch in whose history an LSN of `branch` is."""
        while branch.parent is not None and lsn <= branch.fork_lsn:
            branch = self.branches[branch.parent]
        return branch

    def check(self, branch: KeptBranch, lsn: int) -> bool:
        """Compare a moment with what it was; False when nothing keeps it any more."""
        try:
            con = dosql_dbapi.connect(self.path, branch=branch.name, as_of=lsn)
        except HistoryExpiredError:
            keeper = self.keeper_of(branch, lsn)
            assert lsn < keeper.kept_from  # a pin may have held it for longer than that
            assert (keeper, lsn) not in self.pinned()
            del branch.states[lsn]
            return False
        try:
            assert dump(con) == branch.states[lsn], f"{branch.name} at LSN {lsn}"
        finally:
            con.close()
        return True

    def pinned(self) -> set[tuple[KeptBranch, int]]:
        """The moments that forks need."""
        return {
            (self.keeper_of(self.branches[fork.parent], fork.fork_lsn), fork.fork_lsn)
            for fork in self.branches.values()
            if fork.parent is not None
        }

    @invariant()
    def an_open_reader_knows_its_moment(self) -> None:
        reader: tuple[Any, int, Dump] | None = getattr(self, "reader", None)
        if reader is not None:
            assert reader[0].lsn == reader[1]

    @invariant()
    def no_maintenance_failed(self) -> None:
        if hasattr(self, "branches"):
            with open_database(self.path) as database:
                for head in database._heads.values():
                    assert head.keeping.maintenance.failure is None

    def teardown(self) -> None:
        if not hasattr(self, "root"):
            return
        try:
            if hasattr(self, "branches"):
                for branch in self.branches.values():
                    self.note(branch)
                    for lsn in sorted(branch.states):
                        self.check(branch, lsn)
                with open_database(self.path) as database:
                    assert [str(finding) for finding in database.verify()] == []
        finally:
            self.end_reader()
            self.others["dosql"].call("close")
            self.others["sqlite"].call("close")
            for branch in getattr(self, "branches", {}).values():
                branch.con.close()
            shutil.rmtree(self.root)


def attempt(con: Any, statement: Statement) -> None:
    """Run a statement; that it may fail is part of the game."""
    try:
        con.execute(*statement).fetchall()
    except Error as error:
        assert not isinstance(error, dosql_dbapi.InternalError), error


@pytest.fixture(scope="module")
def other_processes() -> Iterator[dict[str, OtherProcess]]:
    processes = {kind: OtherProcess(kind) for kind in ("sqlite", "dosql")}
    yield processes
    for process in processes.values():
        process.end()


def run_machine(
    others: dict[str, OtherProcess], *, examples: int, steps: int, seed: int | None = None
) -> None:
    """Play that many games; without a seed, always the same ones, and none is made smaller."""
    machine = type("Databases", (Databases,), {"others": others})
    if seed is not None:
        machine = hypothesis_seed(seed)(machine)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=seed is None,
            phases=[Phase.generate] if seed is None else [Phase.generate, Phase.shrink],
            database=None,
        ),
    )


def test_every_moment_of_every_branch_reads_as_it_was(other_processes):
    run_machine(other_processes, examples=8, steps=25)


@pytest.mark.long
def test_every_moment_of_every_branch_reads_as_it_was_for_long(other_processes, seeded_random):
    run_machine(other_processes, examples=300, steps=60, seed=seeded_random.getrandbits(32))
