"""What happens to an app's statements: somebody else acts right before one, or the database refuses it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import event

from .apps import Built
from .databases import conflict


@contextmanager
def acting_before(built: Built, *actions: tuple[str, Callable[[], object]]) -> Iterator[None]:
    """Let somebody act right before statements that begin with a word, each action once, in this order."""
    waiting = [*actions]

    def act(conn: object, cursor: object, statement: str, *_: object) -> None:
        if waiting and statement.startswith(waiting[0][0]):
            waiting.pop(0)[1]()

    event.listen(built.engine, "before_cursor_execute", act)
    yield
    event.remove(built.engine, "before_cursor_execute", act)
    assert waiting == [], "there was no such statement"


@contextmanager
def refusing(
    built: Built, *starts: str, after: int = 0, times: int = 10**6, error: Exception | None = None
) -> Iterator[list[str]]:
    """Let the database refuse statements that begin with one of these texts, without quotes.

    :param after: how many of them work before.
    :param times: how many are refused.
    :param error: what is raised, in place of a conflict with another transaction.
    :returns: the statements that begin so.
    """
    met: list[str] = []

    def execute(cursor: object, statement: str, *_: object) -> None:
        if re.sub('["`]', "", statement).startswith(starts):
            met.append(statement)
            if after < len(met) <= after + times:
                raise error or conflict()

    event.listen(built.engine, "do_execute", execute)
    yield met
    event.remove(built.engine, "do_execute", execute)
