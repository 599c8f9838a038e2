"""What a request asks of the database: how many statements, each by an index, none after the COMMIT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest
from flask import Flask
from marshmallow import Schema, fields
from sqlalchemy import event, insert, inspect, select, update

from flask_rest_registration import RegisterSigner, RejectionSigner, user_activated, user_registered

from .support import models
from .support.apps import OMITTED, PASSWORD, Builder, Built
from .support.clock import Clock
from .support.databases import ON_SQLITE
from .support.links import changed, link_in, values_of
from .support.mail_servers import RecordingServer
from .support.statements import Statements, recorded


class EveryAttribute(Schema):
    """Shows all that the usual model has."""

    id = fields.Integer()
    email = fields.String()
    username = fields.String()
    password_hash = fields.Function(lambda user: len(user.password_hash))
    email_verified_at = fields.DateTime()


def fill(built: Built, count: int) -> None:
    """Store that many accounts."""
    rows = [
        {"email": f"user{number}@example.com", "username": f"user{number}", "password_hash": "x"}
        for number in range(count)
    ]
    with built.app.app_context():
        built.db.session.execute(insert(built.User), rows)
        built.db.session.commit()


@pytest.fixture(params=[10, 10_000], ids="{} users".format)
def built(request: pytest.FixtureRequest, build: Builder) -> Built:
    app = build()
    fill(app, request.param)
    return app


@contextmanager
def reading_every_attribute(built: Built) -> Iterator[list[dict[str, Any]]]:
    """Connect receivers of both signals that read all that the user has."""
    seen: list[dict[str, Any]] = []
    names = [attribute.key for attribute in inspect(built.User).column_attrs]

    def read(sender: Flask, user: Any, request: object) -> None:
        seen.append({name: getattr(user, name) for name in names})

    with user_registered.connected_to(read, sender=built.app), user_activated.connected_to(read, sender=built.app):
        yield seen


def link_of(built: Built, user_id: int) -> str:
    with built.app.app_context():
        return RegisterSigner.for_user(built.db.session.get(built.User, user_id)).get_url()


# How many


def test_register_is_one_insert(built: Built) -> None:
    with recorded(built.engine) as statements, reading_every_attribute(built) as seen:
        assert built.register().status_code == 201
    assert statements.kinds == ["BEGIN", "INSERT", "COMMIT"]
    assert seen[0]["email"] == "ann@example.com"


@pytest.mark.parametrize(
    ("taken", "fields_taken"),
    [
        ({"email": "user7@example.com"}, {"email"}),
        ({"username": "user7"}, {"username"}),
        ({"email": "user7@example.com", "username": "user8"}, {"email", "username"}),
    ],
    ids=["address", "name", "both"],
)
def test_register_with_something_taken_is_one_insert_and_one_select(
    built: Built, taken: dict[str, str], fields_taken: set[str]
) -> None:
    with recorded(built.engine) as statements:
        answer = built.register(**taken)
    assert set(answer.get_json()["errors"]) == fields_taken
    assert statements.kinds[:4] == ["BEGIN", "INSERT", "ROLLBACK", "BEGIN"]
    assert statements.queries == ["INSERT", "SELECT"]


def test_verify_is_one_select_and_one_update(built: Built) -> None:
    link = link_of(built, 7)
    with recorded(built.engine) as statements, reading_every_attribute(built) as seen:
        assert built.verify(link).status_code == 200
    assert statements.kinds == ["BEGIN", "SELECT", "COMMIT", "BEGIN", "UPDATE", "COMMIT"]
    assert seen[0]["email_verified_at"] is not None


def test_a_repeated_or_forged_link_is_one_select_and_no_link_at_all_none(built: Built) -> None:
    values = values_of(link_of(built, 7))
    assert built.verify(values).status_code == 200
    cases: list[tuple[Mapping[str, object], list[str]]] = [
        (values, ["SELECT"]),
        (changed(values, signature="x"), ["SELECT"]),
        (changed(values, user_id="999999"), ["SELECT"]),
        (changed(values, user_id="x"), []),
        ({}, []),
    ]
    for sent, queries in cases:
        with recorded(built.engine) as statements:
            built.verify(sent)
        assert statements.queries == queries, sent


@pytest.mark.parametrize(
    "sent",
    [{"email": "nobody"}, {"password": "1234"}, {"password_confirm": "x"}, {"is_admin": True}, {"username": ""}],
    ids=str,
)
def test_a_registration_refused_by_its_validation_is_no_statement_and_no_connection(
    build: Builder, sent: dict[str, object]
) -> None:
    built = build()
    with recorded(built.engine) as statements:
        assert built.register(**sent).status_code == 400
    assert statements.kinds == []


@pytest.mark.parametrize("name", models.ALL)
def test_every_model_needs_no_more_statements(build: Builder, smtp: RecordingServer, name: str) -> None:
    built = build(models.ALL[name])
    tables = 2 if name == "inheritance_subclass" else 1  # joined inheritance: one INSERT for each table
    with recorded(built.engine) as statements, reading_every_attribute(built) as seen:
        assert built.register().status_code == 201
    assert statements.queries == ["INSERT"] * tables

    with recorded(built.engine) as statements, reading_every_attribute(built) as seen:
        assert built.verify(link_in(smtp.message)).status_code == 200
    assert statements.queries == ["SELECT", "UPDATE"]
    assert len(seen) == 1


def test_without_verification_register_is_one_insert_too(build: Builder) -> None:
    built = build(models.boolean_flag, registration={"REGISTER_VERIFICATION_ENABLED": False})
    with recorded(built.engine) as statements:
        assert built.register().status_code == 201
    assert statements.kinds == ["BEGIN", "INSERT", "COMMIT"]


# Nothing after the COMMIT


def test_nothing_is_read_after_the_commit_though_serializer_receivers_and_handler_read_every_attribute(
    build: Builder, smtp: RecordingServer
) -> None:
    handled: list[dict[str, Any]] = []
    built = build(
        registration={
            "REGISTER_OUTPUT_SERIALIZER_CLASS": EveryAttribute,
            "REGISTER_VERIFICATION_AUTO_LOGIN": True,
            "LOGIN_HANDLER": lambda request, user: handled.append(EveryAttribute().dump(user)),
        }
    )
    with recorded(built.engine) as statements, reading_every_attribute(built) as seen:
        assert built.register().get_json()["password_hash"] > 0
        assert built.verify(link_in(smtp.message)).status_code == 200
    kinds = [kind for kind in statements.kinds if kind != "BEGIN"]
    assert kinds == ["INSERT", "COMMIT", "SELECT", "COMMIT", "UPDATE", "COMMIT"]
    assert (len(seen), len(handled)) == (2, 1)
    assert handled[0]["email_verified_at"] is not None


def test_no_savepoint_is_set(built: Built, smtp: RecordingServer) -> None:
    with recorded(built.engine) as statements:
        built.register()
        built.register()
        built.verify(link_in(smtp.message))
    assert len(statements.queries) == 5
    assert not {"SAVEPOINT", "RELEASE"} & set(statements.kinds)


@pytest.mark.parametrize("expires", [True, False])
def test_expire_on_commit_of_the_applications_session_is_as_before(
    build: Builder, smtp: RecordingServer, expires: bool
) -> None:
    built = build()
    with built.app.app_context():
        session = built.db.session()
        session.expire_on_commit = expires
        mine = built.User(email="mine@example.com", username="mine", password_hash="x")
        session.add(mine)
        session.commit()
        for status in (201, 400):
            assert built.register().status_code == status
            assert session.expire_on_commit is expires
        assert built.verify(link_in(smtp.message)).status_code == 200
        assert session.expire_on_commit is expires
        session.refresh(mine)
        session.commit()
        assert inspect(mine).expired is expires


def test_expire_on_commit_is_as_before_also_after_a_commit_that_failed(build: Builder) -> None:
    built = build()
    with built.app.app_context():
        session = built.db.session()

        @event.listens_for(session, "before_commit")
        def fail(_: object) -> None:
            raise LookupError("not now")

        with pytest.raises(LookupError):
            built.register()
        assert session.expire_on_commit is True


# By an index


def plans(built: Built, statements: Statements) -> list[str]:
    """Ask SQLite how it carries out what was recorded."""
    found: list[str] = []
    with built.engine.connect() as connection:
        for sql, parameters in zip(statements.sql, statements.parameters, strict=True):
            if sql.startswith(("SELECT", "UPDATE", "DELETE")):
                rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters)
                found += [row.detail for row in rows]
    return found


@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize("name", models.ALL)
def test_each_look_up_is_an_exact_match_on_an_index(build: Builder, smtp: RecordingServer, name: str) -> None:
    built = build(models.ALL[name])
    with recorded(built.engine) as statements:
        assert built.register().status_code == 201
        assert built.register().status_code == 400
        assert built.verify(link_in(smtp.message)).status_code == 200
    carried_out = plans(built, statements)
    searches = [plan for plan in carried_out if plan.startswith("SEARCH")]
    assert len(searches) >= 3
    assert [plan for plan in searches if "=?" not in plan] == []
    scanned = {plan.split()[1] for plan in carried_out if plan.startswith("SCAN")}
    assert not scanned & set(built.User.metadata.tables)


@pytest.mark.only_on("sqlite")
def test_the_account_of_a_link_that_names_another_unique_column_is_found_by_its_index(
    build: Builder, smtp: RecordingServer
) -> None:
    built = build(registration={"USER_VERIFICATION_ID_FIELD": "username"})
    built.register()
    with recorded(built.engine) as statements:
        assert built.verify(link_in(smtp.message)).status_code == 200
    select_plan, *_ = plans(built, statements)
    assert "(username=?)" in select_plan


# Claims

RESEND, REJECT = "resend-verification/", "reject-registration/"
WEEK = 7 * 24 * 3600
CLAIMS = {
    "REGISTER_VERIFICATION_PERIOD": WEEK,
    "REGISTER_VERIFICATION_RESEND_ENABLED": True,
    "REGISTER_RECLAIM_ENABLED": True,
    "REGISTER_REJECTION_URL": "https://frontend.example/reject-user/",
}
HIDING: dict[str, object] = {
    "REGISTER_VERIFICATION_PERIOD": WEEK,
    "REGISTER_HIDE_EXISTING_EMAIL": True,
    "REGISTER_PASSWORD_AT": "verify",
}
UNCHANGED = ["BEGIN", "SELECT", "COMMIT", "BEGIN", "UPDATE", "ROLLBACK"]
CHANGED = ["BEGIN", "SELECT", "COMMIT", "BEGIN", "UPDATE", "COMMIT"]


def claimed(build: Builder, clock: Clock, registration: Mapping[str, object], count: int = 1_000) -> Built:
    """Build an app with that many verified accounts and one claim, whose cooldown has passed."""
    built = build(models.claiming, registration=registration)
    fill(built, count)
    with built.app.app_context():
        built.db.session.execute(update(built.User).values(email_verified_at=datetime(2020, 1, 1)))  # noqa: DTZ001
        built.db.session.commit()
    sent = {"password": OMITTED, "password_confirm": OMITTED} if "REGISTER_PASSWORD_AT" in registration else {}
    assert built.register(**sent).status_code in {201, 202}
    clock.move(15 * 60 + 1)
    return built


def signed(built: Built, kind: type[RegisterSigner | RejectionSigner]) -> dict[str, str]:
    """Return what the claim's link sends back."""
    with built.app.app_context():
        user = built.db.session.scalars(select(built.User).filter_by(email="ann@example.com")).one()
        return kind.for_user(user).get_signed_data()


def searched(built: Built, statements: Statements) -> bool:
    """Tell whether every look-up is an exact match on an index, and there is one at all."""
    if not ON_SQLITE:  # which alone says it in these words
        return True
    found = plans(built, statements)
    return bool(found) and all(plan.startswith("SEARCH") and "=?" in plan for plan in found)


@pytest.mark.parametrize("count", [10, 10_000])
def test_resend_is_one_select_and_one_update_each_by_an_index(build: Builder, clock: Clock, count: int) -> None:
    built = claimed(build, clock, CLAIMS, count)
    with recorded(built.engine) as statements:
        assert built.post(RESEND, {"email": "ann@example.com"}).status_code == 202
    assert statements.kinds == CHANGED
    assert searched(built, statements)


def test_resend_within_the_cooldown_is_no_more(build: Builder, clock: Clock) -> None:
    built = claimed(build, clock, CLAIMS)
    built.post(RESEND, {"email": "ann@example.com"})
    with recorded(built.engine) as statements:
        assert built.post(RESEND, {"email": "ann@example.com"}).status_code == 202
    assert statements.kinds == UNCHANGED


def test_resend_whose_mail_fails_is_one_update_more(build: Builder, clock: Clock, smtp: RecordingServer) -> None:
    built = claimed(build, clock, CLAIMS)
    smtp.text_reply = "554 no"
    with recorded(built.engine) as statements:
        assert built.post(RESEND, {"email": "ann@example.com"}).status_code == 202
    assert statements.kinds == [*CHANGED, "BEGIN", "UPDATE", "COMMIT"]
    assert searched(built, statements)


@pytest.mark.parametrize("address", ["nobody@example.com", "user7@example.com"], ids=["unknown", "verified"])
def test_resend_to_what_is_no_claim_is_one_select(build: Builder, clock: Clock, address: str) -> None:
    built = claimed(build, clock, CLAIMS)
    with recorded(built.engine) as statements:
        assert built.post(RESEND, {"email": address}).status_code == 202
    assert statements.kinds == ["BEGIN", "SELECT", "COMMIT"]


def test_reject_is_one_select_and_one_delete_each_by_an_index(build: Builder, clock: Clock) -> None:
    built = claimed(build, clock, CLAIMS)
    rejection = signed(built, RejectionSigner)
    with recorded(built.engine) as statements:
        assert built.post(REJECT, rejection).status_code == 200
    assert statements.kinds == ["BEGIN", "SELECT", "COMMIT", "BEGIN", "DELETE", "COMMIT"]
    assert searched(built, statements)
    for sent in (rejection, {**rejection, "user_id": "7"}):
        with recorded(built.engine) as statements:
            assert built.post(REJECT, sent).status_code == 400
        assert statements.queries == ["SELECT"]


def test_reclaim_is_insert_select_delete_insert_each_by_an_index(build: Builder, clock: Clock) -> None:
    built = claimed(build, clock, CLAIMS)
    clock.move(WEEK + 1)
    with recorded(built.engine) as statements:
        assert built.register().status_code == 201
    assert statements.queries == ["INSERT", "SELECT", "DELETE", "INSERT"]
    assert statements.kinds[-4:] == ["BEGIN", "DELETE", "INSERT", "COMMIT"]
    if not ON_SQLITE:  # which alone says by what it searches
        return
    searches = [plan for plan in plans(built, statements) if plan.startswith("SEARCH")]
    assert len(searches) >= 3
    assert [plan for plan in searches if "=?" not in plan] == []


def test_verify_with_a_password_is_one_select_and_one_update(build: Builder, clock: Clock) -> None:
    built = claimed(build, clock, HIDING)
    chosen = {"password": PASSWORD, "password_confirm": PASSWORD}
    verification = {**signed(built, RegisterSigner), **chosen}
    with recorded(built.engine) as statements, reading_every_attribute(built) as seen:
        assert built.verify(verification).status_code == 200
    assert statements.kinds == CHANGED
    assert searched(built, statements)
    assert seen[0]["verification_sent_at"] is None
    with recorded(built.engine) as statements:
        assert built.verify(verification).status_code == 400
    assert statements.queries == ["SELECT"]


@pytest.mark.parametrize("address", ["ann@example.com", "user7@example.com"], ids=["by a claim", "by an account"])
def test_hidden_and_taken_is_insert_select_select_update(
    build: Builder, clock: Clock, smtp: RecordingServer, address: str
) -> None:
    built = claimed(build, clock, HIDING)
    sent = {"email": address, "username": "new", "password": OMITTED, "password_confirm": OMITTED}
    for mails, end in ((2, "COMMIT"), (2, "ROLLBACK")):
        with recorded(built.engine) as statements:
            assert built.register(**sent).status_code == 202
        assert statements.queries == ["INSERT", "SELECT", "SELECT", "UPDATE"]
        assert statements.kinds[-7:] == ["BEGIN", "SELECT", "SELECT", "COMMIT", "BEGIN", "UPDATE", end]
        assert len(smtp.messages) == mails
