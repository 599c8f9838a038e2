"""Try the installed package in an environment that has nothing else: its files, then one whole sign-up.

Run with ``python -I`` away from the checkout, so that only what the wheel brought can be found.
"""

import importlib.metadata
import importlib.util
import socketserver
import sys
import threading
from datetime import datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default as modern_policy
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import flask_mail
import flask_sqlalchemy
from flask import Flask

import flask_rest_registration
from flask_rest_registration import RestRegistration, user_activated, user_registered

TEMPLATES = "flask_rest_registration/templates/rest_registration/register/"


class MailServer(socketserver.ThreadingTCPServer):
    """Speak just enough SMTP to take a mail; :attr:`mails` has what came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), MailSession)
        self.mails: list[EmailMessage] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class MailSession(socketserver.StreamRequestHandler):
    """One connection to the :class:`MailServer`."""

    server: MailServer

    def handle(self) -> None:
        """Answer commands until the client leaves."""
        self.wfile.write(b"220 localhost\r\n")
        for line in self.rfile:
            command = line.split()[0].upper()
            if command == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                self.receive_mail()
            self.wfile.write(b"221 bye\r\n" if command == b"QUIT" else b"250 ok\r\n")

    def receive_mail(self) -> None:
        """Read a mail up to the lone full stop that ends it."""
        lines = list(iter(self.rfile.readline, b".\r\n"))
        self.server.mails.append(message_from_bytes(b"".join(lines), policy=modern_policy))


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


def check_sign_up(mail_server: MailServer) -> None:
    """Register a user and follow the link in the mail."""
    app = Flask("wheel_check")
    app.config.update(
        SECRET_KEY="for this check alone",  # noqa: S106  # signs nothing else
        SQLALCHEMY_DATABASE_URI="sqlite://",
        MAIL_SERVER="127.0.0.1",
        MAIL_PORT=mail_server.server_address[1],
        MAIL_DEFAULT_SENDER="no-reply@example.com",
        REST_REGISTRATION={"REGISTER_VERIFICATION_URL": "https://frontend.example/verify-user/"},
    )
    db = flask_sqlalchemy.SQLAlchemy(app)
    flask_mail.Mail(app)

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
    answer = client.post(
        "/api/v1/accounts/register/",
        json={"email": "Ada@Example.com", "password": password, "password_confirm": password},
    )
    assert answer.status_code == 201, answer.text
    assert answer.json is not None
    assert answer.json["email"] == "ada@example.com", answer.json

    (mail,) = mail_server.mails
    assert mail["To"] == "ada@example.com", mail["To"]
    assert mail["Subject"], mail
    texts = {part.get_content_type(): part.get_content() for part in mail.walk() if not part.is_multipart()}
    assert texts.keys() == {"text/plain", "text/html"}, texts
    assert "https://frontend.example/verify-user/?" in texts["text/html"], texts
    (link,) = (word for word in texts["text/plain"].split() if word.startswith("https://frontend.example/v"))
    signed = {name: values[0] for name, values in parse_qs(urlsplit(link).query).items()}

    answer = client.post("/api/v1/accounts/verify-registration/", json=signed)
    assert answer.status_code == 200, answer.text
    with app.app_context():
        user = db.session.execute(db.select(User)).scalar_one()
        assert isinstance(user.email_verified_at, datetime)
    assert seen == ["registered", "activated"], seen


if __name__ == "__main__":
    check_files()
    with MailServer() as server:
        check_sign_up(server)
        server.shutdown()
    print("The wheel has its files, and a user signed up with it.")
