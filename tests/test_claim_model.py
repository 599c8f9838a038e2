"""Random sequences of requests, moves of the clock and lock-outs, compared with a small model of the contract."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import pytest
from flask import Flask
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import delete, update

from flask_rest_registration import user_activated, user_registered

from .support import models
from .support.apps import OMITTED, PASSWORD, VERIFICATION_URL, Built, make_app
from .support.clock import Clock
from .support.links import text_of, values_of
from .support.mail_servers import RecordingServer

DAY, HOUR = 24 * 3600, 3600
REJECTION_URL = "https://frontend.example/reject-user/"
ADDRESSES = [f"{name}@example.com" for name in ("ann", "bob", "cid")]
NAMES = ["ann", "bob", "cid"]
OPEN: dict[str, object] = {
    "REGISTER_VERIFICATION_RESEND_ENABLED": True,
    "REGISTER_VERIFICATION_RESEND_COOLDOWN": HOUR,
    "REGISTER_VERIFICATION_PERIOD": DAY,
    "REGISTER_RECLAIM_ENABLED": True,
    "REGISTER_REJECTION_URL": REJECTION_URL,
}
HIDDEN = {**OPEN, "REGISTER_HIDE_EXISTING_EMAIL": True, "REGISTER_PASSWORD_AT": "verify"}


@dataclass
class Account:
    """What the contract says of one account."""

    address: str
    name: str
    sent_at: int | None
    verified: bool = False
    notice_at: int | None = None

    def is_claim(self) -> bool:
        return not self.verified and self.sent_at is not None

    def was_sent_before(self, time: int) -> bool:
        return self.is_claim() and (self.sent_at or 0) < time


@dataclass
class Link:
    """A link that was mailed."""

    account: int
    made: int
    verify: dict[str, str]
    reject: dict[str, str]


class Claims(RuleBasedStateMachine):
    """Drives an app and the model side by side; what they say must agree after each step."""

    hides = False

    @initialize()
    def start(self) -> None:
        self.clock = Clock()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr("flask_rest_registration.clock.now", self.clock)
        self.smtp = RecordingServer()
        self.smtp.__enter__()
        chosen = HIDDEN if self.hides else OPEN
        self.built: Built = make_app(models.claiming, registration=chosen, mail=self.smtp)
        self.accounts: dict[int, Account] = {}
        self.links: list[Link] = []
        self.mails: list[str] = []
        self.signals: list[tuple[str, str]] = []
        self.sent: list[tuple[str, str]] = []
        user_registered.connect(self.note_registered, sender=self.built.app)
        user_activated.connect(self.note_activated, sender=self.built.app)
        self.last_id = 0

    def teardown(self) -> None:
        self.patch.undo()
        self.smtp.__exit__(None, None, None)
        self.built.dispose()

    def note_registered(self, app: Flask, user: Any, **extra: object) -> None:
        self.sent.append(("registered", user.email))

    def note_activated(self, app: Flask, user: Any, **extra: object) -> None:
        self.sent.append(("activated", user.email))

    @property
    def now(self) -> int:
        return self.clock()

    def expect_link(self, key: int) -> None:
        """A link to an account is in the last mail."""
        account = self.accounts[key]
        self.mails.append(account.address)
        words = text_of(self.smtp.messages[-1]).split()
        verify, reject = (
            next(word for word in words if word.startswith(url)) for url in (VERIFICATION_URL, REJECTION_URL)
        )
        self.links.append(Link(key, self.now, values_of(verify), values_of(reject)))

    @rule(address=st.sampled_from(ADDRESSES), name=st.sampled_from(NAMES))
    def register(self, address: str, name: str) -> None:
        hidden: dict[str, object] = {"password": OMITTED, "password_confirm": OMITTED} if self.hides else {}
        answer = self.built.register(email=address, username=name, **hidden)
        in_the_way = {key: each for key, each in self.accounts.items() if address == each.address or name == each.name}
        kept = {key: each for key, each in in_the_way.items() if not each.was_sent_before(self.now - DAY)}
        if not kept:
            assert answer.status_code == (202 if self.hides else 201), answer.text
            self.accounts = {key: each for key, each in self.accounts.items() if key not in in_the_way}
            (key,) = {row["id"] for row in self.built.rows()} - set(self.accounts)
            assert key > self.last_id, "a key was given twice"
            self.last_id = key
            self.accounts[key] = Account(address, name, self.now)
            self.signals.append(("registered", address))
            self.expect_link(key)
            return
        fields = {"email" for each in kept.values() if each.address == address}
        fields |= {"username" for each in kept.values() if each.name == name}
        if self.hides and fields == {"email"}:
            assert answer.status_code == 202, answer.text
            (key,) = kept
            self.expect_mail_to_owner(key)
            return
        assert set(answer.get_json()["errors"]) == fields - ({"email"} if self.hides else set())

    def expect_mail_to_owner(self, key: int) -> None:
        account = self.accounts[key]
        if account.is_claim():
            if account.was_sent_before(self.now - HOUR):
                account.sent_at = self.now
                self.expect_link(key)
        elif account.notice_at is None or account.notice_at < self.now - HOUR:
            account.notice_at = self.now
            self.mails.append(account.address)

    @rule(address=st.sampled_from(ADDRESSES))
    def resend(self, address: str) -> None:
        assert self.built.post("resend-verification/", {"email": address}).status_code == 202
        for key, account in self.accounts.items():
            if account.address == address and account.was_sent_before(self.now - HOUR):
                account.sent_at = self.now
                self.expect_link(key)

    def fault_of(self, link: Link) -> str | None:
        """Return why a link is refused, whatever it is for."""
        if link.account not in self.accounts:
            return "signature-invalid"
        return "signature-expired" if self.now - link.made > DAY else None

    @rule(data=st.data())
    def verify(self, data: st.DataObject) -> None:
        if not self.links:
            return
        link = data.draw(st.sampled_from(self.links))
        chosen = {"password": PASSWORD, "password_confirm": PASSWORD} if self.hides else {}
        answer = self.built.verify({**link.verify, **chosen})
        code, fault, account = (
            (answer.get_json() or {}).get("code"),
            self.fault_of(link),
            self.accounts.get(link.account),
        )
        if account is None or fault is not None:
            assert code == fault
        elif self.hides and not account.is_claim():
            assert code == "signature-invalid"
        else:
            assert answer.status_code == 200, answer.text
            if not account.verified:
                account.verified, account.sent_at = True, None
                self.signals.append(("activated", account.address))

    @rule(data=st.data())
    def reject(self, data: st.DataObject) -> None:
        if not self.links:
            return
        link = data.draw(st.sampled_from(self.links))
        answer = self.built.post("reject-registration/", link.reject)
        code, fault, account = (
            (answer.get_json() or {}).get("code"),
            self.fault_of(link),
            self.accounts.get(link.account),
        )
        if account is None or fault is not None:
            assert code == fault
        elif not account.is_claim():
            assert code == "signature-invalid"
        else:
            assert answer.status_code == 200, answer.text
            del self.accounts[link.account]

    @rule(seconds=st.sampled_from([1, HOUR, HOUR + 1, DAY, DAY + 1]))
    def wait(self, seconds: int) -> None:
        self.clock.move(seconds)

    @rule(data=st.data(), unverify=st.booleans())
    def the_application_locks_or_unverifies(self, data: st.DataObject, unverify: bool) -> None:
        """As the manual tells it: the moment is taken back too."""
        if not self.accounts:
            return
        key = data.draw(st.sampled_from(sorted(self.accounts)))
        self.accounts[key].sent_at = None
        values: dict[str, object] = {"verification_sent_at": None}
        if unverify:
            self.accounts[key].verified = False
            values["email_verified_at"] = None
        with self.built.app.app_context():
            self.built.db.session.execute(update(self.built.User).where(self.built.User.id == key).values(values))
            self.built.db.session.commit()

    @rule()
    def purge(self) -> None:
        result = self.built.command("purge", "--older-than", "1")
        assert result.exit_code == 0, result.output
        stale = [key for key, each in self.accounts.items() if each.was_sent_before(self.now - DAY)]
        for key in stale:
            del self.accounts[key]

    @invariant()
    def rows_mails_and_signals_agree(self) -> None:
        if not hasattr(self, "accounts"):
            return
        rows = {
            row["id"]: Account(
                row["email"],
                row["username"],
                seconds(row["verification_sent_at"]),
                row["email_verified_at"] is not None,
                seconds(row["notice_sent_at"]),
            )
            for row in self.built.rows()
        }
        assert rows == self.accounts
        assert [str(message["To"]) for message in self.smtp.messages] == self.mails
        assert self.sent == self.signals


def seconds(time: datetime | None) -> int | None:
    return None if time is None else int(time.replace(tzinfo=timezone.utc).timestamp())


class HiddenClaims(Claims):
    """The same where nobody is told who has an account, and the password is chosen at the verification."""

    hides = True


@pytest.mark.parametrize("machine", [Claims, HiddenClaims])
def test_rows_mails_and_signals_agree_with_the_contract_whatever_happens_in_whatever_order(
    machine: type[RuleBasedStateMachine],
) -> None:
    run_state_machine_as_test(machine, settings=settings(max_examples=25, stateful_step_count=25))


def test_the_key_of_a_deleted_account_is_not_given_again() -> None:
    built = make_app(models.claiming)
    with built.app.app_context():
        for number in (1, 2):
            user = built.User(email="a@example.com", username="a", password_hash="x")
            built.db.session.add(user)
            built.db.session.commit()
            assert user.id == number
            built.db.session.execute(delete(built.User))
            built.db.session.commit()
