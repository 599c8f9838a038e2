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
from urllib.error import HTTPError
from urllib.parse import urlencode, urljoin, urlsplit
from urllib.request import HTTPCookieProcessor, build_opener

import pytest
from werkzeug.security import check_password_hash

from tests.support.apps import PASSWORD
from tests.support.links import changed, values_of, with_other_character
from tests.support.messages import lacking
from tests.support.web import Answer, get, post, run_python, serving

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

    def execute(self, statement: str) -> None:
        with closing(sqlite3.connect(self.folder / "instance" / "quickstart.db")) as database, database:
            database.execute(statement)

    def sign_up_and_verify(self, name: str) -> None:
        assert self.sign_up(name).status == 201
        assert self.post(VERIFY, values_of(self.link_to(f"{name}@example.com"))).status == 200


class Person:
    """Somebody with a browser that keeps cookies, follows redirects and runs no scripts."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._opener = build_opener(HTTPCookieProcessor())
        self.page = ""

    def visit(self, path: str, form: dict[str, str] | None = None) -> tuple[int, str]:
        """Open a page, or send a form to it; the status and the path where that leads."""
        data = None if form is None else urlencode(form).encode()
        try:
            response = self._opener.open(urljoin(self._url, path), data, timeout=30)
        except HTTPError as refusal:
            response = refusal
        with response:
            self.page = response.read().decode()
            return response.status, urlsplit(response.url).path

    def log_in(self, email: str, password: str = PASSWORD, *, page: str = "/log-in/") -> tuple[int, str]:
        self.visit(page)
        return self.send(page, email=email, password=password)

    def send(self, path: str, **fields: str) -> tuple[int, str]:
        """Send a form of the page that is open, with its token."""
        (token,) = set(re.findall(r'name="csrf_token" value="([^"]+)"', self.page))
        return self.visit(path, {"csrf_token": token, **fields})


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
    for path in ("/", "/verify-user/", "/mailbox/", "/log-in/"):
        page = quickstart.get(path).text
        for link in re.findall(r'(?:href|src)="([^"#]+)"', page):
            assert quickstart.get(unescape(link)).status == 200, link
        assert (f'action="{RESEND}"' in page) is (path in {"/", "/verify-user/"})


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


@pytest.fixture
def person(quickstart: Quickstart) -> Person:
    return Person(quickstart.url)


def test_a_verified_person_logs_in_sees_their_account_and_logs_out(quickstart: Quickstart, person: Person) -> None:
    quickstart.sign_up_and_verify("lea")
    assert person.visit("/account/") == (200, "/log-in/")
    assert "Log in to see your account." in person.page
    # whatever stands behind "next" leads nowhere else
    assert person.log_in(" Lea@Example.COM ", page="/log-in/?next=//evil.example/") == (200, "/account/")
    assert lacking(person.page, "lea@example.com", "Log out") == []
    assert person.visit("/log-in/") == (200, "/account/")
    assert person.send("/log-out/") == (200, "/log-in/")
    assert "You are logged out." in person.page
    assert person.visit("/account/") == (200, "/log-in/")


def test_every_refusal_of_a_log_in_is_the_same_and_does_not_tell_who_has_an_account(quickstart: Quickstart) -> None:
    quickstart.sign_up_and_verify("max")
    quickstart.sign_up("mia")
    pages = set()
    for email in ("max@example.com", "mia@example.com", "nobody@example.com", "no address", ""):
        person = Person(quickstart.url)
        assert person.log_in(email, "wrong") == (403, "/log-in/")
        assert "This address and this password do not belong together." in person.page
        page = re.sub(r'(name="csrf_token") value="[^"]+"', r"\1", person.page)
        pages.add(page.replace(f' value="{email}"', ""))
        assert person.visit("/account/") == (200, "/log-in/")
    assert len(pages) == 1


def test_an_unverified_address_is_told_after_the_right_password_only(quickstart: Quickstart, person: Person) -> None:
    quickstart.sign_up("nora")
    assert person.log_in("nora@example.com") == (403, "/log-in/")
    assert lacking(person.page, "Confirm your address first", f'action="{RESEND}"', 'value="nora@example.com"') == []
    assert person.visit("/account/") == (200, "/log-in/")


def test_each_log_in_that_is_refused_costs_one_hash_whoever_it_is(quickstart: Quickstart) -> None:
    quickstart.sign_up("otto")
    program = """
import hashlib
from app import create_app
scrypt, calls = hashlib.scrypt, []
client = create_app({"WTF_CSRF_ENABLED": False}).test_client()
hashlib.scrypt = lambda *args, **options: calls.append((len(args[0]), options)) or scrypt(*args, **options)
for email in ("otto@example.com", "nobody@example.com", "no address"):
    client.post("/log-in/", data={"email": email, "password": "wrong"})
costs = [{**options, "salt": len(options["salt"])} for _, options in calls]
print(len(calls), all(cost == costs[0] for cost in costs))
"""
    outcome = run_python("-c", program, folder=quickstart.folder)
    assert (outcome.stdout, outcome.returncode) == ("3 True\n", 0), outcome.stderr


def test_the_log_in_works_over_https_though_the_pages_send_no_referer(quickstart: Quickstart) -> None:
    program = """
import re
from app import create_app
client = create_app().test_client()
page = client.get("/log-in/", base_url="https://localhost").text
form = {"csrf_token": re.search('csrf_token" value="([^"]+)', page)[1], "email": "nobody@example.com"}
print(client.post("/log-in/", data=form, base_url="https://localhost").status_code)
"""
    outcome = run_python("-c", program, folder=quickstart.folder)
    assert (outcome.stdout, outcome.returncode) == ("403\n", 0), outcome.stderr


@pytest.mark.parametrize(
    ("name", "statement"),
    [
        ("paul", "UPDATE user SET email_verified_at = NULL WHERE username = 'paul'"),
        ("pia", "DELETE FROM user WHERE username = 'pia'"),
    ],
)
def test_a_session_ends_with_the_flag_and_with_the_account(
    quickstart: Quickstart, person: Person, name: str, statement: str
) -> None:
    quickstart.sign_up_and_verify(name)
    assert person.log_in(f"{name}@example.com") == (200, "/account/")
    quickstart.execute(statement)
    quickstart.sign_up_and_verify(f"after{name}")  # SQLite would give this account the id of a deleted one
    assert person.visit("/account/") == (200, "/log-in/")


def test_a_form_without_its_token_logs_nobody_in_or_out_and_is_shown_again(
    quickstart: Quickstart, person: Person
) -> None:
    quickstart.sign_up_and_verify("quinn")
    credentials = {"email": "quinn@example.com", "password": PASSWORD}
    assert person.visit("/log-in/", credentials) == (400, "/log-in/")
    assert "This page was out of date. Please try again." in person.page
    assert person.send("/log-in/", **credentials) == (200, "/account/")
    assert person.visit("/log-out/", {}) == (400, "/log-out/")
    assert person.visit("/account/") == (200, "/account/")


def test_a_fault_of_the_database_has_its_page_also_for_whoever_is_logged_in(
    quickstart: Quickstart, person: Person
) -> None:
    quickstart.sign_up_and_verify("rosa")
    person.log_in("rosa@example.com")
    assert person.visit("/nowhere/") == (404, "/nowhere/")
    assert lacking(person.page, "There is no such page", "Log out") == []
    quickstart.execute("ALTER TABLE user RENAME TO away")
    try:
        assert person.visit("/account/") == (500, "/account/")
        assert lacking(person.page, "Something went wrong on our side", "Go to the first page") == []
    finally:
        quickstart.execute("ALTER TABLE away RENAME TO user")
    assert person.visit("/account/") == (200, "/account/")
