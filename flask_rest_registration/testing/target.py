"""The application under attack, as the attacks see it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Barrier
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from flask import Flask, Request, got_request_exception
from flask.testing import FlaskClient
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import SingletonThreadPool, StaticPool
from werkzeug.security import check_password_hash
from werkzeug.test import TestResponse

from .. import clock
from ..addresses import to_recipient
from ..database.pending import PendingRegistrations
from ..mail.delivery import Send
from ..model.attributes import Flag
from ..model.pending import PendingRegistrationMixin
from ..model.user_model import UserModel
from ..serializers.schemas import client_name
from ..settings.definitions import Settings
from ..settings.parsers import LONGEST_COOLDOWN
from ..signals import user_activated
from ..signers import RegisterSigner, accepts_code, make_code
from ..state import AppState
from ..workflows import email_first
from .bodies import NoBody, make_email_body, new_address
from .outbox import SENDERS, Outbox

T = TypeVar("T")
Body = dict[str, Any]

#: What can be observed of a request, by name.
Trace = dict[str, object]

REGISTER, VERIFY, CHECK, RESEND = "register/", "verify-registration/", "check-link/", "resend-verification/"

_FIX_OF_SIGN_UP = """
The attacks need sign-ups that are accepted. Fix:
- give your conftest.py a fixture "registration_body" that returns a function: each call of the function returns the
  body of a new person's good sign-up, as your front end would send it;
- or, if the answer is about limits, CSRF or a captcha, switch these off in the configuration of your tests."""

_REFUSED = pytest.StashKey[bool]()


def refusal(config: pytest.Config, fault: str, fix: str = _FIX_OF_SIGN_UP) -> BaseException:
    """Return a failure to raise; a skip if an attack was refused so before, since one failure says enough."""
    if config.stash.get(_REFUSED, False):
        return pytest.skip.Exception("no attack is possible; the first failure says why")
    config.stash[_REFUSED] = True
    return pytest.fail.Exception(f"{fault}\n{fix}", pytrace=False)


@dataclass(frozen=True)
class Target:
    """An application under attack, and what attacks do with it.

    :param state: the extension's state of the app.
    :param settings: the app's own settings, also while the attack runs it with others.
    :param new_body: the fixture ``registration_body``.
    :param request: the running test, whose docstring explains its failure.
    :param monkeypatch: restores what the attack changes.
    :param open_fields: fields that strangers may set on purpose.
    :param outbox: takes every mail of the app.
    :param others: the keys of the accounts that were there before.
    :param made: the addresses that the attack has used.
    """

    state: AppState
    settings: Settings
    new_body: Callable[[], Body]
    request: pytest.FixtureRequest
    monkeypatch: pytest.MonkeyPatch
    open_fields: frozenset[str]
    outbox: Outbox
    others: frozenset[tuple[Any, ...]]
    made: set[str] = field(default_factory=set)

    @property
    def app(self) -> Flask:
        """The application."""
        return self.state.app

    @property
    def model(self) -> UserModel:
        """Its user model."""
        return self.state.model

    @property
    def is_email_first(self) -> bool:
        """Whether accounts are made by links only."""
        return self.settings.register_email_first

    @property
    def status_of_verification(self) -> int:
        """The status of the answer to a good link."""
        return 201 if self.is_email_first else 200

    def cooldown(self, mails: int = 1) -> int:
        """Return the seconds to wait after that many mails in a row to one address."""
        first = math.ceil(self.settings.register_verification_resend_cooldown.total_seconds())
        return min(first << (mails - 1), int(LONGEST_COOLDOWN.total_seconds()))

    # Failures and skips

    def expect(self, holds: object, found: str) -> None:
        """Unless all is well, fail with what was found, and with the attack's docstring: the danger and the fix."""
        if not holds:
            pytest.fail(f"{found}\n\n{inspect.getdoc(self.request.function)}", pytrace=False)

    def expect_alike(self, who: str, free: Sequence[Trace], taken: Trace, *, but_for: Sequence[str] = ()) -> None:
        """Compare the trace of an address with those of two free ones.

        What differs between the free ones too, such as the number of a request, gives nothing away.
        """
        names = (free[0].keys() | free[1].keys() | taken.keys()) - set(but_for)
        seen = [(name, *(trace.get(name) for trace in (*free, taken))) for name in sorted(names)]
        lines = [f"  {name}: {here!r}, not {one!r}" for name, one, other, here in seen if one == other != here]
        self.expect(not lines, f"{who} differs from a free one in\n" + "\n".join(lines))

    def need(self, holds: object, reason: str) -> None:
        """Skip the attack where there is nothing to attack."""
        if not holds:
            pytest.skip(reason)

    def need_verification(self) -> Flag:
        """Skip the attack where addresses are not verified; return the flag."""
        flag = self.model.flag
        if flag is None or not self.settings.register_verification_enabled:
            pytest.skip("REGISTER_VERIFICATION_ENABLED is off")
        return flag

    def need_email_first(self) -> None:
        """Skip the attack where accounts are made at sign-up."""
        reason = "REGISTER_EMAIL_FIRST is off: a sign-up makes an account, with the password of whoever sends it"
        self.need(self.is_email_first, reason)

    def need_codes(self) -> None:
        """Skip the attack where no codes are sent."""
        self.need(self.settings.register_verification_code_enabled, "REGISTER_VERIFICATION_CODE_ENABLED is off")

    def need_pending(self) -> PendingRegistrations:
        """Skip the attack where strangers cannot ask for mails; return the pending registrations."""
        pending = self.state.pending
        if pending is None:
            pytest.skip("neither REGISTER_EMAIL_FIRST nor REGISTER_VERIFICATION_RESEND_ENABLED is on")
        return pending

    def need_simultaneity(self) -> None:
        """Skip the attack where the database cannot serve two requests at once."""
        with self.app.app_context():
            engine = self.app.extensions["sqlalchemy"].session.get_bind(self.model.mapper)
        alone = isinstance(engine, sa.Connection) or isinstance(engine.pool, (StaticPool, SingletonThreadPool))
        self.need(not alone, "the tests' database has one connection, as in memory: use a file to attack it at once")

    # Requests

    @property
    def place(self) -> dict[str, Any]:
        """What Flask's test client is to be told, where the endpoints have a host or subdomain of their own."""
        if self.settings.host:
            return {"base_url": f"http://{self.settings.host}"}
        return {"subdomain": self.settings.subdomain} if self.settings.subdomain else {}

    @property
    def email_name(self) -> str:
        """The name of the e-mail field in a body."""
        with self.app.app_context():
            return client_name(self.state.serializers.register(), self.model.email.name) or self.model.email.name

    def post(self, path: str, json: object = None, client: FlaskClient | None = None, **options: Any) -> TestResponse:
        """Send a request to one of the endpoints."""
        url, client = f"{self.settings.url_prefix}/{path}", client or self.app.test_client()
        answer = client.post(url, json=json, **self.place, **options)
        self.outbox.wait()
        return answer

    def body(self) -> Body:
        """Make all fields of a good sign-up."""
        body = self._made(self.new_body)
        self.made.add(stored_address(body, self.email_name))
        return body

    def new_address(self) -> str:
        """Return an address that has not been used before."""
        self.made.add(address := new_address())
        return address

    def fields(self) -> Body:
        """Make what the page behind a link sends besides the link: with e-mail first, the fields of an account."""
        if not self.is_email_first:
            return {}
        return {name: value for name, value in self.body().items() if name != self.email_name}

    def email_body(self, address: str) -> Body:
        """Make the body that asks for a mail to an address."""
        if not self.is_email_first:
            return {"email": address}
        return self._made(partial(make_email_body, self.app, address))

    def _made(self, make: Callable[[], Body]) -> Body:
        try:
            return make()
        except NoBody as error:
            raise refusal(self.request.config, f"No good sign-up can be made: {error}.") from None

    def _said(self, request: Callable[[], TestResponse]) -> tuple[TestResponse, str]:
        """Send a request; return its answer, also in short, with the exception that became a 500."""
        raised: list[str] = []

        def keep(sender: Flask, exception: BaseException, **_: object) -> None:
            raised.append(f" ({type(exception).__name__}: {exception})")

        with got_request_exception.connected_to(keep, sender=self.app):
            answer = request()
        return answer, summary(answer) + "".join(raised)

    def ask_for_mail(self, address: str) -> TestResponse:
        """Ask for a mail to an address, as anybody may with e-mail first or with resend."""
        return self.post(REGISTER if self.is_email_first else RESEND, self.email_body(address))

    def request_sign_up(self, body: Body, client: FlaskClient | None = None) -> TestResponse:
        """Send the first request of a sign-up: with e-mail first the address alone, else all fields."""
        sent = self.email_body(str(body.get(self.email_name, ""))) if self.is_email_first else body
        return self.post(REGISTER, sent, client)

    def start(self, body: Body | None = None) -> str:
        """Sign up until the link is mailed, and return the address as it is stored."""
        body = body or self.body()
        answer, said = self._said(partial(self.request_sign_up, body))
        address = stored_address(body, self.email_name)
        with self.recipient(address) as recipient:
            is_started = is_accepted(answer) and recipient is not None
        if not is_started:
            fields = ", ".join(["the address"] if self.is_email_first else body)
            made = "pending registration" if self.is_email_first else "account"
            fault = f"A sign-up with {fields} was answered {said} and made no {made} with that address."
            raise refusal(self.request.config, fault)
        return address

    def account_request(self, body: Body) -> Callable[[], TestResponse]:
        """Return a function that sends the request that makes an account: with e-mail first, the one with the link."""
        if not self.is_email_first:
            return partial(self.post, REGISTER, body)
        link = self.link(self.start(body))
        return partial(self.post, VERIFY, {**body, **link})

    def sign_up(self, body: Body | None = None) -> str:
        """Sign up until there is an account, and return its address; with e-mail first it is verified."""
        body = body or self.body()
        if not self.is_email_first:
            return self.start(body)
        answer, said = self._said(self.account_request(body))
        address = stored_address(body, self.email_name)
        if not is_accepted(answer) or self.row(address) is None:
            fault = f"A link with {', '.join(body)} was answered {said} and made no account."
            raise refusal(self.request.config, fault)
        return address

    def verify(self, proof: Mapping[str, object], client: FlaskClient | None = None) -> TestResponse:
        """Send what the page behind a link sends.

        :param proof: a link's values, or e-mail and code; any other fields in it replace the good ones.
        """
        return self.post(VERIFY, {**self.fields(), **proof}, client)

    # Links and codes

    def link(self, address: str, *, age: int = 0) -> dict[str, str]:
        """Return the values of the link that was mailed to an address.

        :param age: make the link older by that many seconds.
        """
        with self.recipient(address) as recipient:
            made = int(RegisterSigner.for_user(recipient).get_signed_data()["timestamp"])
            return RegisterSigner(self.state, recipient, timestamp=str(made - age)).get_signed_data()

    def code(self, address: str) -> Body:
        """Return the code that was mailed to an address last, with that address."""
        with self.pending_row(address) as row:
            return {"email": address, "code": make_code(self.state, row)}

    # The database

    def account(self, address: str) -> AbstractContextManager[Any]:
        """Open an account in a session of its own, and commit the changes at the end; None if there is none."""
        return self._found(self.model.cls, sa.func.lower(self.model.email.column) == address)

    def pending_row(self, address: str) -> AbstractContextManager[Any]:
        """Open the pending registration of an address in the same way."""
        cls = self.need_pending().mapper.class_
        return self._found(cls, cls.email == to_recipient(address))

    def recipient(self, address: str) -> AbstractContextManager[Any]:
        """Open what the link to an address is about: the pending registration with e-mail first, else the account."""
        return self.pending_row(address) if self.is_email_first else self.account(address)

    @contextmanager
    def _found(self, cls: type[Any], condition: sa.ColumnElement[bool]) -> Iterator[Any]:
        with self.app.app_context():
            session = self.app.extensions["sqlalchemy"].session
            yield session.scalars(sa.select(cls).where(condition)).unique().one_or_none()
            session.commit()

    def row(self, address: str) -> dict[str, Any] | None:
        """Read an account's columns by attribute; None if there is no such account."""
        with self.account(address) as user:
            return user and {name: getattr(user, name) for name in self.model.attributes}

    def is_verified(self, address: str) -> bool:
        """Tell whether there is a verified account with an address."""
        flag = self.need_verification()
        with self.account(address) as user:
            return user is not None and flag.is_set(user)

    def has_password(self, address: str, password: str) -> bool | None:
        """Tell whether an account has a password, by the model's own method or werkzeug; None if neither knows."""
        with self.account(address) as user:
            for name in ("check_password", "verify_password"):  # as manuals and tutorials call it
                if hasattr(user, name):
                    return bool(getattr(user, name)(password))
            stored = [getattr(user, column.name) for column in self.model.password_columns]
        texts = [each.decode(errors="replace") if isinstance(each, bytes) else str(each) for each in stored]
        hashes = [text for text in texts if text.startswith(("scrypt:", "pbkdf2:"))]
        return any(check_password_hash(each, password) for each in hashes) if hashes else None

    def keys_of_rows(self) -> set[tuple[str, ...]]:
        """Read the keys of all rows in all tables but the one of pending registrations."""
        pending = self.state.pending
        ours = pending.table if pending else None
        keys: set[tuple[str, ...]] = set()
        with self.app.app_context():
            db = self.app.extensions["sqlalchemy"]
            for bind, metadata in db.metadatas.items():
                with db.engines[bind].connect() as connection:
                    for table in metadata.tables.values():
                        if table is not ours and sa.inspect(connection).has_table(table.name, schema=table.schema):
                            columns = list(table.primary_key) or list(table.columns)
                            rows = connection.execute(sa.select(*columns))
                            keys |= {(table.fullname, *map(str, row)) for row in rows}
        return keys

    def delete_pending(self, *addresses: str) -> None:
        """Delete the pending registrations of some addresses."""
        table = self.need_pending().table
        with self.app.app_context():
            session = self.app.extensions["sqlalchemy"].session
            session.execute(sa.delete(table).where(table.c.email.in_(map(to_recipient, addresses))))
            session.commit()

    def delete_accounts(self) -> None:
        """Delete the accounts and pending registrations of the attack, but for accounts that other rows refer to.

        SQLite does not look after these, and would give the key of a deleted account to the next one.
        """
        mapper, tables = self.model.mapper, self.model.mapper.tables
        others = [each for each in self.model.cls.metadata.tables.values() if each not in tables]
        references = [each for table in others for each in table.foreign_keys if each.column.table in tables]
        query = (
            sa.select(*mapper.primary_key)
            .select_from(self.model.cls)
            .where(
                sa.func.lower(self.model.email.column).in_(self.made),
                *(~sa.exists().where(reference.parent == reference.column) for reference in references),
            )
        )
        with self.app.app_context():
            session = self.app.extensions["sqlalchemy"].session
            try:
                for key in {tuple(row) for row in session.execute(query)} - self.others:
                    for table in reversed(tables):  # not by the unit of work, whose cascades may go further
                        values = zip(table.primary_key, key, strict=True)
                        session.execute(sa.delete(table).where(*(column == value for column, value in values)))
                session.commit()
                if self.state.pending:
                    self.delete_pending(*self.made)
            except (SQLAlchemyError, ValueError):  # whatever the attack has left, or addresses that are none
                session.rollback()

    # What can be observed

    @contextmanager
    def _listening(self, **receivers: Callable[..., object]) -> Iterator[None]:
        """Listen to events of all engines."""
        with self.app.app_context():
            engines = list(self.app.extensions["sqlalchemy"].engines.values())
        pairs = [(engine, name, receiver) for engine in engines for name, receiver in receivers.items()]
        for pair in pairs:
            event.listen(*pair)
        yield
        for pair in pairs:
            event.remove(*pair)

    @contextmanager
    def held_connections(self) -> Iterator[set[int]]:
        """Collect the database connections that are in use."""
        held: set[int] = set()

        def take(connection: object, record: object, proxy: object) -> None:
            held.add(id(record))

        def give_back(connection: object, record: object) -> None:
            held.discard(id(record))

        with self._listening(checkout=take, checkin=give_back):
            yield held

    @contextmanager
    def activations(self) -> Iterator[list[object]]:
        """Collect the accounts for which ``user_activated`` is sent."""
        users: list[object] = []

        def receive(sender: Flask, user: object, **extra: object) -> None:
            users.append(user)

        with user_activated.connected_to(receive, sender=self.app):
            yield users

    def trace(self, action: Callable[[], TestResponse]) -> Trace:
        """Send a request, and return its answer, its statements, and the number of its mails."""
        statements: list[str] = []
        before = len(self.outbox.sent)

        def execute(
            connection: object, cursor: object, statement: str, values: object, context: object, many: bool
        ) -> None:
            statements.append(statement)

        with self._listening(before_cursor_execute=execute):
            answer = action()
        headers = {f"header {name}": answer.headers.getlist(name) for name, _ in answer.headers if name != "Date"}
        seen = {"status": answer.status_code, "body": answer.get_data(as_text=True), **headers}
        return {**seen, "statements": statements, "mails": len(self.outbox.sent) - before}

    def sent_mails(self) -> list[object]:
        """Collect the recipients of all mails, links and notices alike, until the attack ends."""
        sent: list[object] = []

        def recording(sender: Send) -> Send:
            def send(request: Request | None, recipient: object) -> object:
                sent.append(recipient)
                return sender(request, recipient)

            return send

        self.change_senders(recording)
        return sent

    def built_urls(self) -> list[str]:
        """Collect what VERIFICATION_URL_BUILDER returns until the attack ends."""
        urls: list[str] = []
        build = self.settings.verification_url_builder

        def record(signer: RegisterSigner) -> str:
            urls.append(build(signer))
            return urls[-1]

        self.change_settings(verification_url_builder=record)
        return urls

    def compared_codes(self) -> list[str]:
        """Collect the codes that are compared until the attack ends."""
        compared: list[str] = []

        def record(state: AppState, row: PendingRegistrationMixin, code: str) -> bool:
            compared.append(code)
            return accepts_code(state, row, code)

        self.monkeypatch.setattr(email_first, "accepts_code", record)
        return compared

    # What an attack changes while it runs

    def wait(self, seconds: int) -> None:
        """Let time pass for the extension; its clock stands still from then on."""
        now = clock.now() + seconds
        self.monkeypatch.setattr(clock, "now", lambda: now)

    def change_senders(self, change: Callable[[Send], Send]) -> None:
        """Replace the senders of links and notices."""
        self.change_settings(**{name: change(getattr(self.settings, name)) for name in SENDERS})

    def change_settings(self, **changes: Any) -> None:
        """Run the app with its own settings but for these."""
        self.monkeypatch.setattr(self.state, "settings", replace(self.settings, **changes))


def stored_address(body: Mapping[str, object], name: str) -> str:
    """Return the address in a body as it is stored."""
    return str(body.get(name, "")).lower()


def is_accepted(answer: TestResponse) -> bool:
    """Tell whether a sign-up was accepted."""
    return answer.status_code in {201, 202}


def summary(answer: TestResponse) -> str:
    """Return an answer in short, for an error text."""
    return f"{answer.status_code} {answer.get_data(as_text=True)[:300].strip()}"


def at_once(count: int, function: Callable[[], T]) -> list[T]:
    """Call a function in that many threads at the same time."""
    barrier = Barrier(count)

    def run(number: int) -> T:
        barrier.wait(10)
        return function()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))
