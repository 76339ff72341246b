"""Django's test runner, which also writes down what became of each test; part of the child."""

from __future__ import annotations

import json
import os
from typing import Any

from django.test.runner import DiscoverRunner

VERDICTS_FILE = "DOSQL_SUITE_VERDICTS"


def recording(result_class: type) -> type:
    """A class of results that remembers, beside what it does anyway."""

    class RecordingResult(result_class):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.verdicts: dict[str, tuple[str, str]] = {}

        def note(self, test: Any, outcome: str, reason: str = "") -> None:
            # A subtest that failed is not undone by its test having come to the end.
            if self.verdicts.get(test.id(), ("",))[0] != "failed":
                self.verdicts[test.id()] = (outcome, reason)

        def addSuccess(self, test: Any) -> None:
            super().addSuccess(test)
            self.note(test, "passed")

        def addSkip(self, test: Any, reason: str) -> None:
            super().addSkip(test, reason)
            self.note(test, "skipped", reason)

        def addError(self, test: Any, error: Any) -> None:
            super().addError(test, error)
            self.note(test, "failed", str(error[1]))

        def addFailure(self, test: Any, error: Any) -> None:
            super().addFailure(test, error)
            self.note(test, "failed", str(error[1]))

        def addSubTest(self, test: Any, subtest: Any, error: Any) -> None:
            super().addSubTest(test, subtest, error)
            if error is not None:
                self.note(test, "failed", str(error[1]))

        def addExpectedFailure(self, test: Any, error: Any) -> None:
            super().addExpectedFailure(test, error)
            self.note(test, "failed", "expected to fail")

        def addUnexpectedSuccess(self, test: Any) -> None:
            super().addUnexpectedSuccess(test)
            self.note(test, "failed", "was expected to fail")

    return RecordingResult


class RecordingRunner(DiscoverRunner):
    """Leaves [id, outcome, reason] rows in the file that the environment names."""

    def get_resultclass(self) -> Any:
        return recording(super().get_resultclass() or self.test_runner.resultclass)

    def run_suite(self, suite: Any, **options: Any) -> Any:
        result = super().run_suite(suite, **options)
        rows = [[name, *verdict] for name, verdict in sorted(result.verdicts.items())]
        with open(os.environ[VERDICTS_FILE], "w", encoding="utf-8") as file:
            json.dump(rows, file)
        return result
