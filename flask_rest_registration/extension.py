"""The extension object."""

from __future__ import annotations

from flask import Blueprint, Flask
from marshmallow import Schema

from .commands.group import add_commands
from .exceptions import ConfigurationError
from .settings.reading import read_settings
from .state import EXTENSION_KEY, AppState, app_state
from .views import add_views


class RestRegistration:
    """Sign-up with e-mail verification for Flask apps.

    One object serves any number of apps, and keeps nothing of them.

    :param app: an app to initialise at once; without it call :meth:`init_app`.
    :raises ConfigurationError: as :meth:`init_app`.
    """

    def __init__(self, app: Flask | None = None) -> None:
        self._blueprint = Blueprint(EXTENSION_KEY, __name__, template_folder="templates", cli_group="rest-registration")
        add_views(self._blueprint)
        add_commands(self._blueprint)
        if app is not None:
            self.init_app(app)

    @property
    def blueprint(self) -> Blueprint:
        """The blueprint with the endpoints, for other extensions, before and after :meth:`init_app`."""
        return self._blueprint

    def init_app(self, app: Flask) -> None:
        """Check an app's settings and mount the endpoints under URL_PREFIX.

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
        app.register_blueprint(self._blueprint, url_prefix=str(state.values["URL_PREFIX"]) or None)
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
