"""Passwords, hashes, signatures and codes never reach a log line or an exception's text, whatever fails."""

from __future__ import annotations

import builtins
import logging
import sqlite3
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, NoReturn

import pytest
from flask import Flask, got_request_exception
from flask_sqlalchemy import SQLAlchemy
from marshmallow import Schema, ValidationError, fields
from sqlalchemy import String, TypeDecorator, event, text
from sqlalchemy.orm import Mapped, mapped_column
from werkzeug.test import TestResponse

from flask_rest_registration import RegisterSigner, user_activated, user_registered
from tests.support import models
from tests.support.apps import OMITTED, PASSWORD, Builder, Built
from tests.support.clock import Clock
from tests.support.links import changed, code_of, link_in, values_of
from tests.support.mail_servers import RecordingServer

HASH = "scrypt-hash-of-the-password"


def hasher(password: str) -> str:
    return HASH


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Go through an exception and all that it was raised from or while, suppressed or not."""
    waiting, seen = [error], set()
    while waiting:
        current = waiting.pop()
        if current is not None and id(current) not in seen:
            seen.add(id(current))
            yield current
            waiting += [current.__cause__, current.__context__]


def texts_of(error: BaseException | None) -> str:
    """Return all that a report of an exception would quote of it and of its chain."""
    return "\n".join(
        f"{each!s} {each.args!r} {''.join(traceback.format_exception(each))}" for each in chain(error)
    ).replace(__file__, "")


class Watch:
    """Collects what becomes visible outside of a request: log lines, exceptions, the answer."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        self.exceptions: list[BaseException] = []
        self.answers: list[TestResponse] = []

    def send(self, request: Callable[[], TestResponse]) -> None:
        try:
            self.answers.append(request())
        except Exception as error:  # what Flask propagates
            self.exceptions.append(error)

    def visible(self) -> str:
        formatter = logging.Formatter()
        # "mail.log" is the log of the mail server, which of course sees the mail.
        records = [record for record in self._caplog.records if record.name != "mail.log"]
        lines = [formatter.format(record) for record in records]
        logged = [record.exc_info[1] for record in records if record.exc_info]
        errors = [texts_of(error) for error in [*logged, *self.exceptions]]
        return "\n".join([*lines, *errors, *(answer.get_data(as_text=True) for answer in self.answers)])

    @property
    def failed(self) -> bool:
        return bool(self.exceptions) or any(answer.status_code >= 400 for answer in self.answers)


@pytest.fixture
def watch(caplog: pytest.LogCaptureFixture) -> Iterator[Watch]:
    caplog.set_level(logging.DEBUG)
    watching = Watch(caplog)

    def keep(sender: Flask, exception: BaseException, **extra: object) -> None:
        watching.exceptions.append(exception)

    with got_request_exception.connected_to(keep):
        yield watching


def demand_no_secrets(visible: str, *signatures: str) -> None:
    for secret in (PASSWORD, HASH, *signatures):
        assert secret not in visible


# What can fail


def refuse(*_: object, **__: object) -> NoReturn:
    raise ValidationError("No.")


def fail(*_: object, **__: object) -> NoReturn:
    raise LookupError("a failure of the application's own")


def fail_by_value(password: str) -> NoReturn:
    raise ValueError


def fail_by_encoding(password: str) -> str:
    return f"{password}ü".encode("ascii").decode()


def no_hash(password: str) -> None:
    return None


def failing_set_password(error: Callable[[str], object]) -> models.Model:
    def model(db: SQLAlchemy) -> type[Any]:
        user_class = models.set_password(db)
        user_class.set_password = lambda user, password: error(password)
        return user_class

    return model


class Unstorable(TypeDecorator[str]):
    """A type that quotes what it cannot store."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: object) -> NoReturn:
        raise ValueError(f"cannot store {value}")


def with_unstorable_hash(db: SQLAlchemy) -> type[Any]:
    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        password_hash: Mapped[str] = mapped_column(Unstorable)
        email_verified_at: Mapped[datetime | None]

    return User


def with_tenant(db: SQLAlchemy) -> type[Any]:
    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        username: Mapped[str] = mapped_column(String(80))
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[datetime | None]
        tenant_id: Mapped[int]

    return User


class ThreeFields(Schema):
    email = fields.String(required=True)
    username = fields.String(required=True)
    password = fields.String(required=True)

    class Meta:
        unknown = "exclude"


def drop_table(built: Built) -> None:
    with built.app.app_context():
        built.db.drop_all()


def quoting_database(kind: type[Exception], first_word: str) -> Callable[[Built], None]:
    """Let the database refuse a kind of statement in PostgreSQL's manner, which quotes the whole failing row."""

    def spoil(built: Built) -> None:
        @event.listens_for(built.engine, "do_execute")
        def execute(cursor: object, statement: str, parameters: object, context: object) -> None:
            if statement.startswith(first_word):
                # The driver's own class of that name; OverflowError is of any driver.
                raised = getattr(built.engine.dialect.loaded_dbapi, kind.__name__, kind)
                raise raised(f"Failing row contains ({parameters}, {HASH})")

    return spoil


def broken_commit(built: Built) -> None:
    """A statement of a listener, with the hash in its parameters, fails at the COMMIT."""

    @event.listens_for(built.db.session, "before_commit")
    def fail_to_insert(session: Any) -> None:
        session.execute(text("INSERT INTO nowhere VALUES (:value)"), {"value": HASH})


def insert_twice(built: Built) -> Callable[..., None]:
    def insert(*_: object, user: Any = None, **__: object) -> None:
        values = {"email": "ann@example.com", "username": "ann", "password_hash": HASH}
        built.db.session.add(built.User(**values))
        built.db.session.flush()

    return insert


def insert_twice_and_raise_another_error(built: Built) -> Callable[..., None]:
    insert = insert_twice(built)

    def insert_and_wrap(*_: object, **__: object) -> None:
        try:
            insert()
        except Exception as error:
            raise LookupError("wrapped") from error

    return insert_and_wrap


def insert_twice_and_read_on(built: Built) -> Callable[..., None]:
    """Meets the error twice: SQLAlchemy quotes the first one in every later one of the session."""
    insert = insert_twice(built)

    def insert_and_read(*_: object, user: Any = None, **__: object) -> None:
        with suppress(Exception):
            insert()
        built.db.session.scalars(built.db.select(built.User)).all()

    return insert_and_read


class Several(Exception):
    """What ExceptionGroup is from Python 3.11 on."""

    def __init__(self, message: str, exceptions: Sequence[BaseException]) -> None:
        super().__init__(message)
        self.exceptions = tuple(exceptions)

    def __str__(self) -> str:
        return "\n".join(map(str, self.exceptions))


def insert_twice_and_raise_a_group(built: Built, *, kind: Callable[..., Exception]) -> Callable[..., None]:
    """Raises what it met as a part of something else, the way task groups do."""
    insert = insert_twice(built)

    def insert_and_group(*_: object, **__: object) -> None:
        met: list[Exception] = []
        try:
            insert()
        except Exception as error:
            met.append(error)
        raise kind("several", [LookupError("another"), kind("inner", met)])

    return insert_and_group


GROUPING = [
    pytest.param(partial(insert_twice_and_raise_a_group, kind=kind), id=kind.__name__)
    for kind in dict.fromkeys([Several, getattr(builtins, "ExceptionGroup", Several)])
]


def telling_url_builder(signer: RegisterSigner) -> NoReturn:
    raise ValueError(f"cannot build {signer.get_signed_data()}")


def telling_sender(request: object, user: Any) -> NoReturn:
    signer = RegisterSigner.for_user(user)
    raise OSError(f"cannot send {signer.get_url()} to the owner of {user.password_hash}")


@dataclass(frozen=True)
class Step:
    """Something that fails: by the model, by a setting, or by what ``spoil`` does to the app."""

    model: models.Model = models.typed
    registration: dict[str, object] = field(default_factory=dict)
    spoil: Callable[[Built], object] = lambda built: None
    body: dict[str, object] = field(default_factory=dict)


OWN_SERIALIZER: dict[str, object] = {"REGISTER_SERIALIZER_CLASS": ThreeFields}

REGISTER: dict[str, Step] = {
    "validator refuses": Step(registration={"PASSWORD_VALIDATORS": [refuse]}),
    "validator fails": Step(registration={"PASSWORD_VALIDATORS": [fail]}),
    "password too weak": Step(body={"password": HASH[:7], "password_confirm": HASH[:7]}),
    "passwords differ": Step(body={"password_confirm": "another"}),
    "hasher fails": Step(registration={"PASSWORD_HASHER": fail}),
    "hasher refuses": Step(registration={"PASSWORD_HASHER": fail_by_value}),
    "hasher quotes by its error": Step(registration={"PASSWORD_HASHER": fail_by_encoding}),
    "hasher gives nothing": Step(registration={"PASSWORD_HASHER": no_hash}),
    "set_password fails": Step(failing_set_password(fail)),
    "set_password refuses": Step(failing_set_password(fail_by_value)),
    "set_password quotes by its error": Step(failing_set_password(fail_by_encoding)),
    "column too short": Step(models.short_hash_column, {"PASSWORD_HASHER": lambda password: HASH * 9}),
    "INSERT, something taken": Step(spoil=lambda built: built.register()),
    "INSERT, NOT NULL": Step(with_tenant, OWN_SERIALIZER),
    "INSERT, CHECK": Step(models.named_unique, body={"username": "root"}),
    "INSERT, no table": Step(spoil=drop_table),
    "INSERT, a type that quotes": Step(with_unstorable_hash),
    **{
        f"INSERT, {kind.__name__} that quotes": Step(spoil=quoting_database(kind, "INSERT"))
        for kind in (
            sqlite3.IntegrityError,
            sqlite3.OperationalError,
            sqlite3.DataError,
            sqlite3.ProgrammingError,
            sqlite3.InternalError,
            sqlite3.NotSupportedError,
            OverflowError,
        )
    },
    "mail, link": Step(registration={"VERIFICATION_URL_BUILDER": telling_url_builder}),
    "mail, own sender": Step(registration={"REGISTER_VERIFICATION_EMAIL_SENDER": telling_sender}),
    "mail, no template": Step(registration={"REGISTER_VERIFICATION_EMAIL_TEMPLATES": {"body": "nowhere.txt"}}),
    "COMMIT": Step(spoil=broken_commit),
}


@pytest.mark.parametrize("testing", [False, True], ids=["answered", "propagated"])
@pytest.mark.parametrize("name", REGISTER)
def test_no_secret_is_told_when_a_step_of_register_fails(
    build: Builder, smtp: RecordingServer, clock: Clock, watch: Watch, name: str, testing: bool
) -> None:
    step = REGISTER[name]
    registration = {"PASSWORD_HASHER": hasher, **step.registration}
    built = build(step.model, registration=registration, config={"TESTING": testing})
    step.spoil(built)

    watch.send(lambda: built.register(**step.body))

    assert watch.failed
    with built.app.app_context():
        signature = RegisterSigner.for_user(built.User(id=1, email="ann@example.com")).get_signed_data()["signature"]
    demand_no_secrets(watch.visible(), signature)


def adding_itself(db: SQLAlchemy) -> type[Any]:
    """A model whose constructor leaves the new object in the session."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        username: Mapped[str] = mapped_column(String(80), unique=True)
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[datetime | None]

        def __init__(self, **values: object) -> None:
            super().__init__(**values)
            db.session.add(self)

    return User


@pytest.mark.parametrize("testing", [False, True], ids=["answered", "propagated"])
def test_a_duplicate_of_a_model_that_adds_itself_to_the_session_is_a_field_error_without_secrets(
    build: Builder, watch: Watch, testing: bool
) -> None:
    built = build(adding_itself, registration={"PASSWORD_HASHER": hasher}, config={"TESTING": testing})

    watch.send(built.register)
    watch.send(built.register)
    watch.send(lambda: built.register(email="bob@example.com"))

    assert watch.exceptions == []
    assert [answer.status_code for answer in watch.answers] == [201, 400, 400]
    assert [set(answer.get_json().get("errors", ())) for answer in watch.answers[1:]] == [
        {"email", "username"},
        {"username"},
    ]
    assert len(built.rows()) == 1
    demand_no_secrets(watch.visible())


@pytest.mark.parametrize("to", ["mail", "rcpt", "text"])
@pytest.mark.parametrize("code", [451, 554])
def test_no_secret_is_told_when_the_mail_server_quotes_what_it_refuses(
    build: Builder, smtp: RecordingServer, watch: Watch, to: str, code: int
) -> None:
    built = build(registration={"PASSWORD_HASHER": hasher})
    setattr(smtp, f"{to}_reply", f"{code} refused: signature={HASH} {PASSWORD} ann@example.com")

    watch.send(built.register)

    assert watch.failed
    demand_no_secrets(watch.visible())
    assert "ann@example.com" not in watch.visible()


@pytest.mark.parametrize(
    ("make_receiver", "testing"),
    [
        (insert_twice, False),
        (insert_twice_and_read_on, False),
        (insert_twice_and_raise_another_error, False),
        *(pytest.param(*grouping.values, False, id=grouping.id) for grouping in GROUPING),
        # Where exceptions are propagated, one that is no database error stays the application's.
        (insert_twice, True),
        (insert_twice_and_read_on, True),
    ],
)
def test_no_secret_is_told_when_receivers_meet_database_errors(
    build: Builder,
    smtp: RecordingServer,
    watch: Watch,
    make_receiver: Callable[[Built], Callable[..., None]],
    testing: bool,
) -> None:
    built = build(registration={"PASSWORD_HASHER": hasher}, config={"TESTING": testing})
    receiver = make_receiver(built)
    with (
        user_registered.connected_to(receiver, sender=built.app),
        user_activated.connected_to(receiver, sender=built.app),
    ):
        watch.send(built.register)
        values = values_of(link_in(smtp.message))
        watch.send(lambda: built.verify(values))

    assert "receiver of user-registered failed" in watch.visible()
    assert "receiver of user-activated failed" in watch.visible()
    demand_no_secrets(watch.visible(), values["signature"])


@pytest.mark.parametrize(
    "make_handler", [insert_twice, insert_twice_and_read_on, insert_twice_and_raise_another_error, *GROUPING]
)
def test_no_secret_is_told_when_the_login_handler_meets_database_errors(
    build: Builder, smtp: RecordingServer, watch: Watch, make_handler: Callable[[Built], Callable[..., None]]
) -> None:
    handlers: list[Callable[..., None]] = []
    built = build(
        registration={
            "PASSWORD_HASHER": hasher,
            "REGISTER_VERIFICATION_AUTO_LOGIN": True,
            "LOGIN_HANDLER": lambda request, user: handlers[0](request, user=user),
        }
    )
    handlers.append(make_handler(built))
    built.register()
    values = values_of(link_in(smtp.message))

    watch.send(lambda: built.verify(values))

    assert "log-in after a verification failed" in watch.visible()
    demand_no_secrets(watch.visible(), values["signature"])


@pytest.mark.parametrize("testing", [False, True], ids=["answered", "propagated"])
@pytest.mark.parametrize("word", ["SELECT", "UPDATE"])
@pytest.mark.parametrize("kind", [sqlite3.OperationalError, sqlite3.ProgrammingError, sqlite3.IntegrityError])
def test_no_secret_is_told_when_a_statement_of_verify_fails(
    build: Builder, smtp: RecordingServer, watch: Watch, kind: type[Exception], word: str, testing: bool
) -> None:
    built = build(registration={"PASSWORD_HASHER": hasher}, config={"TESTING": testing})
    built.register()
    values = values_of(link_in(smtp.message))
    quoting_database(kind, word)(built)

    watch.send(lambda: built.verify(values))

    assert watch.failed
    demand_no_secrets(watch.visible(), values["signature"])


def test_no_secret_is_told_when_a_link_is_refused(
    build: Builder, smtp: RecordingServer, clock: Clock, watch: Watch
) -> None:
    built = build(registration={"PASSWORD_HASHER": hasher})
    built.register()
    values = values_of(link_in(smtp.message))
    for changes in ({"user_id": "2"}, {"timestamp": "1"}, {"timestamp": None}, {"user_id": [1]}):
        watch.send(lambda changes=changes: built.verify(changed(values, **changes)))  # type: ignore[misc]
    clock.move(10**7)
    watch.send(lambda: built.verify(values))

    assert [answer.status_code for answer in watch.answers] == [400] * 5
    demand_no_secrets(watch.visible(), values["signature"])


# E-mail first

ADDRESS = "ann@example.com"
EMAIL_FIRST: dict[str, object] = {
    "REGISTER_EMAIL_FIRST": True,
    "REGISTER_VERIFICATION_CODE_ENABLED": True,
    "PASSWORD_HASHER": hasher,
}
QUOTING = [sqlite3.OperationalError, sqlite3.ProgrammingError, sqlite3.IntegrityError]


def sender_that_tells_of_the_pending_row(request: object, row: Any) -> NoReturn:
    raise OSError(f"cannot send {RegisterSigner.for_user(row).get_url()} to {row.email}")


ASKING: dict[str, Step] = {
    **{
        f"{word}, {kind.__name__} that quotes": Step(spoil=quoting_database(kind, word))
        for kind in QUOTING
        for word in ("SELECT", "INSERT", "UPDATE")
    },
    "no table": Step(spoil=drop_table),
    "mail, link": Step(registration={"VERIFICATION_URL_BUILDER": telling_url_builder}),
    "mail, own sender": Step(
        registration=dict.fromkeys(
            ("REGISTER_VERIFICATION_EMAIL_SENDER", "REGISTER_EXISTING_EMAIL_SENDER"),
            sender_that_tells_of_the_pending_row,
        )
    ),
    "mail, no template": Step(registration={"REGISTER_VERIFICATION_EMAIL_TEMPLATES": {"body": "nowhere.txt"}}),
    "COMMIT": Step(spoil=broken_commit),
}


@pytest.mark.parametrize("testing", [False, True], ids=["answered", "propagated"])
@pytest.mark.parametrize("name", ASKING)
def test_no_secret_is_told_when_a_step_of_a_sign_up_by_the_address_alone_fails(
    build: Builder, smtp: RecordingServer, clock: Clock, watch: Watch, name: str, testing: bool
) -> None:
    step = ASKING[name]
    config = {"TESTING": testing}
    built = build(pending=True, registration={**EMAIL_FIRST, **step.registration}, config=config)
    assert built.Pending is not None
    step.spoil(built)

    watch.send(lambda: built.post("register/", {"email": ADDRESS}))

    # What opens the code comes after the mail, and is logged alone.
    assert watch.failed is not name.startswith("UPDATE")
    visible = watch.visible()
    assert visible
    secrets = [*(code_of(mail) for mail in smtp.messages)]
    secrets += [values_of(link_in(mail))["signature"] for mail in smtp.messages]
    demand_no_secrets(visible, ADDRESS, "signature=", "&#39;signature&#39;", "'signature'", *secrets)


@pytest.mark.parametrize("by_code", [False, True], ids=["link", "code"])
@pytest.mark.parametrize("testing", [False, True], ids=["answered", "propagated"])
@pytest.mark.parametrize("word", ["SELECT", "UPDATE", "INSERT"])
@pytest.mark.parametrize("kind", QUOTING)
def test_no_secret_is_told_when_a_statement_of_a_completion_fails(
    build: Builder,
    smtp: RecordingServer,
    watch: Watch,
    kind: type[Exception],
    word: str,
    testing: bool,
    by_code: bool,
) -> None:
    built = build(pending=True, registration=EMAIL_FIRST, config={"TESTING": testing})
    built.post("register/", {"email": ADDRESS})
    link, code = values_of(link_in(smtp.message)), code_of(smtp.message)
    proof = {"email": ADDRESS, "code": code} if by_code else link
    quoting_database(kind, word)(built)

    watch.send(lambda: built.verify({**built.body(email=OMITTED), **proof}))

    assert watch.failed
    demand_no_secrets(watch.visible(), ADDRESS, link["signature"], code)


def test_no_secret_is_told_when_a_code_or_a_field_beside_it_is_refused(
    build: Builder, smtp: RecordingServer, watch: Watch
) -> None:
    built = build(pending=True, registration=EMAIL_FIRST)
    built.post("register/", {"email": ADDRESS})
    code = code_of(smtp.message)
    body = {**built.body(email=ADDRESS), "code": code}
    for changes in ({"password": HASH[:7]}, {"username": ""}, {"code": f"{code}0"}, {"user_id": "1"}, {"code": [code]}):
        watch.send(lambda changes=changes: built.verify({**body, **changes}))  # type: ignore[misc]

    assert [answer.status_code for answer in watch.answers] == [400] * 5
    demand_no_secrets(watch.visible(), ADDRESS, code)


def test_no_secret_is_told_when_all_goes_well_with_e_mail_first(
    build: Builder, smtp: RecordingServer, watch: Watch, capfd: pytest.CaptureFixture[str]
) -> None:
    built = build(pending=True, registration=EMAIL_FIRST, config={"MAIL_DEBUG": True})
    watch.send(lambda: built.post("register/", {"email": ADDRESS}))
    link, code = values_of(link_in(smtp.message)), code_of(smtp.message)
    watch.send(lambda: built.post("check-link/", link))
    watch.send(lambda: built.verify({**built.body(email=OMITTED), **link}))

    assert [answer.status_code for answer in watch.answers] == [202, 200, 201]
    demand_no_secrets(watch.visible() + "".join(capfd.readouterr()), link["signature"], code)


# The account at sign-up, as ever


@pytest.mark.parametrize("model", models.ALL.values(), ids=models.ALL)
def test_no_secret_is_told_when_all_goes_well(
    build: Builder,
    smtp: RecordingServer,
    watch: Watch,
    capfd: pytest.CaptureFixture[str],
    model: models.Model,
) -> None:
    built = build(model, config={"MAIL_DEBUG": True})
    watch.send(built.register)
    values = values_of(link_in(smtp.message))
    watch.send(lambda: built.verify(values))

    assert [answer.status_code for answer in watch.answers] == [201, 200]
    printed = "".join(capfd.readouterr())
    hashes = [value for value in built.row().values() if isinstance(value, str) and value.startswith("pbkdf2")]
    assert len(hashes) == 1
    demand_no_secrets(watch.visible() + printed, values["signature"], *hashes)


def test_errors_quote_no_password_that_was_sent(build: Builder, watch: Watch) -> None:
    built = build()
    for body in ({"password_confirm": f"{PASSWORD}!"}, {"password": [PASSWORD]}, {"password": {"a": PASSWORD}}):
        watch.send(lambda body=body: built.register(**body))  # type: ignore[misc]

    assert [answer.status_code for answer in watch.answers] == [400] * 3
    demand_no_secrets(watch.visible())
