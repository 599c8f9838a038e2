"""What the database's own tables are like, which models do not say. Only ``check`` asks it; no row is read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from ..exceptions import DatabaseFault
from .transactions import Transactions, safe_errors

_WITHOUT_TRANSACTIONS = sa.text(
    "SELECT table_name FROM information_schema.tables JOIN information_schema.engines USING (engine)"
    " WHERE transactions <> 'YES' AND table_schema = COALESCE(:schema, DATABASE()) AND table_name = :name"
)


def tables_without_transactions(transactions: Transactions, tables: Iterable[sa.Table]) -> list[str]:
    """Return the names of the tables of MySQL or MariaDB whose engine has no transactions, such as MyISAM."""
    has_engines = transactions.dialect in {"mysql", "mariadb"}
    asked = [{"schema": table.schema, "name": table.name} for table in tables if has_engines]
    return [name for each in asked for name in transactions.execute(_WITHOUT_TRANSACTIONS, each).scalars()]


def missing_of(transactions: Transactions, table: sa.Table) -> list[str]:
    """Return the names of a table or of its columns that the database lacks, as before a migration."""
    try:
        transactions.execute(sa.select(table).where(sa.false()))
    except DatabaseFault:
        transactions.rollback()
    else:
        return []
    with safe_errors():
        inspector = sa.inspect(transactions.session.connection(bind_arguments={"clause": table}))
        if not inspector.has_table(table.name, table.schema):
            return [table.name]
        there = {each["name"] for each in inspector.get_columns(table.name, table.schema)}
    return [f"{table.name}.{column.name}" for column in table.columns if column.name not in there]


def takes_for_one(transactions: Transactions, column: sa.Column[Any], first: str, second: str) -> bool:
    """Tell whether a column's collation takes two texts for one; the column lends it to a row that nobody stored."""
    row = sa.select(sa.literal(first, column.type).label(column.name))
    rows = sa.union_all(sa.select(column).where(sa.false()), row).subquery()
    found = transactions.execute(sa.select(sa.literal(1)).select_from(rows).where(rows.c[0] == second))
    return found.first() is not None
