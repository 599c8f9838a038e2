"""Making the user object of a registration, and giving it its password: nothing here touches the database."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import RelationshipDirection

from .exceptions import WHOLE_OBJECT, ConfigurationError, InvalidInput
from .passwords import password_faults
from .serializers import client_name
from .settings import Settings
from .state import Registration
from .texts import gettext
from .user_model import UserModel

PASSWORD = "password"  # noqa: S105  # the name of the field


def make_user(registration: Registration, loaded: object, *, password_name: str) -> Any:
    """Make a new user of what the register serializer gave, its flag cleared and its password hashed.

    :param registration: the app's state.
    :param loaded: a dict, or the serializer's own new user object, which is used as it is.
    :param password_name: the name under which the client sent the password.
    :returns: an object that is not stored yet.
    :raises InvalidInput: if the password is refused.
    :raises ConfigurationError: if the serializer and the model do not fit together.
    """
    model, settings = registration.model, registration.settings
    if isinstance(loaded, Mapping):
        user = _user_from_dict(model, settings, loaded, password_name=password_name)
    else:
        user = _new_object(registration, loaded)
    if settings.password_at_verification:
        _receive_random_password(model, settings, user)
    registration.accounts.forget(user)  # an __init__ may add it to the session, where it would pass for the app's
    _refuse_stored_children(model, user)
    flag = model.flag
    if flag is not None:
        flag.clear(user)
        if not settings.register_verification_enabled and not flag.is_time:
            setattr(user, flag.name, True)
    for moment in model.moments:
        moment.clear(user)
    _check_hash_fits(model, vars(user))
    return user


def choose_password(registration: Registration, user: object, password: str) -> dict[str, Any]:
    """Judge and hash the password that whoever opened a link has chosen.

    :param registration: the app's state.
    :param user: the stored account; it stays as it is.
    :param password: the password as it was sent.
    :returns: the new values of columns, by the attribute's name.
    :raises InvalidInput: if the password is refused.
    :raises ConfigurationError: if the model's own code stores the password in no column of the model.
    """
    model, settings = registration.model, registration.settings
    schema = registration.serializers.register()
    read = {name: getattr(user, name) for name in model.attributes if client_name(schema, name) is not None}
    _judge(settings, password, read, password_name=PASSWORD)
    changes = registration.accounts.collect_changes(
        user, lambda: _receive(model, settings, user, password, password_name=PASSWORD)
    )
    if not changes:
        raise ConfigurationError(
            f"{model.name}.{model.password.name} changed no column of {model.name}, so that the password cannot be"
            " stored together with the verification: REGISTER_PASSWORD_AT 'verify' needs a column for its hash."
        )
    _check_hash_fits(model, changes)
    return changes


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
    if PASSWORD not in loaded or settings.password_at_verification:
        return _construct(model, others)
    password = loaded[PASSWORD]
    _judge(settings, password, others, password_name=password_name)
    user = _construct(model, others)
    _receive(model, settings, user, password, password_name=password_name)
    return user


def _judge(settings: Settings, password: object, others: Mapping[str, Any], *, password_name: str) -> None:
    if not isinstance(password, str) or not password:
        raise InvalidInput({password_name: [gettext("A password is needed.")]})
    faults = password_faults(password, others, validators=settings.password_validators)
    if faults:
        raise InvalidInput({password_name: faults})


def _receive(model: UserModel, settings: Settings, user: object, password: str, *, password_name: str) -> None:
    try:
        model.password.receive(user, password, hasher=settings.password_hasher)
    except ValueError as error:
        text = _own_words(error, otherwise=gettext("This password cannot be used."))
    else:
        return
    # Raised outside the handler: the error of a hasher may hold the password.
    raise InvalidInput({password_name: [text]})


def _receive_random_password(model: UserModel, settings: Settings, user: object) -> None:
    """Keep everybody out until the password is chosen, by a hash like any other.

    A mark such as "!" or NULL would make an application's own check of passwords raise.
    """
    try:
        _receive(model, settings, user, secrets.token_urlsafe(32), password_name=PASSWORD)
    except InvalidInput:
        fault = (
            f"{model.name}.{model.password.name} refused a random password of 43 letters, digits, - and _, which"
            " registration gives while REGISTER_PASSWORD_AT is 'verify': move the rule that refused it to"
            " PASSWORD_VALIDATORS."
        )
    else:
        return
    raise ConfigurationError(fault)


def _own_words(error: ValueError, *, otherwise: str) -> str:
    # Subclasses such as UnicodeEncodeError quote what they were given.
    return str(error) if type(error) is ValueError and str(error) else otherwise


def _construct(model: UserModel, values: Mapping[str, Any]) -> object:
    """Call the model's constructor; what it demands and registration fills afterwards is None for the moment."""
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
