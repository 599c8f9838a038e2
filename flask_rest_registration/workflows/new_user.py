"""From the fields of a registration to the new account: nothing here touches the database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from marshmallow import Schema
from sqlalchemy.orm import RelationshipDirection

from ..addresses import is_same_address
from ..exceptions import WHOLE_OBJECT, ConfigurationError, FieldErrors, InvalidInput
from ..model.user_model import UserModel
from ..passwords import password_faults
from ..serializers.schemas import DefaultRegisterUserSerializer, client_name, join_errors, load
from ..settings.definitions import Settings
from ..state import Registration
from ..translations.texts import gettext

PASSWORD = "password"  # noqa: S105  # the name of the field


def load_account(
    registration: Registration, schema: Schema, sent: Any, *, more_errors: FieldErrors | None = None
) -> Any:
    """Load the fields of an account and judge its password: all that is wrong is told at once.

    :param registration: the app's state.
    :param schema: the register serializer.
    :param sent: the parsed JSON.
    :param more_errors: what is wrong with it besides.
    :returns: a dict, or the serializer's own new user object; nothing is hashed yet.
    :raises InvalidInput: if a field or the password is refused.
    :raises ConfigurationError: if the serializer changes what the database already has.
    """
    validators = registration.settings.password_validators
    name = client_name(schema, PASSWORD) or PASSWORD

    def judge(fields: Mapping[str, Any]) -> FieldErrors:
        password = fields[PASSWORD]
        if not isinstance(password, str) or not password:
            return {name: [gettext("A password is needed.")]}
        others = {field: value for field, value in fields.items() if field != PASSWORD}
        faults = password_faults(password, others, validators=validators)
        return {name: faults} if faults else {}

    def judge_valid(valid: Mapping[str, Any]) -> FieldErrors:
        """Judge the password where other fields are refused; a schema of another kind may make an object of it."""
        others = {field: value for field, value in valid.items() if field != "password_confirm"}
        judged = judge(others) if PASSWORD in valid and isinstance(schema, DefaultRegisterUserSerializer) else {}
        return join_errors(more_errors or {}, judged)

    loaded = registration.accounts.refuse_changes(lambda: load(schema, sent, judge=judge_valid))
    errors = judge(loaded) if isinstance(loaded, Mapping) and PASSWORD in loaded else {}
    errors = join_errors(more_errors or {}, errors)
    if errors:
        raise InvalidInput(errors)
    return loaded


def make_user(registration: Registration, loaded: object, *, password_name: str) -> Any:
    """Make a new user of what :func:`load_account` gave, its flag cleared and its password hashed.

    :param registration: the app's state.
    :param loaded: a dict, or the serializer's own new user object, which is used as it is.
    :param password_name: the name under which the client sent the password.
    :returns: an object that is not stored yet.
    :raises InvalidInput: if the model refuses the password or another value.
    :raises ConfigurationError: if the serializer and the model do not fit together.
    """
    model, settings = registration.model, registration.settings
    if isinstance(loaded, Mapping):
        user = _user_from_dict(model, settings, loaded, password_name=password_name)
    else:
        user = _new_object(registration, loaded)
    registration.accounts.forget(user)  # an __init__ may add it to the session, where it would pass for the app's
    _refuse_stored_children(model, user)
    flag = model.flag
    if flag is not None:
        flag.clear(user)
        if not settings.register_verification_enabled and not flag.is_time:
            setattr(user, flag.name, True)
    _check_hash_fits(model, vars(user))
    return user


def set_proven_address(registration: Registration, user: object, address: str) -> None:
    """Give a new account the address that was proven, whatever the serializer made of it.

    :param registration: the app's state.
    :param user: an object that is not stored yet.
    :param address: as ``normalize_email`` gives it.
    :raises InvalidInput: if the model refuses the address, or changes it to one that nobody has proven.
    """
    model, text = registration.model, gettext("This data cannot be used.")
    try:
        setattr(user, model.email.name, address)
        if is_same_address(model.address_of(user), address):
            return
        registration.app.logger.error(
            "A registration was refused: %s.%s changes the address that was proven. Fix: change addresses before the"
            " message is sent, in a serializer for REGISTER_EMAIL_SERIALIZER_CLASS.",
            model.name,
            model.email.name,
        )
    except ValueError as error:
        text = _own_words(error, otherwise=text)
    raise InvalidInput({WHOLE_OBJECT: [text]})


def _new_object(registration: Registration, loaded: object) -> object:
    model = registration.model
    if not isinstance(loaded, model.cls):
        raise ConfigurationError(
            f"REGISTER_SERIALIZER_CLASS gave {type(loaded).__name__}: it must give a dict, or a new {model.name} made"
            " in @post_load."
        )
    if sa.inspect(loaded, raiseerr=True).key is not None:
        raise ConfigurationError(
            f"REGISTER_SERIALIZER_CLASS gave a {model.name} that the database already has, so that a stranger could"
            " overwrite an account: it must give a dict, or a new object."
        )
    return loaded


def _refuse_stored_children(model: UserModel, user: object) -> None:
    """Refuse rows that would change hands: what a nested schema loads by a key in the body belongs to somebody."""
    for relationship in model.mapper.relationships:
        if relationship.direction is RelationshipDirection.ONETOMANY:
            for child in sa.inspect(user, raiseerr=True).attrs[relationship.key].history.added or ():
                if sa.inspect(child).key is not None:
                    raise ConfigurationError(
                        f"REGISTER_SERIALIZER_CLASS gave a {model.name} whose {relationship.key} the database already"
                        " has, so that a stranger could take them over: load nested schemas without load_instance, or"
                        " with transient=True."
                    )


def _user_from_dict(model: UserModel, settings: Settings, loaded: Mapping[str, Any], *, password_name: str) -> object:
    others = {name: value for name, value in loaded.items() if name != PASSWORD}
    unknown = [name for name in others if not model.has(name)]
    if unknown:
        raise ConfigurationError(
            f"REGISTER_SERIALIZER_CLASS gives {', '.join(map(repr, unknown))}, which {model.name} does not have:"
            " remove it in the serializer's @post_load, or add it to the model."
        )
    user = _construct(model, others)
    if PASSWORD in loaded:
        _receive(model, settings, user, loaded[PASSWORD], password_name=password_name)
    return user


def _receive(model: UserModel, settings: Settings, user: object, password: str, *, password_name: str) -> None:
    try:
        model.password.receive(user, password, hasher=settings.password_hasher)
    except ValueError as error:
        text = _own_words(error, otherwise=gettext("This password cannot be used."))
    else:
        return
    # Raised outside the handler: the error of a hasher may hold the password.
    raise InvalidInput({password_name: [text]})


def _own_words(error: ValueError, *, otherwise: str) -> str:
    # Subclasses such as UnicodeEncodeError quote what they were given.
    return str(error) if type(error) is ValueError and str(error) else otherwise


def _construct(model: UserModel, values: Mapping[str, Any]) -> object:
    """Call the model's constructor; what it demands and registration fills afterwards is None until then."""
    placeholders = {name: None for name in model.constructor_placeholders if name not in values}
    try:
        return model.cls(**values, **placeholders)
    except (TypeError, AttributeError) as error:  # also of a property without a setter
        raise ConfigurationError(
            f"{model.name}(...) cannot be called with {', '.join(values)}: {error}. Give its other arguments a"
            " default, or give a REGISTER_SERIALIZER_CLASS that makes the object in @post_load."
        ) from error
    except ValueError as error:  # as SQLAlchemy's @validates methods raise it
        raise InvalidInput(
            {WHOLE_OBJECT: [_own_words(error, otherwise=gettext("This data cannot be used."))]}
        ) from None


def _check_hash_fits(model: UserModel, values: Mapping[str, Any]) -> None:
    """Refuse a column too short for its hash; SQLite would store it, PostgreSQL and MariaDB would not."""
    column = model.hash_column
    if column is not None:
        fault = model.hash_length_fault(values.get(column.name))
        if fault:
            raise ConfigurationError(fault)
