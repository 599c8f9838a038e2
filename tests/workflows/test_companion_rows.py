"""Rows beside the account, made by a serializer: stored with it or not at all."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from marshmallow import fields, post_load, validate
from sqlalchemy.orm import Mapped, mapped_column, relationship
from werkzeug.test import TestResponse

from flask_rest_registration import DefaultRegisterUserSerializer, PendingRegistrationMixin
from tests.support import models
from tests.support.answers import field_errors, refused
from tests.support.apps import REGISTER, VERIFY, Builder, Built
from tests.support.interference import refusing
from tests.support.mail_servers import HangUp, RecordingServer
from tests.support.pending import EMAIL_FIRST, link_to

pytestmark = pytest.mark.database

DB = models.typed_db()
ROLES = sa.Table(
    "user_roles",
    DB.metadata,
    sa.Column("user_id", sa.ForeignKey("user.id"), primary_key=True),
    sa.Column("role_id", sa.ForeignKey("role.id"), primary_key=True),
)


class User(models.Usual, DB.Model):  # type: ignore[misc,name-defined]
    profile: Mapped[Profile | None] = relationship()
    roles: Mapped[list[Role]] = relationship(secondary=ROLES, back_populates="people")


class Profile(DB.Model):  # type: ignore[misc,name-defined]
    user_id: Mapped[int] = mapped_column(sa.ForeignKey(User.id), primary_key=True)
    nickname: Mapped[str] = mapped_column(sa.String(40), unique=True)


class Role(DB.Model):  # type: ignore[misc,name-defined]
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(40), unique=True)
    people: Mapped[list[User]] = relationship(secondary=ROLES, back_populates="roles")


class Pending(PendingRegistrationMixin, DB.Model):  # type: ignore[misc,name-defined]
    pass


class SignUp(DefaultRegisterUserSerializer):
    nickname = fields.String(required=True, validate=validate.Length(min=2, max=40))

    @post_load
    def add_companions(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
        data["profile"] = Profile(nickname=data.pop("nickname"))
        data["roles"] = [DB.session.scalars(sa.select(Role).filter_by(name="customer")).one()]
        return data


@models.on_base(lambda: DB)
def with_companions(db: Any) -> type[Any]:
    return User


class Shop:
    """An app whose accounts have companions; Bob has one already.

    :param is_email_first: whether the account is made behind the link, or at once.
    """

    def __init__(self, build: Builder, smtp: RecordingServer, *, is_email_first: bool) -> None:
        settings = {"REGISTER_SERIALIZER_CLASS": SignUp, **(EMAIL_FIRST if is_email_first else {})}
        self.built: Built = build(with_companions, registration=settings)
        with self.built.app.app_context():
            bob = User(email="bob@example.com", username="bob", password_hash="x", profile=Profile(nickname="Bobby"))
            DB.session.add_all([bob, Role(name="customer")])
            DB.session.commit()
        self._link = link_to(self.built, smtp) if is_email_first else None

    def sign_up(self, nickname: str = "Annie", **changes: object) -> TestResponse:
        body = self.built.body(nickname=nickname, **changes)
        return self.built.post(VERIFY, {**body, **self._link}) if self._link else self.built.post(REGISTER, body)

    def rows(self) -> list[tuple[Any, ...]]:
        """Read each account's user name, nickname and role."""
        wanted = sa.select(User.username, Profile.nickname, Role.name).join(User.profile)
        with self.built.app.app_context():
            wanted = wanted.join(User.roles, isouter=True).order_by(User.username)
            return [tuple(row) for row in DB.session.execute(wanted)]

    def number_of_rows(self) -> list[int]:
        with self.built.app.app_context():
            counts = [sa.select(sa.func.count()).select_from(each) for each in (User, Profile, ROLES)]
            return [DB.session.scalars(count).one() for count in counts]


ONLY_BOB = [1, 1, 0]


@pytest.fixture(params=[False, True], ids=["at sign-up", "e-mail first"])
def shop(request: pytest.FixtureRequest, build: Builder, smtp: RecordingServer) -> Shop:
    return Shop(build, smtp, is_email_first=request.param)


def test_companion_rows_are_stored_with_the_account(shop: Shop) -> None:
    assert shop.sign_up().status_code == 201
    assert shop.rows() == [("ann", "Annie", "customer"), ("bob", "Bobby", None)]


def test_password_validators_judge_where_a_serializer_brings_companions(shop: Shop) -> None:
    assert list(field_errors(shop.sign_up(password="password"))) == ["password"]
    assert set(field_errors(shop.sign_up(nickname="A", password="password"))) == {"password", "nickname"}
    assert shop.number_of_rows() == ONLY_BOB


def test_a_constraint_of_a_companion_leaves_no_row_behind(shop: Shop) -> None:
    assert list(field_errors(shop.sign_up(nickname="Bobby"))) == ["_schema"]
    assert shop.number_of_rows() == ONLY_BOB
    assert shop.sign_up().status_code == 201  # with e-mail first by the same link


@pytest.mark.parametrize("statement", ["INSERT INTO user ", "INSERT INTO profile ", "INSERT INTO user_roles "])
def test_a_conflict_is_tried_again_with_companions(shop: Shop, statement: str) -> None:
    with refusing(shop.built, statement, times=1) as met:
        assert shop.sign_up().status_code == 201
    assert len(met) == 2
    assert shop.rows() == [("ann", "Annie", "customer"), ("bob", "Bobby", None)]


def test_a_mail_that_fails_leaves_no_companion_behind(build: Builder, smtp: RecordingServer) -> None:
    shop = Shop(build, smtp, is_email_first=False)
    smtp.fault = HangUp("TEXT")
    refused(shop.sign_up(), 503, "email-not-sent")
    assert shop.number_of_rows() == ONLY_BOB
