"""The apps that generated bodies are sent to, as production has them: what comes through would be a 500."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa
from flask import Flask, got_request_exception
from hypothesis import strategies as st

from flask_rest_registration.signers import RegisterSigner, make_code
from flask_rest_registration.state import current_state
from tests.attacks.test_hostile_input import COLUMNS, GOOD, wide
from tests.support import models
from tests.support.answers import is_proper
from tests.support.apps import CHECK_LINK, PASSWORD, REGISTER, RESEND, VERIFY, make_app
from tools.bodies import FRESH_ADDRESS, FRESH_NAME, Sent, sent_to

#: Whose link and code are sent all the time, and who has an account by then where that comes last.
ANN: Final = "ann@example.com"
BOB: Final = "bob@example.com"

#: The settings of the two ways to sign up, with all that belongs to each.
AT_SIGN_UP: Final[Mapping[str, object]] = {
    "REGISTER_VERIFICATION_RESEND_ENABLED": True,
    "REGISTER_VERIFICATION_RESEND_COOLDOWN": timedelta(seconds=1),
}
EMAIL_FIRST: Final[Mapping[str, object]] = {
    "REGISTER_EMAIL_FIRST": True,
    "REGISTER_VERIFICATION_CODE_ENABLED": True,
    "REGISTER_VERIFICATION_CODE_PERIOD": timedelta(days=7),
    "REGISTER_VERIFICATION_RESEND_COOLDOWN": timedelta(seconds=1),
}


@dataclass(frozen=True)
class Kind:
    """A model with its settings, and what it reads beside the usual fields."""

    model: models.Model
    settings: Mapping[str, object] = field(default_factory=dict)
    more: Mapping[str, object] = field(default_factory=dict)

    @property
    def is_email_first(self) -> bool:
        """Whether an address alone is signed up with."""
        return bool(self.settings.get("REGISTER_EMAIL_FIRST"))


_WIDE: Final = {"USER_EDITABLE_FIELDS": COLUMNS}
_MORE: Final = {**GOOD, "nickname": FRESH_NAME, "big": None, "device_text": None}  # the unique ones

#: The apps by name.
KINDS: Final[dict[str, Kind]] = {
    "usual": Kind(models.typed, AT_SIGN_UP),
    "uuid": Kind(models.uuid_key, {"REGISTER_VERIFICATION_ONE_TIME_USE": True}),
    "wide": Kind(wide, _WIDE, more=_MORE),
    "email_first": Kind(models.typed, EMAIL_FIRST),
    "email_first_uuid": Kind(models.uuid_key, EMAIL_FIRST),
    "email_first_wide": Kind(wide, {**EMAIL_FIRST, **_WIDE}, more=_MORE),
}


class Improper(AssertionError):
    """An answer that no body may get."""


class Target:
    """An app with one link, and maybe one code, that stay good for ever.

    :param kind: what it is made of.
    :param database_uri: an empty database.
    """

    def __init__(self, kind: Kind, database_uri: str) -> None:
        self._kind = kind
        self.built = make_app(
            kind.model, database_uri=database_uri, registration=kind.settings, pending=True, config={"TESTING": False}
        )
        self.built.app.logger.disabled = True
        got_request_exception.connect(self._keep_exception, self.built.app)
        self._exception: BaseException | None = None
        self._person = 0
        #: How many answers there were, by path and status.
        self.answers: Counter[tuple[str, int]] = Counter()
        self._good = list(self._good_by_address() if kind.is_email_first else self._good_at_sign_up())
        self._kept = {table: self._rows_of_ann(table) for table in self._tables}

    @property
    def count(self) -> int:
        """How many bodies were sent."""
        return self.answers.total()

    def bodies(self) -> st.SearchStrategy[list[Sent]]:
        """Generate bodies for all endpoints that the app has."""
        return st.one_of([sent_to(path, good) for path, good in self._good])

    def send(self, sent: Sent) -> None:
        """Send a body, and put the rows behind link and code back where they were.

        :raises Improper: for a 5xx, and for what has not the one shape of refusals.
        """
        self._person += 1
        self._exception = None
        data = sent.for_person(self._person)
        answer = self.built.post(sent.path, data=data, content_type=sent.content_type)
        self.answers[sent.path, answer.status_code] += 1
        if not is_proper(answer):
            raise Improper(f"{answer.status_code} for {data!r}: {answer.text[:300]}") from self._exception
        # A code that is wrong has cost an attempt.
        if sent.path == VERIFY and (self._kind.is_email_first or answer.status_code == 200):
            self._put_back()

    def read_all(self) -> int:
        """Read every row, since what cannot be read should not have been stored; return how many there are."""
        return len(self.built.rows()) + len(self.built.pending_rows())

    def _good_at_sign_up(self) -> Iterator[tuple[str, dict[str, object]]]:
        """Sign Ann up, and yield good bodies by their endpoints."""
        self._succeed(REGISTER, {**self._account(), "email": ANN})
        yield REGISTER, {**self._account(), "email": FRESH_ADDRESS}
        yield VERIFY, self._link(self.built.User, ANN)
        if self._kind.settings.get("REGISTER_VERIFICATION_RESEND_ENABLED"):
            yield RESEND, {"email": ANN}

    def _good_by_address(self) -> Iterator[tuple[str, dict[str, object]]]:
        """Send Ann a message, make Bob an account, and yield good bodies by their endpoints."""
        for address in (ANN, BOB):
            self._succeed(REGISTER, {"email": address})
        self._succeed(VERIFY, {**self._link(self.built.Pending, BOB), **self._account()})
        yield REGISTER, {"email": FRESH_ADDRESS}
        yield REGISTER, {"email": BOB}
        link = self._link(self.built.Pending, ANN)
        yield CHECK_LINK, link
        yield VERIFY, {**link, **self._account()}
        yield VERIFY, {"email": ANN, "code": self._code(), **self._account()}
        yield VERIFY, self._link(self.built.User, BOB)  # as of an account that was made at sign-up

    def _account(self) -> dict[str, object]:
        """Return what is asked for beside the address."""
        fields = {"password": PASSWORD, "password_confirm": PASSWORD, **self._kind.more}
        return {**fields, "username": FRESH_NAME} if hasattr(self.built.User, "username") else fields

    def _link(self, model: Any, address: str) -> dict[str, object]:
        with self.built.app.app_context():
            return dict(RegisterSigner.for_user(self._find(model, address)).get_signed_data())

    def _find(self, model: Any, address: str) -> Any:
        return self.built.db.session.scalar(sa.select(model).filter_by(email=address))

    def _code(self) -> str:
        with self.built.app.app_context():
            return make_code(current_state(), self._find(self.built.Pending, ANN))

    def _succeed(self, path: str, body: Mapping[str, object]) -> None:
        answer = self.built.post(path, body)
        if answer.status_code >= 300:
            raise Improper(answer.text)

    @property
    def _tables(self) -> list[Any]:
        models_of_app: list[Any] = [self.built.User, self.built.Pending]
        return [model.__table__ for model in models_of_app]

    def _rows_of_ann(self, table: Any) -> list[dict[str, Any]]:
        with self.built.engine.connect() as connection:
            return [dict(row) for row in connection.execute(sa.select(table).where(table.c.email == ANN)).mappings()]

    def _put_back(self) -> None:
        with self.built.engine.begin() as connection:
            for table, rows in self._kept.items():
                connection.execute(table.delete().where(table.c.email == ANN))
                if rows:
                    connection.execute(table.insert(), rows)

    def _keep_exception(self, app: Flask, exception: BaseException, **_: object) -> None:
        self._exception = exception
