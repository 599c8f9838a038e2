"""The marshmallow schemas: what registration reads, what it shows, and what a link's page sends."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, post_load, validate, validates_schema

from ..addresses import normalize_email
from ..exceptions import WHOLE_OBJECT, ConfigurationError, FieldErrors, InvalidInput
from ..model.attributes import PASSWORD_NAMES, Attribute
from ..model.user_model import UserModel, required_attributes
from ..settings.definitions import Settings
from ..translations.libraries import translate_text
from ..translations.texts import gettext, gettext_noop
from .column_fields import is_plain_text, read_field, shown_field

#: RFC 5321, section 4.5.3.1.3, less the angle brackets.
_LONGEST_ADDRESS = 254

#: What is said of a missing password.
ENTER_PASSWORD = gettext_noop("Enter your password.")
#: What is said of a text that is no address.
NO_ADDRESS = gettext_noop("Enter an e-mail address such as name@example.com.")
#: What is said of an address that the column does not hold.
ADDRESS_TOO_LONG = gettext_noop("This e-mail address is too long.")
#: What is said of a missing address.
ENTER_ADDRESS = gettext_noop("Enter your e-mail address.")
_REPEAT_PASSWORD = gettext_noop("Repeat the password.")
_ENTER_CODE = gettext_noop("Enter the code from the message.")
#: What is said of a link of which a part is missing.
BROKEN_LINK = gettext_noop("The link is not complete. Open it from the message again.")

MakeSchema = Callable[[], Schema]


def _always(text: str, *, invalid: str | None = None) -> dict[str, Any]:
    """Return a field's error messages for what is missing, None, or of another type."""
    return {"required": text, "null": text, "invalid": invalid or text}


class EmailAddress(fields.String):
    """Exactly one e-mail address, in lower case; see :func:`normalize_email`."""

    default_error_messages: dict[str, Any] = _always(ENTER_ADDRESS, invalid=NO_ADDRESS)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        try:
            return normalize_email(text)
        except ValueError:  # email-validator's own sentence quotes the input
            raise self.make_error("invalid" if text.strip() else "required") from None


class LinkValue(fields.String):
    """A value of the link, which a front end may send back as text or as a number; loaded as text."""

    default_error_messages: dict[str, Any] = _always(BROKEN_LINK)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise self.make_error("invalid")
        return str(value)


class Code(fields.String):
    """A code as people type or paste it: blanks and dashes are dropped, and digits of ASCII must be left."""

    default_error_messages: dict[str, Any] = _always(_ENTER_CODE)

    def __init__(self, *, length: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.length = length

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        digits = re.sub(r"[\s\-\u2010-\u2015]", "", text)
        if not digits:
            raise self.make_error("required")
        if len(digits) != self.length or not (digits.isascii() and digits.isdigit()):
            raise ValidationError(gettext("A code has %(length)s digits.", length=self.length))
        return digits


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
    def drop_password_confirm(self, data: Any, **kwargs: Any) -> Any:
        """Keep what the model has no place for out of the result, unless another hook has made an object of it."""
        if not isinstance(data, Mapping):
            return data
        return {name: value for name, value in data.items() if name != "password_confirm"}


class DefaultUserProfileSerializer(Schema):
    """Show an account: USER_PUBLIC_FIELDS, by default the primary key and what registration reads."""


class RegisterEmailSerializer(Schema):
    """Read the address that somebody signs up with while REGISTER_EMAIL_FIRST is on.

    A subclass of yours may ask for more, such as a captcha or a consent, and refuse it: of what it loads, only the
    address is used.
    """

    email: EmailAddress = EmailAddress(required=True)


class _LenientSchema(Schema):
    """Ignore what it does not know: mail services append parameters of their own to a link."""

    class Meta:
        """marshmallow's options."""

        unknown = EXCLUDE


class VerifyRegistrationSerializer(_LenientSchema):
    """Read what the page behind the link sends back."""

    user_id: LinkValue = LinkValue(required=True)
    timestamp: LinkValue = LinkValue(required=True)
    signature: fields.String = fields.String(required=True, error_messages=_always(BROKEN_LINK))


class ResendVerificationSerializer(Schema):
    """Read the address that a link is wanted for."""

    email: EmailAddress = EmailAddress(required=True)


class VerifyCodeSerializer(_LenientSchema):
    """Read the address that a code was sent to; for each app a subclass adds the code."""

    email: EmailAddress = EmailAddress(required=True)


class Serializers:
    """The schemas of one app; it raises ``ConfigurationError`` if the default ones cannot be made for this model."""

    def __init__(self, settings: Settings, model: UserModel) -> None:
        defaults = _DefaultFields(settings, model)
        cls, output_cls = settings.register_serializer_class, settings.register_output_serializer_class
        code = Code(required=True, length=settings.register_verification_code_length)
        #: Each makes a schema of one kind.
        self.register: MakeSchema = _schema_source(cls, DefaultRegisterUserSerializer, defaults.register)
        self.profile: MakeSchema = _schema_source(output_cls, DefaultUserProfileSerializer, defaults.profile)
        self.register_email: MakeSchema = settings.register_email_serializer_class
        self.verify_code: MakeSchema = VerifyCodeSerializer.from_dict({"code": code})


def load(schema: Schema, sent: Any, *, judge: Callable[[Mapping[str, Any]], FieldErrors] | None = None) -> Any:
    """Load a request's body with any marshmallow schema; raise ``InvalidInput`` with all that is wrong.

    :param judge: finds more faults in the fields that are valid, also where others are not: one answer tells all. It
        gets none where the schema makes an object, or may make one of what is wrong by now.
    """
    errors: FieldErrors = {}
    loaded: Any = None
    try:
        # An application whose schemas are of that kind has imported the library; importing it takes 30 ms.
        library = sys.modules.get("marshmallow_sqlalchemy")
        if library is not None and isinstance(schema, library.SQLAlchemySchema):
            # Otherwise one with load_instance loads the account whose key the body names, and overwrites it.
            load_new: Any = schema.load  # with an argument that other schemas do not have
            loaded = load_new(sent, transient=True)
        else:
            loaded = schema.load(sent)
        valid = loaded
    except ValidationError as error:
        errors = _errors_by_path(error.normalized_messages(), schema)  # type: ignore[no-untyped-call]
        valid = error.valid_data if _gives_dict(schema) else None
    more = judge(valid if isinstance(valid, Mapping) else {}) if judge else {}
    if errors or more:
        raise InvalidInput(join_errors(errors, more))
    return loaded


def _gives_dict(schema: Schema) -> bool:
    """Tell whether a schema surely gives a dict; a ``post_load`` of the application's own may make an object."""
    if isinstance(schema, (DefaultRegisterUserSerializer, RegisterEmailSerializer)):
        return True
    hooks = {name for name, *_ in schema._hooks["post_load"]}  # noqa: SLF001  # marshmallow has no public name for it
    # SQLAlchemySchema has this one always, and it makes an object only with the option.
    return not hooks - {"make_instance"} and not getattr(schema.opts, "load_instance", False)


_link_schema = VerifyRegistrationSerializer()  # without fields of any app, and without state


def load_link(sent: Any) -> Mapping[str, str]:
    """Load ``user_id``, ``timestamp`` and ``signature`` as a link's page sends them back."""
    loaded: Mapping[str, str] = load(_link_schema, sent)
    return loaded


def join_errors(first: FieldErrors, second: FieldErrors) -> FieldErrors:
    """Put the faults of two checks together."""
    return {name: list(dict.fromkeys([*first.get(name, ()), *second.get(name, ())])) for name in {**first, **second}}


def _errors_by_path(found: Any, part: object) -> FieldErrors:
    """Give each text that marshmallow reports its place in what the client sent, such as ``addresses.1.zipCode``."""
    errors: dict[str, dict[str, None]] = {}
    for path, text in _places(found, part, ()):
        errors.setdefault(".".join(path) if path else WHOLE_OBJECT, {})[translate_text(text)] = None
    return {path: list(texts) for path, texts in errors.items()}


def _places(found: Any, part: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """List the texts with their paths.

    :param part: the schema, field or pair of fields that reported it, so far as it is known.
    """
    if isinstance(found, Mapping):
        for key, inner in found.items():
            name, below = _below(part, key, inner)
            yield from _places(inner, below, path if name is None else (*path, name))
    elif isinstance(found, (list, tuple)):
        for each in found:
            yield from _places(each, part, path)
    else:
        yield path, str(found)


def _below(part: object, key: Any, found: Any) -> tuple[str | None, object]:
    """Return the client's name of what a key of marshmallow's report stands for, if it has one, and its field."""
    if key == WHOLE_OBJECT:
        return None, part
    if isinstance(key, int):  # the number of a list's item
        items = part.tuple_fields if isinstance(part, fields.Tuple) else ()
        return str(key), items[key] if key < len(items) else part.inner if isinstance(part, fields.List) else part
    if isinstance(part, fields.Mapping):
        return str(key), {"key": part.key_field, "value": part.value_field}
    if isinstance(part, dict) and key in part:
        return None, part[key]
    if isinstance(part, fields.Pluck):  # the client sends the one value in place of an object
        return None, part.schema.load_fields.get(part.field_name)
    schema = part.schema if isinstance(part, fields.Nested) else part
    if not isinstance(schema, Schema):
        return str(key), None
    by_name = {field.data_key or name: field for name, field in schema.load_fields.items()}
    if key not in by_name and found != [schema.error_messages["unknown"]]:
        # A validator of the schema may use the name that the client does not know.
        key = next((name for name, field in by_name.items() if field.name == key), key)
    return str(key), by_name.get(key)


def client_name(schema: Schema, attribute: str) -> str | None:
    """Return the name under which a client sends an attribute of the model; None if the schema does not read it."""
    read = schema.load_fields.items()
    return next((field.data_key or name for name, field in read if (field.attribute or name) == attribute), None)


def client_names(schema: Schema) -> set[str]:
    """Return the names of all fields that a client can send."""
    return {field.data_key or name for name, field in schema.load_fields.items()}


def field_faults(schema: Schema, attribute: str, value: object) -> list[str]:
    """Say what the field that reads an attribute finds wrong with a value; nothing if there is no such field."""
    for name, field in schema.load_fields.items():
        if (field.attribute or name) == attribute:
            try:
                field.deserialize(value, name, {name: value})
            except ValidationError as error:
                return [text for texts in _errors_by_path(error.messages, field).values() for text in texts]
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


def _password_field(missing: str) -> fields.String:
    filled = validate.Length(min=1, error=missing)
    return fields.String(required=True, load_only=True, validate=filled, error_messages=_always(missing))


class _DefaultFields:
    """The fields that settings and model ask for in the default serializers, by name."""

    def __init__(self, settings: Settings, model: UserModel) -> None:
        self._settings = settings
        self._model = model
        self._password_names = PASSWORD_NAMES | {model.password.name, *(each.name for each in model.password_columns)}

    def register(self) -> dict[str, fields.Field[Any]]:
        column = self._model.email.column
        longest = min(getattr(column.type, "length", None) or _LONGEST_ADDRESS, _LONGEST_ADDRESS)
        fits = validate.Length(max=longest, error=ADDRESS_TOO_LONG)
        required = self._settings.register_verification_enabled or not column.nullable
        email = EmailAddress(required=required, allow_none=not required, validate=fits)
        read = {attribute.name: read_field(self._model, attribute) for attribute in self._read_attributes()}
        passwords = {"password": _password_field(ENTER_PASSWORD)}
        if self._settings.register_serializer_password_confirm:
            passwords["password_confirm"] = _password_field(_REPEAT_PASSWORD)
        return {self._model.email.name: email, **read, **passwords}

    def profile(self) -> dict[str, fields.Field[Any]]:
        """Return fields that are for reading only."""
        model, shown = self._model, self._settings.user_public_fields
        if shown is None:
            hidden = set(self._settings.user_hidden_fields) - set(self._settings.user_editable_fields or ())
            read = [attribute.name for attribute in self._read_attributes() if attribute.name not in hidden]
            shown = tuple(dict.fromkeys([*(key.name for key in model.keys), model.email.name, *read]))
        else:
            self._refuse("USER_PUBLIC_FIELDS", shown, forbidden=self._password_names, known=model.has)
        columns = {**model.attributes, model.email.name: model.email.column}
        # What is no column is a property or hybrid of the model.
        return {name: shown_field(columns[name]) if name in columns else fields.Raw(dump_only=True) for name in shown}

    def _read_attributes(self) -> list[Attribute]:
        """Return what registration reads besides e-mail and password."""
        model, listed = self._model, self._settings.user_editable_fields
        required = list(required_attributes(model))
        flag = [model.flag] if model.flag else []
        never = self._password_names | {each.name for each in (*flag, *model.keys)}
        # A hybrid or synonym may hide the column of the address.
        never |= {model.mapper.get_property_by_column(model.email.column).key} - {model.email.name}
        if listed is None:
            hidden = set(self._settings.user_hidden_fields) | never
            read = [each for each in required if not each.known_names & hidden and is_plain_text(each.column)]
        else:
            listed = tuple(name for name in listed if name != model.email.name)
            self._refuse("USER_EDITABLE_FIELDS", listed, forbidden=never, known=model.attributes.__contains__)
            read = [Attribute(name, model.attributes[name]) for name in listed]
        unread = {each.name for each in required} - {each.name for each in read}
        if unread and self._settings.register_serializer_class is DefaultRegisterUserSerializer:
            raise ConfigurationError(
                *(
                    f"A row of {model.name} cannot be made without {name}, which registration does not read. Fix: give"
                    " its column a default (in the column, not in __init__), or list it in USER_EDITABLE_FIELDS if"
                    " strangers may set it, or give a REGISTER_SERIALIZER_CLASS of your own that fills it."
                    for name in sorted(unread)
                )
            )
        return read

    def _refuse(
        self, setting: str, names: tuple[str, ...], *, forbidden: set[str], known: Callable[[str], bool]
    ) -> None:
        done = "shown" if setting == "USER_PUBLIC_FIELDS" else "read from a stranger"
        lacking = f"{self._model.name} does not have. It has: {', '.join(self._model.attributes)}"
        faults = [
            f"{setting} lists {name!r}, which "
            + (f"is never {done}. Fix: remove it." if name in forbidden else f"{lacking}. Fix: correct or remove it.")
            for name in names
            if name in forbidden or not known(name)
        ]
        if faults:
            raise ConfigurationError(*faults)
