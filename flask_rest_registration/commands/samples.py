"""A sample account, and the mails to it as a sign-up renders them: nothing of it is stored or sent."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, cast

import sqlalchemy as sa
from flask import Flask, Request, request
from sqlalchemy.orm import Mapper
from sqlalchemy.orm.attributes import set_committed_value

from .. import clock
from ..database.pending import MAILS_WITH_CODE
from ..exceptions import ConfigurationError
from ..mail.messages import VerificationMail, existing_account_message, verification_message
from ..model.attributes import Flag
from ..model.pending import PendingRegistrationMixin
from ..model.user_model import mapped_columns, python_type
from ..signers import RegisterSigner, make_code
from ..state import EXTENSION_KEY, AppState

SAMPLE_ADDRESS = "sample@example.com"

_MAIL_HOOKS = (
    *("verification_url_builder", "verification_template_context_builder", "verification_templates_selector"),
    *("verification_locale_selector", "verification_email_html_to_text_converter"),
)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # for columns with and without a time zone
_VALUES: dict[type[Any], object] = {
    str: "sample",
    bytes: b"sample",
    bool: False,
    int: 1,
    float: 1.0,
    Decimal: Decimal(1),
    uuid.UUID: uuid.UUID(int=1),
    datetime: _EPOCH,
    date: _EPOCH.date(),
    time: _EPOCH.time(),
    timedelta: timedelta(1),
    dict: {},
    list: [],
}


class HookRaised(Exception):
    """A hook raised for the sample; the text names its setting and what it raised."""


class SampleMail:
    """One mail of registration to a sample account or a sample pending registration, with watched hooks."""

    def __init__(self, state: AppState, user: Any, *, is_notice: bool = False) -> None:
        self.what = "notice to account holders" if is_notice else "verification mail"
        self._is_notice, self._user = is_notice, user
        self._calls: list[tuple[str, Any, Any]] = []
        hooks = {name: getattr(state.settings, name) for name in _MAIL_HOOKS}
        watched: dict[str, Any] = {name: self._watch(name, hook) for name, hook in hooks.items() if hook is not None}
        self._state = copy.copy(state)
        # A sender that is missing is told once, and keeps nothing else from being found.
        self._state.settings = replace(state.settings, **{"verification_from_email": SAMPLE_ADDRESS, **watched})

    def _watch(self, name: str, hook: Callable[..., Any]) -> Callable[..., Any]:
        """Remember what a hook returns, and tell its exceptions from those of templates."""

        def call(*arguments: Any) -> Any:
            try:
                result = hook(*arguments)
            except ConfigurationError:
                raise
            except Exception as error:
                raise HookRaised(f"{name.upper()} raised {type(error).__name__} ({error})") from error
            self._calls.append((name, arguments, result))
            return result

        return call

    def render(self) -> VerificationMail:
        """Render it without a request, and with a sample one if something raises for want of it."""
        render = existing_account_message if self._is_notice else verification_message
        try:
            return render(self._state, None, self._user)
        except ConfigurationError:
            raise
        except Exception:  # whatever hooks and templates raise
            self._calls.clear()
            with sample_request(self._state.app) as sample:
                return render(self._state, sample, self._user)

    @property
    def required(self) -> dict[str, list[str]]:
        """What each body must have one of, by the name that a template has for it."""
        if self._is_notice:
            return {}
        pending, user = self._state.pending, self._user
        if isinstance(user, PendingRegistrationMixin) and pending is not None and pending.carries_code(user):
            return {"verification_url": self._links, "code": [make_code(self._state, user)]}
        return {"verification_url": self._links}

    def returned(self, hook: str) -> list[Any]:
        """Return what a hook returned, in the order of its calls."""
        return [result for name, _, result in self._calls if name == hook]

    @property
    def made_links(self) -> list[tuple[RegisterSigner, str]]:
        """What VERIFICATION_URL_BUILDER made for which signer."""
        made = (call for call in self._calls if call[0] == "verification_url_builder")
        return [(arguments[0], link) for _, arguments, link in made]

    @property
    def _links(self) -> list[str]:
        """The links that templates were given."""
        contexts = self.returned("verification_template_context_builder")
        replaced = [str(context["verification_url"]) for context in contexts if context.get("verification_url")]
        return [*(link for _, link in self.made_links), *replaced]


def sample_mails(state: AppState) -> Iterator[SampleMail]:
    """Yield a sample of each mail that the package's own senders render in this app."""
    settings = state.settings
    if not settings.register_email_first:
        if settings.renders_link:
            yield SampleMail(state, sample_account(state))
        return
    if settings.renders_link:
        yield SampleMail(state, sample_pending(state))
        if settings.register_verification_code_enabled:
            yield SampleMail(state, sample_pending(state, mails=MAILS_WITH_CODE + 1))  # it has no code
    if settings.renders_notice:
        yield SampleMail(state, sample_pending(state), is_notice=True)


def sample_account(state: AppState) -> Any:
    """Make an unverified account that no session knows, without its constructor."""
    model, flag = state.model, cast(Flag, state.model.flag)  # without a flag no mail is sent
    known: dict[sa.Column[Any], object] = {model.email.column: SAMPLE_ADDRESS}
    known[model.link_id.column] = _VALUES[python_type(model.link_id.column)]
    known[flag.column] = None if flag.is_time else False
    return _new_object(model.mapper, known)


def sample_pending(state: AppState, *, mails: int = 1) -> Any:
    """Make a pending registration that no session knows, after so many mails."""
    assert state.pending is not None  # noqa: S101  # for the types: it is there with REGISTER_EMAIL_FIRST
    mapper, now = state.pending.mapper, int(clock.now())
    columns = mapped_columns(mapper)
    known = {"id": uuid.uuid4(), "email": SAMPLE_ADDRESS, "sent_at": now, "mails": mails, "next_mail_at": now}
    return _new_object(mapper, {columns[name]: value for name, value in known.items()})


def _new_object(mapper: Mapper[Any], known: dict[sa.Column[Any], object]) -> Any:
    """Make an object with a value in each column that a stored row has one in."""
    try:
        mapper.registry.configure(cascade=True)  # not all of the process, where another app's may be broken
    except sa.exc.SQLAlchemyError as error:
        reason = str(error).rpartition("Original exception was: ")[2]  # the second time SQLAlchemy puts more before it
        raise ConfigurationError(f"SQLAlchemy cannot set up the models: {reason} Fix: correct them.") from None
    made = mapper.class_manager.new_instance()
    for name, column in mapped_columns(mapper).items():
        set_committed_value(made, name, known[column] if column in known else _sample_value(column))
    return made


def _sample_value(column: sa.Column[Any]) -> object:
    if isinstance(column.default, sa.ColumnDefault) and column.default.is_scalar:
        return column.default.arg
    is_empty = column.nullable and column.default is None and column.server_default is None
    return None if is_empty else _VALUES.get(python_type(column))


@contextmanager
def sample_request(app: Flask) -> Iterator[Request]:
    """Make a request to ``register/`` current, which no hook of the application has seen."""
    with app.test_request_context(method="POST"):
        rules = (rule for rule in app.url_map.iter_rules() if rule.endpoint == f"{EXTENSION_KEY}.register")
        sample: Request = request._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001  # werkzeug's documented name
        sample.url_rule = next(rules, None)  # not by its URL: a host or a subdomain may be a part of that
        yield sample
