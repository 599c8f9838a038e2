"""One account, everything at the same moment: resend, sign-up again, verify, reject, purge."""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

import pytest
from sqlalchemy import func, select

from .support import models
from .support.apps import REGISTER, VERIFICATION_URL, Builder, Built
from .support.clock import Clock
from .support.concurrency import at_once
from .support.links import values_of
from .support.mail_servers import RecordingServer
from .support.variants import WITH_TRANSACTIONS_OF_THEIR_OWN, build_variant

ROUNDS = int(os.environ.get("TEST_ROUNDS") or 34)
RESEND, REJECT = "resend-verification/", "reject-registration/"
WEEK = 7 * 24 * 3600
SETTINGS = {
    "REGISTER_VERIFICATION_RESEND_ENABLED": True,
    "REGISTER_RECLAIM_ENABLED": True,
    "REGISTER_REJECTION_URL": "https://frontend.example/reject-user/",
    "REGISTER_VERIFICATION_PERIOD": WEEK,
}

#: What a request may be answered, whatever the others do.
LEGAL: dict[str, set[tuple[int, str | None]]] = {
    "verify": {(200, None), (400, "signature-invalid")},
    "reject": {(200, None), (400, "signature-invalid")},
    "resend": {(202, None)},
    "register": {(201, None), (400, "invalid")},
    "purge": {(0, None)},
}


def links_of(smtp: RecordingServer) -> tuple[dict[str, str], dict[str, str]]:
    """Return what the two links of the last mail send back: the verification's and the rejection's."""
    body = smtp.messages[-1].get_body(("plain",))
    assert body is not None
    words = str(body.get_content()).split()
    verify, reject = (
        next(word for word in words if word.startswith(url))
        for url in (VERIFICATION_URL, str(SETTINGS["REGISTER_REJECTION_URL"]))
    )
    return values_of(verify), values_of(reject)


def actions(built: Built, smtp: RecordingServer) -> list[tuple[str, Callable[[], Any]]]:
    verify, reject = links_of(smtp)
    runner = built.app.test_cli_runner()

    def purge() -> tuple[int, None]:
        result = runner.invoke(args=["rest-registration", "purge", "--older-than", "7"])
        return result.exit_code, None

    return [
        ("verify", lambda: built.verify(verify)),
        ("verify", lambda: built.verify(verify)),
        ("reject", lambda: built.post(REJECT, reject)),
        ("resend", lambda: built.post(RESEND, {"email": "ann@example.com"})),
        ("resend", lambda: built.post(RESEND, {"email": "ann@example.com"})),
        ("register", lambda: built.post(REGISTER, built.body())),
        ("purge", purge),
    ]


def run(name: str, action: Callable[[], Any]) -> tuple[str, tuple[int, str | None]]:
    return name, outcome(action())


def outcome(answer: Any) -> tuple[int, str | None]:
    if isinstance(answer, tuple):
        return answer
    return answer.status_code, (answer.get_json() or {}).get("code")


@pytest.mark.parametrize("age", [3600, WEEK, WEEK + 1], ids=["an hour old", "at its period", "expired"])
@pytest.mark.parametrize("variant", WITH_TRANSACTIONS_OF_THEIR_OWN)
def test_everything_at_once_ends_in_a_legal_outcome_and_no_verified_account_is_lost(
    build: Builder, smtp: RecordingServer, clock: Clock, variant: str, age: int
) -> None:
    legal = {**LEGAL}
    if age > WEEK:
        legal["verify"] = legal["reject"] = {(400, "signature-expired"), (400, "signature-invalid")}
    built = build_variant(build, variant, model=models.claiming, registration=SETTINGS)
    for _ in range(ROUNDS):
        built.execute_outside("DELETE FROM user")
        assert built.register().status_code == 201
        todo = actions(built, smtp)
        mails = len(smtp.messages)
        clock.move(age)
        done = at_once(len(todo), lambda number: run(*todo[number]))  # noqa: B023
        assert done.errors == []
        illegal = [(name, answer) for name, answer in done.results if answer not in legal[name]]
        assert illegal == []
        succeeded = {name for name, (status, _) in done.results if status in {200, 201}}
        rows = built.rows()
        verified = [row for row in rows if row["email_verified_at"] is not None]
        assert len(rows) <= 1
        assert bool(verified) == ("verify" in succeeded)
        assert not {"verify", "reject"} <= succeeded
        if not rows:
            assert "reject" in succeeded or age > WEEK
        assert len(smtp.messages) - mails <= 2


def test_of_sixteen_resends_at_once_one_mails_and_a_slow_mail_server_stops_no_other_page(
    build: Builder, smtp: RecordingServer, clock: Clock
) -> None:
    sending, may_end = Event(), Event()

    def slow_sender(request: object, user: object) -> None:
        sending.set()
        assert may_end.wait(60)
        sent.append(user)

    sent: list[object] = []
    built = build(models.claiming, registration=SETTINGS)
    assert built.register().status_code == 201
    clock.move(3600)
    slow = build(
        models.claiming,
        database_uri=built.database_uri,
        registration={**SETTINGS, "REGISTER_VERIFICATION_EMAIL_SENDER": slow_sender},
        config={"SQLALCHEMY_ENGINE_OPTIONS": {"pool_size": 2, "max_overflow": 0, "pool_timeout": 30}},
    )

    @slow.app.get("/another-page")
    def another_page() -> dict[str, int]:
        with slow.db.engine.begin() as connection:  # one that writes, where the database has one writer
            connection.execute(slow.User.__table__.update().values(username="ann"))
        return {"users": slow.db.session.scalar(select(func.count()).select_from(slow.User)) or 0}

    def resend(_: int) -> int:
        return slow.post(RESEND, {"email": "ann@example.com"}).status_code

    answers: list[list[int]] = []
    requests = Thread(target=lambda: answers.append(at_once(16, resend).results))
    requests.start()
    try:
        assert sending.wait(30)
        assert slow.client().get("/another-page").get_json() == {"users": 1}
    finally:
        may_end.set()
        requests.join(60)
    assert answers == [[202] * 16]
    assert len(sent) == 1
