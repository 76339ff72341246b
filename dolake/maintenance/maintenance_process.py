"""Maintenance in a process of its own, so that reading and writing whole files stalls no ingest.

The child is given its orders as a line of JSON and answers with a line for each table. It may be
killed at any moment, and ends by itself when its parent does.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import msgspec

from dolake.catalog.identifiers import TableIdentifier
from dolake.catalog.table_registry import TableRegistry
from dolake.errors import MaintenanceFailedError
from dolake.maintenance.maintenance_policy import MaintenancePolicy
from dolake.maintenance.table_maintenance import (
    MaintenanceResult,
    maintain_table,
    maintain_tables,
)
from dolake.warehouse import Warehouse

_PARENT_SECONDS = 1.0
_NICENESS = 10


class MaintenanceProcess:
    """A running process that maintains tables.

    Shape: `tables` are those to maintain, all of the catalog when None; `warehouse` is the
           warehouse's URI, and `store_options` are what JSON can carry.
    """

    def __init__(
        self,
        database: str | Path,
        warehouse: Warehouse,
        policy: MaintenancePolicy | None = None,
        tables: Sequence[TableIdentifier] | None = None,
    ) -> None:
        orders = {
            "database": str(Path(database).absolute()),
            "warehouse": warehouse.uri,
            "store_options": warehouse.store_options,
            "policy": asdict(policy or MaintenancePolicy()),
            "tables": None if tables is None else [list(table) for table in tables],
            "parent": os.getpid(),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dolake.maintenance.maintenance_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(orders) + "\n")
        self._process.stdin.flush()

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait(self, timeout_seconds: float | None = None) -> list[MaintenanceResult]:
        """What was done to each table, once all is done.

        Errors: MaintenanceFailedError when the process failed or was killed;
                subprocess.TimeoutExpired, and then it goes on.
        """
        told, errors = self._process.communicate(timeout=timeout_seconds)
        if self._process.returncode != 0:
            last = errors.strip().splitlines()[-1] if errors.strip() else "it was killed"
            raise MaintenanceFailedError(
                f"maintenance ended with {self._process.returncode}: {last}"
            )
        return [msgspec.json.decode(line, type=MaintenanceResult) for line in told.splitlines()]

    def stop(self) -> None:
        """End the process, whatever it is doing: tables stay valid, and files may be orphaned."""
        self._process.kill()
        self._process.communicate()


def main(orders: IO[str], answers: IO[str]) -> None:
    """Do as the orders say, and answer with a line of JSON for each table."""
    told: dict[str, Any] = json.loads(orders.readline())
    _give_way()
    threading.Thread(target=_end_with, args=(told["parent"],), daemon=True).start()
    warehouse = Warehouse(told["warehouse"], **told["store_options"])
    policy = msgspec.convert(told["policy"], MaintenancePolicy)
    with TableRegistry(told["database"], warehouse) as registry:
        if told["tables"] is None:
            results = maintain_tables(registry, warehouse, policy)
        else:
            results = iter(
                maintain_table(registry, warehouse, tuple(table), policy)
                for table in told["tables"]
            )
        for result in results:
            answers.write(msgspec.json.encode(result).decode() + "\n")
            answers.flush()


def _give_way() -> None:
    """Let every other process have the processor first: whoever ingests must not wait for us."""
    with contextlib.suppress(AttributeError, OSError):  # there is no such thing on Windows
        os.nice(_NICENESS)


def _end_with(parent: int) -> None:
    """End this process when its parent is gone."""
    while os.getppid() == parent:
        time.sleep(_PARENT_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main(sys.stdin, sys.stdout)
