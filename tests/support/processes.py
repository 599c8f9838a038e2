"""Requests of several processes at the same time, each with an app and connections of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any, Final

from flask_rest_registration import user_activated, user_registered

from .apps import Built, HasPort, make_app
from .variants import engine_options, prepare

_GIVE_UP_AFTER: Final = 120.0

# Forked from a process without threads, which has imported this module once for all.
_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


@dataclass(frozen=True)
class Answer:
    """What one process saw of its request: the status, the fields with errors, how many signals of ours were sent."""

    status: int
    errors: tuple[str, ...]
    signals: int


def _serve(options: dict[str, Any], variant: str, channel: Connection, barrier: Barrier) -> None:
    """Build an app, and post what is sent through the channel when all others do."""
    built = make_app(**options, tables=False)
    prepare(built.engine, variant)
    signals: list[object] = []

    def note(sender: object, user: Any, **_: object) -> None:
        signals.append(user.id)

    user_registered.connect(note)
    user_activated.connect(note)
    built.engine.connect().close()  # it is the request that is to be raced with, not the connecting
    while (job := channel.recv()) is not None:
        signals.clear()
        barrier.wait(_GIVE_UP_AFTER)
        response = built.post(*job)
        errors = tuple((response.get_json(silent=True) or {}).get("errors", ()))
        channel.send(Answer(response.status_code, errors, len(signals)))
    built.dispose()


class Processes:
    """Processes that wait for their next request."""

    def __init__(self, channels: list[Connection]) -> None:
        self._channels = channels

    def post(self, path: str, *bodies: Mapping[str, object]) -> list[Answer]:
        """Let each process post its body, all at the same time."""
        for channel, body in zip(self._channels, bodies, strict=True):
            channel.send((path, dict(body)))
        for number, channel in enumerate(self._channels):
            assert channel.poll(_GIVE_UP_AFTER), f"process {number} gives no answer"
        return [channel.recv() for channel in self._channels]


@contextmanager
def processes(
    count: int,
    built: Built,
    variant: str,
    *,
    registration: Mapping[str, object] | None = None,
    mail: HasPort | None = None,
) -> Iterator[Processes]:
    """Start processes with apps like another one, on its database.

    :param built: the app, of the usual model, with pending registrations or without.
    :param variant: how its database is set up.
    :param registration: settings of the extension.
    :param mail: the server to deliver to; without one no mail is sent.
    """
    # With a pool of one connection: sixteen of them in each of several processes are more than a server has.
    engine = {**engine_options(variant), "pool_size": 1, "max_overflow": 0}
    options = {
        "database_uri": built.database_uri,
        "pending": built.Pending is not None,
        "registration": dict(registration or {}),
        "config": {
            "SQLALCHEMY_ENGINE_OPTIONS": engine,
            **({"MAIL_PORT": mail.port, "MAIL_SUPPRESS_SEND": False} if mail else {}),
        },
    }
    barrier = _CONTEXT.Barrier(count)
    pairs = [_CONTEXT.Pipe() for _ in range(count)]
    started = [
        _CONTEXT.Process(target=_serve, args=(options, variant, theirs, barrier), daemon=True) for _, theirs in pairs
    ]
    for process, (_, theirs) in zip(started, pairs, strict=True):
        process.start()
        theirs.close()
    try:
        yield Processes([ours for ours, _ in pairs])
        for ours, _ in pairs:
            ours.send(None)
        for process in started:
            process.join(_GIVE_UP_AFTER)
        assert [process.exitcode for process in started] == [0] * count
    finally:
        for process, (ours, _) in zip(started, pairs, strict=True):
            process.kill()
            process.join(_GIVE_UP_AFTER)
            ours.close()
