"""The application's tables."""

from __future__ import annotations

from datetime import datetime

from flask_login import UserMixin
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from flask_rest_registration import PendingRegistrationMixin


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)


class User(UserMixin, db.Model):  # type: ignore[name-defined, misc]
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    username: Mapped[str] = mapped_column(String(40), unique=True)
    password_hash: Mapped[str] = mapped_column(String(162))
    email_verified_at: Mapped[datetime | None]

    # Without it SQLite gives the id of a deleted account to a new one, and old sessions would open that.
    __table_args__ = {"sqlite_autoincrement": True}


class PendingRegistration(PendingRegistrationMixin, db.Model):  # type: ignore[name-defined, misc]
    """What "send it again" needs: when the last mail went to an address, and when the next one may."""
