"""The extension object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from flask import Blueprint, Flask, Request, has_request_context
from flask.globals import request_ctx
from flask.sansio.app import App
from marshmallow import Schema

from .commands.group import add_commands
from .exceptions import ConfigurationError
from .mail.messages import VerificationMail, existing_account_message, verification_message
from .serializers.forms import read_form
from .settings.reading import read_settings
from .state import EXTENSION_KEY, AppState, app_state, current_state
from .views import add_views
from .workflows import email_first
from .workflows.register import register
from .workflows.resend import resend
from .workflows.verify import verify


class _Endpoints(Blueprint):
    """The blueprint of the endpoints, which ``init_app`` alone registers."""

    def register(self, app: App, options: dict[str, Any]) -> None:
        if options.get("mounted_by") is not self:
            raise ConfigurationError(
                "The blueprint of RestRegistration was given to register_blueprint(). It stands in one place of an app,"
                " under no other blueprint, and init_app registers it there. Fix: remove register_blueprint();"
                " URL_PREFIX, SUBDOMAIN and HOST say where the endpoints are."
            )
        super().register(app, options)


class RestRegistration:
    """Sign-up with e-mail verification for Flask apps.

    One object serves any number of apps, and keeps nothing of them.

    :meth:`register`, :meth:`verify`, :meth:`check_link` and :meth:`resend` do for Python code what the endpoints do
    for JSON. They work for the current app, within a request or in a script. Where an endpoint answers with an error,
    they raise a :class:`RequestRefused`. They end transactions of ``db.session``: inside a ``with
    db.session.begin()`` they raise a ``ConfigurationError``. A coroutine calls them in a thread, as by ``await
    asyncio.to_thread(registration.register, data)``: hooks that are coroutines have an event loop of their own.

    :param app: an app to initialise at once; without it call :meth:`init_app`.
    :param endpoints: false for an application that only calls the methods: no endpoint is registered.
    :raises ConfigurationError: as :meth:`init_app`.
    """

    def __init__(self, app: Flask | None = None, *, endpoints: bool = True) -> None:
        self._blueprint = _Endpoints(
            EXTENSION_KEY, __name__, template_folder="templates", cli_group="rest-registration"
        )
        self._has_endpoints = endpoints
        if endpoints:
            add_views(self._blueprint)
        add_commands(self._blueprint)
        if app is not None:
            self.init_app(app)

    @property
    def blueprint(self) -> Blueprint:
        """The blueprint with the endpoints, for other extensions, before and after :meth:`init_app`."""
        return self._blueprint

    def init_app(self, app: Flask) -> None:
        """Check an app's settings and mount the endpoints under URL_PREFIX, on SUBDOMAIN or HOST.

        The user model, Flask-SQLAlchemy and Flask-Mail may come later.

        :param app: the app; one that is refused is left as it was.
        :raises ConfigurationError: naming all faults of the settings, or if the app was initialised before.
        """
        if EXTENSION_KEY in app.extensions:
            raise ConfigurationError(
                "RestRegistration is initialised on this app already. Fix: remove either RestRegistration(app) or"
                " init_app(app); settings belong in app.config before that one call."
            )
        if self._blueprint.name in app.blueprints:
            raise ConfigurationError(
                f"The app has a blueprint named {self._blueprint.name} already. Fix: give that one another name."
            )
        state = AppState(app, read_settings(app.config))
        if self._has_endpoints and (faults := [*_faults_of_place(app, state.values)]):
            raise ConfigurationError(*faults)
        url_prefix, subdomain, host = (state.values[name] for name in ("URL_PREFIX", "SUBDOMAIN", "HOST"))
        place = {"url_prefix": url_prefix or None, "subdomain": subdomain, "host": host}
        app.register_blueprint(self._blueprint, mounted_by=self._blueprint, **place)
        app.extensions[EXTENSION_KEY] = state

    def register(self, data: Mapping[str, Any]) -> Any:
        """Sign somebody up, as ``POST register/`` does.

        :param data: texts by the names of the JSON body, such as ``request.form``. Of a MultiDict the first value of
            each name counts, and all of them for a list. An optional field that is empty counts as not sent.
            Flask-WTF's token is ignored.
        :returns: the stored account; None with REGISTER_EMAIL_FIRST, where a mail was sent and there is none yet.
        :raises RequestRefused: ``InvalidInput`` with the ``errors`` by field, ``EmailNotSent`` and others; nothing is
            stored then.
        """
        state = current_state()
        request = _current_request(state)
        if state.settings.register_email_first:
            read = partial(read_form, state.app, data, state.serializers.register_email)
            email_first.register(state, read, request=request)
            return None
        read = partial(read_form, state.app, data, state.serializers.register)
        return register(state, read, request=request)

    def verify(self, data: Mapping[str, Any]) -> Any:
        """Verify an address, as ``POST verify-registration/`` does; REGISTER_VERIFICATION_AUTO_LOGIN counts.

        :param data: ``user_id``, ``timestamp`` and ``signature`` of the link, such as ``request.args``. With
            REGISTER_EMAIL_FIRST the fields of the account as well, and in place of a link ``email`` and ``code``.
        :returns: the account.
        :raises RequestRefused: ``SignatureInvalid``, ``SignatureExpired``, ``CodeInvalid``, ``InvalidInput`` and
            others.
        """
        state = current_state()
        make_schema = state.serializers.register if state.settings.register_email_first else None
        read = partial(read_form, state.app, data, make_schema)
        return verify(state, read, request=_current_request(state)).user

    def check_link(self, data: Mapping[str, Any]) -> str:
        """Find the address that a link proves with REGISTER_EMAIL_FIRST, as ``POST check-link/`` does.

        :param data: ``user_id``, ``timestamp`` and ``signature`` of the link.
        :returns: the address, as an account would have it; nothing changes.
        :raises RequestRefused: ``SignatureInvalid``, ``SignatureExpired`` and others.
        """
        state = current_state()
        return email_first.check_link(state, partial(read_form, state.app, data))

    def resend(self, email: str) -> None:
        """Send an account that waits for its verification a fresh link, as ``POST resend-verification/`` does.

        Nobody learns whether there is such an account, and the cooldown of the address counts.

        :param email: the address as somebody typed it.
        :raises RequestRefused: ``InvalidInput`` for what is no address, ``EmailNotSent`` and others.
        """
        state = current_state()
        resend(state, partial(read_form, state.app, {"email": email}), request=_current_request(state))

    def verification_mail(self, user: object) -> VerificationMail:
        """Render the mail with the link, for a sender of your own and any transport.

        :param user: a stored account, or with REGISTER_EMAIL_FIRST the pending registration that senders are given.
        :returns: all that a transport needs, in the language of the mail.
        :raises EmailNotSent: if the address of the account is no address.
        :raises ConfigurationError: if the app lacks a setting for it.
        """
        state = current_state()
        return verification_message(state, _current_request(state), user)

    def existing_account_mail(self, user: object) -> VerificationMail:
        """Render the notice that somebody signed up with the address of an account, likewise.

        :param user: the pending registration that REGISTER_EXISTING_EMAIL_SENDER is given, or a stored account.
        :returns: all that a transport needs.
        :raises EmailNotSent: if the address of the account is no address.
        :raises ConfigurationError: if the app lacks a setting for it.
        """
        state = current_state()
        return existing_account_message(state, _current_request(state), user)

    def register_schema(self, app: Flask) -> Schema:
        """Return an instance of REGISTER_SERIALIZER_CLASS with all its fields, for apispec and tests.

        :param app: the app whose settings count, whatever app is current.
        :returns: the schema that reads registrations.
        :raises ConfigurationError: if the app lacks something.
        """
        with app.app_context():
            return app_state(app).serializers.register()

    def profile_schema(self, app: Flask) -> Schema:
        """Return an instance of REGISTER_OUTPUT_SERIALIZER_CLASS with all its fields, for apispec and tests.

        :param app: the app whose settings count, whatever app is current.
        :returns: the schema that shows accounts.
        :raises ConfigurationError: if the app lacks something.
        """
        with app.app_context():
            return app_state(app).serializers.profile()


def _current_request(state: AppState) -> Request | None:
    """Return the current request itself, not Flask's proxy; None in a script.

    A request to another app is none of ours: its session would log somebody in whose account has the same key there.
    """
    return request_ctx.request if has_request_context() and request_ctx.app is state.app else None


def _faults_of_place(app: Flask, values: dict[str, object]) -> Iterator[str]:
    """Find why an app's URL map would answer the endpoints 404."""
    is_by_host = app.url_map.host_matching
    if is_by_host and values["HOST"] is None:
        yield (
            "REST_REGISTRATION setting HOST is missing: the app has host_matching=True, and would answer the endpoints"
            " 404 on every host. Fix: give the host that they stand on, such as 'api.example.com'."
        )
    if not is_by_host and values["HOST"] is not None:
        yield (
            "REST_REGISTRATION setting HOST is given, and the app has no host_matching: it would have no effect. Fix:"
            " make the app with Flask(..., host_matching=True, static_host=...), or remove HOST."
        )
    if values["SUBDOMAIN"] is None:
        return
    if is_by_host:
        yield (
            "REST_REGISTRATION setting SUBDOMAIN is given, and the app has host_matching=True: it would have no effect."
            " Fix: remove it, and give the whole name in HOST."
        )
    elif not app.subdomain_matching:
        yield (
            "REST_REGISTRATION setting SUBDOMAIN is given, and the app has no subdomain_matching: it would have no"
            " effect. Fix: make the app with Flask(..., subdomain_matching=True), or remove SUBDOMAIN."
        )
    elif not app.config["SERVER_NAME"]:
        yield (
            "REST_REGISTRATION setting SUBDOMAIN is given, and SERVER_NAME is not: Flask cannot tell a subdomain, and"
            " would answer the endpoints 404. Fix: set SERVER_NAME, such as 'example.com', before init_app."
        )
