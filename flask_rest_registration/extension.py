"""The extension object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Flask
from flask.sansio.app import App
from marshmallow import Schema

from .commands.group import add_commands
from .exceptions import ConfigurationError
from .settings.reading import read_settings
from .state import EXTENSION_KEY, AppState, app_state
from .views import add_views


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

    :param app: an app to initialise at once; without it call :meth:`init_app`.
    :raises ConfigurationError: as :meth:`init_app`.
    """

    def __init__(self, app: Flask | None = None) -> None:
        self._blueprint = _Endpoints(
            EXTENSION_KEY, __name__, template_folder="templates", cli_group="rest-registration"
        )
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
        if faults := [*_faults_of_place(app, state.values)]:
            raise ConfigurationError(*faults)
        url_prefix, subdomain, host = (state.values[name] for name in ("URL_PREFIX", "SUBDOMAIN", "HOST"))
        place = {"url_prefix": url_prefix or None, "subdomain": subdomain, "host": host}
        app.register_blueprint(self._blueprint, mounted_by=self._blueprint, **place)
        app.extensions[EXTENSION_KEY] = state

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
