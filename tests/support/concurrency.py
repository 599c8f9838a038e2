"""Requests at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Barrier, Thread
from typing import Generic, TypeVar

T = TypeVar("T")

_GIVE_UP_AFTER = 60.0


@dataclass
class Outcome(Generic[T]):
    """What the threads returned and what they raised, in no particular order."""

    results: list[T] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)


def at_once(count: int, function: Callable[[int], T]) -> Outcome[T]:
    """Call a function in that many threads, all let go at the same time, with the number of the thread from 0."""
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
    otherwise: Callable[[], str] = lambda: "it did not happen",
) -> None:
    """Wait until a condition holds.

    :param condition: what is asked.
    :param otherwise: says what went wrong.
    """
    give_up_at = time.monotonic() + _GIVE_UP_AFTER
    while not condition():
        assert time.monotonic() < give_up_at, otherwise()
        time.sleep(0.01)
