"""The application of FastAPI's tutorial, moved to DoSQL by the diff in docs/sqlalchemy.md."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from suites.fetch import fetch

ROOT = Path(__file__).parents[3]
APPLICATION = "docs_src/sql_databases/tutorial002.py"

pytestmark = [
    pytest.mark.suite,
    pytest.mark.filterwarnings("default"),  # what a framework warns of is not ours
]


def shown_diff() -> list[tuple[str, str]]:
    """What the guide's diff takes away and what it puts there."""
    guide = (ROOT / "docs" / "sqlalchemy.md").read_text("utf-8")
    (diff,) = re.findall(r"```diff\n(.*?)```", guide, re.DOTALL)
    parts: list[tuple[list[str], list[str]]] = []
    previous = "+"
    for line in diff.splitlines():
        if line[0] == "-" and previous == "+":
            parts.append(([], []))
        parts[-1][line[0] == "+"].append(line[1:])
        previous = line[0]
    return [("\n".join(old) + "\n", "\n".join(new) + "\n") for old, new in parts]


def moved(source: str) -> str:
    for old, new in shown_diff():
        assert source.count(old) == 1, f"the application does not have these lines once:\n{old}"
        source = source.replace(old, new)
    return source


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The moved application, started on the database of the unmoved one, with a hero in it."""
    original = (fetch("fastapi") / APPLICATION).read_text("utf-8")
    monkeypatch.chdir(tmp_path)
    shutil.copy(fetch("fastapi") / APPLICATION, tmp_path / "original.py")
    program = "import original; original.create_db_and_tables()"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    with sqlite3.connect("database.db") as stock:
        stock.execute("insert into hero(name, secret_name) values ('Rusty-Man', 'Tommy Sharp')")
    stock.close()

    Path("moved.py").write_text(moved(original), "utf-8")
    specification = importlib.util.spec_from_file_location("moved", tmp_path / "moved.py")
    assert specification is not None and specification.loader is not None
    application = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, "moved", application)
    specification.loader.exec_module(application)
    from fastapi.testclient import TestClient

    with TestClient(application.app) as client:
        yield client
    application.engine.dispose()


def test_the_moved_application_tells_of_its_past_and_works_on_branches(client: Any) -> None:
    assert [hero["name"] for hero in client.get("/heroes/").json()] == ["Rusty-Man"]
    hero = {"name": "Deadpond", "secret_name": "Dive Wilson", "age": 30}
    made = client.post("/heroes/", json=hero).json()
    client.patch(f"/heroes/{made['id']}", json={"age": 31})
    client.delete(f"/heroes/{made['id']}")
    assert client.get(f"/heroes/{made['id']}").status_code == 404

    ages = [
        client.get(f"/heroes/{made['id']}", params={"as_of": f"lsn:{lsn}"}).json().get("age")
        for lsn in (1, 2, 3, 4)
    ]
    assert ages == [None, 30, 31, None]
    with pytest.raises(Exception, match="read as of"):
        client.delete(f"/heroes/{made['id']}", params={"as_of": "lsn:3"})

    from sqlalchemy_dosql import CreateBranch

    with sys.modules["moved"].engine.connect() as connection:
        connection.execute(CreateBranch("dev", as_of=3))
    client.post("/heroes/", json=hero, params={"branch": "dev"})
    assert len(client.get("/heroes/", params={"branch": "dev"}).json()) == 3
    assert len(client.get("/heroes/").json()) == 1
