"""What an application must be like for something to happen to its claims."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.exc import NoReferenceError

from .exceptions import ConfigurationError
from .serializers import Serializers, client_name
from .settings import LOCK_OUT_FIELDS, NOTICE_SENT_AT_FIELD, SENT_AT_FIELD, Settings
from .user_model import UserModel


def refuse_unfit_for_claims(settings: Settings, model: UserModel, serializers: Serializers, *, dialect: str) -> None:
    """Refuse settings about claims that the user model cannot bear.

    :param settings: the app's settings.
    :param model: its user model.
    :param serializers: its schemas.
    :param dialect: SQLAlchemy's name of the database.
    :raises ConfigurationError: naming all that is in the way, with the mends.
    """
    faults: list[str] = []
    if settings.claim_settings:
        needing = ", ".join(f"{name} is {getattr(settings, name.lower())!r}" for name in settings.claim_settings)
        faults += _column_faults(model, needing=needing)
    if settings.register_hide_existing_email and model.notice_at is None:
        faults.append(
            f"REGISTER_HIDE_EXISTING_EMAIL needs a column that says when an account's owner was last told of a sign-up:"
            f" add {NOTICE_SENT_AT_FIELD} = db.Column(db.DateTime) to {model.name}, or name yours with"
            " USER_NOTICE_SENT_AT_FIELD."
        )
    if settings.password_at_verification:
        faults += _spread_faults(model, needing="REGISTER_PASSWORD_AT 'verify'")
    if settings.deletes_claims:
        faults += _deletion_faults(model, serializers, dialect=dialect)
    if faults:
        raise ConfigurationError(*faults)


def refuse_unfit_for_purge(model: UserModel, serializers: Serializers, *, dialect: str) -> None:
    """Refuse a purge of accounts that cannot be told from others, or whose keys would be given again.

    :param model: the user model.
    :param serializers: its schemas.
    :param dialect: SQLAlchemy's name of the database.
    :raises ConfigurationError: naming all that is in the way, with the mends.
    """
    faults = [
        *_column_faults(model, needing="purge"),
        *_deletion_faults(model, serializers, dialect=dialect),
    ]
    if faults:
        raise ConfigurationError(*faults)


def _column_faults(model: UserModel, *, needing: str) -> Iterator[str]:
    if model.flag is None or model.claim is None:
        yield (
            f"{needing}: this needs a column that tells claims from other accounts: add"
            f" {SENT_AT_FIELD} = db.Column(db.DateTime) to {model.name} (and a migration), or name yours with"
            " USER_VERIFICATION_SENT_AT_FIELD."
        )
    if model.flag is not None and model.flag.name in LOCK_OUT_FIELDS:
        yield (
            f"{needing}: the verification flag is {model.name}.{model.flag.name}, which applications also use to lock"
            " people out, so that somebody who is locked out would pass for somebody who waits for his verification:"
            " add email_verified_at = db.Column(db.DateTime) to the model."
        )


def _deletion_faults(model: UserModel, serializers: Serializers, *, dialect: str) -> Iterator[str]:
    """Find what keeps accounts from being deleted: a log-in of a deleted one must not open the next of that key."""
    yield from _spread_faults(model, needing="What deletes claims")
    table = model.mapper.local_table
    if (
        dialect == "sqlite"
        and isinstance(table, sa.Table)
        and table.autoincrement_column is not None
        and not table.dialect_options["sqlite"]["autoincrement"]
    ):
        yield (
            f"SQLite gives the id of a deleted row of {model.name} to the next one, and whoever was logged in to the"
            ' deleted account would be logged in to that: add __table_args__ = {"sqlite_autoincrement": True} to the'
            " model (an existing table must be made anew)."
        )
    read = serializers.register()
    for attribute in {each.name: each for each in (*model.keys, model.link_id)}.values():
        if client_name(read, attribute.name) is not None:
            yield (
                f"Registration reads {model.name}.{attribute.name}, which names the account in its links or its"
                " log-ins, so that a stranger could take the name of a deleted account: use a key that the database"
                " makes (for USER_VERIFICATION_ID_FIELD too), or leave it out of the register serializer."
            )


def _spread_faults(model: UserModel, *, needing: str) -> Iterator[str]:
    if len(model.mapper.tables) > 1:
        names = ", ".join(str(table) for table in model.mapper.tables)
        yield f"{needing} needs a model in one table, and {model.name} is spread over {names}: use another USER_MODEL."


def claim_warnings(settings: Settings, model: UserModel, serializers: Serializers) -> Iterator[str]:
    """Find what is surprising about a model's claims though it works.

    :param settings: the app's settings.
    :param model: the user model.
    :param serializers: its schemas.
    :returns: sentences for the developer.
    """
    if model.claim is not None:
        for column in _references_that_refuse(model):
            yield (
                f"The foreign key {column} refers to {model.name} without ON DELETE CASCADE or SET NULL: a claim that"
                " such a row refers to is kept by purge, reclaim and rejection."
            )
    if settings.register_hide_existing_email:
        read = serializers.register()
        unique = {column for rule in model.unique_rules for column in rule.columns}
        others = {
            name
            for name, column in model.attributes.items()
            if column in unique and name != model.email.name and client_name(read, name) is not None
        }
        for name in sorted(others):
            yield (
                f"REGISTER_HIDE_EXISTING_EMAIL: registration also reads {name}, which is unique, so that two sign-ups"
                " tell whether an address has an account: the second one, with an address of one's own, finds the"
                f" {name} free or taken. Ask for it after the verification."
            )


def _references_that_refuse(model: UserModel) -> list[str]:
    return sorted(
        str(key.parent)
        for table in model.email.column.table.metadata.tables.values()
        for key in table.foreign_keys
        if (key.ondelete or "").upper() not in {"CASCADE", "SET NULL"} and _refers_to(model, key)
    )


def _refers_to(model: UserModel, key: sa.ForeignKey) -> bool:
    try:
        return key.column.table in model.mapper.tables
    except NoReferenceError:  # its table was never imported
        return False
