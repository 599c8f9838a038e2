"""The forms, as strangers and browsers send them: tokens, redirects, log-in, headers."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import update
from werkzeug.security import check_password_hash
from werkzeug.test import TestResponse

from examples.forms import app as forms
from tests.support.apps import PASSWORD
from tests.support.links import link_in, values_of
from tests.support.messages import lacking
from tests.support.web import get, serving

EXAMPLES = Path(__file__).parents[2] / "examples"
ACCOUNT = {"email": "ada@example.com", "username": "ada", "password": PASSWORD, "password_confirm": PASSWORD}
SECURE = "https://localhost"

Post = Callable[..., TestResponse]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[FlaskClient]:
    app = forms.create_app({"SECRET_KEY": "of a test of forms", "SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path}/db"})
    yield app.test_client()
    app.extensions["mailbox"].stop()
    with app.app_context():
        forms.db.engine.dispose()


@pytest.fixture
def post(client: FlaskClient) -> Post:
    """Send a form as a browser does, with the token of the page that has it."""

    def send(path: str, data: dict[str, Any], **options: Any) -> TestResponse:
        page = client.get("/", base_url=options.get("base_url")).text
        (token,) = re.findall(r'name="csrf_token" value="([^"]+)"', page)
        return client.post(path, data={"csrf_token": token, **data}, **options)

    return send


@pytest.fixture
def verified(client: FlaskClient, post: Post) -> None:
    assert post("/", ACCOUNT).location == "/sent/"
    values = values_of(link_in(client.application.extensions["mailbox"].messages[0].message))
    assert post("/verify-user/", values).location == "/log-in/"


def log_in(post: Post, path: str = "/log-in/", **changes: str) -> TestResponse:
    return post(path, {"email": ACCOUNT["email"], "password": PASSWORD, **changes})


@pytest.mark.parametrize("path", ["/", "/sent/", "/verify-user/", "/log-in/", "/log-out/"])
def test_a_form_without_its_token_is_refused_and_shown_again(client: FlaskClient, path: str) -> None:
    answer = client.post(path, data={**ACCOUNT, "user_id": "1", "timestamp": "2", "signature": "3"})
    assert (answer.status_code, lacking(answer.text, "This page was out of date.", "csrf_token")) == (400, [])
    assert client.application.extensions["mailbox"].messages == []


def test_over_https_the_policy_for_referrers_leaves_what_the_tokens_need(client: FlaskClient, post: Post) -> None:
    assert client.get("/").headers["Referrer-Policy"] == "strict-origin"
    statuses = [
        post("/", {}, base_url=SECURE, headers=headers).text.count("out of date")
        for headers in ({"Referer": f"{SECURE}/"}, {}, {"Referer": "https://evil.example/"})
    ]
    assert statuses == [0, 1, 1]


@pytest.mark.usefixtures("verified")
@pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example/", "/\\evil.example/"])
def test_no_request_says_where_a_log_in_leads(client: FlaskClient, post: Post, wanted: str) -> None:
    assert client.get("/account/", query_string={"next": wanted}).location == "/log-in/"
    leads = log_in(post, f"/log-in/?next={wanted}", next=wanted).location
    assert leads.partition("?")[0] == "/account/"
    assert client.get(leads).status_code == 200


def test_an_unknown_address_is_answered_and_costs_like_a_wrong_password(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert post("/", ACCOUNT).status_code == 302
    checked: list[str] = []

    def check(hashed: str, password: str) -> bool:
        checked.append(hashed.partition("$")[0])
        return check_password_hash(hashed, password)

    monkeypatch.setattr(forms, "check_password_hash", check)
    addresses = [ACCOUNT["email"], "nobody@example.com", "no address"]
    answers = [log_in(post, email=address, password="wrong") for address in addresses]
    assert checked == [checked[0]] * 3
    without = r'name="csrf_token" value="[^"]+"|value="(ada@example.com|nobody@example.com|no address)"'
    assert {(answer.status_code, re.sub(without, "", answer.text)) for answer in answers} == {
        (403, re.sub(without, "", answers[0].text))
    }


@pytest.mark.usefixtures("verified")
def test_a_session_ends_when_its_account_is_no_longer_verified(client: FlaskClient, post: Post) -> None:
    assert log_in(post, email="Ada@Example.com").location == "/account/"
    assert client.get("/account/").status_code == 200
    with client.application.app_context():
        forms.db.session.execute(update(forms.User).values(email_verified_at=None))
        forms.db.session.commit()
    assert client.get("/account/").location == "/log-in/"


@pytest.mark.usefixtures("verified")
def test_after_a_log_out_no_page_shows_the_address_that_a_mail_went_to(client: FlaskClient, post: Post) -> None:
    log_in(post)
    assert lacking(client.get("/sent/").text, ACCOUNT["email"]) == []
    assert post("/log-out/", {}).location == "/log-in/"
    assert ACCOUNT["email"] not in client.get("/sent/").text
    assert client.get("/account/").location == "/log-in/"


@pytest.mark.usefixtures("verified")
@pytest.mark.parametrize(
    ("method", "path", "status", "heading"),
    [
        ("GET", "/nowhere/", 404, "There is no such page"),
        ("PUT", "/", 405, "This does not work here"),
        ("GET", "/account/", 500, "Something went wrong on our side"),
    ],
)
def test_an_error_has_a_page_with_the_looks_of_the_others(
    client: FlaskClient, post: Post, method: str, path: str, status: int, heading: str
) -> None:
    log_in(post)
    if status == 500:
        with client.application.app_context():
            forms.User.__table__.drop(forms.db.engine)
    answer = client.open(path, method=method)
    assert (answer.status_code, lacking(answer.text, heading, "Go to the first page", "style.css")) == (status, [])


def test_the_example_starts_by_itself_and_its_pages_allow_no_script(tmp_path: Path) -> None:
    for name in ("forms", "quickstart"):
        unwanted = shutil.ignore_patterns("instance", "__pycache__")
        shutil.copytree(EXAMPLES / name, tmp_path / name, ignore=unwanted)
    with serving("forms/app.py", "--port", "0", folder=tmp_path) as url:
        for path in ("/", "/sent/", "/verify-user/", "/log-in/", "/account/", "/mailbox/"):
            answer = get(url + path)
            assert "script-src 'none'" in answer.headers["Content-Security-Policy"]
            assert "<script" not in answer.text
            for link in re.findall(r'(?:href|src)="(/[^"#]*)"', answer.text):
                assert get(url + link).status == 200, link
    assert (tmp_path / "forms" / "instance" / "secret_key").exists()
