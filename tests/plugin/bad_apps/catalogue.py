"""What a bad application is, all of them by name, and what several of them do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from threading import get_ident
from typing import Any, Final, TypeVar

from blinker import NamedSignal
from flask import current_app, request
from sqlalchemy import ForeignKey, select, text
from sqlalchemy.orm import Mapped, mapped_column, relationship
from werkzeug.security import check_password_hash

from flask_rest_registration import RegisterSigner, normalize_email
from flask_rest_registration.state import current_state
from flask_rest_registration.testing.attacks import MODULES
from tests.support import models
from tests.support.apps import Built, make_app

M = TypeVar("M", bound=Callable[..., Any])

_VIEW: Final = "rest_registration.verify-registration"
_NEEDS_PENDING: Final = {"REGISTER_EMAIL_FIRST", "REGISTER_VERIFICATION_RESEND_ENABLED"}


@dataclass(frozen=True)
class BadApp:
    """An application with one mistake, made on a database of a given URL.

    :param attack: the one that finds the mistake.
    :param words: what its failure says.
    :param attacks: all that find it.
    """

    build: Callable[[str], Built]
    attack: str
    words: str
    attacks: set[str]


BAD_APPS: dict[str, BadApp] = {}


def build_app(uri: str, model: models.Model = models.typed, **settings: object) -> Built:
    pending = not _NEEDS_PENDING.isdisjoint(settings)
    return make_app(model, database_uri=uri, pending=pending, registration=settings, is_described=False)


def found_by(
    attack: str,
    words: str,
    settings: Mapping[str, object] | None = None,
    *,
    on: str | NamedSignal | None = None,
    model: models.Model = models.typed,
    also: Iterable[str] = (),
) -> Callable[[M], M]:
    """Say which attack finds a mistake, and with which words; a part of its name is enough.

    :param on: what the mistake is made of: the name of a setting or of one of Flask's decorators, a signal, ``view``
        (it is called with the view of verify-registration/), ``second chance`` (it is called where that view
        refuses) or ``log-in`` (it is called with address and password); None if it is called with the app.
    :param also: other attacks that have to find it.
    """

    def add(mistake: M) -> M:
        def build(uri: str) -> Built:
            more = {on: mistake} if isinstance(on, str) and on.isupper() else {}
            built = build_app(uri, model, **(settings or {}), **more)
            built.app.extensions["built"] = built
            views = built.app.view_functions
            if on is None:
                mistake(built)
            elif isinstance(on, NamedSignal):
                on.connect(mistake, sender=built.app)
            elif on == "view":
                views[_VIEW] = partial(mistake, views[_VIEW])
            elif on == "log-in":
                offer_log_in(built, mistake)
            elif on == "second chance":
                views[_VIEW] = partial(_fall_back, views[_VIEW], mistake)
            elif on == "after_request":
                built.app.after_request(lambda response: mistake(response) or response)
            elif not more:
                getattr(built.app, on)(mistake)
            return built

        BAD_APPS[mistake.__name__] = BadApp(build, _whole(attack), words, {*map(_whole, (attack, *also))})
        return mistake

    return add


def offer_log_in(built: Built, log_in: Callable[[str, str], bool]) -> Built:
    """Let an application have a log-in, which the fixture ``registration_login`` of the tests finds."""

    def log_in_to_app(email: str, password: str) -> bool:
        with built.app.app_context():
            return log_in(email, password)

    built.app.extensions.update(built=built, log_in=log_in_to_app)
    return built


def account_of(email: str) -> Any:
    return session().scalar(select(this_app().User).filter_by(email=email))


def has_password(email: str, password: str) -> bool:
    return check_password_hash(account_of(normalize_email(email)).password_hash, password)


def log_in(email: str, password: str) -> bool:
    """Log in without a mistake."""
    user = account_of(normalize_email(email))
    return bool(user and user.email_verified_at and has_password(email, password))


def with_orders(lazy: Any) -> models.Model:
    """People whose orders are loaded along with them, in one of SQLAlchemy's ways."""

    def model(db: Any) -> type[Any]:
        user = models.uuid_key(db)

        class Order(db.Model):  # type: ignore[misc]
            id: Mapped[int] = mapped_column(primary_key=True)
            user_id: Mapped[Any] = mapped_column(ForeignKey(user.id))

        user.orders = relationship(Order, lazy=lazy)
        user.order = Order
        return user

    return model


def _whole(part: str) -> str:
    """Return the name of the one attack that has this part in its name."""
    (name,) = [name for module in MODULES for name in vars(module) if name.startswith("test_") and part in name]
    return name


def _fall_back(original: Callable[[], Any], by_hand: Callable[[], Any]) -> Any:
    try:
        return original()
    except Exception:  # whatever the extension refused
        session().rollback()
        return by_hand()


def this_app() -> Built:
    built: Built = current_app.extensions["built"]
    return built


def session() -> Any:
    return this_app().db.session


def sent_by_client() -> dict[str, Any]:
    sent = request.get_json(silent=True)
    return sent if isinstance(sent, dict) else {}


def answer(status: int, detail: str) -> tuple[dict[str, str], int]:
    return {"detail": detail}, status


def signs(account: object) -> bool:
    """Tell whether the link that was sent is one of this account or pending registration, however old."""
    sent = sent_by_client()
    signer = RegisterSigner(current_state(), account, timestamp=str(sent["timestamp"]))
    return signer.accepts(str(sent["signature"]))


def set_flag(user: Any) -> None:
    user.email_verified_at = datetime.now()  # noqa: DTZ005  # these applications do not care
    session().commit()


def pause() -> None:
    """Take the time that code takes on a server with many requests at once, where there are some."""
    running: set[int] = current_app.extensions.setdefault("running", set())
    running.add(get_ident())
    time.sleep(0.01)
    time.sleep(0.3 if len(running) > 1 else 0)
    running.remove(get_ident())


def subscribe_once(email: str) -> None:
    """Look whether an address gets the newsletter, and write it down then, in a table of its own."""
    engine = this_app().db.engine
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS newsletter (address TEXT PRIMARY KEY)"))
    with engine.connect() as connection:
        known = connection.execute(text("SELECT 1 FROM newsletter WHERE address = :email"), {"email": email}).first()
    pause()
    if known is None:
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO newsletter VALUES (:email)"), {"email": email})
