"""Differences and change streams: changes and slots that are not there to read."""

from __future__ import annotations

from dosql_core.errors.pep_249 import Category, OperationalError, ProgrammingError


class TableNotFoundError(ProgrammingError):
    """There is no such table: at neither moment of a comparison, or where a trigger listens."""

    code = "STMT_TABLE_NOT_FOUND"
    hint = "look the name up in sqlite_schema, as of the moments in question"


class ChangesNotKeptError(OperationalError):
    """The commits from which changes were asked for are no longer kept, or never were."""

    code = "CDC_LSN_NOT_FOUND"
    hint = "a slot keeps what it still needs; without one, begin at a moment that is kept"


class SubscriptionFailedError(OperationalError):
    """Changes cannot be read, or not be read on."""

    code = "CDC_SUBSCRIPTION_FAILED"
    hint = "the message says why"


class DeliveryFailedError(SubscriptionFailedError):
    """A handler of changes failed in all its tries; the event is not acknowledged."""

    hint = "see the exception that caused this one; dead_letters= lets others pass it by"


class ChangesTurnedOffError(SubscriptionFailedError):
    """The database was opened so that its changes are not to be read."""

    hint = "open it with DatabaseOptions(changes=True), which is the default"


class ChangeDecodeError(OperationalError):
    """A change cannot be expressed in the form that was asked for."""

    code = "CDC_DECODE_ERROR"
    category = Category.VALIDATION
    hint = "name a type for the column, or read the changes as objects"


class SlotNotFoundError(OperationalError):
    """No slot has that name."""

    code = "CDC_SLOT_NOT_FOUND"
    hint = "list the slots there are"


class SlotExistsError(ProgrammingError):
    """A slot of that name exists already."""

    code = "CDC_SLOT_EXISTS"
    category = Category.CONFLICT
    hint = "choose another name, or go on with the one there is"


class SlotInUseError(SubscriptionFailedError):
    """Another consumer, here or in another process, is reading from the slot."""

    category = Category.CONFLICT
    is_retryable = True
    hint = "close the other consumer; one that died lets go by itself"


class SlotLostError(OperationalError):
    """The slot lagged behind its limit, so changes it had not read were let go."""

    code = "CDC_BUFFER_OVERFLOW"
    hint = "drop the slot, copy the tables as they are now, and make it again"
