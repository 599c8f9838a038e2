"""The apps that generated bodies are sent to, as production has them: what comes through would be a 500."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa
from flask import Flask, got_request_exception
from hypothesis import strategies as st

from flask_rest_registration.signers import RegisterSigner, RejectionSigner
from tests.support import models
from tests.support.answers import is_proper
from tests.support.apps import PASSWORD, REGISTER, VERIFY, make_app
from tests.test_hostile_input import COLUMNS, GOOD, wide

from .bodies import FRESH_ADDRESS, FRESH_NAME, Sent, sent_to

RESEND: Final = "resend-verification/"
REJECT: Final = "reject-registration/"


@dataclass(frozen=True)
class Kind:
    """A model with its settings, and what it reads beside the usual fields."""

    model: models.Model
    settings: Mapping[str, object] = field(default_factory=dict)
    more: Mapping[str, object] = field(default_factory=dict)
    paths: tuple[str, ...] = (REGISTER, VERIFY)


_CLAIMS: Final[dict[str, object]] = {
    "REGISTER_VERIFICATION_RESEND_ENABLED": True,
    "REGISTER_VERIFICATION_RESEND_COOLDOWN": timedelta(seconds=1),
    "REGISTER_RECLAIM_ENABLED": True,
    "REGISTER_REJECTION_URL": "https://frontend.example/reject-user/",
}
_ALL_PATHS = (REGISTER, VERIFY, RESEND, REJECT)

#: The apps by name.
KINDS: Final[dict[str, Kind]] = {
    "usual": Kind(models.typed),
    "uuid": Kind(models.uuid_key, {"REGISTER_VERIFICATION_ONE_TIME_USE": True}),
    "wide": Kind(
        wide,
        {"USER_EDITABLE_FIELDS": COLUMNS},
        more={**GOOD, "nickname": FRESH_NAME, "big": None, "device_text": None},  # the unique ones
    ),
    "claims": Kind(models.claiming, _CLAIMS, paths=_ALL_PATHS),
    "hidden": Kind(
        models.claiming,
        {**_CLAIMS, "REGISTER_HIDE_EXISTING_EMAIL": True, "REGISTER_PASSWORD_AT": "verify"},
        paths=_ALL_PATHS,
    ),
}


class Improper(AssertionError):
    """An answer that no body may get."""


class Target:
    """An app with one account, whose links stay good for ever.

    :param kind: what it is made of.
    :param database_uri: an empty database.
    """

    def __init__(self, kind: Kind, database_uri: str) -> None:
        self._kind = kind
        self.built = make_app(
            kind.model, database_uri=database_uri, registration=kind.settings, config={"TESTING": False}
        )
        self.built.app.logger.disabled = True
        got_request_exception.connect(self._keep_exception, self.built.app)
        self._exception: BaseException | None = None
        self._person = 0
        #: How many answers there were, by path and status.
        self.answers: Counter[tuple[str, int]] = Counter()
        self._first = self._first_row()

    @property
    def count(self) -> int:
        """How many bodies were sent."""
        return self.answers.total()

    def bodies(self) -> st.SearchStrategy[list[Sent]]:
        """Generate bodies for all endpoints that the app has."""
        return st.one_of([sent_to(path, self._good(path)) for path in self._kind.paths])

    def send(self, sent: Sent) -> None:
        """Send a body, and put the account back where it was.

        :raises Improper: for a 5xx, and for what has not the one shape of refusals.
        """
        self._person += 1
        self._exception = None
        data = sent.for_person(self._person)
        answer = self.built.post(sent.path, data=data, content_type=sent.content_type)
        self.answers[sent.path, answer.status_code] += 1
        if not is_proper(answer):
            raise Improper(f"{answer.status_code} for {data!r}: {answer.text[:300]}") from self._exception
        if answer.status_code == 200:
            self._put_back()

    def read_all(self) -> int:
        """Read every row, since what cannot be read should not have been stored; return how many there are."""
        return len(self.built.rows())

    def _good(self, path: str) -> dict[str, object]:
        if path == RESEND:
            return {"email": "ann@example.com"}
        chosen = {"password": PASSWORD, "password_confirm": PASSWORD}
        at_verification = self._kind.settings.get("REGISTER_PASSWORD_AT") == "verify"
        if path == REGISTER:
            body = {**self.built.body(email=FRESH_ADDRESS), **self._kind.more}
            if "username" in body:
                body["username"] = FRESH_NAME
            return {name: value for name, value in body.items() if not (at_verification and name in chosen)}
        signer = RejectionSigner if path == REJECT else RegisterSigner
        with self.built.app.app_context():
            user = self.built.db.session.scalar(sa.select(self.built.User).filter_by(email="ann@example.com"))
            link: dict[str, object] = dict(signer.for_user(user).get_signed_data())
        return {**link, **chosen} if path == VERIFY and at_verification else link

    def _first_row(self) -> dict[str, Any]:
        body = {**self.built.body(email="ann@example.com"), **self._kind.more}
        known = (
            body
            if self._kind.settings.get("REGISTER_PASSWORD_AT") != "verify"
            else {name: value for name, value in body.items() if not name.startswith("password")}
        )
        answer = self.built.post(REGISTER, known)
        if answer.status_code not in {201, 202}:
            raise Improper(answer.text)
        with self.built.engine.connect() as connection:
            return dict(connection.execute(sa.select(self._table)).mappings().one())

    def _put_back(self) -> None:
        with self.built.engine.begin() as connection:
            connection.execute(self._table.delete().where(self._table.c.id == self._first["id"]))
            connection.execute(self._table.insert().values(self._first))

    @property
    def _table(self) -> Any:
        return self.built.User.__table__

    def _keep_exception(self, app: Flask, exception: BaseException, **_: object) -> None:
        self._exception = exception
