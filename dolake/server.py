"""The lake as a server: ingest, operations and what else is mounted, over one port."""

from __future__ import annotations

import contextlib
import ipaddress
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass

import uvicorn
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from dolake.errors import LakeConfigurationError
from dolake.ingest.ingest_service import IngestService
from dolake.ingest.routes import IngestRoutes

_GRACE_SECONDS = 10
# Beyond the limit of the protocol a message is refused with a nack, and beyond this unread.
_UNREAD_BEYOND = 4


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Where to listen. Shape: port 0 is one that is free; `insecure` allows serving without tokens
    to more than this machine."""

    host: str = "127.0.0.1"
    port: int = 8181
    insecure: bool = False


def lake_application(ingest: IngestRoutes, others: Sequence[BaseRoute] = ()) -> Starlette:
    """Everything the lake serves; `others` come after the routes of ingest."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield

    return Starlette(routes=[*ingest.routes(), *others], lifespan=lifespan)


def serve(
    service: IngestService,
    options: ServerOptions,
    others: Sequence[BaseRoute] = (),
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; then take nothing more in, and return. The service is open.

    Shape:  `on_ready` is told the address once it answers.
    Errors: LakeConfigurationError for an address that cannot be had, or one that is open to other
            machines while there are no tokens.
    """
    if not service.settings.tokens and not options.insecure and not _is_local(options.host):
        raise LakeConfigurationError(
            f"{options.host} can be reached from other machines, and there is no token to keep "
            "them out",
            hint="give --token, or --insecure where the network itself is trusted",
        )
    ingest = IngestRoutes(service)
    config = uvicorn.Config(
        lake_application(ingest, others),
        host=options.host,
        port=options.port,
        log_level="warning",
        ws_max_size=service.settings.limits.message_bytes_max * _UNREAD_BEYOND,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    with _bound_socket(options) as bound:
        host, port = bound.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        server = _Server(config, ingest, lambda: on_ready and on_ready(f"http://{shown}:{port}"))
        server.run(sockets=[bound])


class _Server(uvicorn.Server):
    """Says goodbye to sources before it closes their connections."""

    def __init__(
        self, config: uvicorn.Config, ingest: IngestRoutes, on_ready: Callable[[], object]
    ) -> None:
        super().__init__(config)
        self._ingest = ingest
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._ingest.stop()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but a signal that was obeyed does not end the process as well."""
        former = {
            number: signal.signal(number, self.handle_exit)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextlib.contextmanager
def _bound_socket(options: ServerOptions) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    bound = socket.socket(family)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((options.host, options.port))
        except OSError as error:
            raise LakeConfigurationError(
                f"{options.host}:{options.port} cannot be listened on: {error.strerror}",
                hint="choose another --port; 0 takes one that is free",
            ) from error
        yield bound
    finally:
        bound.close()
