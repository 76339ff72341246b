"""Migrations by Alembic: without noise, whole or not at all, and tried on a branch first."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("alembic")

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from fixtures.sqlalchemy_models import Account, Base
from sqlalchemy_dosql import CreateBranch, DropBranch

ENVIRONMENT = """
from alembic import context

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=context.config.attributes.get("metadata"),
    render_as_batch=True,
    transactional_ddl=context.config.attributes.get("transactional_ddl"),
)
with context.begin_transaction():
    context.run_migrations()
"""

TEMPLATE = """
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}

from alembic import op
import sqlalchemy as sa

def upgrade():
    ${upgrades if upgrades else "pass"}

def downgrade():
    ${downgrades if downgrades else "pass"}
"""

RENAMES_BALANCE = """
revision = "1"
down_revision = None

from alembic import op
import sqlalchemy as sa

def upgrade():
    with op.batch_alter_table("account") as account:
        account.alter_column("balance", new_column_name="cents")
        account.add_column(sa.Column("currency", sa.String, server_default="EUR", nullable=False))
        account.create_check_constraint("never_negative", "cents >= 0")
    op.execute("update account set cents = cents * 100")

def downgrade():
    with op.batch_alter_table("account") as account:
        account.drop_constraint("never_negative", type_="check")
        account.drop_column("currency")
        account.alter_column("cents", new_column_name="balance")
"""

FAILS_HALFWAY = """
revision = "2"
down_revision = "1"

from alembic import op
import sqlalchemy as sa

def upgrade():
    op.create_table("half", sa.Column("n", sa.Integer))
    op.execute("delete from account")
    op.execute("select no_such_function()")
"""


@pytest.fixture
def migrations(tmp_path):
    """A folder of migrations, and what runs Alembic's commands on a connection of an engine."""
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text(ENVIRONMENT)
    (folder / "script.py.mako").write_text(TEMPLATE)
    return folder


def run(migrations: Path, engine, what, *arguments, **attributes):
    config = Config()
    config.set_main_option("script_location", str(migrations))
    with engine.connect() as connection:
        config.attributes.update(attributes, connection=connection)
        what(config, *arguments)
        connection.commit()


def columns(engine):
    return [column["name"] for column in inspect(engine).get_columns("account")]


def test_what_was_created_differs_in_nothing_from_its_metadata(bank, before):
    with bank.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, Base.metadata) == []


def test_a_batch_migrates_a_table_and_back(bank, before, migrations):
    (migrations / "versions" / "1.py").write_text(RENAMES_BALANCE)
    run(migrations, bank, command.upgrade, "head")
    assert columns(bank) == ["id", "cents", "owner_id", "currency"]
    with bank.connect() as connection:
        assert connection.execute(text("select sum(cents) from account")).scalar() == 5500
        then = connection.execute(sa.select(Account.balance), execution_options={"as_of": before})
        assert then.scalars().all() == [10, 20]
    run(migrations, bank, command.downgrade, "base")
    assert columns(bank) == ["id", "balance", "owner_id"]


@pytest.mark.parametrize("transactional_ddl", [None, True])
def test_a_migration_that_fails_leaves_nothing(bank, before, migrations, transactional_ddl):
    (migrations / "versions" / "1.py").write_text(RENAMES_BALANCE)
    (migrations / "versions" / "2.py").write_text(FAILS_HALFWAY)
    with pytest.raises(sa.exc.OperationalError, match="no_such_function"):
        run(migrations, bank, command.upgrade, "head", transactional_ddl=transactional_ddl)
    assert not inspect(bank).has_table("half")
    with bank.connect() as connection:
        assert connection.execute(text("select count(*) from account")).scalar() == 3
    # By default each migration is a transaction of its own; with transactional_ddl all are one.
    assert ("cents" in columns(bank)) == (transactional_ddl is None)


def test_a_migration_is_tried_on_a_branch_first(bank, before, migrations):
    (migrations / "versions" / "1.py").write_text(RENAMES_BALANCE)
    with bank.connect() as connection:
        connection.execute(CreateBranch("trial"))
    trial = bank.execution_options(branch="trial")
    run(migrations, trial, command.upgrade, "head")
    assert "cents" in columns(trial)
    assert "balance" in columns(bank)
    with bank.connect() as connection:
        connection.execute(DropBranch("trial", force=True))
    run(migrations, bank, command.upgrade, "head")
    assert "cents" in columns(bank)


def test_a_migration_is_generated_from_what_changed_and_nothing_else(bank, before, migrations):
    metadata = sa.MetaData()
    for table in Base.metadata.sorted_tables:
        table.to_metadata(metadata)
    metadata.tables["account"].append_column(sa.Column("note", sa.String))
    config = Config()
    config.set_main_option("script_location", str(migrations))
    with bank.connect() as connection:
        config.attributes.update(connection=connection, metadata=metadata)
        script = command.revision(config, autogenerate=True, rev_id="1")
        operations = Path(script.path).read_text().split("def upgrade")[1].split("def downgrade")[0]
    assert operations.count("batch_op.") == operations.count("with op.") == 1
    assert "batch_op.add_column(sa.Column('note', sa.String()" in operations
    run(migrations, bank, command.upgrade, "head")
    assert columns(bank)[-1] == "note"
