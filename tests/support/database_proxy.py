"""A TCP proxy before a database server, that goes away at an exact point and comes back."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Lock, Thread
from types import TracebackType

from typing_extensions import Self

_GIVE_UP_AFTER = 30.0


class DatabaseProxy:
    """Passes bytes on between clients and a server while the context lasts.

    :param host: where the server is.
    :param port: its port.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        # Holds the port while nobody listens on it: connections to it are refused then, as by a server that is gone.
        self._reservation = _bound_socket(0)
        self.port: int = self._reservation.getsockname()[1]
        self._listener: socket.socket | None = None
        self._lock = Lock()
        self._sockets: set[socket.socket] = set()
        self._threads: list[Thread] = []
        self._to_lose: bytes | None = None
        #: Set when an answer was lost, see :meth:`lose_the_answer_to`.
        self.lost = Event()

    def __enter__(self) -> Self:
        self.come_back()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.go_away()
        self._reservation.close()
        for thread in self._threads:
            thread.join(_GIVE_UP_AFTER)
            assert not thread.is_alive(), "the proxy did not stop"

    def come_back(self) -> None:
        """Accept connections from now on."""
        self._listener = _bound_socket(self.port)
        self._listener.listen()
        self._start(self._accept, self._listener)

    def go_away(self) -> None:
        """Refuse connections from now on, and cut those that there are."""
        if self._listener is not None:
            _shut(self._listener)
            self._listener.close()
            self._listener = None
        self.cut()

    def cut(self) -> None:
        """Cut all connections; new ones are accepted."""
        with self._lock:
            for each in self._sockets:
                _shut(each)

    def lose_the_answer_to(self, statement: bytes) -> None:
        """Pass the next statement with these bytes on, wait for its answer, and cut its connection without it."""
        self.lost.clear()
        self._to_lose = statement

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # the listener's end
            while True:
                client, _ = listener.accept()
                try:
                    server = socket.create_connection(self._server)
                except OSError:
                    client.close()
                    continue
                with self._lock:
                    self._sockets |= {client, server}
                loses_answer = Event()
                self._start(self._pass_statements, client, server, loses_answer)
                self._start(self._pass_answers, server, client, loses_answer)

    def _pass_statements(self, client: socket.socket, server: socket.socket, loses_answer: Event) -> None:
        with suppress(OSError):  # an end is gone, which its own thread finds out
            while data := client.recv(2**16):
                if self._to_lose is not None and self._to_lose in data:
                    self._to_lose = None
                    loses_answer.set()
                server.sendall(data)
        self._close(client, other=server)

    def _pass_answers(self, server: socket.socket, client: socket.socket, loses_answer: Event) -> None:
        with suppress(OSError):
            while data := server.recv(2**16):
                if loses_answer.is_set():  # its coming proves that the server has done what it was told
                    self.lost.set()
                    break
                client.sendall(data)
        self._close(server, other=client)

    def _close(self, own: socket.socket, *, other: socket.socket) -> None:
        """Close the socket that this thread receives from; the other one's thread is woken up to do the same."""
        with self._lock:
            _shut(other)
            self._sockets.discard(own)
            own.close()

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()


def _bound_socket(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


def _shut(connection: socket.socket) -> None:
    """End what goes through a connection, which wakes up the thread that waits in it."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
