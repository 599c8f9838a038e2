"""What a model's tables keep unique, and the question to the database which of it is taken."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapper
from sqlalchemy.sql import visitors


@dataclass(frozen=True, eq=False)
class UniqueRule:
    """A primary key, a unique constraint or a unique index, possibly on expressions such as ``lower(email)``.

    :param columns: the columns that it names.
    :param expressions: what must be unique together: columns, expressions or SQL text.
    :param index: the index, where it is one: it may be a partial one.
    """

    table: sa.Table
    columns: tuple[sa.Column[Any], ...]
    expressions: tuple[sa.ColumnElement[Any] | sa.TextClause, ...]
    index: sa.Index | None = None

    def covers_only(self, column: sa.Column[Any]) -> bool:
        """Tell whether the rule makes a column unique in all rows, by itself."""
        return self.columns == (column,) and not _predicates(self.index)

    def matches(self, values: Mapping[sa.Column[Any], object], dialect: str) -> sa.ColumnElement[bool]:
        """Return the SQL condition "a row has these values", by the database's own comparison.

        The rule's index answers it, and at most one row meets it.
        """
        conditions = [self._is_equal(expression, values) for expression in self.expressions]
        where = _predicates(self.index).get(dialect)
        if where is not None:
            conditions.append(sa.literal_column(where.text) if isinstance(where, sa.TextClause) else where)
        return sa.and_(*conditions)

    def _is_equal(
        self, expression: sa.ColumnElement[Any] | sa.TextClause, values: Mapping[sa.Column[Any], object]
    ) -> sa.ColumnElement[bool]:
        """Compare what an expression makes of a row with what it makes of the new values."""
        if isinstance(expression, sa.TextClause):
            # SQL text can be computed of the new values only where they are a row with the same names.
            columns = (_bound(column, values).label(column.name) for column in self.columns)
            computed: sa.ColumnElement[Any] = sa.literal_column(expression.text)
            return computed == sa.select(computed).select_from(sa.select(*columns).subquery()).scalar_subquery()

        def replace(element: Any, **_: object) -> sa.ColumnElement[Any] | None:
            return _bound(element, values) if isinstance(element, sa.Column) else None

        equal: sa.ColumnElement[bool] = expression == visitors.replacement_traverse(expression, {}, replace)
        return equal


def _bound(column: sa.Column[Any], values: Mapping[sa.Column[Any], object]) -> sa.BindParameter[Any]:
    return sa.literal(values[column], column.type)


def is_exactly(column: sa.Column[Any], value: object, *, dialect: str) -> sa.ColumnElement[bool]:
    """Return the SQL condition that a text column has a value, or that of a parameter, letter for letter.

    MySQL's and MariaDB's collations would find ``cafe`` by ``café``.
    """
    if dialect not in {"mysql", "mariadb"}:
        return column == value
    new = value if isinstance(value, sa.BindParameter) else sa.literal(value, column.type)
    return sa.cast(column, sa.BINARY) == sa.cast(new, sa.BINARY)


def find_unique_rules(mapper: Mapper[Any]) -> list[UniqueRule]:
    """List the primary keys, unique constraints and unique indexes of a model's tables."""
    return [rule for table in mapper.tables if isinstance(table, sa.Table) for rule in _rules_of(table)]


def _rules_of(table: sa.Table) -> Iterator[UniqueRule]:
    for constraint in table.constraints:
        if isinstance(constraint, (sa.PrimaryKeyConstraint, sa.UniqueConstraint)) and len(constraint.columns):
            columns = tuple(constraint.columns)
            yield UniqueRule(table, columns, columns)
    for index in table.indexes:
        if index.unique:
            expressions = tuple(each for each in index.expressions if not isinstance(each, str))
            yield UniqueRule(table, _named_columns(table, expressions), expressions, index)


def _named_columns(
    table: sa.Table, expressions: tuple[sa.ColumnElement[Any] | sa.TextClause, ...]
) -> tuple[sa.Column[Any], ...]:
    named: dict[sa.Column[Any], None] = {}
    for expression in expressions:
        if isinstance(expression, sa.TextClause):
            words = set(re.findall(r"\w+", expression.text))
            found = [column for column in table.columns if column.name in words]
        else:
            found = [element for element in visitors.iterate(expression) if isinstance(element, sa.Column)]
        named.update(dict.fromkeys(found))
    return tuple(named)


def _predicates(index: sa.Index | None) -> dict[str, Any]:
    """Return the conditions of a partial index by dialect."""
    if index is None:
        return {}
    found = {dialect: index.dialect_options[dialect].get("where") for dialect in ("postgresql", "sqlite", "mssql")}
    return {dialect: where for dialect, where in found.items() if where is not None}
