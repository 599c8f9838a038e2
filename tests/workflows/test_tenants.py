"""Tenants in one table, kept apart by PostgreSQL's row-level security, as the page about deployment shows it."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event
from sqlalchemy.orm import mapped_column

from flask_rest_registration import PendingRegistrationMixin
from tests.support import models
from tests.support.apps import OMITTED, REGISTER, RESEND, VERIFY, Builder, Built
from tests.support.links import code_of, link_in, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.pages import DOCS, blocks
from tests.support.pending import CODES, EMAIL_FIRST, WITH_RESEND

pytestmark = [pytest.mark.database, pytest.mark.only_on("postgresql")]

OURS, THEIRS = {"Host": "ours.example"}, {"Host": "theirs.example"}
ROLE = "pg_monitor"  # one that every server has, and that row-level security holds for


def tenant() -> Any:
    return mapped_column(sa.String(80), server_default=sa.text("current_setting('app.tenant')"), nullable=False)


def with_tenant(db: SQLAlchemy) -> type[Any]:
    user = models.declared(tenant=tenant())(db)
    user.pending = type("Pending", (PendingRegistrationMixin, db.Model), {"tenant": tenant()})
    return user


@pytest.fixture
def build_for_tenants(build: Builder, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Build an app whose tables show a tenant's rows only, with the listener of the page."""

    def build_app(**settings: object) -> Built:
        built = build(with_tenant, registration=settings)
        with built.outside() as connection:
            connection.execute(f"GRANT USAGE ON SCHEMA public TO {ROLE}")
            connection.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {ROLE}")
            connection.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {ROLE}")
            for table in ('"user"', "pending"):
                connection.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
                connection.execute(f"CREATE POLICY own ON {table} USING (tenant = current_setting('app.tenant', true))")

        @event.listens_for(built.engine, "connect")
        def be_nobody(connection: Any, record: object) -> None:
            connection.execute(f"SET ROLE {ROLE}")
            connection.commit()

        built.dispose()
        monkeypatch.setitem(sys.modules, "app", SimpleNamespace(app=built.app, db=built.db))
        (program,) = (block.text for block in blocks(DOCS / "tenants.rst") if block.caption == "tenants.py")
        exec(program, {})
        return built

    return build_app


def post(built: Built, path: str, host: dict[str, str], body: object) -> tuple[int, str | None]:
    answer = built.post(path, body, headers=host)
    return answer.status_code, answer.get_json().get("code")


def test_a_tenants_account_is_made_and_verified_at_its_own_host_only(
    build_for_tenants: Any, smtp: RecordingServer
) -> None:
    built = build_for_tenants(**WITH_RESEND)
    assert post(built, REGISTER, OURS, built.body()) == (201, None)
    assert post(built, REGISTER, THEIRS, built.body(email="bob@example.com")) == (201, None)
    assert post(built, RESEND, OURS, {"email": "ann@example.com"}) == (202, None)
    for message in (smtp.messages[0], smtp.messages[2]):
        link = values_of(link_in(message))
        assert post(built, VERIFY, THEIRS, link) == (400, "signature-invalid")
        assert post(built, VERIFY, OURS, link) == (200, None)


@pytest.mark.parametrize("settings", [EMAIL_FIRST, CODES])
def test_with_e_mail_first_every_transaction_knows_its_tenant(
    build_for_tenants: Any, smtp: RecordingServer, settings: dict[str, object]
) -> None:
    built = build_for_tenants(**settings)
    assert post(built, REGISTER, OURS, {"email": "ann@example.com"}) == (202, None)
    proof: dict[str, object] = {**values_of(link_in(smtp.message))}
    refusal = "signature-invalid"
    if settings == CODES:
        proof, refusal = {"email": "ann@example.com", "code": code_of(smtp.message)}, "code-invalid"
    body = {**built.body(email=OMITTED), **proof}
    assert post(built, VERIFY, THEIRS, body) == (400, refusal)
    assert post(built, VERIFY, OURS, body) == (201, None)
