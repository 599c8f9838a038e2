"""django-rest-registration in a Django project, and this package in an app like it: both are asked alike."""

from __future__ import annotations

import email
import email.policy
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import django
import sqlalchemy as sa
from django.conf import settings
from django.core import mail
from django.core.management import call_command
from django.test import Client, RequestFactory, override_settings
from django.test.utils import setup_test_environment
from django.urls import include, path
from flask import current_app
from jinja2 import FileSystemLoader
from sqlalchemy.orm import mapped_column
from typing_extensions import Self
from werkzeug.security import check_password_hash

import flask_rest_registration as ours

from . import models
from .apps import PASSWORD, Builder
from .clock import Clock
from .links import link_in, values_of
from .mail_servers import RecordingServer

#: The key of both, so that no link is refused for its key alone.
SECRET_KEY: Final = "a key for tests only"
#: The page behind the link, and the sender of its mail, unless a case gives others.
USUAL: Final = {
    "REGISTER_VERIFICATION_URL": "https://frontend.example/verify-user/",
    "VERIFICATION_FROM_EMAIL": "no-reply@app.example",
}
#: Where the application's own templates are, in a test's folder.
TEMPLATES: Final = "templates"

urlpatterns: list[Any] = []  # this module is the project's ROOT_URLCONF


@dataclass
class Site:
    """One of the two, its model that of Django.

    :param is_here: whether it is this package's.
    :param clock: the time of both.
    :param send: posts a body of a type to a path; returns the status, what the JSON says, and whether a cookie was set.
    :param mails: returns the mails so far, as their readers get them.
    :param rows: returns every account, by attribute names.
    :param change: writes into every account.
    :param delete: deletes every account.
    :param opens: tells whether a password is that of the account.
    :param send_again: sends the link of an account again, as a view of the application's own does.
    :param signer: makes the signer of an account, where there is no request.
    :param activations: the sender of each ``user_activated``.
    """

    is_here: bool
    clock: Clock
    send: Callable[[str, str, str], tuple[int, Any, bool]]
    mails: Callable[[], list[EmailMessage]]
    rows: Callable[[], list[dict[str, Any]]]
    change: Callable[..., object]
    delete: Callable[[], object]
    opens: Callable[[str], bool]
    send_again: Callable[[], object]
    signer: Callable[[], Any]
    activations: list[object] = field(default_factory=list)
    has_set_cookie: bool = False

    def post(self, endpoint: str, body: Mapping[str, object], *, form: bool = False) -> tuple[int, Any]:
        sent = (
            (urlencode(body), "application/x-www-form-urlencoded") if form else (json.dumps(body), "application/json")
        )
        status, answer, self.has_set_cookie = self.send(f"/api/v1/accounts/{endpoint}", *sent)
        return status, answer

    def body(self, **changes: object) -> dict[str, object]:
        """Return a good body, with some fields changed, added or, by None, left out."""
        passwords = {"password": PASSWORD, "password_confirm": changes.get("password", PASSWORD)}
        body = {"username": "ann", "email": "ann@example.com", **passwords, **changes}
        return {name: value for name, value in body.items() if value is not None}

    def register(self, **changes: object) -> tuple[int, Any]:
        return self.post("register/", self.body(**changes))

    def signed_up(self) -> Self:
        assert self.register()[0] == 201
        return self

    @property
    def link(self) -> str:
        """The link in the last mail."""
        return link_in(self.mails()[-1]).rstrip(")")  # django-rest-registration writes "here (https://...)"

    def verify(self, **changes: object) -> tuple[int, Any]:
        """Follow the link in the last mail, with some of its values changed."""
        return self.post("verify-registration/", {**values_of(self.link), **changes})


def configure() -> None:
    """Set the project up as ``startproject`` and the manual say, once in a process."""
    if settings.configured:
        return
    validators = ("UserAttributeSimilarity", "MinimumLength", "CommonPassword", "NumericPassword")
    settings.configure(
        SECRET_KEY=SECRET_KEY,
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=[
            *(f"django.contrib.{name}" for name in ("auth", "contenttypes", "sessions")),
            *("rest_framework", "rest_registration"),
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        AUTH_PASSWORD_VALIDATORS=[
            {"NAME": f"django.contrib.auth.password_validation.{name}Validator"} for name in validators
        ],
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        LOGGING_CONFIG=None,
    )
    django.setup()
    setup_test_environment()  # mails go to mail.outbox
    urlpatterns.append(path("api/v1/accounts/", include("rest_registration.api.urls")))
    call_command("migrate", verbosity=0)


@contextmanager
def there(registration: Mapping[str, object], *, folder: Path, clock: Clock) -> Iterator[Site]:
    """Run the Django project, on an empty database.

    :param registration: what REST_REGISTRATION has besides :data:`USUAL`.
    :param folder: the test's.
    """
    from django.contrib.auth import get_user_model
    from rest_registration.signals import user_activated
    from rest_registration.signers.register import RegisterSigner
    from rest_registration.verification_notifications import send_register_verification_email_notification

    accounts = get_user_model().objects

    def send(url: str, data: str, content_type: str) -> tuple[int, Any, bool]:
        answer = Client(raise_request_exception=False).post(url, data, content_type=content_type)
        body = answer.json() if answer.headers["Content-Type"] == "application/json" else None
        return answer.status_code, body, bool(answer.cookies)

    def mails() -> list[EmailMessage]:
        sent = (message.message().as_bytes() for message in mail.outbox)
        return [email.message_from_bytes(each, policy=email.policy.default) for each in sent]

    def note(sender: object, **_: object) -> None:
        site.activations.append(sender)

    site = Site(
        is_here=False,
        clock=clock,
        send=send,
        mails=mails,
        rows=lambda: list(accounts.values()),
        change=lambda **values: accounts.update(**values),
        delete=lambda: accounts.all().delete(),
        opens=lambda password: accounts.get().check_password(password),
        send_again=lambda: send_register_verification_email_notification(RequestFactory().get("/"), accounts.get()),
        signer=lambda: RegisterSigner({"user_id": accounts.get().pk}),
    )
    engine = {"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}
    engine["DIRS"] = [folder / TEMPLATES]
    with override_settings(REST_REGISTRATION={**USUAL, **registration}, TEMPLATES=[engine]):
        call_command("flush", interactive=False, verbosity=0)
        mail.outbox = []
        user_activated.connect(note)
        yield site
        user_activated.disconnect(note)


@contextmanager
def here(
    registration: Mapping[str, object], *, folder: Path, clock: Clock, build: Builder, smtp: RecordingServer
) -> Iterator[Site]:
    """Make the app of this package likewise."""

    def text(length: int, **options: Any) -> Any:
        return mapped_column(sa.String(length), **options)

    model = models.declared(
        username=text(150, unique=True, nullable=False),
        first_name=text(150, default=""),
        last_name=text(150, default=""),
        is_active=mapped_column(sa.Boolean, default=True, nullable=False),
        is_staff=mapped_column(sa.Boolean, default=False, nullable=False),
        last_login=mapped_column(sa.DateTime),
        email_verified_at=None,
    )
    built = build(
        model,
        registration={**USUAL, **registration},
        config={"SECRET_KEY": SECRET_KEY},
        before_init=lambda app: setattr(app, "jinja_loader", FileSystemLoader(folder / TEMPLATES)),
    )

    def send(url: str, data: str, content_type: str) -> tuple[int, Any, bool]:
        answer = built.client().post(url, data=data, content_type=content_type)
        return answer.status_code, answer.get_json(), "Set-Cookie" in answer.headers

    def account() -> Any:
        return built.db.session.scalars(sa.select(built.User)).one()

    def execute(statement: Any) -> None:
        with built.app.app_context():
            built.db.session.execute(statement)
            built.db.session.commit()

    def send_again() -> None:
        with built.app.test_request_context():
            ours.send_register_verification_email_notification(current_app.request_class({}), account())

    def signer() -> ours.RegisterSigner:
        with built.app.app_context():
            return ours.RegisterSigner.for_user(account())

    site = Site(
        is_here=True,
        clock=clock,
        send=send,
        mails=lambda: smtp.messages,
        rows=built.rows,
        change=lambda **values: execute(sa.update(built.User).values(**values)),
        delete=lambda: execute(sa.delete(built.User)),
        opens=lambda password: check_password_hash(built.row()["password_hash"], password),
        send_again=send_again,
        signer=signer,
    )
    with ours.user_activated.connected_to(lambda sender, **_: site.activations.append(sender), built.app):
        yield site
