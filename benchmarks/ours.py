"""The application with the extension."""

from __future__ import annotations

from collections.abc import Mapping

from configuration import VERIFICATION_URL, near_free_hash
from flask import Flask
from model import make_app

from flask_rest_registration import RegisterSigner, RestRegistration

REGISTER_URL = "/api/v1/accounts/register/"
VERIFY_URL = "/api/v1/accounts/verify-registration/"


def create_app(config: Mapping[str, object], **settings: object) -> Flask:
    """Make the application.

    :param config: as :func:`configuration.configuration` gives it.
    :param settings: more settings of the package.
    """
    app = make_app("ours", config)
    settings["REGISTER_VERIFICATION_URL"] = VERIFICATION_URL
    if config["LEAN"]:
        settings["PASSWORD_HASHER"] = near_free_hash
        settings["PASSWORD_VALIDATORS"] = ["flask_rest_registration.passwords.validate_length"]
    app.config["REST_REGISTRATION"] = settings
    RestRegistration(app)
    return app


def link_data(user: object) -> dict[str, str]:
    """Return what the page behind an account's link sends back.

    :param user: a stored account.
    """
    return RegisterSigner.for_user(user).get_signed_data()
