"""Triggers written in Python: definitions that are wrong, handlers that fail or refuse."""

from __future__ import annotations

from dosql_core.errors.pep_249 import (
    Category,
    IntegrityError,
    OperationalError,
    ProgrammingError,
)


class TriggerExistsError(ProgrammingError):
    """A trigger of that name is registered already."""

    code = "TRIGGER_DUPLICATE"
    category = Category.CONFLICT
    hint = "choose another name, or drop the one there is"


class TriggerNotFoundError(ProgrammingError):
    """No trigger has that name."""

    code = "TRIGGER_NOT_FOUND"
    hint = "list the triggers there are"


class InvalidTriggerError(ProgrammingError):
    """A trigger cannot be what its definition, or what its handler returned, says."""

    code = "TRIGGER_INVALID_DEFINITION"
    category = Category.VALIDATION
    hint = "docs/triggers.md says what triggers can be, and what handlers may return"


class TriggerHandlerError(OperationalError):
    """The handler of a trigger raised an exception, which is the cause; the statement failed."""

    code = "TRIGGER_HANDLER_ERROR"
    hint = "see the exception that caused this one"


class TriggerTimeoutError(OperationalError):
    """The handler of a trigger took longer than it may; the statement failed."""

    code = "TRIGGER_TIMEOUT"
    category = Category.TIMEOUT
    hint = "do less in the handler, or do it after the commit"


class TriggerDepthError(OperationalError):
    """Handlers of triggers set one another off too deep; the statement failed."""

    code = "TRIGGER_MAX_DEPTH"
    category = Category.RESOURCE
    hint = "a handler that writes to its own table sets itself off again"


class OperationRejectedError(IntegrityError):
    """A trigger refused the change of a row; the statement failed."""

    code = "TRIGGER_OPERATION_REJECTED"
    hint = "the message is the trigger's"
