"""A program of a page of the documentation, as the fixture ``load`` of ``tests/docs`` gives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from flask import Flask
from werkzeug.test import TestResponse

from .apps import PASSWORD
from .links import link_in, values_of
from .mail_servers import RecordingServer


@dataclass(frozen=True)
class Example:
    """A program of a page: the imported module, its app, and the ``db`` that its users are in."""

    module: Any
    app: Flask
    db: Any
    smtp: RecordingServer

    def post(self, endpoint: str, body: object, **options: Any) -> TestResponse:
        return self.app.test_client().post(f"/api/v1/accounts/{endpoint}/", json=body, **options)

    def sign_up(self, *, headers: dict[str, str] | None = None, **fields: object) -> TestResponse:
        body = {"email": "ada@example.com", "password": PASSWORD, "password_confirm": PASSWORD, **fields}
        return self.post("register", body, headers=headers)

    def verify(self) -> TestResponse:
        return self.post("verify-registration", values_of(link_in(self.smtp.messages[-1])))

    @property
    def user_class(self) -> Any:
        return next(mapper.class_ for mapper in self.db.Model.registry.mappers if mapper.class_.__name__ == "User")

    def add_users(self, *values: Mapping[str, object]) -> None:
        with self.app.app_context():
            self.db.create_all()
            self.db.session.add_all([self.user_class(**{"password_hash": "x", **each}) for each in values])
            self.db.session.commit()

    def users(self) -> list[Any]:
        with self.app.app_context():
            return list(self.db.session.scalars(sa.select(self.user_class)))


#: Given a page and the name of one of its modules, saves the page's files and imports that one.
Load = Callable[[str, str], Example]
