"""The two configurations: everything that is not registration made near-free, and everything at its defaults."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

from werkzeug.security import generate_password_hash

VERIFICATION_URL = "https://frontend.example/verify-user/"
VERIFICATION_PERIOD = timedelta(days=7)


def near_free_hash(password: str) -> str:
    """Hash a password as nobody should: the time of a real hash would hide everything else."""
    return f"sha256$${hashlib.sha256(password.encode()).hexdigest()}"


def real_hash(password: str) -> str:
    """Hash a password as the package does by default."""
    return generate_password_hash(password, method="scrypt:32768:8:3")


def configuration(database: Path, *, smtp_port: int | None = None) -> dict[str, object]:
    """Return what both applications are configured with.

    :param database: the SQLite file.
    :param smtp_port: of a mail server on this machine, for everything at its defaults; without it the hash is
        near-free, passwords are checked for their length only and mails go no further than Flask-Mail's signal.
    """
    lean = smtp_port is None
    return {
        "SECRET_KEY": "a key for the benchmark alone, as long as real ones",
        "SQLALCHEMY_DATABASE_URI": f"sqlite:///{database}",
        "MAIL_SERVER": "127.0.0.1",
        "MAIL_PORT": smtp_port or 0,
        "MAIL_SUPPRESS_SEND": lean,
        "MAIL_DEFAULT_SENDER": ("Benchmark", "hello@example.com"),
        "MAX_CONTENT_LENGTH": 64 * 1024,
        "LEAN": lean,
    }
