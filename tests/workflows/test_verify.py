"""``POST verify-registration/``: each answer, the flag, the signal and the log-in."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

import pytest
from flask import Flask, Request, request, session
from sqlalchemy import inspect, update

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
IN_2020 = datetime(2020, 1, 1)  # noqa: DTZ001
STOPPED = datetime(2023, 11, 14, 22, 13, 20)  # noqa: DTZ001  what the clock shows


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


def test_verification_that_is_disabled_is_404_whatever_is_sent(build: Builder, built: Built, values: Values) -> None:
    off = {"REGISTER_VERIFICATION_ENABLED": False}
    without = build(database_uri=built.database_uri, registration=off, tables=False)
    for body in (b"{}", b"no JSON", b"x" * 100_000):
        refused(without.post(VERIFY, data=body, content_type="application/json"), 404, "not-found")
    refused(without.verify(values), 404, "not-found")
    assert built.row()["email_verified_at"] is None


def test_links_work_on_where_registration_is_disabled(build: Builder, built: Built, values: Values) -> None:
    closed = build(database_uri=built.database_uri, registration={"REGISTER_FLOW_ENABLED": False}, tables=False)
    assert closed.verify(values).get_json() == SUCCESS


def test_all_untrue_links_get_one_answer_by_the_same_work(built: Built, values: Values) -> None:
    answers, work = set(), set()
    later = values["timestamp"][:-1] + "9"
    for changes in (forged(values), {"timestamp": later}, {"user_id": "2"}, {"signature": ""}):
        with recorded(built.engine) as statements:
            response = built.verify(changed(values, **changes))
        refused(response, 400, "signature-invalid")
        answers.add((response.data, tuple(sorted(response.headers.items()))))
        work.add(tuple(statements.queries))
    assert len(answers) == 1
    assert work == {("SELECT",)}
    assert built.row()["email_verified_at"] is None


@pytest.mark.parametrize("field", ["user_id", "timestamp", "signature"])
def test_a_field_that_is_missing_or_no_text_is_named(
    built: Built, values: Values, activations: list[Any], field: str
) -> None:
    wrong = [OMITTED, None, True, False, 1.0, [], [1], {}, {"a": "b"}]
    for value in [*wrong, 1] if field == "signature" else wrong:  # the others may be integers
        body = {name: given for name, given in changed(values, **{field: value}).items() if given is not OMITTED}
        assert list(field_errors(built.verify(body))) == [field]
    assert sorted(field_errors(built.verify({}))) == ["signature", "timestamp", "user_id"]
    assert (built.row()["email_verified_at"], activations) == (None, [])


def test_a_blank_or_empty_value_verifies_nobody(built: Built, values: Values) -> None:
    for field in ("user_id", "timestamp"):
        for value in ("", 0, "0", -1):
            refused(built.verify(changed(values, **{field: value})), 400, "signature-invalid")
    assert built.row()["email_verified_at"] is None


def test_numbers_may_be_sent_as_numbers(built: Built, values: Values) -> None:
    sent = {**values, "user_id": int(values["user_id"]), "timestamp": int(values["timestamp"])}
    assert built.verify(sent).get_json() == SUCCESS


def _not_a_number(key: str) -> list[str]:
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
    [(models.typed, _not_a_number), (models.uuid_key, _not_this_uuid), (models.string_key, _not_this_text)],
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


def test_a_user_id_is_asked_for_only_if_a_column_could_hold_it(built: Built, values: Values) -> None:
    cases: list[tuple[str | int, list[str]]] = [
        *((spelling, []) for spelling in ("1abc", "01", "1 ", str(2**63), -(2**63) - 1, 10**4000)),
        *((number, ["SELECT"]) for number in (-(2**63), -200, 2**63 - 1)),
    ]
    for user_id, queries in cases:
        with recorded(built.engine) as statements:
            refused(built.verify(changed(values, user_id=user_id)), 400, "signature-invalid")
        assert statements.queries == queries


@pytest.mark.parametrize(
    ("model", "flag", "expected"),
    [
        (models.typed, "email_verified_at", STOPPED),
        (models.datetime_flag_with_zone, "confirmed_at", STOPPED.replace(tzinfo=timezone.utc)),
        (models.boolean_flag, "email_verified", True),
        (models.classic_columns, "is_verified", True),
    ],
)
@pytest.mark.usefixtures("clock")
def test_the_flag_is_true_or_the_time_in_utc_without_microseconds(
    build: Builder, smtp: RecordingServer, activations: list[Any], model: models.Model, flag: str, expected: Any
) -> None:
    built = build(model)
    assert built.verify(registered(built, smtp)).get_json() == SUCCESS
    assert inspect(activations[0]).dict[flag] == expected
    stored = built.row()[flag]
    if isinstance(stored, datetime) and stored.tzinfo:  # which PostgreSQL alone stores
        stored = stored.astimezone(timezone.utc).replace(tzinfo=None)
    assert stored == (True if expected is True else STOPPED)


def test_only_the_flag_of_this_account_changes_whatever_else_is_sent(built: Built, values: Values) -> None:
    assert built.register(email="bob@example.com", username="bob").status_code == 201
    before = built.rows()
    sent = {**values, "utm_source": "mail", "email": "eve@example.com", "password": "new", "code": 5, "id": [2]}
    assert built.verify(sent).get_json() == SUCCESS
    before[0]["email_verified_at"] = STOPPED
    assert built.rows() == before


# MariaDB goes on showing a transaction that the application has begun the rows as they were.
@pytest.mark.only_on("sqlite", "postgresql")
@pytest.mark.parametrize(
    ("remembered", "stored", "accepted"),
    [
        ({"email": "ann@example.com"}, {"email": "new@example.com"}, False),
        ({"email": "new@example.com"}, {"email": "ann@example.com"}, True),
        ({"email_verified_at": IN_2020}, {"email_verified_at": None}, True),
    ],
    ids=["a changed address", "an address changed back", "a withdrawn verification"],
)
def test_a_row_is_read_as_it_is_and_not_as_the_session_remembers_it(
    built: Built, values: Values, activations: list[Any], remembered: Any, stored: Any, accepted: bool
) -> None:
    with built.app.app_context():
        with built.engine.begin() as other:
            other.execute(update(built.User.__table__).values(remembered))
        known = built.db.session.get_one(built.User, 1)
        with built.engine.begin() as other:
            other.execute(update(built.User.__table__).values(stored))
        assert {name: getattr(known, name) for name in remembered} == remembered
        response = built.verify(values)
    assert response.status_code == (200 if accepted else 400)
    assert (built.row()["email_verified_at"] is not None) == (len(activations) == 1) == accepted


@pytest.mark.only_on("sqlite")
def test_an_update_that_hits_no_row_is_no_verification(built: Built, values: Values, activations: list[Any]) -> None:
    built.execute_outside('CREATE TRIGGER frozen BEFORE UPDATE ON "user" BEGIN SELECT RAISE(IGNORE); END')
    refused(built.verify(values), 400, "signature-invalid")
    assert (built.row()["email_verified_at"], activations) == (None, [])


def test_repeating_a_link_is_harmless_until_it_expires(
    built: Built, values: Values, clock: Clock, activations: list[Any]
) -> None:
    assert built.verify(values).get_json() == SUCCESS
    row = built.row()
    for wait in (0, 60, WEEK - 60):
        clock.move(wait)
        with recorded(built.engine) as statements:
            assert built.verify(values).get_json() == SUCCESS
        assert statements.queries == ["SELECT"]
    clock.move(1)
    refused(built.verify(values), 400, "signature-expired")
    assert (built.row(), len(activations)) == (row, 1)


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


@pytest.mark.parametrize("one_time_use", [False, True])
@pytest.mark.parametrize(
    ("model", "cleared"),
    [(models.typed, {"email_verified_at": None}), (models.boolean_flag, {"email_verified": False})],
)
def test_a_used_link_works_again_until_it_expires_where_the_flag_was_cleared(
    build: Builder,
    smtp: RecordingServer,
    clock: Clock,
    activations: list[Any],
    model: models.Model,
    cleared: dict[str, object],
    one_time_use: bool,
) -> None:
    built = build(model, registration={"REGISTER_VERIFICATION_ONE_TIME_USE": one_time_use})
    values = registered(built, smtp)

    def write(**changes: object) -> None:
        with built.engine.begin() as other:
            other.execute(update(built.User.__table__).values(**changes))

    for used in (1, 2):
        assert built.verify(values).get_json() == SUCCESS
        assert built.verify(values).status_code == (400 if one_time_use else 200)
        assert len(activations) == used
        write(**cleared)
    write(email="new@example.com")
    refused(built.verify(values), 400, "signature-invalid")
    write(email="ann@example.com")
    clock.move(WEEK + 1)
    refused(built.verify(values), 400, "signature-expired")
    assert (len(activations), built.row()) == (2, {**built.row(), **cleared})


def test_a_repetition_counts_only_for_the_signed_address(built: Built, values: Values) -> None:
    assert built.verify(values).get_json() == SUCCESS
    built.execute_outside("UPDATE user SET email = 'new@example.com'")
    refused(built.verify(values), 400, "signature-invalid")


def auto_login(build: Builder, handler: Handler) -> Built:
    return build(registration={"REGISTER_VERIFICATION_AUTO_LOGIN": True, "LOGIN_HANDLER": handler})


def give_token(request: Request, user: Any) -> dict[str, str]:
    return {"token": f"of {user.email}", "detail": "overwritten"}


def test_only_the_activating_request_logs_in(build: Builder, smtp: RecordingServer, clock: Clock) -> None:
    without = build(registration={"LOGIN_HANDLER": give_token})
    assert without.verify(registered(without, smtp)).get_json() == SUCCESS
    smtp.messages.clear()
    built = auto_login(build, give_token)
    values = registered(built, smtp)
    refused(built.verify(forged(values)), 400, "signature-invalid")
    assert built.verify(values).get_json() == {**SUCCESS, "token": "of ann@example.com"}
    assert built.verify(values).get_json() == SUCCESS
    clock.move(WEEK + 1)
    refused(built.verify(values), 400, "signature-expired")


def test_an_account_that_was_verified_by_hand_answers_as_a_repetition(
    build: Builder, smtp: RecordingServer, activations: list[Any]
) -> None:
    built = auto_login(build, give_token)
    values = registered(built, smtp)
    built.execute_outside("UPDATE user SET email_verified_at = '2020-01-01 00:00:00.000000'")
    assert built.verify(values).get_json() == SUCCESS
    assert (built.row()["email_verified_at"], activations) == (IN_2020, [])


def test_after_signal_and_commit_the_handler_gets_request_and_user(build: Builder, smtp: RecordingServer) -> None:
    log: list[object] = []

    def receive(sender: Flask, **_: object) -> None:
        log.append("signal")

    def handler(given: Request, user: Any) -> None:
        session["user"] = user.id
        assert all_statements.kinds[-1] == "COMMIT"
        with recorded(built.engine) as statements:
            verified = user.email_verified_at is not None and user.username == "ann"
        log.append((type(given), given.path == request.path, verified, inspect(user).persistent, statements.queries))

    built = auto_login(build, handler)
    values = registered(built, smtp)
    with recorded(built.engine) as all_statements, user_activated.connected_to(receive, built.app):
        response = built.verify(values)
    assert log == ["signal", (Request, True, True, True, [])]
    assert response.get_json() == SUCCESS
    assert "session" in response.headers["Set-Cookie"]
