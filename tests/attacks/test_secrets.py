"""Passwords, hashes, signatures and codes never reach a log line or an exception's text, whatever fails."""

from __future__ import annotations

import logging
import sqlite3
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from itertools import product
from typing import Any, NoReturn

import pytest
import sqlalchemy as sa
from flask import Flask, got_request_exception
from flask_sqlalchemy import SQLAlchemy
from marshmallow import Schema, ValidationError, fields
from sqlalchemy import event
from werkzeug.test import TestResponse

from flask_rest_registration import RegisterSigner, user_activated, user_registered
from tests.support import models
from tests.support.apps import CHECK_LINK, OMITTED, PASSWORD, REGISTER, Builder, Built
from tests.support.clock import Clock
from tests.support.links import changed, code_of, link_in, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.pending import CODES

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup  # pytest brings it

ADDRESS = "ann@example.com"
HASH = "scrypt-hash-of-the-password"
PROPAGATING = pytest.mark.parametrize("testing", [False, True], ids=["answered", "propagated"])

pytestmark = pytest.mark.usefixtures("clock")


AT_SIGN_UP: dict[str, object] = {"PASSWORD_HASHER": lambda password: HASH}
EMAIL_FIRST: dict[str, object] = {**AT_SIGN_UP, **CODES}


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
    texts = (f"{each!s} {each.args!r} {''.join(traceback.format_exception(each))}" for each in chain(error))
    return "\n".join(texts).replace(__file__, "")


class Watch:
    """Collects what becomes visible outside of a request: log lines, exceptions, the answer."""

    def __init__(self, caplog: pytest.LogCaptureFixture, smtp: RecordingServer) -> None:
        self._caplog = caplog
        self.smtp = smtp
        self.exceptions: list[BaseException] = []
        self.answers: list[TestResponse] = []

    def send(self, request: Callable[..., TestResponse], *arguments: object, **fields: object) -> None:
        try:
            self.answers.append(request(*arguments, **fields))
        except Exception as error:  # what Flask propagates
            self.exceptions.append(error)

    @property
    def visible(self) -> str:
        formatter = logging.Formatter()
        # "mail.log" is the log of the mail server, which of course sees the mail.
        records = [record for record in self._caplog.records if record.name != "mail.log"]
        logged = [record.exc_info[1] for record in records if record.exc_info]
        errors = [texts_of(error) for error in [*logged, *self.exceptions]]
        answers = [answer.get_data(as_text=True) for answer in self.answers]
        return "\n".join([*map(formatter.format, records), *errors, *answers])

    @property
    def statuses(self) -> list[int]:
        return [answer.status_code for answer in self.answers]

    @property
    def failed(self) -> bool:
        return bool(self.exceptions) or any(status >= 400 for status in self.statuses)

    def demand_no_secrets(self, *secrets: str) -> None:
        visible = self.visible
        assert [secret for secret in (PASSWORD, HASH, *secrets) if secret in visible] == []


@pytest.fixture
def watch(caplog: pytest.LogCaptureFixture, smtp: RecordingServer) -> Iterator[Watch]:
    caplog.set_level(logging.DEBUG)
    watching = Watch(caplog, smtp)

    def keep(sender: Flask, exception: BaseException, **extra: object) -> None:
        watching.exceptions.append(exception)

    with got_request_exception.connected_to(keep):
        yield watching


def raising(kind: type[Exception], *words: str) -> Callable[..., NoReturn]:
    def fail(*_: object) -> NoReturn:
        raise kind(*words)

    return fail


def fail_by_encoding(*arguments: Any) -> str:
    return f"{arguments[-1]}ü".encode("ascii").decode()


class Unstorable(sa.TypeDecorator[str]):
    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: object) -> NoReturn:
        raise ValueError(f"cannot store {value}")


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
        session.execute(sa.text("INSERT INTO nowhere VALUES (:value)"), {"value": HASH})


def telling_sender(request: Any, user: Any) -> NoReturn:
    told = user.email, user.email.upper(), getattr(user, "password_hash", "no hash"), request.get_data(as_text=True)
    raise OSError(f"cannot send {RegisterSigner.for_user(user).get_url()} to {told}")


@dataclass(frozen=True)
class Step:
    """Something that fails: by the model, by a setting, or by what ``spoil`` does to the app."""

    model: models.Model = models.typed
    registration: dict[str, object] = field(default_factory=dict)
    spoil: Callable[[Built], object] = lambda built: None
    body: dict[str, object] = field(default_factory=dict)


def with_set_password(set_password: Callable[..., object]) -> Step:
    return Step(lambda db: models.declared(set_password=set_password)(db))


TWO_FIELDS = Schema.from_dict({"email": fields.String(), "password": fields.String()})
QUOTING = [sqlite3.OperationalError, sqlite3.ProgrammingError, sqlite3.IntegrityError]
MORE_QUOTING = [*QUOTING, sqlite3.DataError, sqlite3.InternalError, sqlite3.NotSupportedError, OverflowError]
SENDERS = ("REGISTER_VERIFICATION_EMAIL_SENDER", "REGISTER_EXISTING_EMAIL_SENDER")
#: What fails whichever way one signs up.
ANY_WAY: dict[str, Step] = {
    "no table": Step(spoil=drop_table),
    "mail, link": Step(registration={"VERIFICATION_URL_BUILDER": raising(LookupError)}),
    "mail, own sender": Step(registration=dict.fromkeys(SENDERS, telling_sender)),
    "mail, no template": Step(registration={"REGISTER_VERIFICATION_EMAIL_TEMPLATES": {"body": "nowhere.txt"}}),
    "COMMIT": Step(spoil=broken_commit),
}
STEPS: dict[str, Step] = {
    **ANY_WAY,
    "validator refuses": Step(registration={"PASSWORD_VALIDATORS": [raising(ValidationError, "No.")]}),
    "validator fails": Step(registration={"PASSWORD_VALIDATORS": [raising(LookupError)]}),
    "password too weak": Step(body={"password": HASH[:7], "password_confirm": HASH[:7]}),
    "passwords differ": Step(body={"password_confirm": "another"}),
    "hasher fails": Step(registration={"PASSWORD_HASHER": raising(LookupError)}),
    "hasher refuses": Step(registration={"PASSWORD_HASHER": raising(ValueError)}),
    "hasher quotes by its error": Step(registration={"PASSWORD_HASHER": fail_by_encoding}),
    "hasher gives nothing": Step(registration={"PASSWORD_HASHER": lambda password: None}),
    "set_password fails": with_set_password(raising(LookupError)),
    "set_password refuses": with_set_password(raising(ValueError)),
    "set_password quotes by its error": with_set_password(fail_by_encoding),
    "column too short": Step(models.short_hash_column, {"PASSWORD_HASHER": lambda password: HASH * 9}),
    "INSERT, something taken": Step(spoil=lambda built: built.register()),
    "INSERT, NOT NULL": Step(
        lambda db: models.declared(tenant_id=sa.Column(sa.Integer, nullable=False))(db),
        {"REGISTER_SERIALIZER_CLASS": TWO_FIELDS},
        body={"password_confirm": OMITTED},
    ),
    "INSERT, CHECK": Step(models.named_unique, body={"username": "root"}),
    "INSERT, a type that quotes": Step(lambda db: models.declared(password_hash=sa.Column(Unstorable))(db)),
    **{f"INSERT, {kind.__name__}": Step(spoil=quoting_database(kind, "INSERT")) for kind in MORE_QUOTING},
}


@PROPAGATING
@pytest.mark.parametrize("name", STEPS)
def test_no_secret_is_told_when_a_step_of_register_fails(
    build: Builder, watch: Watch, name: str, testing: bool
) -> None:
    step = STEPS[name]
    built = build(step.model, registration={**AT_SIGN_UP, **step.registration}, config={"TESTING": testing})
    step.spoil(built)
    watch.send(built.register, **step.body)
    assert watch.failed
    with built.app.app_context():
        signature = RegisterSigner.for_user(built.User(id=1, email=ADDRESS)).get_signed_data()["signature"]
    watch.demand_no_secrets(signature)


def secrets_of(mail: EmailMessage) -> list[str]:
    """Return the signature of the link in a mail of e-mail first, and the code."""
    return [values_of(link_in(mail))["signature"], code_of(mail)]


FAILING = {f"{word}, {kind.__name__}": (word, kind) for kind in QUOTING for word in ("SELECT", "INSERT", "UPDATE")}
ASKING = {**ANY_WAY, **{name: Step(spoil=quoting_database(kind, word)) for name, (word, kind) in FAILING.items()}}


@PROPAGATING
@pytest.mark.parametrize("name", ASKING)
def test_no_secret_is_told_when_a_step_of_e_mail_first_fails(
    build: Builder, watch: Watch, name: str, testing: bool
) -> None:
    step = ASKING[name]
    built = build(pending=True, registration={**EMAIL_FIRST, **step.registration}, config={"TESTING": testing})
    step.spoil(built)
    watch.send(built.post, REGISTER, {"email": ADDRESS})
    # What opens the code comes after the mail, and is logged alone.
    assert watch.failed is not name.startswith("UPDATE")
    assert watch.visible
    secrets = [secret for mail in watch.smtp.messages for secret in secrets_of(mail)]
    watch.demand_no_secrets(ADDRESS, "signature=", "&#39;signature&#39;", "'signature'", *secrets)


def prove(built: Built, watch: Watch, way: str) -> tuple[dict[str, object], list[str]]:
    """Sign up, and return what proves the address to ``verify-registration/``, and the secrets of it."""
    if way == "sign-up":
        watch.send(built.register)
        link = values_of(link_in(watch.smtp.message))
        return {**link}, [link["signature"]]
    watch.send(built.post, REGISTER, {"email": ADDRESS})
    mail = watch.smtp.message
    proof = values_of(link_in(mail)) if way == "link" else {"email": ADDRESS, "code": code_of(mail)}
    return {**built.body(email=OMITTED), **proof}, secrets_of(mail)


WAYS = {"sign-up": AT_SIGN_UP, "link": EMAIL_FIRST, "code": EMAIL_FIRST}


@PROPAGATING
@pytest.mark.parametrize("kind", QUOTING)
@pytest.mark.parametrize(
    ("way", "word"), [*product(WAYS, ("SELECT", "UPDATE")), *product(("link", "code"), ("INSERT",))]
)
def test_no_secret_is_told_when_a_statement_of_verify_fails(
    build: Builder, watch: Watch, kind: type[Exception], way: str, word: str, testing: bool
) -> None:
    built = build(pending=way != "sign-up", registration=WAYS[way], config={"TESTING": testing})
    proof, secrets = prove(built, watch, way)
    assert watch.answers.pop().status_code < 300  # of the sign-up, which may show the address
    quoting_database(kind, word)(built)
    watch.send(built.verify, proof)
    assert watch.failed
    watch.demand_no_secrets(*secrets, ADDRESS)


@pytest.mark.parametrize("to", ["mail", "rcpt", "text"])
@pytest.mark.parametrize("code", [451, 554])
def test_no_secret_that_the_mail_server_quotes_is_told(build: Builder, watch: Watch, to: str, code: int) -> None:
    setattr(watch.smtp, f"{to}_reply", f"{code} refused: signature={HASH} {PASSWORD} {ADDRESS}")
    watch.send(build(registration=AT_SIGN_UP).register)
    assert watch.failed
    watch.demand_no_secrets(ADDRESS)


def adding_itself(db: SQLAlchemy) -> type[Any]:
    class User(models.Usual, db.Model):  # type: ignore[misc,name-defined]
        def __init__(self, **values: object) -> None:
            super().__init__(**values)
            db.session.add(self)

    return User


@PROPAGATING
def test_a_duplicate_of_an_object_that_adds_itself_to_the_session_is_a_field_error(
    build: Builder, watch: Watch, testing: bool
) -> None:
    built = build(adding_itself, registration=AT_SIGN_UP, config={"TESTING": testing})
    for body in ({}, {}, {"email": "bob@example.com"}):
        watch.send(built.register, **body)
    assert watch.exceptions == []
    errors = [set(answer.get_json().get("errors", ())) for answer in watch.answers]
    assert errors == [set(), {"email", "username"}, {"username"}]
    assert len(built.rows()) == 1
    watch.demand_no_secrets()


def meet_a_database_error(built: Built, how: str) -> None:
    """Insert what cannot be inserted, in a receiver or a log-in handler, and let it out in some way."""
    met: list[Exception] = []
    built.db.session.add(built.User(email=ADDRESS, username="ann", password_hash=HASH))
    try:
        built.db.session.flush()
    except Exception as error:
        if how == "plain":
            raise
        if how == "wrapped":
            raise LookupError("wrapped") from error
        met.append(error)
    if how == "grouped":  # as task groups do
        raise ExceptionGroup("several", [LookupError("another"), ExceptionGroup("inner", met)])
    # SQLAlchemy quotes the first error in every later one of the session.
    built.db.session.scalars(built.db.select(built.User)).all()


# Where exceptions are propagated, one that is no database error stays the application's.
@pytest.mark.parametrize(
    ("how", "testing"), [*product(("plain", "quoted"), (False, True)), ("wrapped", False), ("grouped", False)]
)
def test_no_database_error_of_receivers_and_login_handlers_tells_a_secret(
    build: Builder, watch: Watch, how: str, testing: bool
) -> None:
    def hook(*_: object, **__: object) -> None:
        meet_a_database_error(built, how)

    settings = {**AT_SIGN_UP, "REGISTER_VERIFICATION_AUTO_LOGIN": True, "LOGIN_HANDLER": hook}
    built = build(registration=settings, config={"TESTING": testing})
    with user_registered.connected_to(hook, built.app), user_activated.connected_to(hook, built.app):
        link, secrets = prove(built, watch, "sign-up")
        watch.send(built.verify, link)
    assert all(f"receiver of {name} failed" in watch.visible for name in ("user-registered", "user-activated"))
    assert testing or "log-in after a verification failed" in watch.visible
    watch.demand_no_secrets(*secrets)


def test_no_secret_is_told_when_a_field_or_a_link_is_refused(build: Builder, watch: Watch, clock: Clock) -> None:
    built = build(registration=AT_SIGN_UP)
    for body in ({"password_confirm": f"{PASSWORD}!"}, {"password": [PASSWORD]}, {"password": {"a": PASSWORD}}):
        watch.send(built.register, **body)
    link, secrets = prove(built, watch, "sign-up")
    for changes in ({"user_id": "2"}, {"timestamp": "1"}, {"timestamp": None}, {"user_id": [1]}):
        watch.send(built.verify, changed(link, **changes))
    clock.move(10**7)
    watch.send(built.verify, link)
    assert watch.statuses == [400, 400, 400, 201, 400, 400, 400, 400, 400]
    watch.demand_no_secrets(*secrets)


def test_no_secret_is_told_when_a_code_or_a_field_beside_it_is_refused(build: Builder, watch: Watch) -> None:
    built = build(pending=True, registration=EMAIL_FIRST)
    proof, secrets = prove(built, watch, "code")
    code = proof["code"]
    for changes in ({"password": HASH[:7]}, {"username": ""}, {"code": f"{code}0"}, {"user_id": "1"}, {"code": [code]}):
        watch.send(built.verify, {**proof, **changes})
    assert watch.statuses == [202, 400, 400, 400, 400, 400]
    watch.demand_no_secrets(ADDRESS, *secrets)


@pytest.mark.parametrize("way", WAYS)
def test_no_secret_is_told_when_all_goes_well(
    build: Builder, watch: Watch, capfd: pytest.CaptureFixture[str], way: str
) -> None:
    built = build(pending=way != "sign-up", registration=WAYS[way], config={"MAIL_DEBUG": True})
    proof, secrets = prove(built, watch, way)
    if way == "link":
        watch.send(built.post, CHECK_LINK, {name: proof[name] for name in ("user_id", "timestamp", "signature")})
    watch.send(built.verify, proof)
    assert not watch.failed
    watch.demand_no_secrets(*secrets)
    printed = "".join(capfd.readouterr())
    assert [secret for secret in (PASSWORD, HASH, *secrets) if secret in printed] == []
    assert [secret for secret in (PASSWORD, HASH) if secret in str(watch.smtp.message)] == []
