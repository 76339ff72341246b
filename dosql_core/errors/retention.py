"""Retention: policies that cannot be followed."""

from __future__ import annotations

from dosql_core.errors.pep_249 import ProgrammingError


class RetentionPolicyError(ProgrammingError):
    """A retention policy that cannot be followed."""

    code = "RETENTION_INVALID_POLICY"
    hint = "a limit is a number above zero, or None for no limit"
