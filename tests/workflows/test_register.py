"""``POST register/``: each answer, and the order in which the work is done."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from flask_sqlalchemy import SQLAlchemy
from marshmallow import Schema, fields, post_load
from sqlalchemy import CheckConstraint, ForeignKey, String, UniqueConstraint, event, insert, select
from sqlalchemy.orm import make_transient_to_detached, mapped_column, relationship
from werkzeug.security import check_password_hash

from flask_rest_registration import ConfigurationError, DatabaseFault, DefaultRegisterUserSerializer
from tests.support import databases, models
from tests.support.answers import field_errors, refused
from tests.support.apps import OMITTED, PASSWORD, REGISTER, Builder, Built
from tests.support.mail_servers import HangUp, RecordingServer, Step
from tests.support.pending import add_account
from tests.support.statements import recorded

pytestmark = pytest.mark.database

BOB = {"email": "bob@example.com", "username": "bob"}
WITH_INDEXES_ON_EXPRESSIONS = pytest.mark.only_on("sqlite", "postgresql")


class Account(Schema):
    email = fields.String(required=True)
    username = fields.String(required=True)
    password = fields.String(required=True)


def build_giving(build: Builder, make: Callable[[dict[str, Any]], Any], *args: Any, **registration: object) -> Built:
    """Build an app whose serializer gives what ``make`` makes of the fields of ``Account``."""

    class Given(Account):
        @post_load
        def make(self, data: dict[str, Any], **_: Any) -> Any:
            return make(data)

    return build(*args, registration={"REGISTER_SERIALIZER_CLASS": Given, **registration})


def sent(**changes: object) -> dict[str, object]:
    """Return a body for ``Account``."""
    return {"email": "ann@example.com", "username": "ann", "password": PASSWORD, **changes}


@pytest.mark.parametrize("body", [b"{}", b"no JSON", b"x" * 100_000])
def test_registration_that_is_disabled_is_404_whatever_is_sent(build: Builder, body: bytes) -> None:
    built = build(registration={"REGISTER_FLOW_ENABLED": False})
    refused(built.post(REGISTER, data=body, content_type="application/json"), 404, "not-found")
    refused(built.register(), 404, "not-found")
    assert built.rows() == []


def test_a_registration_is_answered_with_201_and_the_profile(build: Builder, smtp: RecordingServer) -> None:
    built = build()
    response = built.register(email="Ann@EXAMPLE.com", username="ａｎｎ")
    assert response.status_code == 201
    assert response.get_json() == {"id": 1, "email": "ann@example.com", "username": "ann"}
    row = built.row()
    assert check_password_hash(row.pop("password_hash"), PASSWORD)
    assert row == {"id": 1, "email": "ann@example.com", "username": "ann", "email_verified_at": None}
    assert smtp.envelopes[0].recipients == ["ann@example.com"]


def test_the_password_of_a_dict_is_validated_and_hashed(build: Builder) -> None:
    built = build(registration={"REGISTER_SERIALIZER_CLASS": Account})
    assert list(field_errors(built.post(REGISTER, sent(password="password")))) == ["password"]
    assert built.rows() == []
    assert built.post(REGISTER, sent()).status_code == 201
    assert check_password_hash(built.row()["password_hash"], PASSWORD)


def test_a_serializer_of_ones_own_may_do_without_a_password(build: Builder) -> None:
    passwordless = Schema.from_dict({"email": fields.String(required=True)})
    model = models.declared(password_hash=mapped_column(String(256)))
    built = build(model, registration={"REGISTER_SERIALIZER_CLASS": passwordless})
    assert built.post(REGISTER, {"email": "ann@example.com"}).status_code == 201
    assert built.row()["password_hash"] is None


@pytest.mark.parametrize("added", [False, True])
def test_a_new_object_is_stored_as_it_is_added_or_not(build: Builder, smtp: RecordingServer, added: bool) -> None:
    def make(data: dict[str, Any]) -> Any:
        user = built.User(email=data["email"], username="of its own", password_hash="not hashed by us")
        if added:
            built.db.session.add(user)
        return user

    built = build_giving(build, make)
    assert built.post(REGISTER, sent(password="1")).status_code == 201  # nor is it validated
    assert list(field_errors(built.post(REGISTER, sent()))) == ["email", "username"]
    row = built.row()
    assert (row["username"], row["password_hash"]) == ("of its own", "not hashed by us")
    assert len(smtp.messages) == 1


def _detached(built: Built) -> Any:
    user = built.User(id=1, email="ann@example.com", username="ann", password_hash="y")
    make_transient_to_detached(user)
    return user


@pytest.mark.parametrize(
    "find",
    [
        lambda built: built.db.session.get(built.User, 1),
        lambda built: built.db.session.merge(built.User(id=1, email="ann@example.com")),
        _detached,
    ],
    ids=["loaded", "merged", "detached"],
)
def test_an_object_that_the_database_already_has_is_refused_and_nothing_is_written(
    build: Builder, smtp: RecordingServer, find: Callable[[Built], Any]
) -> None:
    def overwrite(data: dict[str, Any]) -> Any:
        user = find(built)
        user.password_hash, user.username = "the stranger's", "taken over"
        built.db.session.add(built.User(email="by@the.way", username="by-the-way", password_hash="x"))
        return user

    built = build_giving(build, overwrite)
    add_account(built, "first@example.com")
    before = built.row()
    with recorded(built.engine) as statements, pytest.raises(ConfigurationError, match="already has"):
        built.post(REGISTER, sent())
    assert not {"INSERT", "UPDATE", "COMMIT"} & set(statements.kinds)
    assert (built.row(), smtp.messages) == (before, [])


@pytest.mark.parametrize(("given", "told"), [(None, "CLASS gave"), ([], "CLASS gave"), (sent(news=True), "'news'")])
def test_what_no_account_can_be_made_of_is_a_configuration_error(
    build: Builder, smtp: RecordingServer, given: object, told: str
) -> None:
    built = build_giving(build, lambda data: given)
    with pytest.raises(ConfigurationError, match=told):
        built.post(REGISTER, sent())
    assert (built.rows(), smtp.messages) == ([], [])


#: Models, their flags, and what says "verified".
FLAGS: list[tuple[models.Model, str, object]] = [
    (models.typed, "email_verified_at", datetime(2020, 1, 1)),  # noqa: DTZ001
    (models.datetime_flag_with_zone, "confirmed_at", datetime(2020, 1, 1)),  # noqa: DTZ001
    (models.boolean_flag, "email_verified", True),
]


@pytest.mark.parametrize("as_object", [False, True], ids=["dict", "object"])
@pytest.mark.parametrize(("model", "flag", "verified"), FLAGS)
def test_the_flag_is_cleared_whatever_the_input_said(
    build: Builder, model: models.Model, flag: str, verified: object, as_object: bool
) -> None:
    def make(data: dict[str, Any]) -> Any:
        if not as_object:
            return {**data, flag: verified}
        return built.User(email=data["email"], username="ann", password_hash="x", **{flag: verified})

    built = build_giving(build, make, model)
    assert built.post(REGISTER, sent()).status_code == 201
    assert built.row()[flag] is (False if verified is True else None)


@pytest.mark.parametrize(("model", "flag", "verified"), FLAGS)
def test_without_verification_a_boolean_flag_is_set_and_a_datetime_one_stays_empty(
    build: Builder, smtp: RecordingServer, signals: Any, activations: Any, model: models.Model, flag: str, verified: Any
) -> None:
    built = build(model, registration={"REGISTER_VERIFICATION_ENABLED": False})
    assert built.register().status_code == 201
    assert built.row()[flag] is (True if verified is True else None)
    assert (signals, activations, smtp.conversations) == (["ann@example.com"], [], [])


def nullable_email(db: SQLAlchemy) -> type[Any]:
    username = mapped_column(String(80), unique=True, nullable=False)
    return models.declared(username=username, email=mapped_column(String(254), unique=True))(db)


class AccountWithoutAddress(Account):
    email = fields.String(allow_none=True)


@pytest.mark.parametrize("address", [{}, {"email": None}, {"email": ""}], ids=["missing", "null", "empty"])
def test_no_address_is_user_without_email_nonverifiable(build: Builder, smtp: RecordingServer, address: Any) -> None:
    built = build(nullable_email, registration={"REGISTER_SERIALIZER_CLASS": AccountWithoutAddress})
    with recorded(built.engine) as statements:
        response = built.post(REGISTER, {"username": "ann", "password": PASSWORD, **address})
    refused(response, 400, "user-without-email-nonverifiable")
    assert "INSERT" not in statements.kinds
    assert (built.rows(), smtp.conversations) == ([], [])


@pytest.mark.parametrize("address", [OMITTED, None])
def test_the_address_is_required_while_verification_is_on(build: Builder, address: object) -> None:
    assert list(field_errors(build(nullable_email).register(email=address))) == ["email"]
    without = build(nullable_email, registration={"REGISTER_VERIFICATION_ENABLED": False})
    assert without.register(email=address).status_code == 201
    assert without.row()["email"] is None


@pytest.mark.parametrize("model", [models.typed, models.set_password, models.password_property, models.password_hybrid])
def test_hash_recipient_insert_mail_commit_come_in_this_order(
    build: Builder, smtp: RecordingServer, monkeypatch: pytest.MonkeyPatch, model: models.Model
) -> None:
    log: list[tuple[str, bool, int]] = []
    cheap_hash = models.cheap_hash

    def note(what: str) -> None:
        log.append((what, smtp.conversations == [["EHLO", "MAIL", "RCPT"]], len(smtp.messages)))

    def noted_hash(password: str) -> str:
        note("hash")
        return cheap_hash(password)

    monkeypatch.setattr(models, "cheap_hash", noted_hash)
    built = build(model, registration={"PASSWORD_HASHER": noted_hash})
    event.listen(built.engine, "checkout", lambda *_: note("connection"))
    event.listen(built.engine, "before_cursor_execute", lambda connection, cursor, sql, *_: note(sql.split()[0]))
    event.listen(built.engine, "commit", lambda connection: note("COMMIT"))
    assert built.register().status_code == 201
    assert log == [("hash", False, 0), ("connection", True, 0), ("INSERT", True, 0), ("COMMIT", False, 1)]


def reading_constructor(db: SQLAlchemy) -> type[Any]:
    class User(models.Usual, db.Model):  # type: ignore[misc,name-defined]
        def __init__(self, **values: object) -> None:
            super().__init__(**values)
            db.session.execute(select(User.id)).all()

    return User


@pytest.mark.parametrize("model", [models.typed, reading_constructor])
@pytest.mark.parametrize("reads", [False, True], ids=["", "before the request"])
@pytest.mark.parametrize("at", ["CONNECT", "MAIL", "RCPT"])
def test_while_a_recipient_is_waited_for_no_connection_is_out_and_others_write(
    build: Builder, model: models.Model, reads: bool, at: Step
) -> None:
    held: list[int] = []

    class Look(HangUp):
        async def happen(self, writer: object) -> None:
            held.append(built.engine.pool.checkedout())  # type: ignore[attr-defined]
            built.execute_outside("UPDATE user SET username = 'other'")

    with RecordingServer(fault=Look(at)) as server:
        built = build(model, mail=server)

        @built.app.before_request
        def read() -> None:
            if reads:
                built.db.session.execute(select(built.User.id)).all()

        built.register(email="no address")  # what the first request reads is not known
        refused(built.register(), 503, "email-not-sent")
    assert (held, built.rows()) == ([0], [])


@pytest.mark.parametrize(
    "model",
    [
        *[models.typed, models.classic_columns, models.named_unique, models.unnamed_unique_index, models.other_bind],
        *[models.other_column_names, models.inheritance_base, models.inheritance_subclass, models.dataclass_model],
        pytest.param(models.unique_lower_function, marks=WITH_INDEXES_ON_EXPRESSIONS),
        pytest.param(models.unique_lower_text, marks=WITH_INDEXES_ON_EXPRESSIONS),
    ],
)
def test_what_is_taken_is_a_field_error_and_not_asked_for_before(build: Builder, model: models.Model) -> None:
    built = build(model)
    assert built.register().status_code == 201
    for taken in (["email"], ["username"], ["email", "username"]):
        with recorded(built.engine) as statements:
            errors = field_errors(built.register(**{name: BOB[name] for name in BOB if name not in taken}))
        assert sorted(errors) == taken
        # Joined inheritance has two tables, and fails at the first.
        assert statements.queries == ["INSERT", "SELECT"]
        assert "COMMIT" not in statements.kinds
    assert len(built.rows()) == 1


@WITH_INDEXES_ON_EXPRESSIONS
@pytest.mark.parametrize("model", [models.unique_lower_function, models.unique_lower_text])
def test_a_unique_index_on_an_expression_is_reported_at_its_column(build: Builder, model: models.Model) -> None:
    built = build(model)
    add_account(built, "ANN@Example.com")
    assert list(field_errors(built.register())) == ["email"]


def test_a_composite_constraint_is_an_error_at_each_of_its_columns(build: Builder) -> None:
    built = build(models.composite_unique)
    assert built.register().status_code == 201
    assert sorted(field_errors(built.register(email="bob@example.com"))) == ["team", "username"]
    assert built.register(email="bob@example.com", team="red").status_code == 201


class InTeamBlue(Account):
    @post_load
    def add_team(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {**data, "team": "blue"}


BLUE: dict[str, Any] = {"team": fields.String(load_default="blue")}
ONE_NAME_FOR_ALL: dict[str, Any] = {"username": fields.String(load_default="everybody")}


@pytest.mark.parametrize(
    ("serializer", "names", "reported"),
    [
        (InTeamBlue, {"username": "ann"}, "username"),
        (Account.from_dict(BLUE), {"username": "ann"}, "username"),
        (Account.from_dict({**BLUE, **ONE_NAME_FOR_ALL}), {}, "_schema"),
    ],
)
def test_a_column_that_the_client_did_not_send_has_no_error_but_the_whole_object_may(
    build: Builder, serializer: type[Schema], names: dict[str, str], reported: str
) -> None:
    built = build(models.composite_unique, registration={"REGISTER_SERIALIZER_CLASS": serializer})
    ann, bob = ({"email": f"{name}@example.com", "password": PASSWORD, **names} for name in ("ann", "bob"))
    assert built.post(REGISTER, ann).status_code == 201
    assert list(field_errors(built.post(REGISTER, bob))) == [reported]


def test_errors_carry_the_name_under_which_the_client_sent_the_value(build: Builder, smtp: RecordingServer) -> None:
    class Renamed(DefaultRegisterUserSerializer):
        username = fields.String(required=True, data_key="userName")
        email = fields.Email(required=True, data_key="e-mail")

    built = build(registration={"REGISTER_SERIALIZER_CLASS": Renamed})
    body = {"e-mail": "ann@example.com", "userName": "ann", "password": PASSWORD, "password_confirm": PASSWORD}
    smtp.rcpt_reply = "550 no such user"
    assert list(field_errors(built.post(REGISTER, body))) == ["e-mail"]
    assert built.rows() == []
    smtp.rcpt_reply = None
    assert built.post(REGISTER, body).status_code == 201
    assert sorted(field_errors(built.post(REGISTER, body))) == ["e-mail", "userName"]


def test_null_is_never_taken(build: Builder) -> None:
    columns = {"username": mapped_column(String(80), nullable=False), "team": mapped_column(String(80))}
    built = build(models.declared(**columns, __table_args__=(UniqueConstraint("username", "team"),)))
    assert built.register(team=OMITTED).status_code == 201
    assert built.register(team=OMITTED, email="bob@example.com").status_code == 201
    assert list(field_errors(built.register(team=OMITTED))) == ["email"]


def test_a_violated_check_stands_under_the_whole_object_unless_something_is_taken(
    build: Builder, smtp: RecordingServer, caplog: pytest.LogCaptureFixture
) -> None:
    built = build(models.named_unique)
    assert list(field_errors(built.register(username="root"))) == ["_schema"]
    assert (built.rows(), smtp.messages) == ([], [])
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "root" not in caplog.text.replace("constraint no_root", "")  # its name, which PostgreSQL tells
    assert built.register().status_code == 201
    assert list(field_errors(built.register(username="root"))) == ["email"]


def test_a_violated_check_is_known_where_nothing_unique_was_sent(build: Builder) -> None:
    columns = {"email": mapped_column(String(254), unique=True), "nickname": mapped_column(String(20), nullable=False)}
    rules = (CheckConstraint("nickname <> 'root'"),)
    model = models.declared(**columns, email_verified_at=None, __table_args__=rules)  # no flag: nothing is verified
    built = build(model, registration={"REGISTER_VERIFICATION_ENABLED": False})
    assert list(field_errors(built.register(email=OMITTED, nickname="root"))) == ["_schema"]
    assert built.rows() == []


@pytest.mark.parametrize("deferred", [False, databases.DEFERRED], ids=["at the INSERT", "at the COMMIT"])
def test_a_violated_foreign_key_stands_under_the_whole_object(
    build: Builder, caplog: pytest.LogCaptureFixture, deferred: bool
) -> None:
    def with_group(db: SQLAlchemy) -> type[Any]:
        db.Table("group", db.Column("id", db.Integer, primary_key=True))
        key = ForeignKey("group.id", deferrable=deferred or None, initially="DEFERRED" if deferred else None)
        return models.declared(group_id=mapped_column(key, nullable=False))(db)

    built = build(with_group, registration={"USER_EDITABLE_FIELDS": ["group_id"]})
    built.enforce_foreign_keys()
    assert list(field_errors(built.register(group_id=7))) == ["_schema"]
    assert built.rows() == []
    assert logging.ERROR in [record.levelno for record in caplog.records]
    with built.app.app_context():
        built.db.session.execute(insert(built.db.metadata.tables["group"]).values(id=7))
        built.db.session.commit()
    assert built.register(group_id=7).status_code == 201


def test_what_refers_to_another_table_is_not_taken_by_whoever_refers_to_it_first(build: Builder) -> None:
    built = build_with_one_team(build, registration={"USER_EDITABLE_FIELDS": ["username", "team_id"]})
    assert built.register(team=OMITTED, team_id=1).status_code == 201
    assert list(field_errors(built.register(team=OMITTED, team_id=1))) == ["email"]
    assert built.register(team=OMITTED, team_id=1, email="bob@example.com").status_code == 201


def test_not_null_of_a_column_that_is_no_input_is_the_applications_500(build: Builder, smtp: RecordingServer) -> None:
    columns = {name: mapped_column(String(80), nullable=False) for name in ("username", "city")}
    built = build(models.declared(**columns), registration={"REGISTER_SERIALIZER_CLASS": Account})
    with pytest.raises(DatabaseFault):
        built.post(REGISTER, sent())
    built.app.config["TESTING"] = False
    response = built.post(REGISTER, sent())
    assert (response.status_code, response.mimetype) == (500, "text/html")
    assert (built.rows(), smtp.messages) == ([], [])


def build_with_one_team(build: Builder, **options: Any) -> Built:
    """Build an app whose users may belong to a team, and store team 1."""

    def of_a_team(db: SQLAlchemy) -> type[Any]:
        class Team(db.Model):  # type: ignore[misc,name-defined]
            id = mapped_column(db.Integer, primary_key=True)

        team_id = mapped_column(ForeignKey(Team.id))
        team = relationship(Team, backref="members")
        return models.declared(username=mapped_column(String(20)), team_id=team_id, team=team)(db)

    built = build(of_a_team, **options)
    with built.app.app_context():
        built.db.session.add(built.User.team.property.mapper.class_())
        built.db.session.commit()
    return built


@pytest.mark.filterwarnings("ignore:Object of type <User> not in session:sqlalchemy.exc.SAWarning")
@pytest.mark.parametrize("as_object", [False, True], ids=["dict", "object"])
@pytest.mark.parametrize("loaded", [False, True], ids=["members not loaded", "members loaded"])
def test_a_user_may_belong_to_a_row_that_is_there_already(build: Builder, as_object: bool, loaded: bool) -> None:
    class IntoTheTeam(Account):
        @post_load
        def join(self, data: dict[str, Any], **_: Any) -> Any:
            team: Any = built.db.session.get(built.User.team.property.mapper.class_, 1)
            if loaded:
                assert team.members == []
            if as_object:
                return built.User(email=data["email"], username="ann", password_hash="x", team=team)
            return {**data, "team": team}

    built = build_with_one_team(build, registration={"REGISTER_SERIALIZER_CLASS": IntoTheTeam})
    assert built.post(REGISTER, sent()).status_code == 201
    assert built.row()["team_id"] == 1
