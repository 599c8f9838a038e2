"""List the files and functions of the package that one registration and one verification run through.

``python -m tools.walk`` prints them in the order of their first call, and ends with 1 if there are more than a reader
can be asked to follow. The application is the one of the README: everything at its defaults, a real mail server.
The first request of each kind is not counted, since it builds what later ones use.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from flask import Flask
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy

import flask_rest_registration
from flask_rest_registration import RestRegistration
from tests.support.links import link_in, values_of
from tests.support.mail_servers import RecordingServer

PACKAGE = Path(flask_rest_registration.__file__).parent

#: The most files and functions for each kind of request.
LIMITS = {"register": (12, 80), "verify-registration": (10, 40)}


def called_by(request: Callable[[], object]) -> dict[Path, list[str]]:
    """Return the functions of the package that a request calls, by file, both in the order of their first call."""
    called: dict[Path, list[str]] = {}

    def note(frame: FrameType, event: str, _: object) -> None:
        path, name = Path(frame.f_code.co_filename), getattr(frame.f_code, "co_qualname", frame.f_code.co_name)
        # A comprehension is a part of its function, as it is from Python 3.12 on.
        is_part = name.endswith(("<listcomp>", "<genexpr>", "<dictcomp>", "<setcomp>"))
        if event == "call" and path.is_relative_to(PACKAGE) and path.suffix == ".py" and not is_part:
            functions = called.setdefault(path.relative_to(PACKAGE), [])
            if name not in functions:
                functions.append(name)

    sys.setprofile(note)
    try:
        request()
    finally:
        sys.setprofile(None)
    return called


def make_app(port: int) -> Flask:
    app = Flask("walk")
    app.config.update(
        SECRET_KEY="a key for this walk only",
        SQLALCHEMY_DATABASE_URI="sqlite://",
        MAIL_SERVER="127.0.0.1",
        MAIL_PORT=port,
        MAIL_DEFAULT_SENDER="no-reply@example.com",
        REST_REGISTRATION={"REGISTER_VERIFICATION_URL": "https://frontend.example/verify-user/"},
    )
    db = SQLAlchemy(app)
    Mail(app)

    class User(db.Model):  # type: ignore[name-defined,misc]
        id = db.Column(db.Integer, primary_key=True)
        email = db.Column(db.String(254), unique=True, nullable=False)
        password_hash = db.Column(db.String(255), nullable=False)
        email_verified_at = db.Column(db.DateTime)

    app.extensions["the model"] = User  # SQLAlchemy itself would let go of it
    RestRegistration(app)
    with app.app_context():
        db.create_all()
    return app


def walks() -> dict[str, dict[Path, list[str]]]:
    """Register and verify once to build what is kept, then follow one request of each kind."""
    with RecordingServer() as server:
        client = make_app(server.port).test_client()

        def post(path: str, body: object) -> None:
            answer = client.post(f"/api/v1/accounts/{path}/", json=body)
            assert answer.status_code in {200, 201}, answer.text

        def body(name: str) -> dict[str, str]:
            password = "violet anchor sings at noon"
            return {"email": f"{name}@example.com", "password": password, "password_confirm": password}

        post("register", body("ann"))
        post("verify-registration", values_of(link_in(server.messages[-1])))
        register = called_by(lambda: post("register", body("bob")))
        link = values_of(link_in(server.messages[-1]))
        return {"register": register, "verify-registration": called_by(lambda: post("verify-registration", link))}


def main() -> int:
    """Walk, print, and compare with the limits."""
    too_long = False
    for name, called in walks().items():
        files, functions = len(called), sum(map(len, called.values()))
        print(f"{name}: {files} files, {functions} functions (at most {' and '.join(map(str, LIMITS[name]))})")
        for path, names in called.items():
            print(f"  {path}: {', '.join(names)}")
        too_long |= files > LIMITS[name][0] or functions > LIMITS[name][1]
    return int(too_long)


if __name__ == "__main__":
    sys.exit(main())
