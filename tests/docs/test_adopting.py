"""The page for applications that have users: followed as it stands, with old accounts and old code."""

from __future__ import annotations

import importlib
import re
import runpy
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from werkzeug.security import check_password_hash, generate_password_hash

from tests.support.databases import Databases, Files
from tests.support.links import link_in, text_of, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.pages import DOCS, Story, blocks
from tests.support.web import run_python

pytestmark = [pytest.mark.database, pytest.mark.programs, pytest.mark.slow]

PAGE = DOCS / "adopting.rst"
REMOVAL = "unverified.py"
OLD_CODE, CODE = [block.text for block in blocks(PAGE) if block.caption == "app.py"]
PASSWORD = "violet-anchor-47-tundra"
OLD_HASH = generate_password_hash(PASSWORD, "pbkdf2:sha256:1000")  # shorter than 128 characters
OLD = ["ada@example.com", "Bob@Example.com", "eve@example.com"]
LATE = "Late@Example.com"
NEW = "new@example.com"


class Program:
    """The application as its file stands: asked as its log-in, its front end and its scripts ask it."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def add(self, *addresses: str) -> None:
        """Make accounts as the old code does."""
        with self._module.app.app_context():
            users = [self._module.User(email=address, password_hash=OLD_HASH) for address in addresses]
            self._module.db.session.add_all(users)
            self._module.db.session.commit()

    def logs_in(self, typed: str) -> bool:
        with self._module.app.app_context():
            user = self._module.find_user(typed)
            return user is not None and check_password_hash(user.password_hash, PASSWORD)

    def accounts(self) -> dict[str, bool]:
        """Return the addresses, and which of them are verified."""
        with self._module.app.app_context():
            users = self._module.db.session.scalars(self._module.db.select(self._module.User))
            return {user.email: getattr(user, "email_verified_at", None) is not None for user in users}

    def post(self, endpoint: str, **body: object) -> int:
        return int(self._module.app.test_client().post(f"/api/v1/accounts/{endpoint}/", json=body).status_code)

    def sign_up(self, address: str) -> int:
        return self.post("register", email=address, password=PASSWORD, password_confirm=PASSWORD)

    def verify(self, mail: EmailMessage) -> int:
        return self.post("verify-registration", **values_of(link_in(mail)))


@contextmanager
def program(name: str = "app", *, smtp: RecordingServer | None = None) -> Iterator[Program]:
    """Import a file of the page's folder, and forget it afterwards."""
    importlib.invalidate_caches()
    module: Any = importlib.import_module(name)
    if smtp is not None:
        module.app.extensions["mail"].port = smtp.port
    try:
        yield Program(module)
    finally:
        with module.app.app_context():
            module.db.engine.dispose()
        del sys.modules[name]


class Seen(NamedTuple):
    """What was seen while the page was followed."""

    lowered: list[str]
    migration: str
    taken_back: list[str]
    with_old_code: list[bool]
    with_new_code: list[bool]
    with_default: list[int]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, server_databases: Databases | None) -> Iterator[Seen]:
    """Follow the page, with three accounts in the table, and go on working with the old code meanwhile."""
    folder = tmp_path_factory.mktemp("shop")
    databases = server_databases or Files(folder)
    uri = databases.take()
    with pytest.MonkeyPatch.context() as patch, RecordingServer() as smtp, Story(PAGE, folder) as story:
        patch.setenv("SECRET_KEY", secrets.token_hex())
        patch.setenv("DATABASE_URL", uri)
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        (folder / "old.py").write_text(OLD_CODE, encoding="utf-8")
        steps = story.steps()

        until(steps, "db upgrade")
        with program("old") as old:
            old.add(*OLD)
        until(steps, "python lower_addresses.py")
        with program("old") as old:
            lowered = sorted(old.accounts())

        until(steps, "db migrate")
        (migration,) = (folder / "migrations" / "versions").glob("0002_*.py")
        until(steps, "db upgrade")
        downgraded = run_python("-m", "flask", "--app", "app", "db", "downgrade", "0001", folder=folder)
        assert downgraded.returncode == 0, downgraded.stderr
        with program("old") as old:
            taken_back = sorted(old.accounts())
        upgraded = run_python("-m", "flask", "--app", "app", "db", "upgrade", folder=folder)
        assert upgraded.returncode == 0, upgraded.stderr
        with program("old") as old:
            old.add(LATE)
            with_old_code = [old.logs_in(typed) for typed in ("ada@example.com", LATE)]
        with program(smtp=smtp) as new:
            with_new_code = [new.logs_in(typed) for typed in (*OLD, LATE)]
            with_default = [new.sign_up(NEW), new.accounts()[NEW], new.verify(smtp.message), new.accounts()[NEW]]

        # All are verified by now, so that the page's send_links.py mails to nobody.
        assert list(steps)[-1] == "flask --app app db upgrade"
        assert story.told == blocks(PAGE)
        written = migration.read_text(encoding="utf-8")
        yield Seen(lowered, written, taken_back, with_old_code, with_new_code, with_default)
    databases.give_back(uri)


def until(steps: Iterator[str], words: str) -> None:
    """Follow the page up to the next command with these words."""
    assert any(words in typed for typed in steps), words


def test_addresses_are_lowered_before_the_index_is_unique(seen: Seen) -> None:
    assert seen.lowered == ["ada@example.com", "bob@example.com", "eve@example.com"]


@pytest.mark.parametrize("part", ["email_verified_at", "create_table('pending_registration'", "=255)", "unique=True"])
def test_the_migration_is_written_by_flask_migrate(seen: Seen, part: str) -> None:
    assert part in seen.migration.partition("def downgrade")[0]


def test_the_migration_can_be_taken_back(seen: Seen) -> None:
    assert seen.taken_back == seen.lowered


def test_old_code_and_new_code_work_side_by_side_after_the_migration(seen: Seen) -> None:
    assert seen.with_old_code == [True, True]
    assert seen.with_new_code == [True, True, True, True]


def test_registration_does_not_use_the_default_of_the_flag(seen: Seen) -> None:
    assert seen.with_default == [201, False, 200, True]


@pytest.mark.parametrize("typed", [*OLD, "bob@example.com", LATE])
def test_whoever_had_an_account_logs_in_and_counts_as_verified(seen: Seen, typed: str) -> None:
    with program() as shop:
        assert shop.logs_in(typed)
        assert shop.accounts()[typed.lower()]


def test_without_the_default_a_new_account_is_verified_by_its_mail(seen: Seen, smtp: RecordingServer) -> None:
    with program(smtp=smtp) as shop:
        assert shop.sign_up("dora@example.com") == 201
        assert not shop.accounts()["dora@example.com"]
        assert shop.verify(smtp.message) == 200
        assert shop.accounts()["dora@example.com"]


def test_check_ends_with_1_where_the_hash_does_not_fit(seen: Seen, tmp_path: Path) -> None:
    text = CODE.replace("String(255)", "String(128)")
    (tmp_path / "app.py").write_text(text, encoding="utf-8")
    checked = run_python("-m", "flask", "--app", "app", "rest-registration", "check", folder=tmp_path)
    assert checked.returncode == 1
    assert "password_hash" in checked.stdout


def test_before_email_first_links_are_sent_and_the_unverified_accounts_removed(
    seen: Seen,
    smtp: RecordingServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    link_out, link_sent, gone = "link-out@example.com", "link-sent@example.com", "gone@example.com"
    with program(smtp=smtp) as shop:
        before = shop.accounts()
        shop.add(gone)  # which has no default any more
        shop.add("no address")
        assert [shop.sign_up(address) for address in (link_sent, link_out)] == [201, 201]
    with_email_first = CODE.replace('/verify-user/"', '/verify-user/", "REGISTER_EMAIL_FIRST": True')
    (tmp_path / "app.py").write_text(with_email_first, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with program(smtp=smtp) as shop:
        assert shop.verify(smtp.messages[1]) == 200  # by the link from before
        runpy.run_path("send_links.py")
        assert [str(mail["To"]) for mail in smtp.messages[2:]] == [gone, link_sent]
        assert re.fullmatch(r"account \d+: not exactly one address\n", capsys.readouterr().out)
        assert shop.verify(smtp.messages[3]) == 200

        assert shop.post("resend-verification", email=gone) == 404
        assert shop.post("register", email=gone) == 202
        assert str(smtp.messages[-1]["To"]) == gone
        assert "signature=" not in text_of(smtp.messages[-1])

        program_of_removal = next(block.text for block in blocks(DOCS / "email_first.rst") if block.caption == REMOVAL)
        (tmp_path / REMOVAL).write_text(program_of_removal, encoding="utf-8")
        monkeypatch.setattr(sys, "argv", [REMOVAL, "--delete"])
        runpy.run_path(str(tmp_path / REMOVAL))
        assert shop.accounts() == {**before, link_out: True, link_sent: True}
        assert shop.post("register", email="frank@example.com") == 202
        assert "signature=" in text_of(smtp.messages[-1])
