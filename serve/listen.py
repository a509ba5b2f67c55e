"""A listening socket, or a message that says who is in the way."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator

from registry.records import UserError

BACKLOG = 2048


class ServeError(UserError):
    """The server cannot start here."""


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket bound to the address. Raises ServeError where somebody else has it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(BACKLOG)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ServeError(
                    f"port {port} on {host} is in use; stop what listens there, or choose "
                    "another with --port"
                ) from error
            raise ServeError(f"cannot listen on {host} port {port}: {error.strerror}") from error
        yield listener
