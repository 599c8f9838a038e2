"""The calls for Python code: the same as the endpoints for the same data, and what they alone have to bear."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any
from unittest.mock import Mock
from urllib.parse import urlencode
from uuid import UUID

import pytest
from flask import Flask, Request, Response, current_app, g, request, session
from flask.testing import FlaskClient
from flask.typing import ResponseReturnValue
from flask_babel import Babel
from flask_login import LoginManager, current_user
from flask_sqlalchemy import SQLAlchemy
from marshmallow import Schema, fields
from sqlalchemy import String, exc, inspect, select
from sqlalchemy.orm import mapped_column

from flask_rest_registration import (
    ConfigurationError,
    DefaultUserProfileSerializer,
    EmailNotSent,
    InvalidInput,
    RestRegistration,
    SignatureInvalid,
    VerificationMail,
    user_activated,
    user_registered,
)
from tests.outages.test_broken_databases import with_notes
from tests.support import models
from tests.support.apps import OMITTED, PASSWORD, REGISTER, VERIFY, Builder, Built
from tests.support.clock import Clock
from tests.support.concurrency import at_once
from tests.support.doors import DOORS, Call, Seen, add_forms, by_json, masked, post_form, watched
from tests.support.interference import refusing
from tests.support.links import changed, code_of, link_in, values_of, with_other_character
from tests.support.mail_servers import RecordingServer
from tests.support.pending import ANN, CODES, EMAIL_FIRST, WITH_RESEND, add_account, ask
from tests.support.statements import recorded
from tests.support.variants import build_variant

pytestmark = pytest.mark.database

WEEK = 7 * 24 * 3600
REGISTERED, ACTIVATED = "user-registered", "user-activated"


@dataclass(frozen=True)
class Scene:
    """An app, and what a case needs of it."""

    built: Built
    smtp: RecordingServer
    clock: Clock

    @property
    def link(self) -> dict[str, str]:
        """The values of the last mail's link."""
        return values_of(link_in(self.smtp.messages[-1]))

    @property
    def by_code(self) -> dict[str, str]:
        """The last mail's code, with the address that it was sent to."""
        return {"email": ANN, "code": code_of(self.smtp.messages[-1])}

    @property
    def fields(self) -> dict[str, object]:
        """The fields of an account but for its address."""
        return self.built.body(email=OMITTED)

    def verify(self, data: Mapping[str, object]) -> None:
        by_json(self.built, "verify", data)


Step = Callable[[Scene], object]
#: Status, code and the fields with errors; None for a success.
Refusal = tuple[int, str, set[str]] | None


def sign_up(scene: Scene) -> None:
    assert scene.built.register().status_code == 201


def ask_for_mail(scene: Scene) -> None:
    ask(scene.built)


def account(**values: object) -> Step:
    """Let there be an account."""
    return lambda scene: add_account(scene.built, **values)  # type: ignore[arg-type]


def reply(**replies: str) -> Step:
    """Let the mail server answer otherwise from now on."""
    return lambda scene: vars(scene.smtp).update(replies)


def later(seconds: int) -> Step:
    return lambda scene: scene.clock.move(seconds)


def verify_once(scene: Scene) -> None:
    scene.verify({**scene.link, **(scene.fields if scene.built.Pending else {})})


def change_the_address(scene: Scene) -> None:
    scene.built.execute_outside("UPDATE user SET email = 'other@example.com'")


def use_the_code_up(scene: Scene) -> None:
    for _ in range(5):
        scene.verify({**scene.fields, **scene.by_code, "code": wrong(scene.by_code["code"])})


def wrong(code: str) -> str:
    return with_other_character(code, 0)


@dataclass(frozen=True)
class Case:
    """What is sent, and what comes of it.

    :param before: what happens before it is sent, in this order.
    :param during: what happens to the database's statements meanwhile.
    """

    call: Call
    data: Callable[[Scene], Mapping[str, object]]
    refusal: Refusal = None
    mails: int = 0
    signals: tuple[str, ...] = ()
    before: tuple[Step, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    model: models.Model = models.typed
    during: Callable[[Built], AbstractContextManager[object]] = lambda built: nullcontext()
    doors: tuple[str, ...] = tuple(DOORS)


def invalid(*fields: str) -> Refusal:
    return 400, "invalid", set(fields)


def refused(code: str, status: int = 400) -> Refusal:
    return status, code, set()


BAD_LINK, OLD_LINK, OFF = refused("signature-invalid"), refused("signature-expired"), refused("not-found", 404)
BAD_CODE, NOT_SENT, LOCKED = (
    refused("code-invalid"),
    refused("email-not-sent", 503),
    refused("database-unavailable", 503),
)
NO_MAILBOX, NOT_NOW = reply(rcpt_reply="550 5.1.1 no such user"), reply(text_reply="451 4.3.0 try later")


def register(refusal: Refusal = None, *before: Step, **options: Any) -> Case:
    """Make a case of a registration; the changes of its body are ``sent``."""
    sent = options.pop("sent", {})
    return Case("register", lambda scene: scene.built.body(**sent), refusal, before=before, **options)


def verify(
    data: Callable[[Scene], Mapping[str, object]], refusal: Refusal = None, *before: Step, **options: Any
) -> Case:
    return Case("verify", data, refusal, before=(sign_up, *before), **options)


def nullable_email(db: SQLAlchemy) -> type[Any]:
    return models.declared(email=mapped_column(String(254), unique=True))(db)


WITHOUT_EMAIL = Schema.from_dict({"password": fields.String(required=True)})
TAKEN_TEAM = account(email="bob@example.com", username="ann", team="blue")

OF_REGISTER = {
    "a sign-up": register(mails=1, signals=(REGISTERED,)),
    "an address in capitals": register(mails=1, signals=(REGISTERED,), sent={"email": " Ann@EXAMPLE.com"}),
    "nothing": Case("register", lambda _: {}, invalid("email", "username", "password", "password_confirm")),
    "empty texts": Case(
        "register",
        lambda scene: dict.fromkeys(scene.built.body(), ""),
        invalid("email", "username", "password", "password_confirm"),
    ),
    "an unknown field": register(invalid("age"), sent={"age": "50"}),
    "no address": register(invalid("email"), sent={"email": "ann"}),
    "a weak password": register(invalid("password"), sent={"password": "password1"}),
    "two passwords": register(invalid("password_confirm"), sent={"password_confirm": "other"}),
    "all at once": register(
        invalid("email", "password", "password_confirm", "age"),
        sent={"email": "ann", "password": "short", "password_confirm": "other", "age": "50"},
    ),
    "a taken address": register(invalid("email"), account()),
    "a taken name": register(invalid("username"), account(email="bob@example.com", username="ann")),
    "a taken address and name": register(invalid("email", "username"), account(username="ann")),
    "a taken composite": register(invalid("team", "username"), TAKEN_TEAM, model=models.composite_unique),
    "NUL": register(invalid("username"), sent={"username": "an\0n"}),
    "NUL in a name": register(invalid("_schema"), sent={"a\0ge": "50"}),
    "a surrogate": register(invalid("username"), sent={"username": "ann\ud800"}, doors=("json", "script")),
    "an over-long name": register(invalid("username"), sent={"username": "a" * 81}),
    "an over-long address": register(invalid("email"), sent={"email": f"{'a' * 64}@{'b' * 63}.{'c' * 63}.{'d' * 63}"}),
    "a CHECK": register(invalid("_schema"), sent={"username": "root"}, model=models.named_unique),
    "no address at all": Case(
        "register",
        lambda _: {"password": PASSWORD},
        refused("user-without-email-nonverifiable"),
        settings={"REGISTER_SERIALIZER_CLASS": WITHOUT_EMAIL},
        model=nullable_email,
    ),
    "verification off": register(signals=(REGISTERED,), settings={"REGISTER_VERIFICATION_ENABLED": False}),
    "flow off": register(OFF, settings={"REGISTER_FLOW_ENABLED": False}),
    "a refused recipient": register(invalid("email"), NO_MAILBOX),
    "a mail that is not sent": register(NOT_SENT, NOT_NOW),
    "a database that is locked": register(LOCKED, during=lambda built: refusing(built, "INSERT INTO user")),
}

OF_VERIFY = {
    "a link": verify(lambda scene: scene.link, signals=(ACTIVATED,)),
    "a link with more parameters": verify(
        lambda scene: {**scene.link, "utm_source": "mail", "email": "eve@example.com"}, signals=(ACTIVATED,)
    ),
    "a repetition": verify(lambda scene: scene.link, None, verify_once),
    "a repetition for one use": verify(
        lambda scene: scene.link, BAD_LINK, verify_once, settings={"REGISTER_VERIFICATION_ONE_TIME_USE": True}
    ),
    "a tampered link": verify(lambda scene: changed(scene.link, timestamp=str(scene.clock.time + 1)), BAD_LINK),
    "an unknown account": verify(lambda scene: changed(scene.link, user_id="7"), BAD_LINK),
    "no key": verify(lambda scene: changed(scene.link, user_id="01"), BAD_LINK),
    "an old link": verify(lambda scene: scene.link, OLD_LINK, later(WEEK + 1)),
    "no link": verify(lambda _: {}, invalid("user_id", "timestamp", "signature")),
    "a part of a link": verify(lambda scene: {"user_id": scene.link["user_id"]}, invalid("timestamp", "signature")),
    "a link with NUL": verify(lambda scene: changed(scene.link, user_id="1\0"), invalid("user_id")),
    "a link of an address that has changed": verify(lambda scene: scene.link, BAD_LINK, change_the_address),
    "a link while the database is locked": verify(
        lambda scene: scene.link, LOCKED, during=lambda built: refusing(built, "UPDATE user")
    ),
    "verification off": Case("verify", lambda _: {}, OFF, settings={"REGISTER_VERIFICATION_ENABLED": False}),
}


def resend(refusal: Refusal = None, *before: Step, email: str = ANN, mails: int = 0) -> Case:
    return Case("resend", lambda _: {"email": email}, refusal, mails, (), before, WITH_RESEND)


OF_RESEND = {
    "a due mail": resend(None, account(), mails=1),
    "a mail that is not due": resend(None, account(), ask_for_mail),
    "a mail that is due again": resend(None, account(), ask_for_mail, later(61), mails=1),
    "an unknown address": resend(None),
    "a verified account": resend(None, sign_up, verify_once),
    "no address": resend(invalid("email"), email="ann"),
    "an empty address": resend(invalid("email"), email=""),
    "a refused recipient": resend(invalid("email"), account(), NO_MAILBOX),
    "a mail that is not sent": resend(NOT_SENT, account(), NOT_NOW),
    "switched off": Case("resend", lambda _: {"email": ANN}, OFF),
}


def first(refusal: Refusal = None, *before: Step, **options: Any) -> Case:
    """Make a case of a sign-up with e-mail first."""
    sent = {"email": ANN, **options.pop("sent", {})}
    settings = {**CODES, **options.pop("settings", {})}
    return Case("register", lambda _: sent, refusal, before=before, settings=settings, **options)


OF_EMAIL_FIRST = {
    "a free address": first(mails=1),
    "a taken address": first(None, account(), mails=1),
    "a mail that is not due": first(None, ask_for_mail),
    "no address": first(invalid("email"), sent={"email": "ann"}),
    "an unknown field": first(invalid("username"), sent={"username": "ann"}),
    "a refused recipient": first(invalid("email"), NO_MAILBOX),
    "a mail that is not sent": first(NOT_SENT, NOT_NOW),
    "flow off": first(OFF, settings={"REGISTER_FLOW_ENABLED": False}),
}


def check_link(
    change: Callable[[dict[str, str]], Mapping[str, object]],
    refusal: Refusal = None,
    *before: Step,
) -> Case:
    return Case(
        "check_link",
        lambda scene: change(scene.link),
        refusal,
        before=(ask_for_mail, *before),
        settings=EMAIL_FIRST,
    )


OF_CHECK_LINK = {
    "a link": check_link(lambda link: {**link, "utm_source": "mail"}),
    "a tampered link": check_link(lambda link: changed(link, timestamp="1"), BAD_LINK),
    "an old link": check_link(dict, OLD_LINK, later(WEEK + 1)),
    "a spent link": check_link(dict, BAD_LINK, verify_once),
    "no link": check_link(lambda _: {}, invalid("user_id", "timestamp", "signature")),
    "accounts at sign-up": Case("check_link", lambda _: {}, OFF),
}


def complete(
    proof: Callable[[Scene], Mapping[str, object]],
    refusal: Refusal = None,
    *before: Step,
    sent: Mapping[str, object] | None = None,
    **options: Any,
) -> Case:
    """Make a case of the second step with e-mail first: what proves the address, and the account's fields."""
    return Case(
        "verify",
        lambda scene: {**scene.fields, **proof(scene), **(sent or {})},
        refusal,
        before=(ask_for_mail, *before),
        settings={**CODES, **options.pop("settings", {})},
        signals=() if refusal else (REGISTERED, ACTIVATED),
        **options,
    )


def by_link(scene: Scene) -> Mapping[str, object]:
    return scene.link


def by_code(scene: Scene) -> Mapping[str, object]:
    return scene.by_code


def by_wrong_code(scene: Scene) -> Mapping[str, object]:
    return changed(scene.by_code, code=wrong(scene.by_code["code"]))


NAME_TAKEN = account(email="bob@example.com", username="ann")
FAULTS = {"username": "", "password": "short", "password_confirm": "other"}
AT_FIELDS = invalid("username", "password", "password_confirm")

OF_COMPLETION = {
    "a link": complete(by_link),
    "a link with the address and more": complete(by_link, sent={"email": "Ann@example.com", "utm_source": "mail"}),
    "a link with another address": complete(by_link, invalid("email"), sent={"email": "eve@example.com"}),
    "a link with faults": complete(by_link, AT_FIELDS, sent=FAULTS),
    "a link with a taken name": complete(by_link, invalid("username"), NAME_TAKEN),
    "a link of an address that is taken now": complete(by_link, invalid("email"), account()),
    "a tampered link": complete(lambda scene: changed(scene.link, timestamp="1"), BAD_LINK),
    "an old link": complete(by_link, OLD_LINK, later(WEEK + 1)),
    "a spent link": complete(by_link, BAD_LINK, verify_once),
    "flow off": Case(
        "verify",
        lambda _: {"user_id": str(UUID(int=0)), "timestamp": "1", "signature": "x"},
        OFF,
        settings={**CODES, "REGISTER_FLOW_ENABLED": False},
    ),
    "a code": complete(by_code),
    "a code with blanks": complete(lambda scene: {**scene.by_code, "code": " ".join(scene.by_code["code"])}),
    "a wrong code": complete(by_wrong_code, BAD_CODE),
    "a wrong code with faults": complete(by_wrong_code, AT_FIELDS, sent=FAULTS),
    "a used-up code": complete(by_code, BAD_CODE, use_the_code_up),
    "an old code": complete(by_code, BAD_CODE, later(901)),
    "a spent code": complete(by_code, BAD_CODE, verify_once),
    "no code": complete(by_code, invalid("code"), sent={"code": "12a"}),
    "a code of an unknown address": complete(by_code, BAD_CODE, sent={"email": "eve@example.com"}),
    "a code with a taken name": complete(by_code, invalid("username"), NAME_TAKEN),
    "both proofs": complete(lambda scene: {**scene.link, **scene.by_code}, invalid("_schema")),
    "neither proof": complete(lambda _: {}, invalid("_schema")),
    "a code while the database is locked": complete(
        by_code,
        LOCKED,
        during=lambda built: refusing(built, "INSERT INTO user"),
    ),
}

CASES = {
    f"{title}: {name}": case
    for title, cases in {
        "register": OF_REGISTER,
        "verify": OF_VERIFY,
        "resend": OF_RESEND,
        "e-mail first": OF_EMAIL_FIRST,
        "check-link": OF_CHECK_LINK,
        "completion": OF_COMPLETION,
    }.items()
    for name, case in cases.items()
}


@pytest.fixture
def play(build: Builder, clock: Clock, caplog: pytest.LogCaptureFixture) -> Callable[[Case, str], Seen]:
    """Play a case at one door, in an app of its own."""
    start = clock.time

    def play(case: Case, door: str) -> Seen:
        clock.time = start
        with RecordingServer() as smtp:
            built = build(
                case.model,
                mail=smtp,
                registration=dict(case.settings),
                pending=not {*EMAIL_FIRST, *WITH_RESEND}.isdisjoint(case.settings),
            )
            add_forms(built)
            scene = Scene(built, smtp, clock)
            for step in case.before:
                step(scene)
            data = case.data(scene)
            with watched(built, smtp, caplog) as seen, case.during(built):
                seen.answer = DOORS[door](built, case.call, data)
        return seen

    return play


@pytest.mark.parametrize("name", CASES)
def test_every_door_does_the_same_for_the_same_data(play: Callable[[Case, str], Seen], name: str) -> None:
    case = CASES[name]
    seen = {door: play(case, door) for door in case.doors}
    for door, each in seen.items():
        assert {type(request) for request in each.requests} <= {type(None) if door == "script" else Request}
        each.requests.clear()
    expected = seen["json"]
    assert {door: each for door, each in seen.items() if each != expected} == {}, expected
    assert (len(expected.mails), tuple(name for name, *_ in expected.signals)) == (case.mails, case.signals)
    refusal: Refusal = None
    if expected.answer is not None:
        status, body = expected.answer
        refusal = status, body["code"], set(body.get("errors", {}))
        faults = [level for level, text in expected.logged if text.startswith(f"{body['code']}: ")]
        assert faults == ["ERROR"] * (status == 503)
    assert refusal == case.refusal


# What a call gives


def test_a_call_returns_the_stored_account_without_another_statement(build: Builder, smtp: RecordingServer) -> None:
    built = build()
    with built.app.app_context(), recorded(built.engine) as statements:
        user = built.registration.register(built.body())
        assert statements.queries == ["INSERT"]
        assert (user.email, user.username, user.email_verified_at) == (ANN, "ann", None)
        assert inspect(user).persistent
        assert statements.queries == ["INSERT"]
        statements.clear()
        verified = built.registration.verify(values_of(link_in(smtp.message)))
        assert statements.queries == ["SELECT", "UPDATE"]
        assert verified is user
        assert user.email_verified_at is not None
        assert statements.queries == ["SELECT", "UPDATE"]
        user.username = "eve"
        built.db.session.commit()
    assert built.row()["username"] == "eve"


class Unasked(DefaultUserProfileSerializer):
    """Shows nobody anything."""

    def dump(self, *_: object, **__: object) -> Any:
        raise AssertionError("nobody asked for it")


def test_with_e_mail_first_the_account_is_returned_and_never_dumped(build: Builder, smtp: RecordingServer) -> None:
    built = build(registration={**EMAIL_FIRST, "REGISTER_OUTPUT_SERIALIZER_CLASS": Unasked}, pending=True)
    with built.app.app_context():
        assert built.registration.register({"email": "Ann@BÜCHER.example"}) is None
        link = values_of(link_in(smtp.message))
        assert built.registration.check_link(link) == "ann@bücher.example"
        user = built.registration.verify({**built.body(email=OMITTED), **link})
        assert (user.id, user.email, inspect(user).persistent) == (1, "ann@bücher.example", True)


@pytest.mark.parametrize("is_request", [False, True])
def test_a_refusal_speaks_the_current_language(build: Builder, is_request: bool) -> None:
    built = build(before_init=lambda app: Babel(app, default_locale="de"))
    with built.app.test_request_context() if is_request else built.app.app_context():
        with pytest.raises(InvalidInput) as refused:
            built.registration.register({})
        with pytest.raises(SignatureInvalid) as invalid:
            built.registration.verify({"user_id": "1", "timestamp": "1", "signature": "x"})
        detail, told = invalid.value.detail, refused.value.as_dict()
    answers = (
        built.post(REGISTER, {}).get_json(),
        built.post(VERIFY, dict.fromkeys(("user_id", "timestamp", "signature"), "1")).get_json(),
    )
    assert (told, {"code": "signature-invalid", "detail": detail}) == answers
    assert str(invalid.value) == "The link is not valid." != detail


@pytest.mark.parametrize("is_request", [False, True])
def test_a_sender_may_carry_the_very_mails_that_the_package_sends(
    build: Builder, smtp: RecordingServer, clock: Clock, is_request: bool
) -> None:
    carried: list[VerificationMail] = []
    render = RestRegistration(endpoints=False)  # any object will do: it works for the current app

    def link(request: Request | None, row: object) -> None:
        carried.append(render.verification_mail(row))

    def notice(request: Request | None, row: object) -> None:
        carried.append(render.existing_account_mail(row))

    asked: list[str] = []

    def build_context(request: Request | None, row: Any, context: dict[str, object]) -> dict[str, object]:
        asked.append(row.email)
        return context

    # Both mails are rendered for either address: else hooks would tell a stranger which one has an account.
    shared = {**CODES, "SITE_NAME": "The Shop", "VERIFICATION_TEMPLATE_CONTEXT_BUILDER": build_context}
    shared["VERIFICATION_URL_BUILDER"] = lambda signer: f"https://shop.example/?{urlencode(signer.get_signed_data())}"
    own = {"REGISTER_VERIFICATION_EMAIL_SENDER": link, "REGISTER_EXISTING_EMAIL_SENDER": notice}
    for senders in ({**own, "REGISTER_VERIFICATION_URL": None}, {}):
        built = build(registration={**shared, **senders}, pending=True)
        add_account(built, "bob@example.com")
        for address in (ANN, "bob@example.com"):
            with built.app.test_request_context() if is_request else built.app.app_context():
                built.registration.register({"email": address})
    assert [masked(each.as_email_message()) for each in carried] == [masked(each) for each in smtp.messages]
    assert [each.recipient for each in carried] == [ANN, "bob@example.com"]
    assert asked == [ANN, "bob@example.com"] * 2


# Transactions


@pytest.mark.parametrize("how", ["added", "flushed", "executed"])
@pytest.mark.parametrize("name", ["ann", "bob"])
def test_what_the_application_left_pending_is_stored_or_refused_with_the_account(
    build: Builder, how: str, name: str
) -> None:
    built = build(with_notes)
    add_account(built, "bob@example.com", "bob")
    with built.app.app_context():
        session, note = built.db.session, built.User.Note
        if how == "executed":
            session.execute(note.__table__.insert().values(text="its own"))
        else:
            session.add(note(text="its own"))
        if how == "flushed":
            session.flush()
        with pytest.raises(InvalidInput) if name == "bob" else nullcontext():
            built.registration.register(built.body(username=name))
    with built.app.app_context():
        texts = built.db.session.scalars(select(built.User.Note.text)).all()
    assert (texts, len(built.rows())) == (([], 1) if name == "bob" else (["its own"], 2))


def test_a_broken_row_of_the_application_is_its_own_fault_and_no_mail_goes_out(
    build: Builder, smtp: RecordingServer
) -> None:
    built = build(with_notes)
    for expected in (nullcontext(), pytest.raises(exc.IntegrityError)):
        with built.app.app_context(), expected:
            built.db.session.add(built.User.Note(id=1, text="twice"))
            built.registration.register(built.body())
    assert (len(built.rows()), len(smtp.messages)) == (1, 1)


@pytest.mark.parametrize("begin", ["begin", "begin_nested"])
@pytest.mark.parametrize("is_first", [True, False])  # from the first call on it is known what was written in a session
@pytest.mark.parametrize("has_written", [True, False])
def test_a_call_inside_a_transaction_of_a_with_block_stores_and_sends_nothing(
    build: Builder, smtp: RecordingServer, begin: str, is_first: bool, has_written: bool
) -> None:
    built = build()
    if not is_first:
        built.registration.register_schema(built.app)
    refused = pytest.raises(ConfigurationError, match="Fix: call it before or after the block")
    with built.app.app_context(), refused, getattr(built.db.session, begin)():
        if has_written:
            built.db.session.add(built.User(email="bob@example.com", username="bob", password_hash="x"))
            built.db.session.flush()
        built.registration.register(built.body())
    assert (built.rows(), smtp.messages) == ([], [])


def test_of_16_threads_that_call_with_one_link_exactly_one_activates(
    build: Builder, smtp: RecordingServer, activations: list[Any]
) -> None:
    built = build_variant(build)
    built.register()
    link = values_of(link_in(smtp.message))

    def verify(_: int) -> str:
        with built.app.app_context():
            return str(built.registration.verify(link).email)

    outcome = at_once(16, verify)
    assert (outcome.errors, outcome.results, len(activations)) == ([], [ANN] * 16, 1)


# Hooks and signals


@pytest.mark.parametrize("testing", [True, False])
def test_a_receiver_that_raises_undoes_nothing_and_is_raised_on_in_tests_only(
    build: Builder, smtp: RecordingServer, caplog: pytest.LogCaptureFixture, testing: bool
) -> None:
    built = build(config={"TESTING": testing})
    reached: list[str] = []

    def fail(sender: Flask, user: Any, **_: object) -> None:
        raise LookupError("a mistake")

    def reach(sender: Flask, user: Any, **_: object) -> None:
        reached.append(user.email)

    with ExitStack() as stack:
        for signal, receiver in product((user_registered, user_activated), (fail, reach)):
            stack.enter_context(signal.connected_to(receiver, built.app))
        for name in ("register", "verify"):
            data = values_of(link_in(smtp.message)) if name == "verify" else built.body()
            raised = pytest.raises(LookupError) if testing else nullcontext()
            with built.app.app_context(), raised:
                getattr(built.registration, name)(data)
    assert reached == [ANN, ANN]
    assert built.row()["email_verified_at"] is not None
    assert caplog.text.count("LookupError: a mistake") == 2


def test_a_sender_that_raises_is_logged_once_without_what_the_form_had(
    build: Builder, caplog: pytest.LogCaptureFixture
) -> None:
    def send(request: Request | None, user: Any) -> None:
        raise OverflowError(f"cannot send {dict(request.form if request else {})} to {user.email} {user.password_hash}")

    built = build(registration={"REGISTER_VERIFICATION_EMAIL_SENDER": send})
    add_forms(built)
    data = built.body(username="annabella")
    with built.app.app_context(), pytest.raises(EmailNotSent):
        built.registration.register(data)
    answer = post_form(built.client(), "register", data)
    assert (answer.status_code, answer.get_json()["code"]) == (503, "email-not-sent")
    errors = [record.getMessage() for record in caplog.records if record.name == built.app.name]
    assert [error.startswith("email-not-sent: ") and "OverflowError" in error for error in errors] == [True, True]
    assert not [each for each in (PASSWORD, ANN, "annabella", "pbkdf2") if each in caplog.text]
    assert built.rows() == []


@pytest.mark.parametrize(
    ("encode", "kind"),
    [
        (json.dumps, "json"),
        (partial(json.dumps, ensure_ascii=False), "json"),
        (urlencode, "x-www-form-urlencoded"),
        (lambda body: urlencode(body, safe="*").replace("~", "%7E"), "x-www-form-urlencoded"),  # as browsers do
    ],
)
def test_a_sender_that_quotes_the_body_as_it_was_sent_leaks_no_password(
    build: Builder, caplog: pytest.LogCaptureFixture, encode: Callable[[object], str], kind: str
) -> None:
    def send(_: Request | None, user: Any) -> None:
        body = request.get_data()
        raise OverflowError(f"cannot send {body!r} {body.decode()} {body.decode()!r} as {request.mimetype}")

    built = build(registration={"REGISTER_VERIFICATION_EMAIL_SENDER": send})

    @built.app.post("/sign-up")
    def sign_up() -> ResponseReturnValue:
        body = request.get_data()  # which keeps it
        built.registration.register(request.get_json() if request.is_json else request.form)
        return body

    body = encode(built.body(password='violet "anchor" \\47 t~u*n/dra é'))
    with pytest.raises(EmailNotSent):
        built.client().post("/sign-up", data=body.encode(), content_type=f"application/{kind}")
    assert f"as application/{kind}" in caplog.text
    assert [word for word in ("violet", "anchor", "dra") if word in caplog.text] == []


@pytest.mark.parametrize("place", ["script", "view", "async view"])
def test_hooks_and_receivers_may_be_coroutine_functions(
    build: Builder, smtp: RecordingServer, activations: list[Any], place: str
) -> None:
    logged_in: list[str] = []

    async def log_in(request: Request, user: Any) -> None:
        logged_in.append(user.email)

    async def send(request: Request | None, user: Any) -> None:
        mails.append(current_app.extensions["calls"].verification_mail(user))

    async def receive(sender: Flask, user: Any, **_: object) -> None:
        logged_in.append("received")

    mails: list[Any] = []
    hooks = {"REGISTER_VERIFICATION_EMAIL_SENDER": send, "LOGIN_HANDLER": log_in}
    built = build(registration={**hooks, "REGISTER_VERIFICATION_AUTO_LOGIN": True})
    built.app.extensions["calls"] = built.registration

    def sign_up_and_verify() -> str:
        built.registration.register(built.body())
        link = values_of(link_in(mails[0].as_email_message()))
        return str(built.registration.verify(link).email)

    @built.app.post("/async-view")
    async def in_coroutine() -> str:
        return await asyncio.to_thread(sign_up_and_verify)  # where no loop runs that the hooks' one would block

    built.app.add_url_rule("/view", view_func=sign_up_and_verify, methods=["POST"])
    with user_activated.connected_to(receive, built.app):
        if place == "script":
            with built.app.app_context():
                assert sign_up_and_verify() == ANN
        else:
            assert built.client().post(f"/{place.replace(' ', '-')}").text == ANN
    assert logged_in == (["received"] if place == "script" else ["received", ANN])
    assert [user.email for user in activations] == [ANN]


# Logging in


@pytest.fixture
def with_login(build: Builder, smtp: RecordingServer) -> Callable[..., tuple[Built, dict[str, str]]]:
    """Build an app that logs in who verifies, and return it with a link."""

    def make(**registration: object) -> tuple[Built, dict[str, str]]:
        settings = {"REGISTER_VERIFICATION_AUTO_LOGIN": True, **registration}
        built = build(models.login_user, before_init=LoginManager, registration=settings)
        add_forms(built)

        @built.app.login_manager.user_loader  # type: ignore[attr-defined,untyped-decorator]
        def load(user_id: str) -> Any:
            return built.db.session.get(built.User, int(user_id))

        @built.app.get("/me")
        def me() -> dict[str, object]:
            return {"me": current_user.email if current_user.is_authenticated else None}

        with built.app.app_context():  # and no request, after which a test could add no view
            built.registration.register(built.body())
        return built, values_of(link_in(smtp.messages[-1]))

    return make


WithLogin = Callable[..., tuple[Built, dict[str, str]]]


def me(client: FlaskClient) -> object:
    return client.get("/me").get_json()["me"]


def test_a_call_in_a_request_logs_its_visitor_in_and_nobody_else(with_login: WithLogin) -> None:
    built, link = with_login()
    client, other = built.client(), built.client()
    assert post_form(client, "verify", changed(link, signature="x")).status_code == 400
    assert me(client) is None
    assert [post_form(each, "verify", link).status_code for each in (client, other)] == [204, 204]
    assert [me(client), me(other)] == [ANN, None]


def test_a_script_logs_nobody_in(with_login: WithLogin, caplog: pytest.LogCaptureFixture) -> None:
    handler = Mock()
    built, link = with_login(LOGIN_HANDLER=handler)
    with built.app.app_context():
        assert built.registration.verify(link).email_verified_at is not None
    handler.assert_not_called()
    assert caplog.text == ""


def test_a_login_handler_that_fails_is_logged_and_leaves_nobody_logged_in(
    with_login: WithLogin, caplog: pytest.LogCaptureFixture
) -> None:
    def half_way(request: Request, user: Any) -> None:
        session["_user_id"] = str(user.id)
        g.half_way = True
        raise LookupError("a mistake")

    built, link = with_login(LOGIN_HANDLER=half_way)

    @built.app.after_request
    def look(response: Response) -> Response:
        assert "half_way" not in g
        return response

    client = built.client()
    assert post_form(client, "verify", link).status_code == 204
    assert (me(client), caplog.text.count("LookupError: a mistake")) == (None, 1)
    assert built.row()["email_verified_at"] is not None


def test_a_request_to_another_app_is_no_request_of_the_call(
    with_login: WithLogin, build: Builder, smtp: RecordingServer
) -> None:
    """Its session would log the visitor in there, as whoever has the same key."""
    built, link = with_login()
    outer, _ = with_login()
    requests: list[object] = []

    def note(sender: Flask, request: object, **_: object) -> None:
        requests.append(request)

    @outer.app.get("/nested")
    def nested() -> dict[str, object]:
        with built.app.app_context():
            return {"email": built.registration.verify(link).email}

    client = outer.client()
    with user_activated.connected_to(note, built.app):
        assert client.get("/nested").get_json() == {"email": ANN}
    assert (me(client), requests) == (None, [None])
    assert [each.row()["email_verified_at"] is None for each in (built, outer)] == [False, True]
