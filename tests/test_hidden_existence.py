"""REGISTER_HIDE_EXISTING_EMAIL: nobody but its owner learns that an address has an account."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask_sqlalchemy import SQLAlchemy
from jinja2 import DictLoader
from sqlalchemy import DateTime, ForeignKey, event, select, text, update
from sqlalchemy.orm import Mapped, mapped_column
from werkzeug.security import check_password_hash
from werkzeug.test import TestResponse

from flask_rest_registration import (
    ConfigurationError,
    send_existing_account_email_notification,
    send_register_verification_email_notification,
)

from .support import models
from .support.answers import field_errors, refused
from .support.apps import OMITTED, PASSWORD, Builder, Built
from .support.clock import Clock
from .support.concurrency import at_once
from .support.databases import DEFERRED, USERS
from .support.links import html_of, link_in, text_of, values_of
from .support.mail_servers import RecordingServer
from .support.statements import recorded

WEEK = 7 * 24 * 3600
COOLDOWN = 15 * 60
HIDING: dict[str, object] = {"REGISTER_HIDE_EXISTING_EMAIL": True, "REGISTER_PASSWORD_AT": "verify"}
FREE = "free@example.com"
DETAIL = {"detail": "If this address can be used, a message is on its way to it."}


def nameless(db: SQLAlchemy) -> type[Any]:
    """A model whose address is its only unique column."""
    return models.declared(
        verification_sent_at=mapped_column(DateTime),
        notice_sent_at=mapped_column(DateTime),
        __table_args__={"sqlite_autoincrement": True},
    )(db)


@pytest.fixture(name="built")
def hiding_app(build: Builder, clock: Clock) -> Built:
    return build(nameless, registration=HIDING)


def sign_up(built: Built, email: str = "ann@example.com", **changes: object) -> TestResponse:
    return built.register(email=email, password=OMITTED, password_confirm=OMITTED, **changes)


def activate(built: Built, link: str) -> TestResponse:
    return built.verify({**values_of(link), "password": PASSWORD, "password_confirm": PASSWORD})


Make = Callable[[Built, RecordingServer], object]


def claim(built: Built, smtp: RecordingServer) -> None:
    assert sign_up(built, **({"username": "ann"} if hasattr(built.User, "username") else {})).status_code == 202


def verified(built: Built, smtp: RecordingServer) -> None:
    claim(built, smtp)
    assert activate(built, link_in(smtp.messages[-1])).status_code == 200


def made_by_hand(built: Built, smtp: RecordingServer) -> None:
    with built.app.app_context():
        built.db.session.add(built.User(email="ann@example.com", password_hash="x"))
        built.db.session.commit()


def expired_claim(built: Built, smtp: RecordingServer) -> None:
    claim(built, smtp)
    with built.app.app_context():
        built.db.session.execute(text(f"UPDATE {USERS} SET verification_sent_at = '2001-01-01 00:00:00.000000'"))
        built.db.session.commit()


TAKEN_BY: list[Make] = [claim, expired_claim, verified, made_by_hand]


def whole(response: TestResponse) -> tuple[str, list[tuple[str, str]], bytes]:
    """Return all that a stranger sees of an answer."""
    return response.status, list(response.headers), response.data


def stamps(built: Built) -> list[tuple[object, object]]:
    return [(row["verification_sent_at"], row["notice_sent_at"]) for row in built.rows()]


# one answer


@pytest.mark.parametrize("make", TAKEN_BY)
@pytest.mark.parametrize("later", [0, COOLDOWN, COOLDOWN + 1], ids=["at once", "at the cooldown", "after the cooldown"])
def test_status_headers_and_body_are_the_same_byte_for_byte_for_free_and_taken(
    built: Built, smtp: RecordingServer, clock: Clock, make: Make, later: int
) -> None:
    make(built, smtp)
    clock.move(later)
    free, *taken = (whole(sign_up(built, address)) for address in (FREE, "ann@example.com", "ann@example.com"))
    assert taken == [free, free]
    answer = sign_up(built, "eve@example.com")
    assert (answer.status_code, answer.get_json()) == (202, DETAIL)
    assert answer.headers["Cache-Control"] == "no-store"


def test_both_cost_exactly_one_hash(build: Builder, smtp: RecordingServer, clock: Clock) -> None:
    hashed: list[int] = []

    def count(password: str) -> str:
        hashed.append(len(password))
        return models.cheap_hash(password)

    built = build(nameless, registration={**HIDING, "PASSWORD_HASHER": count})
    verified(built, smtp)
    hashed.clear()
    for address in (FREE, "ann@example.com", "ann@example.com", FREE):
        sign_up(built, address)
    assert hashed == [43] * 4


@pytest.mark.parametrize("make", TAKEN_BY)
def test_a_taken_address_costs_insert_select_select_update(
    built: Built, smtp: RecordingServer, clock: Clock, make: Make
) -> None:
    make(built, smtp)
    clock.move(COOLDOWN + 1)
    with recorded(built.engine) as statements:
        sign_up(built)
    assert statements.queries == ["INSERT", "SELECT", "SELECT", "UPDATE"]
    assert statements.kinds[-1] == "COMMIT"


@pytest.mark.parametrize("body", [{"email": "ann"}, {"email": "ann@example.com", "extra": "x"}])
def test_faults_of_the_input_are_named_as_ever(built: Built, smtp: RecordingServer, body: dict[str, str]) -> None:
    before = whole(built.post("register/", body))
    verified(built, smtp)
    assert whole(built.post("register/", body)) == before
    assert before[0].startswith("400")
    assert len(smtp.messages) == 1


def test_only_new_accounts_are_signalled(built: Built, smtp: RecordingServer, clock: Clock, signals: list[str]) -> None:
    verified(built, smtp)
    sign_up(built, FREE)
    clock.move(COOLDOWN + 1)
    sign_up(built)
    sign_up(built, FREE)
    assert signals == ["ann@example.com", FREE]
    assert len(built.rows()) == 2


# taken by a claim


def test_a_claim_gets_its_link_again_after_the_cooldown_and_nothing_within_it(
    built: Built, smtp: RecordingServer, clock: Clock
) -> None:
    claim(built, smtp)
    made_at = stamps(built)
    for seconds in (0, COOLDOWN - 1, 1):
        clock.move(seconds)
        assert sign_up(built).get_json() == DETAIL
    assert len(smtp.messages) == 1
    assert stamps(built) == made_at
    clock.move(1)
    sign_up(built)
    sign_up(built)
    assert len(smtp.messages) == 2
    link = link_in(smtp.messages[1])
    assert values_of(link)["timestamp"] == str(clock.time)
    assert stamps(built)[0] > made_at[0]
    assert built.row()["notice_sent_at"] is None
    assert activate(built, link).status_code == 200
    assert check_password_hash(built.row()["password_hash"], PASSWORD)


def test_an_expired_claim_gets_a_link_that_lives(built: Built, smtp: RecordingServer, clock: Clock) -> None:
    claim(built, smtp)
    clock.move(WEEK + 1)
    refused(activate(built, link_in(smtp.messages[0])), 400, "signature-expired")
    sign_up(built)
    assert activate(built, link_in(smtp.messages[1])).status_code == 200


def test_a_claim_from_a_clock_that_was_ahead_gets_nothing(built: Built, smtp: RecordingServer, clock: Clock) -> None:
    claim(built, smtp)
    clock.move(-WEEK)
    assert sign_up(built).get_json() == DETAIL
    assert len(smtp.messages) == 1


# taken by somebody else's account


@pytest.mark.parametrize("make", [verified, made_by_hand])
def test_an_owner_gets_one_notice_within_the_cooldown_without_link_or_anything_of_the_request(
    built: Built, smtp: RecordingServer, clock: Clock, make: Make
) -> None:
    make(built, smtp)
    before, mails = built.row(), len(smtp.messages)
    for seconds in (0, 0, COOLDOWN):
        clock.move(seconds)
        client = built.client()
        client.post(
            "/api/v1/accounts/register/?utm=mallory",
            json={"email": "ANN@example.com"},
            headers={"User-Agent": "mallory", "Host": "mallory.example", "X-Forwarded-For": "203.0.113.9"},
        )
    (notice,) = smtp.messages[mails:]
    whole_mail = notice.as_string() + text_of(notice) + html_of(notice)
    for forbidden in ("signature=", "timestamp=", "user_id=", "mallory", "203.0.113.9", "127.0.0.1:", "ANN@"):
        assert forbidden not in whole_mail
    assert "http" not in text_of(notice)
    assert "href" not in html_of(notice)
    assert "frontend.example" in text_of(notice)
    assert (notice["Subject"], notice["To"]) == ("You have an account at frontend.example already", "ann@example.com")
    assert notice["Auto-Submitted"] == "auto-generated"
    after = built.row()
    assert after["notice_sent_at"] is not None
    assert {**after, "notice_sent_at": None} == before

    clock.move(1)
    sign_up(built)
    assert len(smtp.messages) == mails + 2
    assert built.row()["notice_sent_at"] > after["notice_sent_at"]


def test_an_account_whose_flag_the_application_took_back_gets_a_notice_and_no_link(
    built: Built, smtp: RecordingServer, clock: Clock
) -> None:
    verified(built, smtp)
    with built.app.app_context():
        built.db.session.execute(update(built.User).values(email_verified_at=None))
        built.db.session.commit()
    sign_up(built)
    assert "signature=" not in smtp.messages[1].as_string()
    refused(activate(built, link_in(smtp.messages[0])), 400, "signature-invalid")


def test_of_many_sign_ups_at_once_with_an_owners_address_one_causes_a_notice(
    built: Built, smtp: RecordingServer, clock: Clock
) -> None:
    verified(built, smtp)
    outcome = at_once(4, lambda _: sign_up(built))
    assert outcome.errors == []
    assert {whole(answer)[2] for answer in outcome.results} == {whole(sign_up(built))[2]}
    assert {answer.status_code for answer in outcome.results} == {202}
    assert len(smtp.messages) == 2


def test_asking_for_the_link_again_never_causes_a_notice(build: Builder, smtp: RecordingServer, clock: Clock) -> None:
    built = build(nameless, registration={**HIDING, "REGISTER_VERIFICATION_RESEND_ENABLED": True})
    verified(built, smtp)
    clock.move(COOLDOWN + 1)
    for address in ("ann@example.com", FREE):
        assert built.post("resend-verification/", {"email": address}).status_code == 202
    assert len(smtp.messages) == 1
    assert built.row()["notice_sent_at"] is None


# user names


@pytest.mark.parametrize("make", [claim, verified])
def test_a_taken_user_name_is_an_error_of_that_field_alone_and_mails_nobody(
    build: Builder, smtp: RecordingServer, clock: Clock, make: Make
) -> None:
    built = build(models.claiming, registration=HIDING)
    make(built, smtp)
    clock.move(COOLDOWN + 1)
    before, mails = built.row(), len(smtp.messages)
    free, taken = sign_up(built, FREE, username="ann"), sign_up(built, username="ann")
    assert field_errors(taken) == {"username": ["This value is already taken."]}
    assert whole(free) == whole(taken)
    assert (built.row(), len(smtp.messages)) == (before, mails)


def test_an_address_and_a_name_of_two_accounts_are_answered_as_the_name_alone(
    build: Builder, smtp: RecordingServer, clock: Clock
) -> None:
    built = build(models.claiming, registration=HIDING)
    verified(built, smtp)
    assert sign_up(built, "bob@example.com", username="bob").status_code == 202
    clock.move(COOLDOWN + 1)
    assert list(field_errors(sign_up(built, username="bob"))) == ["username"]
    assert len(smtp.messages) == 2
    assert sign_up(built, username="other").status_code == 202
    assert len(smtp.messages) == 3


# the mail fails


@pytest.mark.parametrize("make", TAKEN_BY)
@pytest.mark.parametrize(
    ("step", "reply", "status"),
    [("rcpt", "550 no such user", 400), ("rcpt", "451 greylisted", 503), ("text", "451 later", 503)],
)
def test_a_mail_that_fails_is_answered_alike_and_the_stamp_is_put_back(
    built: Built, smtp: RecordingServer, clock: Clock, make: Make, step: str, reply: str, status: int
) -> None:
    make(built, smtp)
    clock.move(COOLDOWN + 1)
    before, mails = built.rows(), len(smtp.messages)
    setattr(smtp, f"{step}_reply", reply)
    free, *taken = (sign_up(built, address) for address in (FREE, "ann@example.com", "ann@example.com"))
    assert [whole(answer) for answer in taken] == [whole(free)] * 2
    if status == 400:
        assert list(field_errors(free)) == ["email"]
    else:
        refused(free, 503, "email-not-sent")
    assert built.rows() == before
    assert len(smtp.messages) == mails
    setattr(smtp, f"{step}_reply", None)
    assert sign_up(built).status_code == 202
    assert len(smtp.messages) == mails + 1


@pytest.mark.parametrize("make", TAKEN_BY)
def test_a_mail_server_that_is_down_is_answered_alike_also_within_the_cooldown(
    build: Builder, built: Built, smtp: RecordingServer, clock: Clock, make: Make
) -> None:
    make(built, smtp)
    before = built.rows()
    with RecordingServer() as gone:
        pass
    down = build(nameless, database_uri=built.database_uri, registration=HIDING, mail=gone, tables=False)
    with recorded(down.engine) as statements:
        free, taken = sign_up(down, FREE), sign_up(down)
    refused(free, 503, "email-not-sent")
    assert whole(free) == whole(taken)
    assert statements.queries == []
    assert built.rows() == before


# senders and templates of one's own


def test_a_notice_sender_of_ones_own_stands_beside_the_default_link(
    build: Builder, smtp: RecordingServer, clock: Clock
) -> None:
    told: list[str] = []

    def tell(request: Any, user: Any) -> None:
        told.append(user.email)

    built = build(nameless, registration={**HIDING, "REGISTER_EXISTING_EMAIL_SENDER": tell})
    verified(built, smtp)
    assert sign_up(built).get_json() == DETAIL
    assert (told, len(smtp.messages)) == (["ann@example.com"], 1)
    assert smtp.conversations[-1] == ["EHLO", "QUIT"]


def test_a_link_sender_of_ones_own_stands_beside_the_default_notice(
    build: Builder, smtp: RecordingServer, clock: Clock
) -> None:
    linked: list[str] = []

    def send(request: Any, user: Any) -> None:
        linked.append(user.email)
        send_register_verification_email_notification(request, user)

    built = build(nameless, registration={**HIDING, "REGISTER_VERIFICATION_EMAIL_SENDER": send})
    verified(built, smtp)
    assert linked == ["ann@example.com"]
    assert sign_up(built).get_json() == DETAIL
    assert linked == ["ann@example.com"]
    assert [message["Subject"] for message in smtp.messages][1] == "You have an account at frontend.example already"


def test_with_two_senders_of_ones_own_no_mail_server_is_asked(
    build: Builder, smtp: RecordingServer, clock: Clock
) -> None:
    calls: list[tuple[str, str]] = []
    built = build(
        nameless,
        registration={
            **HIDING,
            "REGISTER_VERIFICATION_EMAIL_SENDER": lambda request, user: calls.append(("link", user.email)),
            "REGISTER_EXISTING_EMAIL_SENDER": lambda request, user: calls.append(("notice", user.email)),
        },
    )
    made_by_hand(built, smtp)
    for address in (FREE, "ann@example.com"):
        assert sign_up(built, address).get_json() == DETAIL
    assert calls == [("link", FREE), ("notice", "ann@example.com")]
    assert smtp.conversations == []


def test_a_notice_sender_of_ones_own_that_raises_puts_the_stamp_back(
    build: Builder, smtp: RecordingServer, clock: Clock
) -> None:
    def fail(request: Any, user: Any) -> None:
        raise LookupError("own fault")

    built = build(nameless, registration={**HIDING, "REGISTER_EXISTING_EMAIL_SENDER": fail})
    verified(built, smtp)
    refused(sign_up(built), 503, "email-not-sent")
    assert built.row()["notice_sent_at"] is None


def test_a_default_notice_needs_the_sites_url_before_the_first_sign_up(build: Builder) -> None:
    with pytest.raises(ConfigurationError, match="REGISTER_VERIFICATION_URL"):
        build(
            nameless,
            registration={**HIDING, "REGISTER_VERIFICATION_EMAIL_SENDER": lambda request, user: None},
            before_init=lambda app: app.config["REST_REGISTRATION"].pop("REGISTER_VERIFICATION_URL"),
        )


def test_with_two_senders_of_ones_own_no_url_is_needed(build: Builder, smtp: RecordingServer) -> None:
    own = {
        "REGISTER_VERIFICATION_EMAIL_SENDER": lambda request, user: None,
        "REGISTER_EXISTING_EMAIL_SENDER": lambda request, user: None,
    }
    built = build(
        nameless,
        registration={**HIDING, **own},
        before_init=lambda app: app.config["REST_REGISTRATION"].pop("REGISTER_VERIFICATION_URL"),
    )
    made_by_hand(built, smtp)
    assert whole(sign_up(built)) == whole(sign_up(built, FREE))


def test_a_script_sends_the_notice_without_a_request(build: Builder, smtp: RecordingServer) -> None:
    built = build(nameless)
    made_by_hand(built, smtp)
    with built.app.app_context():
        send_existing_account_email_notification(None, built.db.session.scalars(select(built.User)).one())
    assert "signature=" not in smtp.message.as_string()
    assert "There is an account with it already" in text_of(smtp.message)


def test_html_alone_is_made_into_text(build: Builder, smtp: RecordingServer, clock: Clock) -> None:
    built = build(
        nameless,
        registration={**HIDING, "REGISTER_EXISTING_EMAIL_TEMPLATES": {"html_body": "own.html"}},
        before_init=lambda app: setattr(
            app, "jinja_loader", DictLoader({"own.html": "<p>Hello {{ user_address }} of <b>{{ site }}</b></p>"})
        ),
    )
    made_by_hand(built, smtp)
    sign_up(built)
    assert text_of(smtp.message).strip() == "Hello ann@example.com of frontend.example"
    assert "<b>frontend.example</b>" in html_of(smtp.message)
    assert smtp.message["Subject"] == "You have an account at frontend.example already"


def test_templates_of_ones_own_replace_both_bodies_and_the_subject(
    build: Builder, smtp: RecordingServer, clock: Clock
) -> None:
    templates = {"subject": "own.subject", "text_body": "own.txt"}
    files = {"own.subject": "Known\n here", "own.txt": "{{ verification_url or 'none' }}"}
    built = build(
        nameless,
        registration={**HIDING, "REGISTER_EXISTING_EMAIL_TEMPLATES": templates},
        before_init=lambda app: setattr(app, "jinja_loader", DictLoader(files)),
    )
    made_by_hand(built, smtp)
    sign_up(built)
    assert (smtp.message["Subject"], text_of(smtp.message).strip()) == ("Known here", "none")
    assert smtp.message.get_body(("html",)) is None


# together with reclaim, and what the database does meanwhile


RECLAIMING = {**HIDING, "REGISTER_RECLAIM_ENABLED": True}


def test_with_reclaim_an_expired_claim_is_replaced_and_the_answer_is_the_same(
    build: Builder, smtp: RecordingServer, clock: Clock, signals: list[str]
) -> None:
    built = build(nameless, registration=RECLAIMING)
    claim(built, smtp)
    old = built.row()["id"]
    clock.move(WEEK + 1)
    assert whole(sign_up(built)) == whole(sign_up(built, FREE))
    ids = {row["email"]: row["id"] for row in built.rows()}
    assert ids["ann@example.com"] != old
    assert signals == ["ann@example.com", "ann@example.com", FREE]


def test_a_name_that_only_an_expired_claim_holds_does_not_tell_a_taken_address_from_a_free_one(
    build: Builder, smtp: RecordingServer, clock: Clock
) -> None:
    built = build(models.claiming, registration=RECLAIMING)
    verified(built, smtp)
    assert sign_up(built, "eve@example.com", username="eve").status_code == 202
    clock.move(WEEK + 1)
    taken = sign_up(built, username="eve")
    assert [row["username"] for row in built.rows()] == ["ann", "eve"]
    assert "signature=" not in smtp.messages[-1].as_string()
    assert whole(taken) == whole(sign_up(built, FREE, username="eve"))
    assert [row["email"] for row in built.rows()] == ["ann@example.com", FREE]


@pytest.mark.parametrize("deferred", [False, DEFERRED], ids=["at the DELETE", "at the COMMIT"])
def test_an_expired_claim_that_the_database_keeps_is_answered_as_any_other(
    build: Builder, smtp: RecordingServer, clock: Clock, deferred: bool
) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        user = nameless(db)
        timing: dict[str, Any] = {"deferrable": True, "initially": "DEFERRED"} if deferred else {}

        class Profile(db.Model):  # type: ignore[misc,name-defined]
            id: Mapped[int] = mapped_column(primary_key=True)
            user_id: Mapped[int] = mapped_column(ForeignKey(user.id, **timing))

        return user

    built = build(model, registration=RECLAIMING, tables=False)

    built.enforce_foreign_keys()
    with built.app.app_context():
        built.db.create_all()
    claim(built, smtp)
    old = built.row()
    built.execute_outside("INSERT INTO profile (user_id) SELECT id FROM user")
    clock.move(WEEK + 1)
    assert whole(sign_up(built)) == whole(sign_up(built, FREE))
    rows = {row["email"]: row for row in built.rows()}
    assert rows["ann@example.com"]["id"] == old["id"]
    # One mail each: after a link that the COMMIT made worthless no second one goes out.
    assert [message["To"] for message in smtp.messages[1:]] == ["ann@example.com", FREE]
    assert activate(built, link_in(smtp.messages[1])).status_code == (400 if deferred else 200)


@pytest.mark.parametrize("verified_one", [True, False], ids=["verified", "claim"])
def test_a_unique_violation_that_comes_only_at_the_commit_is_hidden_too(
    built: Built, smtp: RecordingServer, signals: list[str], verified_one: bool
) -> None:
    steps = ["COMMIT", "ROLLBACK"]

    def violate(session: Any) -> None:
        if steps[0] == "COMMIT":
            steps.pop(0)
            session.execute(text(f"INSERT INTO {USERS} (email, password_hash) SELECT email, 'x' FROM {USERS}"))

    def be_faster(session: Any) -> None:
        if steps.pop() == "ROLLBACK":
            sent = "NULL" if verified_one else "'2001-01-01 00:00:00.000000'"
            built.execute_outside(
                "INSERT INTO user (id, email, password_hash, verification_sent_at)"
                f" VALUES (99, 'ann@example.com', 'x', {sent})",
            )
        steps.append("done")

    event.listen(built.db.session, "before_commit", violate)
    event.listen(built.db.session, "after_rollback", be_faster)
    taken = sign_up(built)
    event.remove(built.db.session, "before_commit", violate)
    event.remove(built.db.session, "after_rollback", be_faster)
    assert built.row()["id"] == 99
    assert (len(smtp.messages), signals) == (1, [])
    assert built.row()["notice_sent_at"] is None
    refused(activate(built, link_in(smtp.message)), 400, "signature-invalid")
    assert whole(taken) == whole(sign_up(built, FREE))


@pytest.mark.parametrize("make", TAKEN_BY)
def test_an_account_that_vanishes_before_its_mail_gets_none(
    built: Built, smtp: RecordingServer, clock: Clock, make: Make
) -> None:
    make(built, smtp)
    clock.move(COOLDOWN + 1)
    mails, selects = len(smtp.messages), []

    def delete_before_the_second(conn: object, cursor: object, sql: str, *_: object) -> None:
        selects.extend([sql] if sql.startswith("SELECT") else [])
        if len(selects) == 2:
            built.execute_outside("DELETE FROM user WHERE email = 'ann@example.com'")

    event.listen(built.engine, "before_cursor_execute", delete_before_the_second)
    taken = sign_up(built)
    event.remove(built.engine, "before_cursor_execute", delete_before_the_second)
    assert (built.rows(), len(smtp.messages)) == ([], mails)
    assert whole(taken) == whole(sign_up(built, FREE))


def test_what_the_application_wrote_is_answered_alike(build: Builder, smtp: RecordingServer, clock: Clock) -> None:
    built = build(nameless, registration=HIDING)
    pending: list[str] = []
    built.app.before_request(
        lambda: built.db.session.add_all([built.User(email=each, password_hash="x") for each in pending])
    )
    verified(built, smtp)
    pending.append("log@example.com")
    taken = sign_up(built)
    assert len(smtp.messages) == 2
    assert whole(taken) == whole(sign_up(built, FREE))


def test_another_constraint_is_still_an_error(build: Builder, clock: Clock, smtp: RecordingServer) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        user = models.claiming(db)
        user.__table__.append_constraint(db.CheckConstraint("username <> 'root'"))
        return user

    built = build(model, registration=HIDING)
    assert list(field_errors(sign_up(built, username="root"))) == ["_schema"]
    assert (built.rows(), smtp.messages) == ([], [])
