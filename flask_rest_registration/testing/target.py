"""The application under attack, as the attacks see it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Barrier
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.pool import SingletonThreadPool, StaticPool
from werkzeug.test import TestResponse

from .. import clock
from ..attributes import Flag
from ..serializers import client_name
from ..settings import Settings
from ..signals import user_activated
from ..signers import LinkSigner, RegisterSigner
from ..state import EXTENSION_KEY, Registration
from ..user_model import UserModel
from .bodies import PASSWORDS, NoBody, new_password

T = TypeVar("T")
Body = dict[str, Any]

REGISTER, VERIFY = "register/", "verify-registration/"

_MEND_OF_SIGN_UP = """
The attacks need sign-ups that are accepted. What to do:
- give your conftest.py a fixture "registration_body" that returns a function; each call of the function returns the
  body of a good sign-up of another person, as your front end would send it;
- or, if the answer speaks of limits, CSRF or a captcha, switch these off in the configuration of your tests."""


class Once:
    """A fault that makes all attacks fail is told by the first one; the others are skipped."""

    def __init__(self) -> None:
        self._key = pytest.StashKey[bool]()

    def failure(self, config: pytest.Config, fault: str) -> BaseException:
        """Return what to raise: a failure, or a skip if the fault was told before."""
        if config.stash.get(self._key, False):
            return pytest.skip.Exception("no sign-up is possible; the first failure says why")
        config.stash[self._key] = True
        return pytest.fail.Exception(f"{fault}\n{_MEND_OF_SIGN_UP}", pytrace=False)


NO_SIGN_UP = Once()


@dataclass(frozen=True)
class FixedState:
    """Stands in for what the extension keeps of the app, while an attack changes a setting."""

    value: Registration

    def registration(self) -> Registration:
        """Return it."""
        return self.value


@dataclass(frozen=True)
class Target:
    """An application, the running attack, and what attacks do.

    :param registration: what the extension keeps of the app.
    :param new_body: the fixture ``registration_body``.
    :param request: the running test, whose docstring explains its failure.
    :param monkeypatch: puts back what the attack changes.
    :param open_fields: fields that strangers may set on purpose.
    """

    registration: Registration
    new_body: Callable[[], Body]
    request: pytest.FixtureRequest
    monkeypatch: pytest.MonkeyPatch
    open_fields: frozenset[str]

    @property
    def app(self) -> Flask:
        """The application."""
        return self.registration.app

    @property
    def model(self) -> UserModel:
        """Its user model."""
        return self.registration.model

    @property
    def settings(self) -> Settings:
        """Its settings."""
        return self.registration.settings

    # What an attack says

    def expect(self, holds: object, found: str) -> None:
        """Fail with what was found, why it is dangerous and how to mend it, unless all is well."""
        if not holds:
            pytest.fail(f"{found}\n\n{inspect.getdoc(self.request.function)}", pytrace=False)

    def need(self, holds: object, reason: str) -> None:
        """Skip the attack where it has no aim."""
        if not holds:
            pytest.skip(reason)

    def need_verification(self) -> Flag:
        """Skip the attack where addresses are not verified; return the flag."""
        flag = self.model.flag
        if flag is None or not self.settings.register_verification_enabled:
            pytest.skip("REGISTER_VERIFICATION_ENABLED is off")
        return flag

    def need_simultaneity(self) -> None:
        """Skip the attack where the database cannot serve two requests at once."""
        with self.app.app_context():
            engine = self.app.extensions["sqlalchemy"].session.get_bind(self.model.mapper)
        alone = isinstance(engine, sa.Connection) or isinstance(engine.pool, (StaticPool, SingletonThreadPool))
        self.need(not alone, "the tests' database is one connection, as in memory: use a file to attack it at once")

    # What a stranger does

    @property
    def email_name(self) -> str:
        """The name under which a client sends the address."""
        with self.app.app_context():
            return client_name(self.registration.serializers.register(), self.model.email.name) or self.model.email.name

    def post(self, path: str, json: object = None, client: FlaskClient | None = None, **options: Any) -> TestResponse:
        """Send a request to one of the endpoints."""
        if json is not None:
            options["json"] = json
        return (client or self.app.test_client()).post(f"{self.settings.url_prefix}/{path}", **options)

    def body(self) -> Body:
        """Make the body of a good sign-up."""
        try:
            return self.new_body()
        except NoBody as error:
            raise NO_SIGN_UP.failure(self.request.config, f"No good sign-up can be made: {error}.") from None

    def sign_up(self, body: Body | None = None) -> str:
        """Sign up, and return the address under which the account is stored."""
        body = body or self.body()
        answer = self.post(REGISTER, body)
        address = str(body.get(self.email_name, "")).lower()
        if not is_accepted(answer) or self.row(address) is None:
            fields = ", ".join(body)
            fault = f"A sign-up with {fields} was answered {told(answer)} and made no account with that address."
            raise NO_SIGN_UP.failure(self.request.config, fault)
        return address

    def verify(
        self, link: Mapping[str, object], client: FlaskClient | None = None, *, password: str | None = None
    ) -> TestResponse:
        """Send what the page behind a link sends, with a password where it asks for one."""
        needed = self.settings.password_at_verification
        sent = dict.fromkeys(PASSWORDS, password or new_password()) if needed else {}
        if not self.settings.register_serializer_password_confirm:
            sent.pop(PASSWORDS[1], None)
        return self.post(VERIFY, {**sent, **link}, client)

    def link(self, address: str, *, kind: type[LinkSigner] = RegisterSigner, age: int = 0) -> dict[str, str]:
        """Return the values of an account's link, made that many seconds ago."""
        with self.account(address) as user:
            return kind(self.registration, user, timestamp=str(clock.now() - age)).get_signed_data()

    # What the application has

    @contextmanager
    def account(self, address: str) -> Iterator[Any]:
        """Give an account in a session of its own, and commit what is changed of it; None if there is none."""
        with self.app.app_context():
            session = self.app.extensions["sqlalchemy"].session
            found = sa.select(self.model.cls).where(sa.func.lower(self.model.email.column) == address)
            yield session.scalars(found).one_or_none()
            session.commit()

    def row(self, address: str) -> dict[str, Any] | None:
        """Read an account's columns by attribute; None if there is no such account."""
        with self.account(address) as user:
            return user and {name: getattr(user, name) for name in self.model.attributes}

    def is_verified(self, address: str) -> bool:
        """Tell whether an account is verified."""
        flag = self.need_verification()
        with self.account(address) as user:
            return flag.is_set(user)

    @contextmanager
    def activations(self) -> Iterator[list[object]]:
        """Collect the accounts for which ``user_activated`` is sent."""
        heard: list[object] = []

        def hear(sender: Flask, user: object, **extra: object) -> None:
            heard.append(user)

        with user_activated.connected_to(hear, sender=self.app):
            yield heard

    def change_settings(self, **changes: Any) -> None:
        """Run the app with other settings until the attack ends."""
        changed = replace(self.registration, settings=replace(self.settings, **changes))
        self.monkeypatch.setitem(self.app.extensions, EXTENSION_KEY, FixedState(changed))


def is_accepted(answer: TestResponse) -> bool:
    """Tell whether a sign-up was accepted."""
    return answer.status_code in {201, 202}


def told(answer: TestResponse) -> str:
    """Return an answer for a message."""
    return f"{answer.status_code} {answer.get_data(as_text=True)[:300].strip()}"


def at_once(count: int, function: Callable[[], T]) -> list[T]:
    """Call a function in that many threads, all let go at the same moment."""
    barrier = Barrier(count)

    def run(number: int) -> T:
        barrier.wait(10)
        return function()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))
