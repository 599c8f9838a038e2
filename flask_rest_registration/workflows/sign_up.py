"""From what a client sent to a stored account: load, make the user, INSERT, mail, COMMIT."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date
from functools import partial
from typing import Any, NoReturn

import sqlalchemy as sa
from flask import Request
from marshmallow import Schema
from sqlalchemy.orm import InstanceState, RelationshipDirection, object_session
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.util import has_identity

from ..addresses import is_same_address
from ..database.errors import ConstraintViolation, TransactionConflict, ValueRefused
from ..database.transactions import HOT_ROW_RETRIES, NEW_ROWS_FIX, RETRIES
from ..exceptions import (
    WHOLE_OBJECT,
    ConfigurationError,
    DatabaseFault,
    DatabaseUnavailable,
    EmailNotSent,
    FieldErrors,
    InvalidInput,
)
from ..mail.delivery import Mailer
from ..model.unique import UniqueRule
from ..model.user_model import UserModel, python_type, required_attributes
from ..passwords import UNUSABLE_PASSWORD, password_faults
from ..safe_logging import own_words, raise_alone
from ..serializers.schemas import ENTER_PASSWORD, client_name, join_errors, load
from ..settings.definitions import Settings
from ..signers import address_of
from ..state import AppState
from ..translations.texts import gettext, gettext_noop

#: Reads what somebody sent, such as JSON, when all is ready for it.
Read = Callable[[], Any]

_PASSWORD = "password"  # noqa: S105  # the name of the field
_TAKEN = gettext_noop("This is already taken. Choose another one.")
_COMBINATION_TAKEN = gettext_noop("This combination is already taken. Change one of its fields.")
_ADDRESS_TAKEN = gettext_noop("This e-mail address already has an account.")
_UNUSABLE = gettext_noop("This data cannot be used.")
_SAMPLES: Mapping[type, object] = {str: "sample", int: 1, float: 1.0, bool: False, date: date(2000, 1, 1)}


class SignUp:
    """One person's sign-up, from the parsed JSON on: its methods are called in the order in which they stand here."""

    def __init__(self, state: AppState, schema: Schema, sent: Any) -> None:
        self._state = state
        self._transactions = state.transactions
        self._schema = schema
        self._sent = sent
        self._password_name = client_name(self._schema, _PASSWORD) or _PASSWORD
        self._loaded: Any = None
        self._user: Any = None
        self._hashed: object = None  # what the password's column has
        self._made_keys: list[str] = []
        self._shares_transaction = False  # with rows of the application's own
        self._is_inserted = False
        self._spend: Callable[[], None] | None = None

    def field_of(self, attribute: str) -> str | None:
        """Return the name under which the client sent an attribute, if it did."""
        name = client_name(self._schema, attribute)
        return name if isinstance(self._sent, Mapping) and name in self._sent else None

    # Loading

    def load(self, *, more_errors: FieldErrors | None = None) -> None:
        """Load the fields and judge the password: one ``InvalidInput`` tells all that is wrong.

        :param more_errors: what is wrong with the request besides.
        :raises ConfigurationError: if the serializer changes what the database already has.
        """
        judge = partial(self._judge_password, more_errors or {})
        with self._transactions.refuse_changes("REGISTER_SERIALIZER_CLASS") as loaded:
            self._loaded = load(self._schema, self._sent, judge=judge)
            loaded.append(self._loaded)

    def load_sample(self, password: str) -> None:
        """Take sample values for the fields, in place of what somebody sent."""
        model = self._state.model
        read = {field.attribute or name for name, field in self._schema.load_fields.items()}
        kinds = {name: python_type(column) for name, column in model.attributes.items() if name in read}
        samples = {name: _SAMPLES[kind] for name, kind in kinds.items() if kind in _SAMPLES}
        self._loaded = {**samples, model.email.name: "sample@example.com", _PASSWORD: password}

    def _judge_password(self, more_errors: FieldErrors, valid: Mapping[str, Any]) -> FieldErrors:
        if _PASSWORD not in valid:
            return more_errors
        password = valid[_PASSWORD]
        if not isinstance(password, str) or not password:
            faults = [gettext(ENTER_PASSWORD)]
        else:
            others = {field: value for field, value in valid.items() if field not in {_PASSWORD, "password_confirm"}}
            faults = password_faults(password, others, validators=self._state.settings.password_validators)
        return join_errors(more_errors, {self._password_name: faults}) if faults else more_errors

    # Making the user: nothing here touches the database.

    def make_user(self) -> Any:
        """Make a new user, unverified and with a hashed password, and do not store it yet.

        :raises InvalidInput: if the model refuses the password or another value.
        :raises ConfigurationError: if the serializer and the model do not fit together.
        """
        model, flag = self._state.model, self._state.model.flag
        user = self._user_from_dict() if isinstance(self._loaded, Mapping) else self._new_object()
        # Its __init__ may have put it into the session, where it would pass for an object of the application's own.
        if (session := object_session(user)) is not None:
            session.expunge(user)
        if model.mapper.relationships:
            _refuse_stored_children(user)
        if flag is not None:
            is_verified = not self._state.settings.register_verification_enabled and not flag.is_time
            setattr(user, flag.name, is_verified or flag.value_unset)
        hashed = vars(user).get(model.hash_column.name) if model.hash_column else None
        self._hashed = hashed if isinstance(self._loaded, Mapping) else None  # an object's is the application's matter
        # SQLite would store a hash that is too long; PostgreSQL and MariaDB would not.
        if model.longest_hash is not None and isinstance(hashed, (str, bytes)) and len(hashed) > model.longest_hash:
            raise ConfigurationError(model.hash_fault(hashed))
        self._user = user
        return user

    def _new_object(self) -> Any:
        """Return the user that the serializer made, which is used as it is."""
        model = self._state.model
        if not isinstance(self._loaded, model.cls):
            raise ConfigurationError(
                f"REGISTER_SERIALIZER_CLASS gave {type(self._loaded).__name__}. Fix: let it give a dict, or a new"
                f" {model.name} made in @post_load."
            )
        if sa.inspect(self._loaded, raiseerr=True).key is not None:
            raise ConfigurationError(
                f"REGISTER_SERIALIZER_CLASS gave a {model.name} that the database already has, so that a stranger could"
                " overwrite an account. Fix: let it give a dict, or a new object."
            )
        return self._loaded

    def _user_from_dict(self, **more: object) -> Any:
        """Make a user of the loaded dict, with more arguments for a constructor that has refused without them."""
        model, constructor = self._state.model, self._state.model.constructor
        password = self._loaded.get(_PASSWORD)
        others = {name: value for name, value in self._loaded.items() if name != _PASSWORD}
        unknown = [name for name in others if name not in model.attributes and not model.has(name)]
        if unknown:
            raise ConfigurationError(
                f"REGISTER_SERIALIZER_CLASS gives {', '.join(map(repr, unknown))}, which {model.name} does not have."
                " Fix: remove it in the serializer's @post_load, or add it to the model."
            )
        given = {**constructor.placeholders, **others, **more}
        if constructor.password is not None and password is not None:
            given[constructor.password] = password
        known = (
            given if constructor.names is None else {name: given[name] for name in given if name in constructor.names}
        )
        try:
            user = model.cls(**known)
            for name, value in others.items():
                if name not in known:  # such as a dataclass's field with init=False
                    setattr(user, name, value)
        except (TypeError, AttributeError) as error:  # also of a property without a setter
            raise ConfigurationError(
                f"{model.name}(...) cannot be called with {', '.join(known)}: {error}. Fix: give its other arguments a"
                " default, or give a REGISTER_SERIALIZER_CLASS that makes the object in @post_load."
            ) from error
        except (KeyError, ValueError) as error:  # as SQLAlchemy's @validates methods raise it
            if not more and constructor.names is None and constructor.password is None and password is not None:
                with suppress(ConfigurationError):  # which says that it does not look for it in its **kwargs
                    return self._user_from_dict(password=password)
            self._refuse_values(error, is_first=not more)
        if password is not None:
            try:
                is_taken = constructor.password is not None or _PASSWORD in more
                give_password(model, self._state.settings, user, password, is_taken=is_taken)
            except ValueError as error:  # which may hold the password
                text = own_words(error) or gettext(UNUSABLE_PASSWORD)
                raise_alone(InvalidInput({self._password_name: [text]}))
        return user

    def _refuse_values(self, error: KeyError | ValueError, *, is_first: bool) -> NoReturn:
        """Find out whether the constructor refused the visitor's values or None that stands for ours, and say so."""
        if isinstance(error, KeyError):
            raise error
        refusal: Exception = InvalidInput({WHOLE_OBJECT: [own_words(error) or gettext(_UNUSABLE)]})
        names = [name for name, value in self._state.model.constructor.placeholders.items() if value is None]
        if is_first and names:
            with suppress(Exception):  # it refuses the visitor's values all the same
                self._user_from_dict(**dict.fromkeys(names, "sample"))
                refusal = ConfigurationError(
                    f"{self._state.model.name}(...) refuses None for {' or '.join(names)}, which registration fills"
                    " afterwards. Fix: let it take None there, or give a REGISTER_SERIALIZER_CLASS that makes the"
                    " object in @post_load."
                )
        raise_alone(refusal)

    def set_proven_address(self, address: str) -> None:
        """Give the user the address that was proven, whatever the serializer made of it.

        :raises InvalidInput: if the model refuses the address, or changes it to one that nobody has proven.
        """
        model, text = self._state.model, gettext(_UNUSABLE)
        try:
            setattr(self._user, model.email.name, address)
            if is_same_address(address_of(self._state, self._user), address):
                return
            self._state.app.logger.error(
                "A registration was refused: %s.%s changes the address that was proven. Fix: change addresses before"
                " the mail is sent, in a serializer for REGISTER_EMAIL_SERIALIZER_CLASS.",
                model.name,
                model.email.name,
            )
        except ValueError as error:
            text = own_words(error) or text
        raise InvalidInput({WHOLE_OBJECT: [text]})

    # Storing

    def store(
        self, *, spend: Callable[[], None] | None = None, mailer: Mailer | None = None, request: Request | None = None
    ) -> None:
        """INSERT, mail, COMMIT in one transaction; whatever fails, nothing is stored.

        :param spend: spends the link or code of the account, and raises if somebody else has; then there is no mail.
        :param mailer: sends the mail for ``request``, and is connected.
        :raises RequestRefused: as ``spend`` does, for what is taken, and if the mail is not sent.
        :raises DatabaseFault: for a constraint that is the application's to satisfy.
        """
        self._spend = spend
        self._made_keys = [key.name for key in self._state.model.keys if key.name not in vars(self._user)]
        self._shares_transaction = self._transactions.has_changes()
        retries = RETRIES if spend is None else HOT_ROW_RETRIES
        is_first = True
        while True:
            self._is_inserted = mailed = False
            try:
                with self._refusals_as_answers():
                    self._transactions.retry_conflicts(self._write, retries=retries)
                if mailer is not None:
                    mailer.send(request, self._user, sent=self._sent)
                    if not self._transactions.is_stored(self._user):
                        raise EmailNotSent("the sender rolled the session back")
                    mailed = True
                if spend is None:
                    self._shares_transaction = self._shares_transaction or self._transactions.has_changes(flushed=False)
                    with self._refusals_as_answers():
                        self._transactions.commit()  # a mail may be out, so that nothing is tried again
            except ConstraintViolation as violation:
                self._refuse(violation, may_try_again=is_first and not mailed and not self._shares_transaction)
                is_first = False
            else:
                return

    def _write(self) -> None:
        """INSERT without asking first whether something is taken: between question and INSERT it could be."""
        for name in self._made_keys:  # by a try before, which was rolled back
            vars(self._user).pop(name, None)
        self._transactions.flush()
        if self._spend is not None:
            self._spend()
        self._transactions.insert(self._user, alone_of=self._state.model.cls)
        flag = self._state.model.flag
        if flag is not None and flag.is_time and flag.name not in vars(self._user):
            set_committed_value(self._user, flag.name, None)  # NULL was written as SQL: reading it would be a SELECT
        column, hashed = self._state.model.hash_column, self._hashed
        stored = vars(self._user).get(column.name, hashed) if column else None
        # A listener of the application may have read the row again: an equal text, which is another object.
        if column and hashed is not None and stored is not hashed and stored != hashed:
            raise ConfigurationError(
                f"{self._state.model.name}.{column.name} was changed at the INSERT, so that the password would not fit."
                " Fix: hash it in set_password(), or let a REGISTER_SERIALIZER_CLASS make the object in @post_load."
            )
        self._is_inserted = True
        if self._spend is not None:  # no mail comes in between, so that a conflict at the COMMIT is tried again too
            self._transactions.commit()

    @contextmanager
    def _refusals_as_answers(self) -> Iterator[None]:
        """Turn what the database refused, but for a violated constraint, into the answer to it."""
        try:
            yield
        except TransactionConflict as conflict:
            raise_alone(DatabaseUnavailable(str(conflict)))
        except ValueRefused as error:
            raise_alone(self._refused_by_database(error, gettext("The database cannot store this data.")))

    def _refuse(self, violation: ConstraintViolation, *, may_try_again: bool) -> None:
        """Raise the answer to a violated constraint, or return for a second try.

        What was in the way may have vanished before the database is asked for it. A constraint of another kind refuses
        the second try too. What the application had in the transaction is gone with the first.
        """
        self._transactions.rollback()
        broken = self._state.accounts.broken_rules(self._user)
        errors: FieldErrors = {}
        for rule in broken:
            errors = join_errors(errors, self._taken_fields(rule))
        if errors:
            raise InvalidInput(errors)
        if may_try_again:
            return
        if (self._is_inserted and self._shares_transaction) or self._lacks_what_nobody_sends():
            raise DatabaseFault(str(violation))
        raise self._refused_by_database(violation, gettext("The database refused this data."))

    def _refused_by_database(self, fault: DatabaseFault, text: str) -> InvalidInput:
        """Log what the client need not know, and make the answer."""
        self._state.app.logger.error("A registration was refused by the database: %s", fault)
        return InvalidInput({WHOLE_OBJECT: [text]})

    def _taken_fields(self, rule: UniqueRule) -> FieldErrors:
        """Say at each column of a violated rule that the client sent that it is taken."""
        mapper, email = self._state.model.mapper, self._state.model.email
        attributes = [
            email.name if each is email.column else mapper.get_property_by_column(each).key for each in rule.columns
        ]
        sent = {attribute: field for attribute in attributes if (field := self.field_of(attribute))}
        text = _COMBINATION_TAKEN if len(sent) > 1 else _ADDRESS_TAKEN if email.name in sent else _TAKEN
        return {field: [gettext(text)] for field in sent.values() or [WHOLE_OBJECT]}

    def _lacks_what_nobody_sends(self) -> bool:
        """Tell whether a NOT NULL column that is no input was left empty: the application's own fault."""
        return any(
            getattr(self._user, attribute.name) is None
            for attribute in required_attributes(self._state.model)
            if client_name(self._schema, attribute.name) is None
        )


def give_password(model: UserModel, settings: Settings, user: object, password: str, *, is_taken: bool = False) -> None:
    """Give a user a password, as the model wants it: the hash, or the password to what hashes by itself.

    :param is_taken: whether the constructor had the password; it may have hashed it.
    :raises ValueError: as hasher, method, setter and constructor do.
    :raises ConfigurationError: if the password itself would be stored, or the hasher returns no hash.
    """
    target, column = model.password, model.hash_column.name if model.hash_column else ""
    plain: Mapping[type, object] = {str: password, bytes: password.encode("utf-8", "surrogatepass")}
    stored = vars(user).get(column)
    if is_taken and stored is not None and stored != plain.get(type(stored)):
        return
    proves_setter = False
    if target.kind == "method":
        getattr(user, target.name)(password)
    elif target.kind == "column":
        hashed: object = settings.password_hasher(password)
        if isinstance(hashed, str) and target.is_binary:
            hashed = hashed.encode()
        elif isinstance(hashed, bytes) and hashed.isascii() and not target.is_binary:
            hashed = hashed.decode("ascii")
        if not isinstance(hashed, bytes if target.is_binary else str) or not hashed:
            raise ConfigurationError(
                f"PASSWORD_HASHER returned {type(hashed).__name__}, which is no hash for {model.name}.{target.name}."
                " Fix: let it return text, or bytes of ASCII."
            )
        with suppress(Exception):  # such as one of a @validates method that judges passwords
            setattr(user, target.name, hashed)
        stored = vars(user).get(column)
        proves_setter = type(stored) is not type(hashed) or stored != hashed
    if target.kind in {"setter", "type"} or proves_setter:
        setattr(user, target.name, password)
    stored = vars(user).get(column)
    if not model.hash_type_hashes and stored is not None and stored == plain.get(type(stored)):
        raise ConfigurationError(
            f"{model.name}.{column} would store the password as it was sent. Fix: let {target.name} hash it, or let it"
            " keep the hash that PASSWORD_HASHER returns."
        )
    if proves_setter:
        target.kind = "setter"


def sample_sign_up(state: AppState, password: str) -> tuple[Any, object]:
    """Make an account as a sign-up does, of sample values, and do not store it; a constructor may ask the database.

    :returns: the account, and what its password's column has: a hash, or the password where the column's type hashes
        it at the INSERT; None where the column cannot be told.
    :raises InvalidInput: if the model refuses a sample value.
    :raises ConfigurationError: as for each sign-up.
    """
    sign_up = SignUp(state, state.serializers.register(), {})
    sign_up.load_sample(password)
    user, column = sign_up.make_user(), state.model.hash_column
    return user, vars(user).get(column.name) if column else None


def _refuse_stored_children(user: object) -> None:
    """Refuse rows that would change hands: what a nested schema loads by a key in the body belongs to somebody.

    Nothing watches a detached row while the serializer runs, and adding the user would write its changes.
    """
    state: InstanceState[Any] = sa.inspect(user, raiseerr=True)
    for each in [state, *(found for *_, found, _ in state.mapper.cascade_iterator("save-update", state))]:
        attributes = each.attrs
        if each.detached and any(attributes[column.key].history.has_changes() for column in each.mapper.column_attrs):
            raise ConfigurationError(
                f"REGISTER_SERIALIZER_CLASS gave a changed {each.class_.__name__} that the database already has, so"
                f" that a stranger could overwrite it. {NEW_ROWS_FIX}"
            )
        for relationship in each.mapper.relationships:
            history = attributes[relationship.key].history
            # A stored row that is referred to by one row only would be taken from that one.
            taken = history.added if each.key is None else history.deleted if history.added else ()
            if relationship.direction is RelationshipDirection.ONETOMANY and any(
                has_identity(child) for child in taken or () if child is not None
            ):
                raise ConfigurationError(
                    f"REGISTER_SERIALIZER_CLASS gave a {each.class_.__name__} whose {relationship.key} the database"
                    f" already has, so that a stranger could take them over. {NEW_ROWS_FIX}"
                )
