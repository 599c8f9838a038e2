"""The marshmallow schemas: what registration reads, what it shows, and what a link's page sends."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, post_load, validate, validates_schema

from ..exceptions import ConfigurationError, FieldErrors, InvalidInput
from ..model.attributes import PASSWORD_NAMES, Attribute
from ..model.user_model import UserModel, cannot_be_omitted
from ..settings.definitions import Settings
from ..translations.libraries import translate_text
from ..translations.texts import gettext
from .column_fields import is_plain_text, read_field, shown_field
from .fields import Code, EmailAddress, LinkValue

#: RFC 5321, section 4.5.3.1.3, less the angle brackets.
_LONGEST_ADDRESS = 254


class DefaultRegisterUserSerializer(Schema):
    """Read a registration.

    For each app a subclass of this class is made with the fields that its settings and its user model ask for: the
    e-mail address, ``password``, ``password_confirm`` and USER_EDITABLE_FIELDS. A subclass of yours adds or
    overrides fields as with any schema.
    """

    @validates_schema(skip_on_field_errors=False)
    def check_password_confirm(self, data: dict[str, Any], **kwargs: Any) -> None:
        """Refuse two passwords that differ, also where another field is refused."""
        confirm = self.fields.get("password_confirm")
        if confirm is None or "password" not in data or (confirm.required and "password_confirm" not in data):
            return
        if data["password"] != data.get("password_confirm"):
            raise ValidationError(gettext("The two passwords are not the same."), "password_confirm")

    @post_load
    def drop_password_confirm(self, data: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Keep what the model has no place for out of the result."""
        return {name: value for name, value in data.items() if name != "password_confirm"}


class DefaultUserProfileSerializer(Schema):
    """Show an account: USER_PUBLIC_FIELDS, by default the primary key and what registration reads."""


class RegisterEmailSerializer(Schema):
    """Read the address that somebody signs up with while REGISTER_EMAIL_FIRST is on.

    A subclass of yours may ask for more, such as a captcha or a consent, and refuse it: of what it loads, only the
    address is used.
    """

    email = EmailAddress(required=True)


class VerifyRegistrationSerializer(Schema):
    """Read what the page behind the link sends back; what mail services append to the link is ignored."""

    class Meta:
        """marshmallow's options."""

        unknown = EXCLUDE

    user_id = LinkValue(required=True)
    timestamp = LinkValue(required=True)
    signature = fields.String(required=True)


class ResendVerificationSerializer(Schema):
    """Read the address that a link is wanted for."""

    email = EmailAddress(required=True)


class VerifyCodeSerializer(Schema):
    """Read the address that a code was sent to; for each app a subclass adds the code."""

    class Meta:
        """marshmallow's options."""

        unknown = EXCLUDE

    email = EmailAddress(required=True)


class Serializers:
    """The schemas of one app.

    :param settings: the app's settings.
    :param model: its user model.
    :raises ConfigurationError: if the default serializers cannot be made for this model.
    """

    def __init__(self, settings: Settings, model: UserModel) -> None:
        generator = _FieldGenerator(settings, model)
        self.register = _schema_source(
            settings.register_serializer_class, DefaultRegisterUserSerializer, generator.register_fields
        )
        self.profile = _schema_source(
            settings.register_output_serializer_class, DefaultUserProfileSerializer, generator.profile_fields
        )
        self.register_email = settings.register_email_serializer_class
        code = Code(required=True, length=settings.register_verification_code_length)
        self.verify_code = VerifyCodeSerializer.from_dict({"code": code})


def load(schema: Schema, sent: Any, *, judge: Callable[[Mapping[str, Any]], FieldErrors] = lambda valid: {}) -> Any:
    """Load a request's body.

    :param schema: any marshmallow schema.
    :param sent: the parsed JSON.
    :param judge: finds more faults in those fields that are valid where others are not, so that one answer tells all.
    :returns: what the schema makes of it.
    :raises InvalidInput: with what the schema reports.
    """
    try:
        if _may_load_instances(schema):
            # Otherwise one with load_instance loads the account whose key the body names, and overwrites it.
            load_new: Any = schema.load  # with an argument that other schemas do not have
            return load_new(sent, transient=True)
        return schema.load(sent)
    except ValidationError as error:
        messages: Mapping[Any, Any] = error.normalized_messages()  # type: ignore[no-untyped-call]
        errors = {str(field): _texts(found) for field, found in messages.items()}
        valid = error.valid_data
        more = judge(valid) if isinstance(valid, Mapping) else {}
    raise InvalidInput(join_errors(errors, more))


def join_errors(first: FieldErrors, second: FieldErrors) -> FieldErrors:
    """Put the faults of two checks together.

    :param first: texts by field.
    :param second: more of them.
    """
    return {name: list(dict.fromkeys([*first.get(name, ()), *second.get(name, ())])) for name in {**first, **second}}


def _may_load_instances(schema: Schema) -> bool:
    # An application whose schemas are of that kind has imported it; importing it takes 30 ms.
    library = sys.modules.get("marshmallow_sqlalchemy")
    return library is not None and isinstance(schema, library.SQLAlchemySchema)


def _texts(found: Any) -> list[str]:
    """Flatten what nested schemas and lists report into the texts of one field."""
    if isinstance(found, Mapping):
        return [f"{name}: {text}" for name, inner in found.items() for text in _texts(inner)]
    return [translate_text(str(text)) for text in (found if isinstance(found, list) else [found])]


def client_name(schema: Schema, attribute: str) -> str | None:
    """Return the name under which a client sends an attribute.

    :param schema: the register serializer.
    :param attribute: the model's attribute.
    :returns: the ``data_key`` or name of its field, or None if the schema does not read it.
    """
    found = _field_of(schema, attribute)
    return found and (found[1].data_key or found[0])


def client_names(schema: Schema) -> set[str]:
    """Return the names of all fields that a client can send.

    :param schema: the register serializer.
    """
    return {field.data_key or name for name, field in schema.load_fields.items()}


def _field_of(schema: Schema, attribute: str) -> tuple[str, fields.Field[Any]] | None:
    """Find the field that reads an attribute, with its name in the schema."""
    for name, field in schema.load_fields.items():
        if (field.attribute or name) == attribute:
            return name, field
    return None


def field_faults(schema: Schema, attribute: str, value: object) -> list[str]:
    """Judge a value by the field that reads an attribute.

    :param schema: the register serializer.
    :param attribute: the model's attribute.
    :param value: what a client would send.
    :returns: what is wrong with it; nothing where the schema does not read the attribute.
    """
    found = _field_of(schema, attribute)
    if found is None:
        return []
    name, field = found
    try:
        field.deserialize(value, name, {name: value})
    except ValidationError as error:
        return _texts(error.messages)
    return []


def _schema_source(
    cls: type[Schema], default: type[Schema], generate: Callable[[], dict[str, fields.Field[Any]]]
) -> Callable[[], Schema]:
    if not issubclass(cls, default):
        return cls
    generated = type(default.__name__, (default,), generate())
    if cls is default:
        shared = generated()  # holds nothing of a request, so that one instance serves all
        return lambda: shared
    # The generated fields stand below the application's class, whose own fields and Meta win.
    return type(cls.__name__, (cls, generated), {})


class _FieldGenerator:
    """Makes the default serializers' fields from the settings and the model."""

    def __init__(self, settings: Settings, model: UserModel) -> None:
        self._settings = settings
        self._model = model

    def register_fields(self) -> dict[str, fields.Field[Any]]:
        """Return the fields of the register serializer, by name."""
        generated: dict[str, fields.Field[Any]] = {self._model.email.name: self._email_field()}
        for attribute in self._read_attributes():
            generated[attribute.name] = read_field(self._model, attribute)
        return {**generated, **_password_fields(self._settings)}

    def profile_fields(self) -> dict[str, fields.Field[Any]]:
        """Return the fields of the profile serializer, by name; all are for reading only."""
        shown = self._settings.user_public_fields
        if shown is None:
            hidden = set(self._settings.user_hidden_fields) - set(self._settings.user_editable_fields or ())
            read = [attribute.name for attribute in self._read_attributes() if attribute.name not in hidden]
            shown = tuple(dict.fromkeys([*(key.name for key in self._model.keys), self._model.email.name, *read]))
        else:
            self._refuse("USER_PUBLIC_FIELDS", shown, forbidden=self._password_names(), known=self._is_readable)
        return {name: self._shown_field(name) for name in shown}

    def _read_attributes(self) -> list[Attribute]:
        """Return what registration reads besides e-mail and password."""
        columns = self._model.attributes
        listed = self._settings.user_editable_fields
        missing = list(cannot_be_omitted(self._model))
        if listed is None:
            hidden = set(self._settings.user_hidden_fields) | self._never_read()
            read = [item for item in missing if not item.known_names & hidden and is_plain_text(item.column)]
        else:
            self._refuse("USER_EDITABLE_FIELDS", listed, forbidden=self._never_read(), known=columns.__contains__)
            read = [Attribute(name, columns[name]) for name in listed if name != self._model.email.name]
        if self._settings.register_serializer_class is DefaultRegisterUserSerializer:
            self._refuse_unread({item.name for item in missing} - {item.name for item in read})
        return read

    def _refuse_unread(self, names: set[str]) -> None:
        if names:
            raise ConfigurationError(
                *(
                    f"A row of {self._model.name} cannot be made without {name}, which registration does not read:"
                    " give its column a default (in the column, not in __init__), or list it in"
                    " USER_EDITABLE_FIELDS if strangers may set it, or give a REGISTER_SERIALIZER_CLASS of your own"
                    " that fills it."
                    for name in sorted(names)
                )
            )

    def _refuse(
        self, setting: str, names: tuple[str, ...], *, forbidden: set[str], known: Callable[[str], bool]
    ) -> None:
        faults = [
            f"{setting} lists {name!r}, which is never "
            f"{'shown' if setting == 'USER_PUBLIC_FIELDS' else 'read from a stranger'}: remove it."
            for name in names
            if name in forbidden
        ]
        faults += [
            f"{setting} lists {name!r}, which {self._model.name} does not have."
            f" It has: {', '.join(self._model.attributes)}. Correct or remove it."
            for name in names
            if name not in forbidden and not known(name)
        ]
        if faults:
            raise ConfigurationError(*faults)

    def _password_names(self) -> set[str]:
        return PASSWORD_NAMES | {column.name for column in self._model.password_columns}

    def _never_read(self) -> set[str]:
        flag = [self._model.flag] if self._model.flag else []
        return self._password_names() | {each.name for each in (*flag, *self._model.keys)}

    def _is_readable(self, name: str) -> bool:
        return self._model.has(name)

    def _email_field(self) -> fields.Field[Any]:
        column = self._model.email.column
        longest = min(getattr(column.type, "length", None) or _LONGEST_ADDRESS, _LONGEST_ADDRESS)
        required = self._settings.register_verification_enabled or not column.nullable
        return EmailAddress(required=required, allow_none=not required, validate=validate.Length(max=longest))

    def _shown_field(self, name: str) -> fields.Field[Any]:
        column = self._model.attributes.get(name)
        if column is None:  # a property or hybrid of the model
            return fields.Raw(dump_only=True)
        return shown_field(column)


def _password_fields(settings: Settings) -> dict[str, fields.Field[Any]]:
    names = ["password", "password_confirm"] if settings.register_serializer_password_confirm else ["password"]
    return {name: fields.String(required=True, load_only=True, validate=validate.Length(min=1)) for name in names}
