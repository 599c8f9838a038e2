"""``POST verify-registration/``: each answer, the flag, the signal and the log-in."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

import pytest
from flask import Flask, Request, abort, request, session
from sqlalchemy import inspect, text, update

from flask_rest_registration import user_activated
from tests.support import models
from tests.support.answers import field_errors, refused
from tests.support.apps import OMITTED, VERIFY, Builder, Built
from tests.support.clock import Clock
from tests.support.links import changed, link_in, values_of, with_other_character
from tests.support.mail_servers import RecordingServer
from tests.support.statements import recorded

pytestmark = pytest.mark.database

Values = dict[str, str]
Handler = Callable[[Request, Any], Mapping[str, object] | None]

SUCCESS = {"detail": "User verified successfully"}
WEEK = 7 * 24 * 3600


def registered(built: Built, smtp: RecordingServer) -> Values:
    """Sign up, and return the values of the link in the mail."""
    assert built.register().status_code == 201
    return values_of(link_in(smtp.message))


def forged(values: Values) -> dict[str, object]:
    return changed(values, signature=with_other_character(values["signature"], 5))


@pytest.fixture(name="built")
def usual_app(build: Builder, clock: Clock) -> Built:
    return build()


@pytest.fixture(name="values")
def values_of_its_link(built: Built, smtp: RecordingServer) -> Values:
    return registered(built, smtp)


# 1: the switch


@pytest.mark.parametrize("body", [b"{}", b"no JSON", b"x" * 100_000])
def test_verification_that_is_disabled_is_404_whatever_is_sent(build: Builder, body: bytes) -> None:
    built = build(registration={"REGISTER_VERIFICATION_ENABLED": False})
    refused(built.post(VERIFY, data=body, content_type="application/json"), 404, "not-found")


def test_a_link_from_before_verification_was_disabled_is_404(
    build: Builder, built: Built, values: Values, smtp: RecordingServer
) -> None:
    without = build(
        database_uri=built.database_uri, registration={"REGISTER_VERIFICATION_ENABLED": False}, tables=False
    )
    refused(without.verify(values), 404, "not-found")
    assert built.row()["email_verified_at"] is None


def test_links_work_on_where_registration_is_disabled(build: Builder, built: Built, values: Values) -> None:
    closed = build(database_uri=built.database_uri, registration={"REGISTER_FLOW_ENABLED": False}, tables=False)
    assert closed.verify(values).get_json() == SUCCESS


# 2: what is refused


def test_a_wrong_signature_a_tampered_value_and_an_unknown_user_get_one_and_the_same_answer_by_the_same_work(
    built: Built, values: Values
) -> None:
    answers, work = set(), set()
    for wrong in (
        forged(values),
        changed(values, timestamp=values["timestamp"][:-1] + "9"),
        changed(values, user_id="2"),
        changed(values, signature=""),
    ):
        with recorded(built.engine) as statements:
            response = built.verify(wrong)
        refused(response, 400, "signature-invalid")
        answers.add((response.data, tuple(sorted(response.headers.items()))))
        work.add(tuple(statements.queries))
    assert len(answers) == 1
    assert work == {("SELECT",)}
    assert built.row()["email_verified_at"] is None


@pytest.mark.parametrize(
    "value",
    [OMITTED, None, True, False, 1.0, [], [1], {}, {"a": "b"}],
    ids=lambda value: "missing" if value is OMITTED else repr(value),
)
@pytest.mark.parametrize("field", ["user_id", "timestamp", "signature"])
def test_a_field_that_is_missing_or_neither_a_string_nor_an_integer_is_named(
    built: Built, values: Values, activations: list[Any], field: str, value: object
) -> None:
    body = {name: given for name, given in changed(values, **{field: value}).items() if given is not OMITTED}
    assert list(field_errors(built.verify(body))) == [field]
    assert built.row()["email_verified_at"] is None
    assert activations == []


def test_a_signature_must_be_a_string(built: Built, values: Values) -> None:
    assert list(field_errors(built.verify(changed(values, signature=1)))) == ["signature"]


def test_all_fields_that_are_missing_are_named(built: Built) -> None:
    assert sorted(field_errors(built.verify({}))) == ["signature", "timestamp", "user_id"]


def test_other_members_are_ignored_as_mail_services_append_their_own(built: Built, values: Values) -> None:
    before = built.row()
    sent = {**values, "utm_source": "mail", "email": "eve@example.com", "password": "new", "code": 5, "id": [2]}
    assert built.verify(sent).get_json() == SUCCESS
    assert {**built.row(), "email_verified_at": None} == before


@pytest.mark.parametrize("value", ["", 0, "0", -1], ids=repr)
@pytest.mark.parametrize("field", ["user_id", "timestamp"])
def test_a_blank_or_empty_value_verifies_nobody(built: Built, values: Values, field: str, value: object) -> None:
    refused(built.verify(changed(values, **{field: value})), 400, "signature-invalid")
    assert built.row()["email_verified_at"] is None


def test_numbers_may_be_sent_as_numbers(built: Built, values: Values) -> None:
    sent = {**values, "user_id": int(values["user_id"]), "timestamp": int(values["timestamp"])}
    assert built.verify(sent).get_json() == SUCCESS


def _not_a_number() -> list[str]:
    spellings = ["01", "+1", "1.0", "1e0", "0x1", "1_0", " 1", "1 ", "1\n", "\t1", "1abc", "١", "１", "²", "½"]
    return [*spellings, "true", "True", "None", "-0", "1' OR '1'='1", "2147483648", str(2**63), "9" * 5000]


def _not_this_uuid(key: str) -> list[str]:
    known = uuid.UUID(key)
    other_spellings = [key.upper(), known.hex, f"{{{key}}}", known.urn, f" {key}", key.replace("-", "‐")]
    return [*other_spellings, str(known.int), str(uuid.UUID(int=0)), "1", "x" * 36]


def _not_this_text(key: str) -> list[str]:
    return [key.upper(), f"{key} ", f" {key}", key[:-1], f"{key}\n", key[:-1] + "_", "%"]


@pytest.mark.parametrize(
    ("model", "spellings"),
    [
        (models.typed, lambda key: _not_a_number()),
        (models.uuid_key, _not_this_uuid),
        (models.string_key, _not_this_text),
    ],
    ids=["integer", "UUID", "text"],
)
def test_a_user_id_must_be_its_own_canonical_text(
    build: Builder, smtp: RecordingServer, model: models.Model, spellings: Callable[[str], list[str]]
) -> None:
    built = build(model)
    values = registered(built, smtp)
    for spelling in spellings(values["user_id"]):
        assert spelling != values["user_id"]
        refused(built.verify(changed(values, user_id=spelling)), 400, "signature-invalid")
    assert built.row()["email_verified_at"] is None
    assert built.verify(values).get_json() == SUCCESS


def test_a_user_id_that_no_column_could_hold_asks_the_database_nothing(built: Built, values: Values) -> None:
    with recorded(built.engine) as statements:
        for spelling in ("1abc", "01", "1 ", str(2**63), -(2**63) - 1, 10**4000):
            refused(built.verify(changed(values, user_id=spelling)), 400, "signature-invalid")
    assert statements.sql == []


@pytest.mark.parametrize("user_id", [-(2**63), -200, 2**63 - 1])
def test_a_user_id_that_a_column_could_hold_is_asked_for(built: Built, values: Values, user_id: int) -> None:
    with recorded(built.engine) as statements:
        refused(built.verify(changed(values, user_id=user_id)), 400, "signature-invalid")
    assert statements.queries == ["SELECT"]


def test_a_true_link_that_is_old_has_expired(built: Built, values: Values, clock: Clock) -> None:
    clock.move(WEEK + 1)
    refused(built.verify(values), 400, "signature-expired")
    refused(built.verify(forged(values)), 400, "signature-invalid")
    assert built.row()["email_verified_at"] is None


# 3: the flag


@pytest.mark.parametrize(
    ("model", "flag", "stored", "in_memory"),
    [
        (models.typed, "email_verified_at", datetime(2023, 11, 14, 22, 13, 20), None),  # noqa: DTZ001
        (models.datetime_flag_with_zone, "confirmed_at", datetime(2023, 11, 14, 22, 13, 20), timezone.utc),  # noqa: DTZ001
        (models.boolean_flag, "email_verified", True, None),
        (models.classic_columns, "is_verified", True, None),
    ],
)
def test_the_flag_is_set_to_true_or_to_the_time_in_utc_without_microseconds(
    build: Builder,
    smtp: RecordingServer,
    clock: Clock,
    activations: list[Any],
    model: models.Model,
    flag: str,
    stored: object,
    in_memory: timezone | None,
) -> None:
    built = build(model)
    values = registered(built, smtp)
    assert built.verify(values).get_json() == SUCCESS
    now_stored = built.row()[flag]
    if isinstance(now_stored, datetime) and now_stored.tzinfo:  # which PostgreSQL alone stores
        now_stored = now_stored.astimezone(timezone.utc).replace(tzinfo=None)
    assert now_stored == stored
    expected = stored.replace(tzinfo=in_memory) if isinstance(stored, datetime) else stored
    assert inspect(activations[0]).dict[flag] == expected


@pytest.mark.parametrize("model", [models.boolean_flag, models.classic_columns])
def test_a_boolean_flag_that_is_null_is_not_set(build: Builder, smtp: RecordingServer, model: models.Model) -> None:
    built = build(model, tables=False)
    flag = "email_verified" if model is models.boolean_flag else "is_verified"
    built.User.__table__.c[flag].nullable = True
    with built.app.app_context():
        built.db.create_all()
    values = registered(built, smtp)
    with built.app.app_context():
        built.db.session.execute(update(built.User).values({flag: None}))
        built.db.session.commit()
    assert built.verify(values).get_json() == SUCCESS
    assert built.row()[flag] is True


def test_nothing_but_the_flag_of_this_account_changes(built: Built, values: Values) -> None:
    assert built.register(email="bob@example.com", username="bob").status_code == 201
    before = built.rows()
    assert built.verify(values).get_json() == SUCCESS
    before[0]["email_verified_at"] = datetime(2023, 11, 14, 22, 13, 20)  # noqa: DTZ001
    assert built.rows() == before


# MariaDB goes on showing a transaction that the application has begun the rows as they were.
@pytest.mark.only_on("sqlite", "postgresql")
@pytest.mark.parametrize(
    ("remembered", "stored", "accepted"),
    [
        ({"email": "ann@example.com"}, {"email": "new@example.com"}, False),
        ({"email": "new@example.com"}, {"email": "ann@example.com"}, True),
        ({"email_verified_at": datetime(2020, 1, 1)}, {"email_verified_at": None}, True),  # noqa: DTZ001
    ],
    ids=["a changed address", "an address changed back", "a withdrawn verification"],
)
def test_a_row_is_read_as_it_is_and_not_as_the_session_remembers_it(
    built: Built,
    values: Values,
    activations: list[Any],
    remembered: dict[str, object],
    stored: dict[str, object],
    accepted: bool,
) -> None:
    table = built.User.__table__
    with built.app.app_context():
        with built.engine.begin() as other:
            other.execute(update(table).values(remembered))
        known = built.db.session.get_one(built.User, 1)
        with built.engine.begin() as other:
            other.execute(update(table).values(stored))
        assert {name: getattr(known, name) for name in remembered} == remembered
        response = built.verify(values)
    assert response.status_code == (200 if accepted else 400)
    assert (built.row()["email_verified_at"] is not None) == (len(activations) == 1) == accepted


# 4: the signal, and the same link again


@pytest.mark.parametrize("wait", [0, 60, WEEK])
def test_repeating_a_link_is_harmless(
    built: Built, values: Values, clock: Clock, activations: list[Any], wait: int
) -> None:
    assert built.verify(values).get_json() == SUCCESS
    row = built.row()
    clock.move(wait)
    with recorded(built.engine) as statements:
        assert built.verify(values).get_json() == SUCCESS
    assert statements.queries == ["SELECT"]
    assert built.row() == row
    assert len(activations) == 1


def test_repeating_an_expired_link_is_refused_as_expired(built: Built, values: Values, clock: Clock) -> None:
    built.verify(values)
    clock.move(WEEK + 1)
    refused(built.verify(values), 400, "signature-expired")


@pytest.mark.parametrize("model", [models.typed, models.boolean_flag])
def test_a_one_time_link_is_refused_like_a_wrong_one_when_it_is_repeated(
    build: Builder, smtp: RecordingServer, activations: list[Any], model: models.Model
) -> None:
    built = build(model, registration={"REGISTER_VERIFICATION_ONE_TIME_USE": True})
    values = registered(built, smtp)
    assert built.verify(values).get_json() == SUCCESS
    repeated = built.verify(values)
    refused(repeated, 400, "signature-invalid")
    assert repeated.data == built.verify(forged(values)).data
    assert len(activations) == 1


def test_a_repetition_counts_only_for_the_signed_address(built: Built, values: Values) -> None:
    assert built.verify(values).get_json() == SUCCESS
    with built.app.app_context():
        built.db.session.execute(update(built.User).values(email="new@example.com"))
        built.db.session.commit()
    refused(built.verify(values), 400, "signature-invalid")


def test_an_account_that_was_verified_by_hand_answers_as_a_repetition(
    built: Built, values: Values, activations: list[Any]
) -> None:
    at = datetime(2020, 1, 1)  # noqa: DTZ001
    with built.app.app_context():
        built.db.session.execute(update(built.User).values(email_verified_at=at))
        built.db.session.commit()
    assert built.verify(values).get_json() == SUCCESS
    assert (built.row()["email_verified_at"], activations) == (at, [])


@pytest.mark.parametrize("model", [models.typed, models.boolean_flag, models.datetime_flag_with_zone, models.uuid_key])
def test_the_user_that_receivers_get_is_persistent_not_expired_and_has_the_flags_new_value(
    build: Builder, smtp: RecordingServer, model: models.Model
) -> None:
    built = build(model)
    seen: list[object] = []

    def look(sender: Flask, user: Any, request: Request) -> None:
        with recorded(built.engine) as statements:
            values = {attribute.key: getattr(user, attribute.key) for attribute in inspect(user).mapper.column_attrs}
        flag = next(values[name] for name in ("email_verified_at", "email_verified", "confirmed_at") if name in values)
        seen.append((inspect(user).persistent, user in built.db.session, bool(flag), statements.queries))

    values = registered(built, smtp)
    with user_activated.connected_to(look, built.app):
        built.verify(values)
    assert seen == [(True, True, True, [])]


# 5: the log-in


def auto_login(build: Builder, handler: Handler, **config: object) -> Built:
    """Build an app that logs in by ``handler``."""
    settings = {"REGISTER_VERIFICATION_AUTO_LOGIN": True, "LOGIN_HANDLER": handler}
    return build(registration=settings, config=config)


def test_without_auto_login_the_handler_is_not_called(build: Builder, smtp: RecordingServer) -> None:
    calls: list[object] = []
    built = build(registration={"LOGIN_HANDLER": lambda request, user: calls.append(user)})
    assert built.verify(registered(built, smtp)).get_json() == SUCCESS
    assert calls == []


def test_only_the_activating_request_logs_in(build: Builder, smtp: RecordingServer, clock: Clock) -> None:
    built = auto_login(build, lambda request, user: {"token": f"token of {user.email}"})
    values = registered(built, smtp)
    refused(built.verify(forged(values)), 400, "signature-invalid")
    assert built.verify(values).get_json() == {**SUCCESS, "token": "token of ann@example.com"}
    assert built.verify(values).get_json() == SUCCESS
    clock.move(WEEK + 1)
    refused(built.verify(values), 400, "signature-expired")


def test_an_account_that_was_verified_by_hand_is_not_logged_in(build: Builder, smtp: RecordingServer) -> None:
    built = auto_login(build, lambda request, user: {"token": "x"})
    values = registered(built, smtp)
    with built.app.app_context():
        built.db.session.execute(update(built.User).values(email_verified_at=datetime(2020, 1, 1)))  # noqa: DTZ001
        built.db.session.commit()
    assert built.verify(values).get_json() == SUCCESS


def test_the_log_in_comes_after_the_signal_and_the_commit(build: Builder, smtp: RecordingServer) -> None:
    log: list[str] = []

    def handler(request: Request, user: Any) -> None:
        log.append("log-in")

    def receiver(sender: Flask, **_: object) -> None:
        log.append("signal")

    built = auto_login(build, handler)
    values = registered(built, smtp)
    with recorded(built.engine) as statements, user_activated.connected_to(receiver, built.app):
        assert built.verify(values).get_json() == SUCCESS
    assert log == ["signal", "log-in"]
    assert statements.kinds[-1] == "COMMIT"


def test_the_handler_gets_the_real_request_and_the_verified_user(build: Builder, smtp: RecordingServer) -> None:
    seen: list[object] = []

    def handler(given: Request, user: Any) -> None:
        with recorded(built.engine) as statements:
            verified = user.email_verified_at is not None and user.username == "ann"
        seen.append((type(given), given.path == request.path, verified, inspect(user).persistent, statements.queries))

    built = auto_login(build, handler)
    built.verify(registered(built, smtp))
    assert seen == [(Request, True, True, True, [])]


def test_a_handler_may_open_a_session(build: Builder, smtp: RecordingServer) -> None:
    def handler(request: Request, user: Any) -> None:
        session["user"] = user.id

    built = auto_login(build, handler)
    response = built.verify(registered(built, smtp))
    assert response.get_json() == SUCCESS
    assert "session" in response.headers["Set-Cookie"]


def _raises(request: Request, user: Any) -> None:
    raise RuntimeError("the token server is away")


def _aborts(request: Request, user: Any) -> None:
    abort(403)


def _gives_a_text(request: Request, user: Any) -> Any:
    return "token"


def _gives_what_is_no_json(request: Request, user: Any) -> dict[str, object]:
    return {"token": object()}


@pytest.mark.parametrize("testing", [True, False])
@pytest.mark.parametrize("handler", [_raises, _aborts, _gives_a_text, _gives_what_is_no_json])
def test_a_handler_that_raises_or_refuses_is_logged_and_the_answer_stays_200_without_its_part(
    build: Builder, smtp: RecordingServer, caplog: pytest.LogCaptureFixture, handler: Handler, testing: bool
) -> None:
    def opens_a_session_first(request: Request, user: Any) -> Mapping[str, object] | None:
        session["user"] = user.id
        return handler(request, user)

    built = auto_login(build, opens_a_session_first, TESTING=testing)
    values = registered(built, smtp)
    client = built.client()
    response = client.post(f"{built.url_prefix}/{VERIFY}", json=values)
    assert (response.status_code, response.get_json()) == (200, SUCCESS)
    assert client.get_cookie("session") is None
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert built.row()["email_verified_at"] is not None


def test_a_handler_that_fails_leaves_the_visitors_session_as_it_was(build: Builder, smtp: RecordingServer) -> None:
    def half_way(request: Request, user: Any) -> None:
        session.update(user=user.id, language="of the account")
        raise RuntimeError

    built = auto_login(build, half_way)
    values = registered(built, smtp)
    client = built.client()
    with client.session_transaction() as visitors:
        visitors["language"] = "nb"
    assert client.post(f"{built.url_prefix}/{VERIFY}", json=values).get_json() == SUCCESS
    with client.session_transaction() as visitors:
        assert dict(visitors) == {"language": "nb"}


def test_a_handler_that_fails_inside_a_flush_leaves_a_database_session_that_works(
    build: Builder, smtp: RecordingServer
) -> None:
    def twice_the_same(request: Request, user: Any) -> None:
        built.db.session.add(built.User(email=user.email, username="twin", password_hash="x"))
        built.db.session.flush()

    built = auto_login(build, twice_the_same)
    counted: list[int] = []

    @built.app.after_request
    def count(response: Any) -> Any:
        counted.append(built.db.session.query(built.User).count())
        return response

    assert built.verify(registered(built, smtp)).get_json() == SUCCESS
    assert counted == [1, 1]


def test_a_receiver_that_raises_does_not_keep_from_logging_in(build: Builder, smtp: RecordingServer) -> None:
    def receiver(sender: Flask, **_: object) -> None:
        raise RuntimeError

    built = auto_login(build, lambda request, user: {"token": f"of {user.email}"}, TESTING=False)
    values = registered(built, smtp)
    with user_activated.connected_to(receiver, built.app):
        assert built.verify(values).get_json() == {**SUCCESS, "token": "of ann@example.com"}


@pytest.mark.only_on("sqlite")
def test_an_update_that_the_database_passes_over_is_no_verification(
    built: Built, values: Values, activations: list[Any]
) -> None:
    with built.app.app_context():
        built.db.session.execute(text('CREATE TRIGGER frozen BEFORE UPDATE ON "user" BEGIN SELECT RAISE(IGNORE); END'))
        built.db.session.commit()
    refused(built.verify(values), 400, "signature-invalid")
    assert (built.row()["email_verified_at"], activations) == (None, [])
