"""Results as Arrow and Arrow into tables: types, NULLs, mixtures, batches, and what is refused."""

from __future__ import annotations

import concurrent.futures
import datetime
import decimal
import sys

import pytest

import dosql_dbapi
from fixtures.programs import run_program

pa = pytest.importorskip("pyarrow")

DECLARED = {
    "INTEGER": pa.int64(),
    "BIGINT": pa.int64(),
    "BOOLEAN": pa.bool_(),
    "REAL": pa.float64(),
    "DOUBLE PRECISION": pa.float64(),
    "VARCHAR(10)": pa.string(),
    "TEXT": pa.string(),
    "BLOB": pa.binary(),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us"),
    "DATETIME": pa.timestamp("us"),
    "TIME": pa.time64("us"),
    "DECIMAL(10, 2)": pa.decimal128(10, 2),
    "NUMERIC(50,5)": pa.decimal256(50, 5),
}


@pytest.fixture
def con(tmp_path):
    connection = dosql_dbapi.connect(tmp_path / "app.db")
    yield connection
    connection.close()


def table_of(con, sql, **options):
    return con.execute(sql).fetch_arrow_table(**options)


# -- types -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("declared", DECLARED)
def test_a_declared_type_decides_even_when_every_value_is_null(con, declared):
    con.execute(f"create table t(x {declared})")
    assert table_of(con, "select x from t").schema.field("x").type == DECLARED[declared]
    con.execute("insert into t values (null)")
    table = table_of(con, "select x from t")
    assert table.schema.field("x").type == DECLARED[declared]
    assert table.to_pylist() == [{"x": None}]


def test_values_of_declared_types_come_out_as_what_they_mean(con):
    con.execute("create table t(yes bool, day date, at timestamp, clock time, price decimal(6,2))")
    con.execute(
        "insert into t values (1, '2026-02-28', '2026-02-28 10:00:00.5', '10:30:00', 1.1),"
        " (0, null, '2026-02-28', null, '2.25')"
    )
    assert table_of(con, "select * from t").to_pylist() == [
        {
            "yes": True,
            "day": datetime.date(2026, 2, 28),
            "at": datetime.datetime(2026, 2, 28, 10, 0, 0, 500000),
            "clock": datetime.time(10, 30),
            "price": decimal.Decimal("1.10"),
        },
        {
            "yes": False,
            "day": None,
            "at": datetime.datetime(2026, 2, 28),
            "clock": None,
            "price": decimal.Decimal("2.25"),
        },
    ]


@pytest.mark.parametrize(
    ("values", "arrow_type"),
    [
        ("(null), (1)", pa.int64()),
        ("(1), (2.5)", pa.float64()),
        ("(null), ('a')", pa.string()),
        ("(x'00'), (null)", pa.binary()),
        ("('a'), (x'00')", pa.binary()),
        ("(null)", pa.null()),
    ],
)
def test_without_a_declared_type_the_values_decide(con, values, arrow_type):
    assert (
        table_of(con, f"select column1 as x from (values {values})").field("x").type == arrow_type
    )


@pytest.mark.parametrize(
    ("declared", "value", "said"),
    [
        ("INTEGER", "'many'", "row 2 of column 'x' holds text ('many'); its Arrow type is int64"),
        ("INTEGER", "2.5", "a real number (2.5)"),
        ("BOOLEAN", "7", "an integer (7); its Arrow type is bool"),
        ("DATE", "20260228", "an integer (20260228); its Arrow type is date32"),
        ("TIMESTAMP", "'yesterday'", "text ('yesterday')"),
        ("TIME", "'noon'", "text ('noon')"),
        ("DECIMAL(4,2)", "'cheap'", "text ('cheap')"),
        ("DECIMAL(4,2)", "12345", "an integer (12345)"),
        ("TEXT", "x'ff'", "a blob (b'\\xff')"),
        ("", "'a'", "column 'x' holds an integer (1) and, in row 2, text ('a')"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_its_row(con, declared, value, said):
    con.execute(f"create table t(x {declared})")
    con.execute(f"insert into t values ({'null' if declared else '1'}), ({value})")
    with pytest.raises(dosql_dbapi.DataError) as raised:
        table_of(con, "select x from t")
    assert said in str(raised.value)
    assert "schema={'x': pyarrow.string()}" in raised.value.hint


def test_a_binary_fraction_in_a_decimal_column_is_rounded_to_its_scale(con):
    con.execute("create table t(x decimal(4,2))")
    con.execute("insert into t values (0.1 + 0.2)")
    assert table_of(con, "select x from t").to_pylist() == [{"x": decimal.Decimal("0.30")}]


def test_the_program_can_ask_for_types(con):
    sql = "select 1 as a, column1 as b, '2026-02-28 10:00:00Z' as at from (values (1), ('x'), (.5))"
    types = {"a": pa.int8(), "b": pa.string(), "at": pa.timestamp("s", tz="UTC")}
    table = table_of(con, sql, schema=types)
    assert {field.name: field.type for field in table.schema} == types
    assert table.column("b").to_pylist() == ["1", "x", "0.5"]
    assert table_of(con, sql, schema=pa.schema(types.items())) == table
    with pytest.raises(dosql_dbapi.DataError, match="schema names"):
        table_of(con, sql, schema={"c": pa.int8()})


def test_row_factories_and_converters_do_not_touch_arrow(tmp_path):
    con = dosql_dbapi.connect(":memory:", detect_types=dosql_dbapi.PARSE_DECLTYPES)
    con.row_factory = dosql_dbapi.Row
    con.execute("create table t(day date)")
    con.execute("insert into t values ('2026-02-28')")
    assert table_of(con, "select day from t").to_pylist() == [{"day": datetime.date(2026, 2, 28)}]
    con.close()


def test_rows_of_returning_and_of_our_own_statements_become_arrow(con):
    con.execute("create table t(n integer)")
    table = table_of(con, "insert into t values (1), (2) returning n")
    assert table.to_pydict() == {"n": [1, 2]}
    con.commit()
    assert table_of(con, "show branches").column("name").to_pylist() == ["main"]


def test_a_statement_without_a_result_has_no_table(con):
    with pytest.raises(dosql_dbapi.ProgrammingError, match="no result"):
        table_of(con, "create table t(n)")


# -- batches ---------------------------------------------------------------------------------------

COUNTING = "with recursive n(i) as (select 1 union all select i + 1 from n limit {}) "


def test_batches_hold_the_rows_in_order_and_are_fetched_as_they_are_read(con):
    seen = []

    def note(value):
        seen.append(value)
        return value

    con.create_function("seen", 1, note)
    reader = con.execute(COUNTING.format(95) + "select seen(i) as i from n").fetch_record_batch(10)
    assert reader.schema == pa.schema([("i", pa.int64())])
    assert len(seen) <= 11
    batches = list(reader)
    assert [batch.num_rows for batch in batches] == [10] * 9 + [5]
    assert pa.Table.from_batches(batches).column("i").to_pylist() == list(range(1, 96))


def test_a_column_that_begins_with_nulls_is_decided_by_its_first_value(con):
    sql = COUNTING.format(100) + "select iif(i > 55, i || '', null) as x from n"
    reader = con.execute(sql).fetch_record_batch(10)
    assert reader.schema.field("x").type == pa.string()
    assert reader.read_all().column("x").null_count == 55


def test_a_value_after_too_many_nulls_is_an_error_that_says_what_to_do(con):
    sql = COUNTING.format(300) + "select iif(i > 250, i, null) as x from n"
    reader = con.execute(sql).fetch_record_batch(10)
    with pytest.raises(dosql_dbapi.DataError, match="row 251 of column 'x' holds an integer"):
        reader.read_all()
    reader = con.execute(sql).fetch_record_batch(10, schema={"x": pa.int64()})
    assert reader.read_all().num_rows == 300


def test_a_stream_may_be_read_by_another_thread_when_its_connection_may(tmp_path):
    def read_elsewhere(connection):
        rows = connection.execute(COUNTING.format(100) + "select i from n")
        reader = rows.fetch_record_batch(10)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            return pool.submit(reader.read_all).result().num_rows

    con = dosql_dbapi.connect(tmp_path / "app.db", check_same_thread=False)
    assert read_elsewhere(con) == 100
    con.close()
    con = dosql_dbapi.connect(tmp_path / "app.db")
    with pytest.raises(dosql_dbapi.ProgrammingError, match="created in a thread"):
        read_elsewhere(con)
    con.close()


def test_a_large_result_streams_in_constant_memory():
    """A million rows, 200 MB of them as Python objects, within 40 MB."""
    told = run_program(
        """
        import dosql_dbapi, pyarrow
        def most_kilobytes():  # of this address space; `ru_maxrss` may be the parent's
            for line in open("/proc/self/status"):
                if line.startswith("VmHWM:"):
                    return int(line.split()[1])

        con = dosql_dbapi.connect(":memory:")
        def rows(count):
            sql = "with recursive n(i) as (select 1 union all select i + 1 from n limit ?) " \\
                  "select i, hex(zeroblob(50)) as t from n"
            return con.execute(sql, (count,)).fetch_record_batch(5000)
        for _batch in rows(20_000):
            pass
        before = most_kilobytes()
        counted = sum(batch.num_rows for batch in rows(1_000_000))
        print(counted, most_kilobytes() - before)
        """
    )
    counted, grown_kilobytes = map(int, told.split())
    assert counted == 1_000_000
    assert grown_kilobytes < 40_000


# -- into tables -----------------------------------------------------------------------------------


def test_what_is_inserted_comes_out_again(con):
    con.execute(
        "create table t(n integer, r real, s text, b blob, yes bool, day date, at timestamp,"
        " clock time, price decimal(10,2))"
    )
    data = pa.table(
        {
            "price": pa.array([decimal.Decimal("1.10"), None], pa.decimal128(10, 2)),
            "n": [1, None],
            "r": [0.5, None],
            "s": pa.array(["a", None]).dictionary_encode(),
            "b": [b"\0", None],
            "yes": [True, None],
            "day": [datetime.date(2026, 2, 28), None],
            "at": pa.array([datetime.datetime(2026, 2, 28, 10), None], pa.timestamp("ns")),
            "clock": [datetime.time(10, 30), None],
        }
    )
    assert con.insert_arrow("t", data) == 2
    assert con.in_transaction  # as after executemany
    con.commit()
    assert con.execute("select at, day from t").fetchone() == ("2026-02-28 10:00:00", "2026-02-28")
    out = table_of(con, f"select {', '.join(data.column_names)} from t")
    assert out.to_pylist() == data.to_pylist()


def test_batches_readers_and_foreign_streams_are_taken(con):
    class Frame:
        """What polars and pandas offer."""

        def __arrow_c_stream__(self, requested_schema=None):
            return pa.table({"n": [4]}).__arrow_c_stream__(requested_schema)

    con.execute('create table "odd ""name"""(n)')
    batch = pa.record_batch({"n": [1, 2]})
    for data in (batch, pa.RecordBatchReader.from_batches(batch.schema, [batch]), Frame()):
        con.insert_arrow('odd "name"', data)
    assert con.execute('select sum(n) from "odd ""name"""').fetchone() == (10,)


def test_an_insert_in_autocommit_is_all_or_nothing(tmp_path):
    con = dosql_dbapi.connect(tmp_path / "app.db", isolation_level=None)
    con.execute("create table t(n unique)")
    lsn = con.lsn
    with pytest.raises(dosql_dbapi.IntegrityError):
        con.insert_arrow("t", pa.table({"n": [1, 2, 1]}))
    assert con.execute("select count(*) from t").fetchone() == (0,)
    assert con.insert_arrow("t", pa.table({"n": [1, 2, 3]})) == 3
    assert not con.in_transaction
    assert con.lsn == lsn + 1
    con.close()


@pytest.mark.parametrize(
    ("column", "error", "said"),
    [
        (pa.array([[1]]), dosql_dbapi.ProgrammingError, "which SQLite cannot store"),
        (pa.array([2**63], pa.uint64()), dosql_dbapi.DataError, "64 bits and a sign"),
        (pa.array([1], pa.timestamp("ns")), dosql_dbapi.DataError, "would lose data"),
    ],
)
def test_what_sqlite_cannot_hold_is_refused(con, column, error, said):
    con.execute("create table t(x)")
    with pytest.raises(error, match=said):
        con.insert_arrow("t", pa.table({"x": column}))
    con.rollback()
    with pytest.raises(dosql_dbapi.ProgrammingError, match="takes Arrow data, not list"):
        con.insert_arrow("t", [1])


def test_without_pyarrow_the_error_names_the_extra():
    told = run_program(
        """
        import sys
        sys.modules["pyarrow"] = None
        import dosql_dbapi
        con = dosql_dbapi.connect(":memory:")
        try:
            con.execute("select 1").fetch_arrow_table()
        except dosql_dbapi.NotSupportedError as error:
            print(error.code, error.hint)
        """
    )
    assert told.strip() == "DB_MISSING_EXTRA pip install 'dosql[columnar]'"
    assert "pyarrow" in sys.modules
