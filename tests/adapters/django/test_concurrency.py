"""Blocks hold for the thread or the task that entered them, and forked processes start afresh."""

from __future__ import annotations

import asyncio
import threading

import pytest

pytest.importorskip("django")

from asgiref.sync import sync_to_async
from django.db import OperationalError, connection, connections

from django_dosql import as_of, branch
from fixtures.programs import run_program


@pytest.fixture
def two_moments(library):
    """The LSNs at which the one author was called Ann and then Bea; now it is Cleo."""
    author = library.Author.objects.create(name="Ann")
    lsns = [connection.lsn]
    for author.name in ("Bea", "Cleo"):
        author.save()
        lsns.append(connection.lsn)
    return lsns


def test_another_thread_stays_in_the_present(library, two_moments):
    seen = []

    def look():
        seen.append(library.Author.objects.get().name)
        connections.close_all()

    with as_of(two_moments[0]):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        assert library.Author.objects.get().name == "Ann"
    assert seen == ["Cleo"]


def test_threads_are_each_where_they_went(library, two_moments):
    with connection.cursor() as cursor:
        cursor.execute("CREATE BRANCH dev")
    inside = threading.Barrier(3, timeout=60)
    seen = {}

    def work(name, block):
        with block:
            inside.wait()
            seen[name] = library.Author.objects.get().name
            inside.wait()
        connections.close_all()

    blocks = {"first": as_of(two_moments[0]), "second": as_of(two_moments[1]), "dev": branch("dev")}
    threads = [threading.Thread(target=work, args=item) for item in blocks.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"first": "Ann", "second": "Bea", "dev": "Cleo"}


def test_tasks_are_each_where_they_went(library, two_moments):
    async def look(lsn):
        with as_of(lsn):
            before = (await library.Author.objects.aget()).name
            await asyncio.sleep(0)
            return before, (await library.Author.objects.aget()).name

    async def look_everywhere():
        try:
            return await asyncio.gather(*(look(lsn) for lsn in two_moments), look(None))
        finally:
            await sync_to_async(connections.close_all)()

    expected = [(name, name) for name in ("Ann", "Bea", "Cleo", "Cleo")]
    assert asyncio.run(look_everywhere()) == expected


def test_tasks_work_each_on_its_branch(library, two_moments):
    with connection.cursor() as cursor:
        cursor.execute("CREATE BRANCH dev")
        cursor.execute("CREATE BRANCH test")

    async def work(name):
        with branch(name):
            await library.Author.objects.aupdate(name=f"of {name}")
            await asyncio.sleep(0)
            return (await library.Author.objects.aget()).name

    async def work_everywhere():
        with pytest.raises(OperationalError, match="no branch"), branch("no such"):
            pass
        try:
            return await asyncio.gather(work("dev"), work("test"))
        finally:  # the thread that coroutines share outlives this test and its database
            await sync_to_async(connections.close_all)()

    assert asyncio.run(work_everywhere()) == ["of dev", "of test"]
    assert library.Author.objects.get().name == "Cleo"


PRE_FORK = """
    import os, sys
    from pathlib import Path
    from fixtures import django_project
    django_project.configure()
    from django.db import connections
    folder = Path(sys.argv[1])
    for alias in django_project.ALIASES:
        connections.settings[alias]["NAME"] = folder / f"{alias}.db"
        connections.settings[alias]["OPTIONS"] = {"timeout": 60}
    from django.db import connection
    from fixtures.django_library.models import Author
    from django_dosql import as_of
    Author.objects.create(name="of the parent")
    lsn = connection.lsn
    children = []
    for number in range(3):
        child = os.fork()
        if child == 0:
            for turn in range(5):
                Author.objects.create(name=f"{number} {turn}")
            with as_of(lsn):
                is_right = [a.name for a in Author.objects.all()] == ["of the parent"]
            connection.close()
            os._exit(0 if is_right else 3)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    print(codes, Author.objects.count())
"""


def test_forked_servers_write_one_database(library, tmp_path):
    assert run_program(PRE_FORK, tmp_path).strip() == "[0, 0, 0] 16"
    assert library.Author.objects.count() == 16
