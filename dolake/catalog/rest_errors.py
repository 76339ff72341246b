"""Errors as the Iceberg REST specification tells them: a status, a type and a message."""

from __future__ import annotations

import logging

from starlette.responses import JSONResponse

from dolake import errors

_log = logging.getLogger(__name__)

_RETRY_AFTER_SECONDS = "1"
# The first class that fits counts. Clients act on the type, so that it is the specification's.
_ANSWERS: tuple[tuple[type[Exception], int, str], ...] = (
    (errors.TableMetadataError, 400, "BadRequestException"),
    (errors.LakeConfigurationError, 400, "BadRequestException"),
    (errors.NamespaceNotFoundError, 404, "NoSuchNamespaceException"),
    (errors.TableNotFoundError, 404, "NoSuchTableException"),
    (errors.LakeViewNotFoundError, 404, "NoSuchViewException"),
    (errors.AlreadyExistsError, 409, "AlreadyExistsException"),
    (errors.NamespaceNotEmptyError, 409, "NamespaceNotEmptyException"),
    (errors.CommitConflictError, 409, "CommitFailedException"),
    (errors.CommitStateUnknownError, 500, "CommitStateUnknownException"),
    (errors.CatalogReadOnlyError, 406, "UnsupportedOperationException"),
    (errors.ObjectNotFoundError, 404, "NotFoundException"),
    (errors.LakeQueryError, 400, "BadRequestException"),
    (errors.LakeQueryTimeoutError, 408, "QueryTimeoutException"),
    (errors.LsnNotInLakeError, 404, "NotFoundException"),
    (errors.SnapshotNotFoundError, 404, "NotFoundException"),
    (errors.ForeignDeletesError, 406, "UnsupportedOperationException"),
    (errors.ObjectStoreAccessError, 503, "ServiceUnavailableException"),
)


def error_response(status: int, kind: str, message: str, *, code: str = "") -> JSONResponse:
    """An error in the specification's shape, with our own stable code beside it."""
    error = {"message": message, "type": kind, "code": status}
    if code:
        error["dosql-code"] = code
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status == 503:
        headers["Retry-After"] = _RETRY_AFTER_SECONDS
    return JSONResponse({"error": error}, status, headers)


def response_for(error: Exception) -> JSONResponse:
    """What a client is told of an error; one that nobody expected is logged with its traceback."""
    code = getattr(error, "code", "")
    for class_, status, kind in _ANSWERS:
        if isinstance(error, class_):
            return error_response(status, kind, str(error), code=code)
    if code.startswith("TT_"):  # a moment of the catalog that there is not, or no longer
        return error_response(400, "BadRequestException", str(error), code=code)
    if getattr(error, "is_retryable", False):  # the store or the database, busy or away
        return error_response(503, "ServiceUnavailableException", str(error), code=code)
    _log.error("a request failed", exc_info=error)
    return error_response(
        500, "InternalServerError", f"{type(error).__name__}: the server's log tells more"
    )
