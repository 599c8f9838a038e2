"""How the databases of applications are set up differently: isolation, collations, when a unique rule is checked."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event

from .apps import Builder, Built
from .databases import CHOSEN, not_waiting


@dataclass(frozen=True)
class Variant:
    """One way in which a database is set up.

    :param arguments: more arguments of the driver's ``connect()``.
    :param isolation_level: SQLAlchemy's name of it; without one it is the server's.
    :param begins_by_hand: whether SQLite's transactions begin as SQLAlchemy's recipe says.
    :param collation: of the unique text columns.
    :param before: a statement that is run before the tables are made.
    :param folds_case: whether ``ANN`` is ``ann``; None where that is the server's choice.
    :param is_deferred: whether unique constraints are checked at the COMMIT.
    """

    arguments: dict[str, object] = field(default_factory=dict)
    isolation_level: str | None = None
    begins_by_hand: bool = False
    collation: str | None = None
    before: str | None = None
    folds_case: bool | None = None
    is_deferred: bool = False

    @property
    def may_refuse_the_commit(self) -> bool:
        """Whether other transactions decide as late as at the COMMIT."""
        return self.is_deferred or self.isolation_level == "SERIALIZABLE"


_SQLITE: Final = {
    "plain": Variant(folds_case=False),
    "begin by hand": Variant(begins_by_hand=True),
    # From Python 3.12 on, sqlite3 can begin transactions as PEP 249 says.
    **({"autocommit off": Variant(arguments={"autocommit": False})} if sys.version_info >= (3, 12) else {}),
    "case-insensitive": Variant(collation="NOCASE", folds_case=True),
}
_POSTGRESQL: Final = {
    "plain": Variant(folds_case=False),
    "repeatable read": Variant(isolation_level="REPEATABLE READ"),
    "serializable": Variant(isolation_level="SERIALIZABLE"),
    "case-insensitive": Variant(
        before="CREATE COLLATION folding (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        collation="folding",
        folds_case=True,
    ),
    "deferred": Variant(is_deferred=True),
}
_MARIADB: Final = {
    "plain": Variant(),
    "snapshot isolation": Variant(arguments={"init_command": "SET innodb_snapshot_isolation = ON"}),
    "read committed": Variant(isolation_level="READ COMMITTED"),
    "case-sensitive": Variant(collation="utf8mb4_bin", folds_case=False),
    "case-insensitive": Variant(collation="utf8mb4_general_ci", folds_case=True),
}

#: The variants of the database of this run, by name.
VARIANTS: Final[dict[str, Variant]] = {"sqlite": _SQLITE, "postgresql": _POSTGRESQL, "mariadb": _MARIADB}[CHOSEN]

#: Those that decide how transactions end.
WITH_TRANSACTIONS_OF_THEIR_OWN: Final = [
    name for name, variant in VARIANTS.items() if variant.collation is None and not variant.is_deferred
]


def engine_options(name: str, *, is_patient: bool = True) -> dict[str, object]:
    """Return the ``SQLALCHEMY_ENGINE_OPTIONS`` of a variant, whose connections wait for locks if they are patient."""
    variant = VARIANTS[name]
    waiting: dict[str, Any] = {} if is_patient else not_waiting()
    if is_patient and CHOSEN == "sqlite":
        waiting["timeout"] = 20
    if "init_command" in waiting and "init_command" in variant.arguments:
        waiting["init_command"] += ", " + str(variant.arguments["init_command"]).removeprefix("SET ")
    options: dict[str, object] = {"connect_args": {**variant.arguments, **waiting}}
    if variant.isolation_level:
        options["isolation_level"] = variant.isolation_level
    return options


def prepare(engine: sa.Engine, name: str) -> None:
    """Do what a variant needs besides its options, before the engine's first connection."""
    if VARIANTS[name].begins_by_hand:
        # SQLAlchemy's documented recipe, by which SQLite's transactions start where they should.
        event.listen(engine, "connect", lambda connection, record: setattr(connection, "isolation_level", None))
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))


def build_variant(build: Builder, name: str = "plain", *, is_patient: bool = True, **options: Any) -> Built:
    """Build an app on a database that is set up as a variant."""
    config = {"SQLALCHEMY_ENGINE_OPTIONS": engine_options(name, is_patient=is_patient), **options.pop("config", {})}
    # Many requests at once on a busy machine are no fault of the mail server.
    registration = {"VERIFICATION_EMAIL_TIMEOUT": 60, **options.pop("registration", {})}
    built = build(config=config, registration=registration, tables=False, **options)
    prepare(built.engine, name)
    for model in filter(None, (built.User, built.Pending)):
        for constraint in model.__table__.constraints:
            if isinstance(constraint, sa.UniqueConstraint):
                _set_up(constraint, VARIANTS[name])
    with built.app.app_context():
        if sql := VARIANTS[name].before:
            built.execute_outside(sql)
        built.db.create_all()
    return built


def _set_up(unique: sa.UniqueConstraint, variant: Variant) -> None:
    """Change a constraint before its table is made."""
    if variant.is_deferred:
        unique.deferrable, unique.initially = True, "DEFERRED"
    for column in unique.columns:
        if variant.collation and isinstance(column.type, sa.String):
            column.type.collation = variant.collation
