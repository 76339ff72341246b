"""Where a lake keeps its files: a local folder or a bucket of an S3-compatible object store."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import obstore
from obstore import exceptions
from obstore.store import LocalStore, S3Store

from dolake.errors import (
    LakeConfigurationError,
    ObjectExistsError,
    ObjectNotFoundError,
    ObjectStoreAccessError,
    ObjectStoreError,
)
from dosql_core.errors import OperationalError

_CONNECT_SECONDS = 5
_REQUEST_SECONDS = 60
_RETRIES_MAX = 2
_RETRY_SECONDS_MAX = 5


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as a list shows it."""

    path: str
    size_bytes: int
    modified_at: datetime.datetime


class Warehouse:
    """The files of one lake. Safe for any number of threads.

    Shape:  a `name` is a path inside the warehouse (`shop/orders/data/1.parquet`) or its URL, which
            begins with `uri`. Objects appear whole or not at all, and a write that returned is
            durable, in a local folder as well.
    Errors: ObjectStoreError (try again), ObjectStoreAccessError, ObjectNotFoundError.
    """

    def __init__(self, uri: str | os.PathLike[str], **store_options: Any) -> None:
        """A folder (`./lake`, `file:///data/lake`) or `s3://bucket/prefix`.

        Shape:  `store_options` are those of obstore's S3Store: endpoint, access_key_id,
                secret_access_key, region ...; what is not given comes from AWS_* variables.
        Errors: LakeConfigurationError for any other kind of URL.
        """
        self.folder: Path | None = None
        self.store_options = store_options
        text = os.fspath(uri)
        parts = urlsplit(text)
        if parts.scheme == "s3" and parts.netloc:
            self.uri = text.rstrip("/")
            self._store: S3Store | LocalStore = _s3_store(
                parts.netloc, parts.path.strip("/"), store_options
            )
        elif parts.scheme in ("", "file") or len(parts.scheme) == 1:
            path = unquote(parts.path) if parts.scheme == "file" else text
            self.folder = Path(os.path.realpath(path))
            self.folder.mkdir(parents=True, exist_ok=True)
            self.uri = f"file://{quote(str(self.folder))}"
            self._store = LocalStore(prefix=self.folder)
        else:
            raise LakeConfigurationError(
                f"{text!r} is not a place for a warehouse",
                hint="give a folder, or s3://bucket/prefix",
            )

    def __repr__(self) -> str:
        return f"Warehouse({self.uri!r})"

    def url_of(self, path: str) -> str:
        """The URL under which Iceberg's metadata names a path of the warehouse."""
        return f"{self.uri}/{path}"

    def path_of(self, name: str) -> str:
        """The path of a name that may be a URL.

        Errors: LakeConfigurationError for a URL of another place.
        """
        if name.startswith(self.uri + "/"):
            return name[len(self.uri) + 1 :]
        if self.folder is not None and name.startswith("file:"):  # file:/a, file:///a, escaped
            path = os.path.realpath(unquote(urlsplit(name).path))
            with contextlib.suppress(ValueError):
                return str(Path(path).relative_to(self.folder))
        if "://" in name or name.startswith("file:"):
            raise LakeConfigurationError(f"{name} is not in the warehouse {self.uri}")
        return name

    def read(self, name: str) -> bytes:
        """The bytes of an object."""
        with _translated(name):
            return bytes(obstore.get(self._store, self.path_of(name)).bytes())

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """`length` bytes of an object from `start` on; fewer where it ends before."""
        with _translated(name):
            return bytes(
                obstore.get_range(self._store, self.path_of(name), start=start, length=length)
            )

    def size_of(self, name: str) -> int:
        """How many bytes an object has."""
        with _translated(name):
            return obstore.head(self._store, self.path_of(name))["size"]

    def exists(self, name: str) -> bool:
        """Whether there is such an object."""
        try:
            self.size_of(name)
        except ObjectNotFoundError:
            return False
        return True

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Store an object, in place of one of that name."""
        path = self.path_of(name)
        with _translated(name):
            obstore.put(self._store, path, data)
            self._sync(path)

    def write_if_absent(self, name: str, data: bytes | memoryview) -> None:
        """Store an object under a name that is free; storing the same bytes again is no error.

        Errors: ObjectExistsError when other bytes have the name.
        """
        path = self.path_of(name)
        try:
            with _translated(name):
                # a put in parts knows no condition
                obstore.put(self._store, path, data, mode="create", use_multipart=False)
        except ObjectExistsError:
            # The answer to our own first try may have been lost on its way.
            if self.read(path) != bytes(data):
                raise
        with _translated(name):
            self._sync(path)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Every object whose path begins with the folder `prefix`."""
        with _translated(prefix):
            for objects in obstore.list(self._store, self.path_of(prefix).rstrip("/") or None):
                for found in objects:
                    yield StoredObject(found["path"], found["size"], found["last_modified"])

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; those that are not there are no error."""
        paths = [self.path_of(name) for name in names]
        if self.folder is not None:  # one that is missing would stop the others from going
            for path in paths:
                with contextlib.suppress(ObjectNotFoundError), _translated(path):
                    obstore.delete(self._store, path)
        elif paths:
            with contextlib.suppress(ObjectNotFoundError), _translated(paths[0]):
                obstore.delete(self._store, paths)

    def forget(self, names: Iterable[str]) -> None:
        """Remove objects that no metadata names; those that cannot go now are orphans to sweep."""
        with contextlib.suppress(OperationalError):
            self.delete(names)

    def _sync(self, path: str) -> None:
        """Make a file of a local folder, and its name, survive a power cut."""
        if self.folder is None:
            return
        for place in (self.folder / path, (self.folder / path).parent):
            descriptor = os.open(place, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _s3_store(bucket: str, prefix: str, options: dict[str, Any]) -> S3Store:
    chosen = dict(options)
    endpoint = str(chosen.get("endpoint") or os.environ.get("AWS_ENDPOINT_URL", ""))
    client: Any = {
        "connect_timeout": datetime.timedelta(seconds=_CONNECT_SECONDS),
        "timeout": datetime.timedelta(seconds=_REQUEST_SECONDS),
        "allow_http": endpoint.startswith("http://"),
        **chosen.pop("client_options", {}),
    }
    retries: Any = {
        "max_retries": _RETRIES_MAX,
        "retry_timeout": datetime.timedelta(seconds=_RETRY_SECONDS_MAX),
        **chosen.pop("retry_config", {}),
    }
    try:
        return S3Store(
            bucket, prefix=prefix or None, client_options=client, retry_config=retries, **chosen
        )
    except (exceptions.BaseError, TypeError, ValueError) as error:
        raise LakeConfigurationError(f"the object store's options: {_first_line(error)}") from error


@contextlib.contextmanager
def _translated(name: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, exceptions.NotFoundError) as error:
        raise ObjectNotFoundError(f"there is no object {name}") from error
    except (exceptions.AlreadyExistsError, exceptions.PreconditionError) as error:
        raise ObjectExistsError(f"there is an object {name} already") from error
    except (
        exceptions.PermissionDeniedError,
        exceptions.UnauthenticatedError,
        PermissionError,
    ) as error:
        raise ObjectStoreAccessError(f"{name}: {_first_line(error)}") from error
    except (exceptions.BaseError, OSError) as error:
        raise ObjectStoreError(f"{name}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    """What happened; obstore appends the source of the error over many lines."""
    return str(error).partition("\n")[0]
