"""``POST reject-registration/``: the second link of the mail, "this was not me", and the end of a claim."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from email.message import EmailMessage
from html import unescape
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Boolean, DateTime, ForeignKey, Integer, event, insert, select, update
from sqlalchemy.orm import Mapped, mapped_column, relationship

from flask_rest_registration import (
    ConfigurationError,
    RegisterSigner,
    RejectionSigner,
    send_register_verification_email_notification,
    user_activated,
    user_registered,
)

from .support import databases, models
from .support.answers import field_errors, refused
from .support.apps import OMITTED, VERIFICATION_URL, Builder, Built
from .support.clock import Clock
from .support.concurrency import BEGINNINGS, at_once
from .support.databases import Outside
from .support.links import changed, html_of, text_of, values_of, with_other_character
from .support.mail_servers import RecordingServer
from .support.statements import recorded

REJECT, RESEND = "reject-registration/", "resend-verification/"
REJECTION_URL = "https://frontend.example/reject-user/"
WEEK = 7 * 24 * 3600
COOLDOWN = 15 * 60
ON = {"REGISTER_REJECTION_URL": REJECTION_URL, "REGISTER_VERIFICATION_PERIOD": WEEK}
RESENDING = {**ON, "REGISTER_VERIFICATION_RESEND_ENABLED": True}
REJECTED = {"detail": "Registration rejected successfully"}
VERIFIED = {"detail": "User verified successfully"}
VERIFIED_AT = datetime(2020, 1, 1)  # noqa: DTZ001
SECURE_KEY = {"__table_args__": {"sqlite_autoincrement": True}}

Values = dict[str, str]


def links_in(text: str) -> list[str]:
    """Return the signed links of a text, in their order, each once."""
    found = [link for link in re.findall(r"https?://[^\s<>\"]+", text) if "signature=" in link]
    return list(dict.fromkeys(found))


def links_of(message: EmailMessage) -> tuple[Values, Values]:
    """Return what the two links send back: the verification's and the rejection's."""
    verification, rejection = links_in(text_of(message))
    assert verification.startswith(VERIFICATION_URL)
    assert rejection.startswith(REJECTION_URL)
    return values_of(verification), values_of(rejection)


def change(built: Built, **values: object) -> None:
    """Let the application change every account by itself."""
    with built.app.app_context():
        built.db.session.execute(update(built.User).values(**values))
        built.db.session.commit()


@pytest.fixture(name="built")
def rejecting_app(build: Builder, clock: Clock) -> Built:
    return build(models.claiming, registration=RESENDING)


@pytest.fixture(name="links")
def links_of_a_sign_up(built: Built, smtp: RecordingServer) -> tuple[Values, Values]:
    assert built.register().status_code == 201
    return links_of(smtp.messages.pop())


@pytest.fixture(name="verification")
def verification_of_a_sign_up(links: tuple[Values, Values]) -> Values:
    return links[0]


@pytest.fixture(name="rejection")
def rejection_of_a_sign_up(links: tuple[Values, Values]) -> Values:
    return links[1]


# 1: the switch


@pytest.mark.parametrize("body", [b"{}", b"no JSON", b"x" * 100_000])
@pytest.mark.parametrize(
    ("model", "settings"),
    [
        (models.typed, {}),
        (models.claiming, {}),
        (models.claiming, {"REGISTER_VERIFICATION_RESEND_ENABLED": True}),
        (models.claiming, {"REGISTER_VERIFICATION_ENABLED": False}),
    ],
)
def test_rejecting_that_is_switched_off_is_404_whatever_is_sent(
    build: Builder, model: models.Model, settings: dict[str, object], body: bytes
) -> None:
    built = build(model, registration=settings)
    with recorded(built.engine) as statements:
        refused(built.post(REJECT, data=body, content_type="application/json"), 404, "not-found")
    assert statements.kinds == []


def test_a_link_from_before_rejecting_was_switched_off_is_404(build: Builder, built: Built, rejection: Values) -> None:
    without = build(models.claiming, database_uri=built.database_uri, tables=False)
    refused(without.post(REJECT, rejection), 404, "not-found")
    assert built.row()["email"] == "ann@example.com"


def test_links_work_on_where_registration_is_disabled(build: Builder, built: Built, rejection: Values) -> None:
    closed = build(
        models.claiming,
        database_uri=built.database_uri,
        registration={**ON, "REGISTER_FLOW_ENABLED": False},
        tables=False,
    )
    assert closed.post(REJECT, rejection).get_json() == REJECTED
    assert built.rows() == []


# 2: the mail


def test_the_mail_has_both_links_in_text_and_in_html(built: Built, smtp: RecordingServer) -> None:
    built.register()
    in_text, in_html = links_in(text_of(smtp.message)), [unescape(link) for link in links_in(html_of(smtp.message))]
    assert in_text == in_html
    assert [urlsplit(link)._replace(query="").geturl() for link in in_text] == [VERIFICATION_URL, REJECTION_URL]
    assert f'href="{in_text[1].replace("&", "&amp;")}"' in html_of(smtp.message)


def test_without_the_setting_the_mail_has_one_link_and_says_nothing_of_deleting(
    build: Builder, smtp: RecordingServer
) -> None:
    built = build(models.claiming)
    built.register()
    for part in (text_of(smtp.message), html_of(smtp.message)):
        assert len(links_in(part)) == 1
        assert "delete" not in part


@pytest.mark.parametrize(("settings", "expected"), [({}, None), (ON, REJECTION_URL)])
def test_templates_of_ones_own_get_the_rejections_url_or_none(
    build: Builder, smtp: RecordingServer, settings: dict[str, object], expected: str | None
) -> None:
    seen: list[Any] = []

    def look(request: object, user: object, context: dict[str, object]) -> dict[str, object]:
        seen.append(context["rejection_url"])
        return context

    built = build(models.claiming, registration={**settings, "VERIFICATION_TEMPLATE_CONTEXT_BUILDER": look})
    assert built.register().status_code == 201
    assert [url and str(url).partition("?")[0] for url in seen] == [expected]


def test_a_builder_of_urls_builds_both(build: Builder, smtp: RecordingServer) -> None:
    def build_url(signer: RegisterSigner | RejectionSigner) -> str:
        values = signer.get_signed_data()
        return f"{signer.get_base_url()}?{'&'.join(f'{name}={values[name]}' for name in sorted(values))}&mine=1"

    built = build(models.claiming, registration={**ON, "VERIFICATION_URL_BUILDER": build_url})
    built.register()
    links = links_in(text_of(smtp.message))
    assert [link.endswith("&mine=1") for link in links] == [True, True]
    verification, rejection = links_of(smtp.message)
    assert verification["signature"] != rejection["signature"]
    assert built.post(REJECT, rejection).get_json() == REJECTED


# 3: the deletion


def test_a_rejection_deletes_the_claim_and_nothing_else(built: Built, rejection: Values) -> None:
    assert built.register(email="bob@example.com", username="bob").status_code == 201
    bob = built.rows()[1]
    answer = built.post(REJECT, rejection)
    assert (answer.status_code, answer.get_json()) == (200, REJECTED)
    assert answer.headers["Cache-Control"] == "no-store"
    assert built.rows() == [bob]


def test_all_links_of_a_rejected_claim_are_dead(
    built: Built, smtp: RecordingServer, clock: Clock, links: tuple[Values, Values]
) -> None:
    clock.move(COOLDOWN + 1)
    built.post(RESEND, {"email": "ann@example.com"})
    fresh = links_of(smtp.message)
    assert built.post(REJECT, links[1]).get_json() == REJECTED
    for verification, rejection in (links, fresh):
        refused(built.verify(verification), 400, "signature-invalid")
        refused(built.post(REJECT, rejection), 400, "signature-invalid")
    assert built.rows() == []
    clock.move(COOLDOWN + 1)
    assert built.post(RESEND, {"email": "ann@example.com"}).status_code == 202
    assert len(smtp.messages) == 1


def test_the_rejection_link_of_a_link_that_was_sent_again_works_too(
    built: Built, smtp: RecordingServer, clock: Clock, links: tuple[Values, Values]
) -> None:
    clock.move(COOLDOWN + 1)
    built.post(RESEND, {"email": "ann@example.com"})
    verification, rejection = links_of(smtp.message)
    assert rejection["timestamp"] == verification["timestamp"] == str(clock.time)
    assert built.post(REJECT, rejection).get_json() == REJECTED
    refused(built.verify(links[0]), 400, "signature-invalid")


def test_the_key_of_a_rejected_claim_is_not_given_again_and_its_address_is_free(
    built: Built, smtp: RecordingServer, links: tuple[Values, Values]
) -> None:
    old = built.row()["id"]
    assert built.post(REJECT, links[1]).get_json() == REJECTED
    assert built.register().status_code == 201
    assert built.row()["id"] != old
    refused(built.verify(links[0]), 400, "signature-invalid")
    refused(built.post(REJECT, links[1]), 400, "signature-invalid")
    assert built.verify(links_of(smtp.message)[0]).get_json() == VERIFIED


def test_the_session_of_an_application_does_not_remember_a_rejected_claim(built: Built, rejection: Values) -> None:
    with built.app.app_context():
        user = built.db.session.get_one(built.User, 1)
        assert built.post(REJECT, rejection).get_json() == REJECTED
        assert user not in built.db.session
        assert built.db.session.get(built.User, 1) is None


def test_no_signal_is_sent(built: Built, rejection: Values) -> None:
    calls: list[str] = []

    def keep(sender: Flask, **_: object) -> None:
        calls.append("called")

    with user_registered.connected_to(keep), user_activated.connected_to(keep):
        assert built.post(REJECT, rejection).get_json() == REJECTED
    assert calls == []


@pytest.mark.parametrize(
    "attributes",
    [
        {"verification_sent_at": lambda: mapped_column(DateTime(timezone=True))},
        {
            "verification_sent_at": lambda: mapped_column("sent on", DateTime),
            "id": lambda: mapped_column("key", Integer, primary_key=True),
        },
        {"email_verified_at": lambda: None, "is_verified": lambda: mapped_column(Boolean, default=False)},
    ],
    ids=["a time zone", "other column names", "a Boolean flag"],
)
def test_claims_of_every_kind_are_deleted(
    build: Builder, smtp: RecordingServer, attributes: dict[str, Callable[[], Any]]
) -> None:
    given = {"verification_sent_at": mapped_column(DateTime), **{key: make() for key, make in attributes.items()}}
    built = build(models.declared(**SECURE_KEY, **given), registration=ON)
    assert built.register().status_code == 201
    verification, rejection = links_of(smtp.message)
    refused(built.post(REJECT, verification), 400, "signature-invalid")
    assert built.post(REJECT, rejection).get_json() == REJECTED
    assert built.rows() == []


def test_a_claim_whose_boolean_flag_is_null_is_deleted(build: Builder, smtp: RecordingServer) -> None:
    model = models.declared(
        **SECURE_KEY,
        email_verified_at=None,
        is_verified=mapped_column(Boolean),
        verification_sent_at=mapped_column(DateTime),
    )
    built = build(model, registration=ON)
    built.register()
    change(built, is_verified=None)
    assert built.post(REJECT, links_of(smtp.message)[1]).get_json() == REJECTED
    assert built.rows() == []


# 4: what is no link of a claim


def test_the_verification_link_is_not_accepted_as_a_rejection_nor_the_reverse(
    built: Built, verification: Values, rejection: Values
) -> None:
    refused(built.post(REJECT, verification), 400, "signature-invalid")
    refused(built.verify(rejection), 400, "signature-invalid")
    assert built.row()["email_verified_at"] is None
    assert built.verify(verification).get_json() == VERIFIED


def test_wrong_signatures_other_values_and_unknown_users_get_one_and_the_same_answer_by_the_same_work(
    built: Built, rejection: Values
) -> None:
    answers, work = set(), set()
    for wrong in (
        changed(rejection, signature=with_other_character(rejection["signature"], 5)),
        changed(rejection, timestamp=rejection["timestamp"][:-1] + "9"),
        changed(rejection, user_id="2"),
        changed(rejection, signature=""),
    ):
        with recorded(built.engine) as statements:
            response = built.post(REJECT, wrong)
        refused(response, 400, "signature-invalid")
        answers.add((response.data, tuple(sorted(response.headers.items()))))
        work.add(tuple(statements.queries))
    assert (len(answers), work) == (1, {("SELECT",)})
    assert len(built.rows()) == 1


@pytest.mark.parametrize(
    "values",
    [
        {"email": "new@example.com"},
        {"verification_sent_at": None},
        {"email_verified_at": VERIFIED_AT},
        {"email_verified_at": VERIFIED_AT, "verification_sent_at": None},
    ],
    ids=["changed its address", "locked", "verified by hand", "verified"],
)
def test_what_is_no_claim_any_more_is_kept(built: Built, rejection: Values, values: dict[str, object]) -> None:
    change(built, **values)
    before = built.row()
    with recorded(built.engine) as statements:
        answer = built.post(REJECT, rejection)
    refused(answer, 400, "signature-invalid")
    assert statements.queries == ["SELECT"]
    assert built.row() == before
    wrong = changed(rejection, signature=with_other_character(rejection["signature"], 5))
    assert answer.data == built.post(REJECT, wrong).data


def test_an_account_that_was_verified_is_never_deleted_though_its_flag_is_cleared(
    built: Built, verification: Values, rejection: Values
) -> None:
    assert built.verify(verification).get_json() == VERIFIED
    refused(built.post(REJECT, rejection), 400, "signature-invalid")
    change(built, email_verified_at=None)
    refused(built.post(REJECT, rejection), 400, "signature-invalid")
    assert built.row()["email"] == "ann@example.com"


def test_a_repeated_rejection_is_refused_like_a_wrong_link(built: Built, rejection: Values) -> None:
    assert built.post(REJECT, rejection).get_json() == REJECTED
    repeated = built.post(REJECT, rejection)
    refused(repeated, 400, "signature-invalid")
    assert repeated.data == built.post(REJECT, changed(rejection, signature="x")).data


@pytest.mark.parametrize("one_time", [True, False])
def test_a_link_works_for_the_whole_period_and_has_expired_a_second_later(
    build: Builder, smtp: RecordingServer, clock: Clock, one_time: bool
) -> None:
    built = build(models.claiming, registration={**ON, "REGISTER_VERIFICATION_ONE_TIME_USE": one_time})
    built.register()
    _, rejection = links_of(smtp.message)
    clock.move(WEEK + 1)
    refused(built.post(REJECT, rejection), 400, "signature-expired")
    refused(built.post(REJECT, changed(rejection, signature="x")), 400, "signature-invalid")
    assert len(built.rows()) == 1
    clock.move(-1)
    assert built.post(REJECT, rejection).get_json() == REJECTED


@pytest.mark.parametrize(
    "value",
    [OMITTED, None, True, 1.0, [], {}],
    ids=lambda value: "missing" if value is OMITTED else repr(value),
)
@pytest.mark.parametrize("field", ["user_id", "timestamp", "signature"])
def test_a_field_that_is_missing_or_of_the_wrong_kind_is_named(
    built: Built, rejection: Values, field: str, value: object
) -> None:
    body = {name: given for name, given in changed(rejection, **{field: value}).items() if given is not OMITTED}
    assert list(field_errors(built.post(REJECT, body))) == [field]
    assert len(built.rows()) == 1


def test_unknown_fields_and_what_is_no_json_are_refused(built: Built, rejection: Values) -> None:
    assert list(field_errors(built.post(REJECT, {**rejection, "password": "x"}))) == ["password"]
    refused(built.post(REJECT, data=b"user_id=1", content_type="application/json"), 400, "parse-error")
    assert built.client().get(f"{built.url_prefix}/{REJECT}").status_code == 405
    assert len(built.rows()) == 1


def test_numbers_may_be_sent_as_numbers(built: Built, rejection: Values) -> None:
    sent = {**rejection, "user_id": int(rejection["user_id"]), "timestamp": int(rejection["timestamp"])}
    assert built.post(REJECT, sent).get_json() == REJECTED


# 5: what refers to the claim


def referring(**options: Any) -> models.Model:
    """The usual claiming model, and profiles that refer to it, which the ORM would delete by itself."""

    def model(db: SQLAlchemy) -> type[Any]:
        user = models.claiming(db)

        class Profile(db.Model):  # type: ignore[misc,name-defined]
            id: Mapped[int] = mapped_column(primary_key=True)
            user_id: Mapped[int | None] = mapped_column(ForeignKey(user.id, **options))

        user.profile = Profile
        user.profiles = relationship(Profile, cascade="all, delete-orphan")
        return user

    return model


def with_a_profile(build: Builder, smtp: RecordingServer, **options: Any) -> tuple[Built, Values, Values]:
    """Build an app whose connections check foreign keys, which SQLite leaves to the application, and a claim."""
    built = build(referring(**options), registration=ON, tables=False)

    built.enforce_foreign_keys()
    with built.app.app_context():
        built.db.create_all()
    assert built.register().status_code == 201
    with built.app.app_context():
        built.db.session.execute(insert(built.User.profile).values(user_id=1))
        built.db.session.commit()
    return built, *links_of(smtp.message)


def profiles(built: Built) -> list[int | None]:
    with built.app.app_context():
        return list(built.db.session.scalars(select(built.User.profile.user_id)))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ondelete": "RESTRICT"},
        pytest.param({"deferrable": True, "initially": "DEFERRED"}, marks=databases.DEFERRED.marks),
    ],
    ids=["plain", "RESTRICT", "deferred"],
)
def test_a_claim_that_other_rows_refer_to_is_kept_and_can_still_be_verified(
    build: Builder,
    smtp: RecordingServer,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    options: dict[str, Any],
) -> None:
    built, verification, rejection = with_a_profile(build, smtp, **options)
    before = built.row()
    for _ in range(2):
        refused(built.post(REJECT, rejection), 409, "claim-in-use")
    assert (built.row(), profiles(built)) == (before, [1])
    assert "A claim that was rejected could not be deleted" in caplog.text
    assert built.verify(verification).get_json() == VERIFIED


@pytest.mark.parametrize(("action", "left"), [("CASCADE", []), ("SET NULL", [None])])
def test_what_the_database_does_on_delete_follows_by_one_statement(
    build: Builder, smtp: RecordingServer, clock: Clock, action: str, left: list[None]
) -> None:
    built, _, rejection = with_a_profile(build, smtp, ondelete=action)
    with recorded(built.engine) as statements:
        assert built.post(REJECT, rejection).get_json() == REJECTED
    assert statements.queries == ["SELECT", "DELETE"]
    assert (built.rows(), profiles(built)) == ([], left)


# 6: at the same moment


@contextmanager
def acting_before(built: Built, word: str, act: Callable[[Outside], object], times: int) -> Iterator[None]:
    """Let another connection act between the SELECT that finds and the statement that decides."""
    met: list[str] = []
    with built.outside() as other:

        def step_in(conn: object, cursor: object, statement: str, *_: object) -> None:
            if statement.startswith(word) and len(met) < times:
                met.append(statement)
                act(other)

        def unlock(conn: object) -> None:
            other.unlock()

        event.listen(built.engine, "before_cursor_execute", step_in)
        event.listen(built.engine, "rollback", unlock)
        try:
            yield
        finally:
            event.remove(built.engine, "before_cursor_execute", step_in)
            event.remove(built.engine, "rollback", unlock)
    assert len(met) == times


@pytest.mark.parametrize(
    ("sql", "left"),
    [
        ("UPDATE user SET email_verified_at = '2023-11-14 00:00:00.000000', verification_sent_at = NULL", 1),
        ("UPDATE user SET email_verified_at = '2023-11-14 00:00:00.000000'", 1),
        ("UPDATE user SET verification_sent_at = NULL", 1),
        ("UPDATE user SET email = 'new@example.com'", 1),
        ("DELETE FROM user", 0),
    ],
    ids=["verified", "verified by hand", "locked", "changed its address", "deleted"],
)
def test_what_became_something_else_since_it_was_found_is_kept(
    built: Built, rejection: Values, sql: str, left: int
) -> None:
    with acting_before(built, "DELETE", lambda other: other.execute(sql), 1):
        refused(built.post(REJECT, rejection), 400, "signature-invalid")
    assert len(built.rows()) == left


def test_a_claim_that_got_its_link_again_since_it_was_found_is_deleted_all_the_same(
    built: Built, rejection: Values
) -> None:
    sql = "UPDATE user SET verification_sent_at = '2023-11-14 23:00:00.000000'"
    with acting_before(built, "DELETE", lambda other: other.execute(sql), 1):
        assert built.post(REJECT, rejection).get_json() == REJECTED
    assert built.rows() == []


@pytest.mark.parametrize("conflicts", [1, 3, 4])
def test_a_conflict_is_tried_again_up_to_three_times(
    build: Builder, built: Built, rejection: Values, conflicts: int
) -> None:
    impatient = build(
        models.claiming,
        database_uri=built.database_uri,
        registration=ON,
        tables=False,
        config=databases.impatient(),
    )
    with acting_before(impatient, "DELETE", Outside.lock, conflicts):
        answer = impatient.post(REJECT, rejection)
    if conflicts <= 3:
        assert answer.get_json() == REJECTED
        assert built.rows() == []
    else:
        refused(answer, 503, "database-unavailable")
        assert len(built.rows()) == 1


@pytest.mark.parametrize("begin", BEGINNINGS, ids=["plain", "begin by hand"])
def test_of_many_rejections_at_once_one_succeeds(
    built: Built, rejection: Values, begin: Callable[..., None] | None
) -> None:
    if begin is not None:
        built.engine.dispose()
        begin(built.engine)
    outcome = at_once(8, lambda _: built.post(REJECT, rejection))
    assert outcome.errors == []
    assert sorted(answer.status_code for answer in outcome.results) == [200] + [400] * 7
    assert built.rows() == []


# 7: RegisterSigner.for_user and RejectionSigner.for_user


def signed(built: Built, kind: type[RegisterSigner | RejectionSigner]) -> Values:
    """Return what a script signs for the only account."""
    with built.app.app_context():
        return kind.for_user(built.db.session.scalars(select(built.User)).one()).get_signed_data()


@pytest.mark.parametrize("age", [0, 60, WEEK])
def test_a_script_gets_the_links_of_the_mail_for_a_claim(
    built: Built, clock: Clock, links: tuple[Values, Values], age: int
) -> None:
    clock.move(age)
    assert (signed(built, RegisterSigner), signed(built, RejectionSigner)) == links


def test_a_script_gets_a_link_that_works_for_a_claim_whose_own_has_expired(
    built: Built, clock: Clock, rejection: Values
) -> None:
    clock.move(WEEK + 1)
    refused(built.post(REJECT, rejection), 400, "signature-expired")
    fresh = signed(built, RejectionSigner)
    assert fresh["timestamp"] == signed(built, RegisterSigner)["timestamp"] == str(clock.time)
    assert built.post(REJECT, fresh).get_json() == REJECTED


@pytest.mark.parametrize(
    "values",
    [{"email_verified_at": VERIFIED_AT}, {"verification_sent_at": None}],
    ids=["verified by hand", "locked"],
)
def test_a_script_gets_links_of_now_for_what_is_no_claim(
    built: Built, clock: Clock, rejection: Values, values: dict[str, object]
) -> None:
    change(built, **values)
    clock.move(60)
    assert signed(built, RegisterSigner)["timestamp"] == signed(built, RejectionSigner)["timestamp"] == str(clock.time)


def test_a_claim_of_the_future_keeps_its_time(built: Built, clock: Clock, links: tuple[Values, Values]) -> None:
    clock.move(-WEEK)
    assert signed(built, RejectionSigner) == links[1]


def test_a_rejection_link_is_valid_as_long_as_the_other(built: Built, clock: Clock, rejection: Values) -> None:
    clock.move(60)
    with built.app.app_context():
        user = built.db.session.scalars(select(built.User)).one()
        until = [kind.for_user(user).get_valid_until() for kind in (RegisterSigner, RejectionSigner)]
    assert until == [datetime.fromtimestamp(int(rejection["timestamp"]) + WEEK, timezone.utc)] * 2


def test_without_the_setting_there_is_no_page_for_a_rejection(build: Builder) -> None:
    built = build(models.claiming)
    built.register()
    with built.app.app_context():
        signer = RejectionSigner.for_user(built.db.session.scalars(select(built.User)).one())
        with pytest.raises(ConfigurationError, match="REGISTER_REJECTION_URL is missing"):
            signer.get_url()


def test_a_script_sends_the_mail_with_both_links(built: Built, smtp: RecordingServer, rejection: Values) -> None:
    with built.app.app_context():
        send_register_verification_email_notification(None, built.db.session.scalars(select(built.User)).one())
    assert links_of(smtp.message)[1] == rejection
