"""Maintenance every so often, in a process of its own, while a lake is served."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from dolake.errors import MaintenanceFailedError
from dolake.maintenance.maintenance_process import MaintenanceProcess

_log = logging.getLogger("dolake.maintenance")


class MaintenanceSchedule:
    """Begins a maintenance process every `every_seconds`, one at a time, until `close`.

    Threads: it has one of its own; `close` may come from any.
    """

    def __init__(self, begin: Callable[[], MaintenanceProcess], every_seconds: float) -> None:
        self._begin = begin
        self._every_seconds = every_seconds
        self._closing = threading.Event()
        self._running: MaintenanceProcess | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="lake maintenance", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End; a process that is at work is ended, too, which leaves tables valid."""
        self._closing.set()
        with self._lock:
            if self._running is not None:
                self._running.stop()
        self._thread.join()

    def _work(self) -> None:
        while not self._closing.wait(self._every_seconds):
            with self._lock:
                if self._closing.is_set():
                    return
                running = self._running = self._begin()
            try:
                results = running.wait()
            except (MaintenanceFailedError, ValueError, OSError) as error:
                if not self._closing.is_set():
                    _log.warning("maintenance failed, and is tried again later: %s", error)
            else:
                _log.info("maintained %d tables", len(results))
            with self._lock:
                self._running = None
