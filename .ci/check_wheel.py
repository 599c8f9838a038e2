"""Try the installed package in an environment that has nothing else: its files, then one whole sign-up.

Run with ``python -I`` away from the checkout, so that only what the wheel brought can be found.
"""

import importlib.metadata
import importlib.util
import sys
from datetime import datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import flask_mail
import flask_sqlalchemy
from flask import Flask

import flask_rest_registration
from flask_rest_registration import RestRegistration, user_activated, user_registered

TEMPLATES = "flask_rest_registration/templates/rest_registration/register/"


def check_files() -> None:
    """See that the wheel has what it must have, and that it is the wheel which is imported."""
    assert Path(flask_rest_registration.__file__).is_relative_to(sys.prefix), flask_rest_registration.__file__
    distribution = importlib.metadata.distribution("flask-rest-registration")
    files = {file.as_posix(): file for file in distribution.files or []}
    assert "flask_rest_registration/py.typed" in files
    assert {TEMPLATES + name for name in ("subject.txt", "body.txt", "body.html")} <= files.keys()
    assert "flask_rest_registration/translations/pt_BR/LC_MESSAGES/flask_rest_registration.mo" in files
    (licence,) = (file for name, file in files.items() if name.endswith("/licenses/LICENSE"))
    assert licence.read_text().startswith("MIT License")
    assert distribution.metadata["License-Expression"] == "MIT"
    strays = [name for name in files if name.startswith(("benchmarks", "tests", "examples", "docs"))]
    assert not strays, strays
    assert importlib.util.find_spec("flask_login") is None, "the environment is not empty"


def check_sign_up() -> None:
    """Register a user and follow the link in the mail."""
    app = Flask("wheel_check")
    app.config.update(
        SECRET_KEY="for this check alone",  # noqa: S106  # signs nothing else
        SQLALCHEMY_DATABASE_URI="sqlite://",
        MAIL_SUPPRESS_SEND=True,
        MAIL_DEFAULT_SENDER="no-reply@example.com",
        REST_REGISTRATION={"REGISTER_VERIFICATION_URL": "https://frontend.example/verify-user/"},
    )
    db = flask_sqlalchemy.SQLAlchemy(app)
    mail = flask_mail.Mail(app)

    class User(db.Model):  # type: ignore[name-defined, misc]
        id = db.Column(db.Integer, primary_key=True)
        email = db.Column(db.String(254), unique=True, nullable=False)
        password_hash = db.Column(db.String(255), nullable=False)
        email_verified_at = db.Column(db.DateTime)

    RestRegistration(app)
    seen: list[str] = []

    def remember_registration(sender: Flask, **extra: object) -> None:
        seen.append("registered")

    def remember_activation(sender: Flask, **extra: object) -> None:
        seen.append("activated")

    user_registered.connect(remember_registration, app)
    user_activated.connect(remember_activation, app)
    with app.app_context():
        db.create_all()
    client = app.test_client()

    password = "wheel-check correct horse"  # noqa: S105  # of an account that is gone afterwards
    body = {"email": "Ada@Example.com", "password": password, "password_confirm": password}
    with mail.record_messages() as messages:
        answer = client.post("/api/v1/accounts/register/", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.json is not None
    assert answer.json["email"] == "ada@example.com", answer.json

    (message,) = messages
    assert message.recipients == ["ada@example.com"], message.recipients
    assert message.subject, message
    assert "https://frontend.example/verify-user/?" in (message.html or ""), message.html
    (link,) = (word for word in (message.body or "").split() if word.startswith("https://frontend.example/v"))
    signed = {name: values[0] for name, values in parse_qs(urlsplit(link).query).items()}

    answer = client.post("/api/v1/accounts/verify-registration/", json=signed)
    assert answer.status_code == 200, answer.text
    with app.app_context():
        user = db.session.execute(db.select(User)).scalar_one()
        assert isinstance(user.email_verified_at, datetime)
    assert seen == ["registered", "activated"], seen


if __name__ == "__main__":
    check_files()
    check_sign_up()
    print("The wheel has its files, and a user signed up with it.")
