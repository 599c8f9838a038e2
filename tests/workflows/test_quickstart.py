"""The quickstart, driven as a newcomer and a front-end drive it: ``python app.py``, HTTP, a mailbox, a click."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from werkzeug.security import check_password_hash

from tests.support.apps import PASSWORD
from tests.support.links import changed, values_of, with_other_character
from tests.support.messages import lacking
from tests.support.web import Answer, get, post, serving

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"
ENDPOINTS = ("register", "verify-registration", "resend-verification")
REGISTER, VERIFY, RESEND = (f"/api/v1/accounts/{name}/" for name in ENDPOINTS)


@dataclass(frozen=True)
class Quickstart:
    url: str
    folder: Path

    def get(self, path: str) -> Answer:
        return get(urljoin(self.url, path))

    def post(self, path: str, data: object) -> Answer:
        return post(urljoin(self.url, path), data)

    def sign_up(self, name: str, **changes: object) -> Answer:
        body = {"email": f"{name}@example.com", "username": name, "password": PASSWORD, "password_confirm": PASSWORD}
        return self.post(REGISTER, {**body, **changes})

    def mails_to(self, address: str) -> list[str]:
        """Return the paths of the mails to an address, as the mailbox lists them."""
        listed = re.findall(r'href="(/mailbox/\d+/)".*?to ([^<]*)<', self.get("/mailbox/").text, re.DOTALL)
        return [path for path, recipient in listed if recipient.strip() == address]

    def link_to(self, address: str) -> str:
        (path,) = self.mails_to(address)
        links = re.findall(r'href="(http[^"]*signature=[^"]*)"', self.get(f"{path}html").text)
        (found,) = {unescape(link) for link in links}
        assert urlsplit(found).path == "/verify-user/"
        return found

    def row(self, name: str) -> dict[str, Any]:
        with closing(sqlite3.connect(self.folder / "instance" / "quickstart.db")) as database:
            database.row_factory = sqlite3.Row
            found = database.execute('SELECT * FROM "user" WHERE username = ?', [name]).fetchone()
        return dict(found)


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Quickstart]:
    folder = tmp_path_factory.mktemp("example") / "quickstart"
    shutil.copytree(QUICKSTART, folder, ignore=shutil.ignore_patterns("instance", "__pycache__"))
    with serving("app.py", "--port", "0", folder=folder) as url:
        yield Quickstart(url, folder)


def test_sign_up_mail_link_click_and_the_account_is_verified(quickstart: Quickstart) -> None:
    answer = quickstart.sign_up("ann", email="Ann@Example.com")
    assert (answer.status, answer.json["email"], answer.json["username"]) == (201, "ann@example.com", "ann")
    stored = quickstart.row("ann")
    assert (stored["id"], stored["email_verified_at"]) == (answer.json["id"], None)
    assert check_password_hash(stored["password_hash"], PASSWORD)

    link = quickstart.link_to("ann@example.com")
    assert link.startswith(f"{quickstart.url}/verify-user/?")
    verified = quickstart.post(VERIFY, values_of(link))
    assert (verified.status, verified.json) == (200, {"detail": "User verified successfully"})
    after = quickstart.row("ann")
    assert after["email_verified_at"] is not None
    assert {**after, "email_verified_at": None} == stored

    assert quickstart.post(VERIFY, values_of(link)).json == verified.json
    assert quickstart.row("ann") == after


def test_opening_the_link_verifies_nothing_until_somebody_clicks(quickstart: Quickstart) -> None:
    quickstart.sign_up("bob")
    link = quickstart.link_to("bob@example.com")
    page = get(link)
    assert (page.status, lacking(page.text, f'action="{VERIFY}"', 'type="submit"')) == (200, [])
    assert page.headers["Referrer-Policy"] == "no-referrer"
    values = values_of(link)
    wrong = quickstart.post(VERIFY, changed(values, signature=with_other_character(values["signature"], 5)))
    assert (wrong.status, wrong.json["code"]) == (400, "signature-invalid")
    assert quickstart.row("bob")["email_verified_at"] is None


def test_the_sign_up_page_sends_the_fields_that_registration_reads(quickstart: Quickstart) -> None:
    page = quickstart.get("/").text
    assert f'action="{REGISTER}"' in page
    names = set(re.findall(r'<input [^>]*\bname="(\w+)"', page))
    required = quickstart.post(REGISTER, {}).json["errors"]
    assert names == set(required)
    assert {f'id="{name}-error"' for name in names} <= set(re.findall(r'id="[\w-]+"', page))


def test_every_address_that_the_pages_name_is_there(quickstart: Quickstart) -> None:
    for path in ("/", "/verify-user/", "/mailbox/"):
        page = quickstart.get(path).text
        for link in re.findall(r'(?:href|src)="([^"#]+)"', page):
            assert quickstart.get(unescape(link)).status == 200, link
        assert (f'action="{RESEND}"' in page) is (path != "/mailbox/")


def test_the_link_is_sent_again_once_a_cooldown_and_everybody_gets_one_answer(quickstart: Quickstart) -> None:
    quickstart.sign_up("ivan")
    addresses = ["ivan@example.com", "ivan@example.com", "nobody@example.com"]
    answers = [quickstart.post(RESEND, {"email": address}) for address in addresses]
    assert [answer.status for answer in answers] == [202] * 3
    assert len({str(answer.json) for answer in answers}) == 1
    assert [len(quickstart.mails_to(address)) for address in addresses[1:]] == [2, 0]


def test_a_mail_that_is_read_in_the_mailbox_runs_and_loads_nothing(quickstart: Quickstart) -> None:
    quickstart.sign_up("frank")
    (path,) = quickstart.mails_to("frank@example.com")
    policy = quickstart.get(f"{path}html").headers["Content-Security-Policy"]
    assert lacking(policy, "default-src 'none'", "sandbox", "allow-scripts") == ["allow-scripts"]


def test_what_the_quickstart_keeps_stays_in_its_folder(quickstart: Quickstart) -> None:
    made = {path.relative_to(quickstart.folder).parts[0] for path in quickstart.folder.rglob("*")}
    given = {path.name for path in QUICKSTART.iterdir()}
    assert made - given <= {"instance", "__pycache__"}
    assert (quickstart.folder / "instance" / "secret_key").stat().st_mode & 0o077 == 0
    assert urlsplit(quickstart.url).hostname == "127.0.0.1"
