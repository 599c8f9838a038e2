"""What a request asks of the database: how many statements, each by an index, none after the COMMIT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from unittest.mock import Mock

import pytest
from flask import Flask
from marshmallow import Schema, fields
from sqlalchemy import event, insert, inspect

from flask_rest_registration import user_activated, user_registered
from tests.support import models
from tests.support.apps import CHECK_LINK, OMITTED, REGISTER, RESEND, VERIFY, Builder, Built
from tests.support.clock import Clock
from tests.support.databases import ON_SQLITE
from tests.support.links import code_of, link_in, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.statements import Statements, recorded

ANN = {"email": "ann@example.com"}
EMAIL_FIRST: dict[str, object] = {"REGISTER_EMAIL_FIRST": True}
CODES: dict[str, object] = {**EMAIL_FIRST, "REGISTER_VERIFICATION_CODE_ENABLED": True}
RESENDING: dict[str, object] = {"REGISTER_VERIFICATION_RESEND_ENABLED": True}

ONE_INSERT = ["BEGIN", "INSERT", "COMMIT"]
ONE_SELECT = ["BEGIN", "SELECT", "COMMIT"]
ONE_UPDATE = ["BEGIN", "UPDATE", "COMMIT"]


def read_all(user: Any) -> dict[str, Any]:
    """Read every attribute of a user."""
    return {attribute.key: getattr(user, attribute.key) for attribute in inspect(type(user)).column_attrs}


class EveryAttribute(Schema):
    read = fields.Function(lambda user: sorted(read_all(user)))


READING: dict[str, object] = {
    "REGISTER_OUTPUT_SERIALIZER_CLASS": EveryAttribute,
    "REGISTER_VERIFICATION_AUTO_LOGIN": True,
    "LOGIN_HANDLER": lambda request, user: {"at": str(read_all(user)["email_verified_at"])},
}


def build_filled(build: Builder, settings: Mapping[str, object], count: int = 100) -> Built:
    """Build an app with accounts, of which the ninth is verified, and pending registrations of other addresses."""
    built = build(pending=True, registration=settings)
    names = [f"user{number}" for number in range(count)]
    rest: dict[str, Any] = {"password_hash": "x", "email_verified_at": None}
    accounts = [{"email": f"{name}@example.com", "username": name, **rest} for name in names]
    accounts[8]["email_verified_at"] = datetime.fromisoformat("2026-01-01")
    zeros = dict.fromkeys(("sent_at", "mails", "next_mail_at", "code_attempts"), 0)
    waiting = [{"email": f"waiting{number}@example.com", **zeros} for number in range(count)]
    assert built.Pending is not None
    with built.app.app_context():
        built.db.session.execute(insert(built.User), accounts)
        built.db.session.execute(insert(built.Pending), waiting)
        built.db.session.commit()
    return built


@pytest.fixture(params=[(10, {}), (1_000, {}), (10, RESENDING)], ids=["10 users", "1,000 users", "resend is on"])
def built(request: pytest.FixtureRequest, build: Builder) -> Built:
    """Build an app that has a table of pending registrations, and whose hooks read all that the user has."""
    count, settings = request.param
    return build_filled(build, {**READING, **settings}, count)


@contextmanager
def reading_every_attribute(built: Built) -> Iterator[list[dict[str, Any]]]:
    """Connect receivers of both signals that read all that the user has."""
    seen: list[dict[str, Any]] = []

    def read(sender: Flask, user: Any, request: object) -> None:
        seen.append(read_all(user))

    with user_registered.connected_to(read, sender=built.app), user_activated.connected_to(read, sender=built.app):
        yield seen


def test_register_with_something_taken_is_one_insert_and_one_select(built: Built) -> None:
    address, name = {"email": "user7@example.com"}, {"username": "user8"}
    for taken in (address, name, {**address, **name}):
        with recorded(built.engine) as statements:
            answer = built.register(**taken)
        assert set(answer.get_json()["errors"]) == set(taken)
        assert statements.kinds[:4] == ["BEGIN", "INSERT", "ROLLBACK", "BEGIN"]
        assert statements.queries == ["INSERT", "SELECT"]


def test_sign_up_and_activation_read_nothing_after_their_commits(built: Built, smtp: RecordingServer) -> None:
    with recorded(built.engine) as statements, reading_every_attribute(built) as seen:
        assert "password_hash" in built.register().get_json()["read"]
        assert built.verify(link_in(smtp.message)).get_json()["at"].startswith("20")
    assert statements.kinds == [*ONE_INSERT, *ONE_SELECT, *ONE_UPDATE]
    assert "pending" not in "".join(statements.sql)
    assert [user["email_verified_at"] is not None for user in seen] == [False, True]


def test_a_repeated_or_forged_link_is_one_select_and_no_link_at_all_none(built: Built, smtp: RecordingServer) -> None:
    built.register()
    values = values_of(link_in(smtp.message))
    assert built.verify(values).status_code == 200
    cases: list[tuple[Mapping[str, object], list[str]]] = [
        *((sent, ["SELECT"]) for sent in (values, {**values, "signature": "x"}, {**values, "user_id": "999999"})),
        *((sent, []) for sent in ({**values, "user_id": "x"}, {})),
    ]
    for sent, queries in cases:
        with recorded(built.engine) as statements:
            built.verify(sent)
        assert statements.queries == queries, sent


def test_a_registration_refused_by_its_validation_is_no_statement_and_no_connection(build: Builder) -> None:
    built = build()
    for sent in ({"email": "nobody"}, {"password": "1234"}, {"password_confirm": "x"}, {"is_admin": True}):
        with recorded(built.engine) as statements:
            assert built.register(**sent).status_code == 400
        assert statements.kinds == [], sent


def test_without_verification_register_is_one_insert_too(build: Builder) -> None:
    built = build(models.boolean_flag, registration={"REGISTER_VERIFICATION_ENABLED": False})
    with recorded(built.engine) as statements:
        assert built.register().status_code == 201
    assert statements.kinds == ONE_INSERT


def plans(built: Built, statements: Statements) -> list[str]:
    """Ask SQLite how it carries out what was recorded."""
    found: list[str] = []
    with built.engine.connect() as connection:
        for sql, parameters in zip(statements.sql, statements.parameters, strict=True):
            if sql.startswith(("SELECT", "UPDATE", "DELETE")):
                rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters)
                found += [row.detail for row in rows]
    return found


def searched(built: Built, statements: Statements) -> bool:
    """Tell whether every look-up is an exact match on an index, and there is one at all."""
    if not ON_SQLITE:  # which alone says it in these words
        return True
    found = plans(built, statements)
    return bool(found) and all(plan.startswith("SEARCH") and "=?" in plan for plan in found)


@pytest.mark.parametrize("name", models.ALL)
def test_every_model_needs_no_more_statements_each_by_an_index(
    build: Builder, smtp: RecordingServer, name: str
) -> None:
    built = build(models.ALL[name])
    inserts = ["INSERT"] * (2 if name == "inheritance_subclass" else 1)  # joined inheritance: one for each table
    with recorded(built.engine) as statements, reading_every_attribute(built) as seen:
        assert built.register().status_code == 201
        assert built.register().status_code == 400
        assert built.verify(link_in(smtp.message)).status_code == 200
    assert statements.queries == [*inserts, "INSERT", "SELECT", "SELECT", "UPDATE"]
    assert len(seen) == 2
    if ON_SQLITE:
        carried_out = plans(built, statements)
        searches = [plan for plan in carried_out if plan.startswith("SEARCH")]
        assert len(searches) >= 3
        assert [plan for plan in searches if "=?" not in plan] == []
        scanned = {plan.split()[1] for plan in carried_out if plan.startswith("SCAN")}  # such as a row of constants
        assert not scanned & set(built.User.metadata.tables)


@pytest.mark.only_on("sqlite")
def test_a_link_with_another_unique_column_is_found_by_its_index(build: Builder, smtp: RecordingServer) -> None:
    built = build(registration={"USER_VERIFICATION_ID_FIELD": "username"})
    built.register()
    with recorded(built.engine) as statements:
        assert built.verify(link_in(smtp.message)).status_code == 200
    assert "(username=?)" in plans(built, statements)[0]


@pytest.mark.parametrize("expires", [True, False])
def test_expire_on_commit_of_the_session_is_as_before_also_after_a_failed_commit(
    build: Builder, smtp: RecordingServer, expires: bool
) -> None:
    built = build()
    with built.app.app_context():
        session = built.db.session()
        session.expire_on_commit = expires
        for status in (201, 400):
            assert built.register().status_code == status
            assert session.expire_on_commit is expires
        assert built.verify(link_in(smtp.message)).status_code == 200
        assert session.expire_on_commit is expires
        event.listen(session, "before_commit", Mock(side_effect=LookupError))
        with pytest.raises(LookupError):
            built.register(email="bob@example.com", username="bob")
        assert session.expire_on_commit is expires


FIRST_MAIL = [*ONE_SELECT, *ONE_INSERT, *ONE_SELECT]
NEXT_MAIL = [*ONE_SELECT, *ONE_UPDATE, *ONE_SELECT]
COMPLETED = ["BEGIN", "UPDATE", "INSERT", "COMMIT"]


def account(built: Built, **values: object) -> dict[str, object]:
    """Return what completes a pending registration, beside the link or the code."""
    return {**built.body(email=OMITTED), **values}


@pytest.mark.parametrize(
    ("settings", "name", "mails"),
    [
        *((RESENDING, name, 2 if name == "user7" else 0) for name in ("ann", "user8", "user7")),
        *((settings, name, 2) for settings in (EMAIL_FIRST, CODES) for name in ("ann", "user7")),
    ],
)
def test_a_mail_is_three_statements_when_due_and_one_when_not_whoever_it_is(
    build: Builder, clock: Clock, smtp: RecordingServer, settings: dict[str, object], name: str, mails: int
) -> None:
    built = build_filled(build, settings)
    path = RESEND if settings == RESENDING else REGISTER
    the_code = ONE_UPDATE if settings == CODES else []  # which is stored when the mail is out
    for kinds in (FIRST_MAIL, NEXT_MAIL):
        for expected in ([*kinds, *the_code], ONE_SELECT):
            with recorded(built.engine) as statements:
                assert built.post(path, {"email": f"{name}@example.com"}).status_code == 202
            assert statements.kinds == expected
            assert searched(built, statements)
        clock.move(3600)
    assert len(smtp.messages) == mails


@pytest.mark.parametrize(("settings", "path"), [(EMAIL_FIRST, REGISTER), (CODES, REGISTER), (RESENDING, RESEND)])
def test_a_mail_that_fails_is_one_update_more(
    build: Builder, clock: Clock, smtp: RecordingServer, settings: dict[str, object], path: str
) -> None:
    built = build_filled(build, settings)
    smtp.text_reply = "554 no"
    with recorded(built.engine) as statements:
        assert built.post(path, {"email": "user7@example.com"}).status_code == 503
    assert [kind for kind in statements.kinds if kind != "ROLLBACK"] == [*FIRST_MAIL, *ONE_UPDATE]
    assert searched(built, statements)


def test_an_account_by_a_link_is_three_statements_none_after_the_commit(build: Builder, smtp: RecordingServer) -> None:
    built = build_filled(build, {**EMAIL_FIRST, "REGISTER_OUTPUT_SERIALIZER_CLASS": EveryAttribute})
    built.post(REGISTER, ANN)
    link = values_of(link_in(smtp.message))
    with recorded(built.engine) as statements:
        assert built.post(VERIFY, account(built, **link, username="user7")).status_code == 400
    assert statements.queries == ["SELECT", "UPDATE", "INSERT", "SELECT"]
    with recorded(built.engine) as statements, reading_every_attribute(built) as seen:
        assert built.post(VERIFY, account(built, **link)).status_code == 201
    assert statements.kinds == [*ONE_SELECT, *COMPLETED]
    assert searched(built, statements)
    assert [user["email"] for user in seen] == ["ann@example.com"] * 2


def test_a_link_that_is_looked_at_or_untrue_or_spent_is_one_select(build: Builder, smtp: RecordingServer) -> None:
    built = build_filled(build, EMAIL_FIRST)
    built.post(REGISTER, ANN)
    link = values_of(link_in(smtp.message))
    no_row = {**link, "user_id": "00000000-0000-4000-8000-000000000000"}
    cases: list[tuple[str, Mapping[str, object], int, list[str]]] = [
        (CHECK_LINK, link, 200, ["SELECT"]),
        (CHECK_LINK, {**link, "signature": "x"}, 400, ["SELECT"]),
        (VERIFY, account(built, **link, password="x"), 400, ["SELECT"]),
        (VERIFY, account(built, **{**link, "signature": "x"}), 400, ["SELECT"]),
        (VERIFY, account(built, **no_row), 400, ["SELECT"]),
        (VERIFY, account(built), 400, []),
        (VERIFY, account(built, **link), 201, ["SELECT", "UPDATE", "INSERT"]),
        (VERIFY, account(built, **link), 400, ["SELECT"]),
    ]
    for path, sent, status, queries in cases:
        with recorded(built.engine) as statements:
            assert built.post(path, sent).status_code == status
        assert statements.queries == queries, sent


def test_a_wrong_code_is_two_statements_for_every_address_and_a_right_one_four(
    build: Builder, smtp: RecordingServer
) -> None:
    built = build_filled(build, CODES)
    built.post(REGISTER, ANN)
    right = code_of(smtp.message)
    wrong = f"{(int(right) + 1) % 10**6:06}"
    for address in ("ann@example.com", "waiting7@example.com", "user7@example.com", "nobody@example.com"):
        with recorded(built.engine) as statements:
            answer = built.post(VERIFY, account(built, email=address, code=wrong))
        assert (answer.status_code, answer.get_json()["code"]) == (400, "code-invalid")
        assert statements.kinds == [*ONE_SELECT, *ONE_UPDATE]
        assert searched(built, statements)
    with recorded(built.engine) as statements:
        assert built.post(VERIFY, account(built, **ANN, code=right, password="x")).status_code == 400
    assert statements.kinds == []
    with recorded(built.engine) as statements:
        assert built.post(VERIFY, account(built, **ANN, code=right)).status_code == 201
    assert statements.kinds == [*ONE_SELECT, *ONE_UPDATE, *COMPLETED]
    assert searched(built, statements)
