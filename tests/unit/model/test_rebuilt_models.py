"""The models of well-known applications: their own check accepts the password that was chosen at the sign-up."""

from __future__ import annotations

import pytest

from tests.support import models
from tests.support.apps import PASSWORD, Builder, Built
from tests.support.links import link_in
from tests.support.mail_servers import RecordingServer

pytestmark = pytest.mark.database

#: What must be in the database first, and what the body has besides.
FIRST = {"flasky": "INSERT INTO role VALUES (7, :yes)", "flaskbb": "INSERT INTO team VALUES (1)"}
MORE = {"appbuilder": {"first_name": "Ann", "last_name": "Lee"}}


def accepts(built: Built, password: str) -> bool:
    """Tell whether the only account's own check accepts a password."""
    with built.app.app_context():
        return bool(built.db.session.scalars(built.db.select(built.User)).one().check_password(password))


@pytest.mark.parametrize("name", models.REBUILT)
def test_whoever_signed_up_and_verified_can_log_in(build: Builder, smtp: RecordingServer, name: str) -> None:
    built = build(models.REBUILT[name])
    if name in FIRST:
        built.execute_outside(FIRST[name], **({"yes": True} if name == "flasky" else {}))
    for _ in range(2):  # with the first one it is found out how the model wants its passwords
        answer = built.register(**MORE.get(name, {}))
        assert answer.status_code == 201, answer.text
        assert (accepts(built, PASSWORD), accepts(built, PASSWORD + "!")) == (True, False)
        assert built.verify(link_in(smtp.messages[-1])).status_code == 200
        row = built.row()
        assert [row[flag] for flag in models.FLAGS if row.get(flag)]
        assert row.get("role_id", 7) == 7
        built.execute_outside(f"DELETE FROM {built.User.__table__.name}")
