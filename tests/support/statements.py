"""Which statements an app sends to its database, by SQLAlchemy's own events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, event


@dataclass
class Statements:
    """The statements in the order in which they were sent, with BEGIN, COMMIT and ROLLBACK among them."""

    sql: list[str] = field(default_factory=list)
    parameters: list[Any] = field(default_factory=list)

    def add(self, sql: str, parameters: object = ()) -> None:
        self.sql.append(sql)
        self.parameters.append(parameters)

    @property
    def kinds(self) -> list[str]:
        """The first word of each statement, for example ``["BEGIN", "INSERT", "COMMIT"]``."""
        return [sql.split(maxsplit=1)[0].upper() for sql in self.sql]

    @property
    def queries(self) -> list[str]:
        """The kinds without the ends of transactions: what asks or changes rows."""
        return [kind for kind in self.kinds if kind not in {"BEGIN", "COMMIT", "ROLLBACK"}]

    def count(self, kind: str) -> int:
        return self.kinds.count(kind)

    def clear(self) -> None:
        self.sql.clear()
        self.parameters.clear()


@contextmanager
def recorded(engine: Engine) -> Iterator[Statements]:
    """Record what is sent to an engine while the block runs."""
    statements = Statements()
    listeners: dict[str, Callable[..., object]] = {
        "before_cursor_execute": lambda conn, cursor, sql, parameters, *_: statements.add(sql, parameters),
        "begin": lambda conn: statements.add("BEGIN"),
        "commit": lambda conn: statements.add("COMMIT"),
        "rollback": lambda conn: statements.add("ROLLBACK"),
        "savepoint": lambda conn, name: statements.add(f"SAVEPOINT {name}"),
    }
    for name, listener in listeners.items():
        event.listen(engine, name, listener)
    try:
        yield statements
    finally:
        for name, listener in listeners.items():
            event.remove(engine, name, listener)
