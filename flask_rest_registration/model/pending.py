"""The application's table of addresses that a mail was sent to."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, MappedColumn, Mapper, mapped_column

from ..exceptions import ConfigurationError
from ..settings.definitions import Settings
from .unique import find_unique_rules
from .user_model import UserModel, find_model, mapped_columns

#: The names of the values of a link, and of the code: no field of an account can have one of them.
LINK_FIELDS = ("user_id", "timestamp", "signature")
CODE_FIELD = "code"


class PendingRegistrationMixin:
    """The columns of a table of pending registrations.

    A row is an address that a mail was sent to. It holds no password, and nothing refers to it. Times are whole
    seconds since the Unix epoch, so that no time zone has a part in them::

        class PendingRegistration(PendingRegistrationMixin, db.Model):
            pass

    Columns of your own must be nullable or have a default. The class itself cannot be a ``MappedAsDataclass``.
    """

    #: What the link carries. It changes when the registration is completed, so that its links and codes end.
    id: Mapped[uuid.UUID] = mapped_column(sa.Uuid(), primary_key=True, default=uuid.uuid4)
    #: The address in ASCII, its domain after IDNA (RFC 5891): collations make one of ``gmail`` and ``gmàil``.
    email: Mapped[str] = mapped_column(sa.String(254), unique=True)
    #: When the last mail was sent; the timestamp of its link.
    sent_at: Mapped[int] = mapped_column(sa.BigInteger())
    #: How many mails were sent in a row.
    mails: Mapped[int] = mapped_column(sa.Integer())
    #: When the next mail may be sent.
    next_mail_at: Mapped[int] = mapped_column(sa.BigInteger())
    #: How many codes were tried since the last mail.
    code_attempts: Mapped[int] = mapped_column(sa.Integer())


def inspect_pending_model(
    db: SQLAlchemy, settings: Settings, users: UserModel, *, more_faults: list[str]
) -> Mapper[Any]:
    """Return the mapper of the model of pending registrations; refuse what is wrong with it, and ``more_faults``."""
    try:
        cls = settings.pending_registration_model or _find_class(db, settings)
        mapper = _mapper_of(cls)
    except ConfigurationError as error:
        raise ConfigurationError(*more_faults, *error.faults) from None
    faults = [*more_faults, *_column_faults(cls, mapper)]
    session = db.session()
    if session.get_bind(mapper) is not session.get_bind(users.mapper):
        faults.append(
            f"{cls.__name__} is in another database than {users.name}, and one COMMIT has to store changes of both."
            f" Fix: give {cls.__name__} the __bind_key__ of {users.name}."
        )
    if faults:
        raise ConfigurationError(*faults)
    return mapper


def _find_class(db: SQLAlchemy, settings: Settings) -> type[Any]:
    needing = "REGISTER_EMAIL_FIRST" if settings.register_email_first else "REGISTER_VERIFICATION_RESEND_ENABLED"
    return find_model(
        db,
        lambda model: issubclass(model, PendingRegistrationMixin),
        none=f"{needing} is True, and there is no model of pending registrations. Fix: add class"
        " PendingRegistration(PendingRegistrationMixin, db.Model), with a migration, and import it before the first"
        " request; the mixin is in flask_rest_registration.",
        several=f"{needing} is True, and there is more than one model of pending registrations. Fix: choose one with"
        " the setting PENDING_REGISTRATION_MODEL",
    )


def _mapper_of(cls: type[Any]) -> Mapper[Any]:
    mapper: Mapper[Any] | None = sa.inspect(cls, raiseerr=False)
    if mapper is None or not issubclass(cls, PendingRegistrationMixin):
        raise ConfigurationError(
            f"PENDING_REGISTRATION_MODEL is {cls.__name__}, which is no model of pending registrations. Fix: declare it"
            f" as class {cls.__name__}(PendingRegistrationMixin, db.Model)."
        )
    return mapper


def _column_faults(cls: type[Any], mapper: Mapper[Any]) -> list[str]:
    ours = {name: each for name, each in vars(PendingRegistrationMixin).items() if isinstance(each, MappedColumn)}
    columns = mapped_columns(mapper)
    faults = [
        f"A row of {cls.__name__} cannot be made without {name}, which registration does not fill. Fix: make the column"
        " nullable, or give it a default."
        for name, column in columns.items()
        if name not in ours and not (column.nullable or column.default or column.server_default)
    ]
    if len(mapper.tables) > 1:
        faults.append(
            f"{cls.__name__} is spread over {len(mapper.tables)} tables, and one statement has to change a row. Fix:"
            " declare it without joined inheritance."
        )
    if not any(rule.covers_only(columns["email"]) for rule in find_unique_rules(mapper)):
        faults.append(
            f"{cls.__name__}.email is not unique in the database, so that one address could have two rows. Fix: leave"
            " the column as the mixin declares it, or add unique=True."
        )
    faults += [
        f"{cls.__name__}.{name} has the type {columns[name].type!r}, and must have {declared.column.type!r}. Fix: leave"
        " the column as the mixin declares it."
        for name, declared in ours.items()
        if not _is_like(columns[name].type, declared.column.type)
    ]
    return faults


def _is_like(kind: sa.types.TypeEngine[Any], declared: sa.types.TypeEngine[Any]) -> bool:
    lengths = [getattr(each, "length", None) or 0 for each in (kind, declared)]
    return isinstance(kind, type(declared)) and lengths[0] >= lengths[1]
