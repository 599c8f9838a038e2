"""Requests at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Barrier, Thread
from typing import Any, Final, Generic, TypeVar

import pytest
from sqlalchemy import Connection, Engine, event

T = TypeVar("T")

_GIVE_UP_AFTER = 60.0


@dataclass
class Outcome(Generic[T]):
    """What the threads returned and what they raised, in no particular order."""

    results: list[T] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)


def at_once(count: int, function: Callable[[int], T]) -> Outcome[T]:
    """Call a function in that many threads, all let go at the same time.

    :param count: the number of threads.
    :param function: called with the number of the thread, from 0.
    """
    outcome: Outcome[T] = Outcome()
    barrier = Barrier(count)

    def run(number: int) -> None:
        try:
            barrier.wait(_GIVE_UP_AFTER)
            outcome.results.append(function(number))
        except BaseException as error:  # the test looks at it, whatever it is
            outcome.errors.append(error)

    threads = [Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_GIVE_UP_AFTER)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    return outcome


def until(
    condition: Callable[[], object],
    *,
    pause: float = 0.01,
    otherwise: Callable[[], str] = lambda: "it did not happen",
) -> None:
    """Wait for what somebody does by themselves, and tells only when they are asked.

    :param condition: what is asked.
    :param pause: the seconds between two questions.
    :param otherwise: says what is to be known when it does not happen.
    """
    give_up_at = time.monotonic() + _GIVE_UP_AFTER
    while not condition():
        assert time.monotonic() < give_up_at, otherwise()
        time.sleep(pause)


def begin_by_hand(engine: Engine) -> None:
    """Apply SQLAlchemy's documented recipe that makes SQLite's transactions start where they should.

    Call it before the engine's first connection.
    """

    @event.listens_for(engine, "connect")
    def leave_begin_to_us(connection: Any, record: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")


#: How transactions begin: as the driver does by itself, and by the recipe for SQLite.
BEGINNINGS: Final = [None, pytest.param(begin_by_hand, marks=pytest.mark.only_on("sqlite"))]
