"""The examples of the documentation do what their pages say of them."""

from __future__ import annotations

import io
import json
import os
import re
import runpy
import secrets
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl

import pytest
import sqlalchemy as sa
from argon2.exceptions import InvalidHashError
from flask.testing import FlaskClient
from flask_login import current_user
from werkzeug.test import TestResponse

from tests.support.answers import field_errors
from tests.support.apps import PASSWORD, Builder
from tests.support.links import code_of, html_of, link_in, text_of, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.messages import lacking
from tests.support.pages import DOCS, blocks, texts
from tests.support.programs import Example, Load
from tests.support.web import run_python

pytestmark = [pytest.mark.programs, pytest.mark.slow]


def test_one_more_field_is_read_and_shown(load: Load) -> None:
    example = load("customising", "one_more_field")
    assert example.sign_up(display_name="Ada").get_json()["display_name"] == "Ada"
    assert example.users()[0].display_name == "Ada"
    assert example.sign_up(email="bob@example.com").get_json()["display_name"] is None


def test_a_schema_of_ones_own_has_its_rules_and_demands_a_column_that_may_be_null(load: Load) -> None:
    example = load("customising", "schema")
    assert set(example.sign_up(terms=False).get_json()["errors"]) == {"display_name", "terms"}
    assert example.sign_up(display_name=" Ada ", terms=True).get_json()["display_name"] == "Ada"
    assert example.users()[0].terms_accepted_at is not None


def test_companion_rows_and_the_default_role_go_with_the_account(load: Load) -> None:
    example = load("customising", "companions")
    with example.app.app_context():
        example.db.session.add(example.module.Role(name="customer"))
        example.db.session.commit()
        assert example.sign_up(nickname="Ada").status_code == 201
        (user,) = example.db.session.scalars(sa.select(example.user_class))
        assert (user.profile.nickname, [role.name for role in user.roles]) == ("Ada", ["customer"])


def test_a_captcha_that_is_not_solved_is_refused_at_its_field(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    example = load("customising", "captcha")
    asked: list[bytes] = []

    def answer(url: str, data: bytes, timeout: float) -> io.BytesIO:
        asked.append(data)
        return io.BytesIO(b'{"success": %s}' % (b"true" if b"response=good" in data else b"false"))

    monkeypatch.setattr(example.module, "urlopen", answer)
    assert example.sign_up(captcha="bad").get_json()["errors"] == {"captcha": ["Please solve the captcha again."]}
    assert example.users() == []
    assert example.sign_up(captcha="good").status_code == 201
    assert len(asked) == 2


def test_the_answer_shows_what_the_profile_says(load: Load) -> None:
    answer = load("customising", "answer").sign_up()
    assert answer.get_json() == {"id": 1, "email": "ada@example.com", "next": "Look into your mailbox."}


def test_templates_of_the_default_names_win(load: Load, smtp: RecordingServer) -> None:
    assert load("mails", "languages").sign_up().status_code == 201
    assert smtp.message["Subject"] == "Welcome to the shop"
    lines = text_of(smtp.message).splitlines()
    assert lines[:4] == ["Hello,", "", "press the button on this page to open your account:", ""]
    assert lines[4].startswith("https://shop.example/verify-user/?")
    assert lacking(html_of(smtp.message), '">this page</a> to open your account.', "The link works for 7 days.") == []


def test_the_mail_is_in_the_language_of_the_account(load: Load, smtp: RecordingServer) -> None:
    assert load("mails", "languages").sign_up(language="de").status_code == 201
    assert smtp.message["Subject"] == "Willkommen im Laden"
    assert "help@shop.example" in text_of(smtp.message)
    assert smtp.message.get_body(("html",)) is None


def test_answers_and_mails_are_in_the_languages_of_request_and_user(load: Load, smtp: RecordingServer) -> None:
    example, german = load("languages", "speaking"), {"Accept-Language": "de"}
    refused = example.sign_up(headers=german, email="nobody")
    assert refused.get_json()["errors"] == {"email": ["Geben Sie eine E-Mail-Adresse wie name@example.com ein."]}
    assert example.sign_up(headers=german).status_code == 201
    assert '<html lang="de" dir="ltr">' in html_of(smtp.messages[-1])
    assert example.sign_up(headers=german, email="bob@example.com", locale="ar").status_code == 201
    assert '<html lang="ar" dir="rtl">' in html_of(smtp.messages[-1])


def test_the_link_has_its_values_behind_the_hash(load: Load, smtp: RecordingServer) -> None:
    example = load("mails", "link")
    assert example.sign_up().status_code == 201
    (link,) = [word for word in text_of(smtp.message).split() if word.startswith("https://")]
    base, _, values = link.partition("#")
    assert base == "https://shop.example/verify-user/"
    assert example.post("verify-registration", dict(parse_qsl(values))).status_code == 200


@pytest.mark.parametrize(("header", "host"), [("wholesale", "wholesale"), ("evil.example", "shop"), (None, "shop")])
def test_a_front_end_is_chosen_from_the_list_alone(
    load: Load, smtp: RecordingServer, header: str | None, host: str
) -> None:
    headers = {"X-Front-End": header} if header else {}
    assert load("mails", "front_ends").sign_up(headers=headers).status_code == 201
    assert f"https://{host}.example/verify-user/?" in text_of(smtp.message)


def test_the_click_that_verifies_gives_a_token_once(load: Load) -> None:
    example = load("login", "token_login")
    assert example.sign_up().status_code == 201
    assert ["access_token" in example.verify().get_json() for _ in range(2)] == [True, False]


def test_a_gate_of_the_application_lets_a_verification_pass(load: Load) -> None:
    example = load("login", "gate")
    client = example.app.test_client()
    assert example.sign_up().status_code == 201
    with client.session_transaction() as session:
        session["_user_id"] = "1"
    assert client.get("/orders/").location == "/unconfirmed/"
    assert client.get("/unconfirmed/").status_code == 200
    values = values_of(link_in(example.smtp.message))
    assert client.post("/api/v1/accounts/verify-registration/", json=values).status_code == 200
    assert client.get("/orders/").status_code == 404  # the application itself answers


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")  # Flask-Login 0.6's, for its cookie
def test_the_log_in_of_the_page_opens_for_the_verified_alone_and_remembers_them(load: Load) -> None:
    example = load("login", "token_login")
    assert example.sign_up().status_code == 201
    client = example.app.test_client()

    def log_in(password: str = PASSWORD, email: str = "ada@example.com") -> tuple[int, str]:
        answer = client.post("/log-in/", data={"email": email, "password": password, "remember": "on"})
        return answer.status_code, answer.text

    wrong = (403, "This address and this password do not belong together.")
    assert [log_in("wrong"), log_in(email="no address"), log_in(email="bob@example.com")] == [wrong] * 3
    assert log_in() == (403, "Confirm your address first.")
    assert example.verify().status_code == 200
    assert log_in(email=" Ada@Example.com ") == (200, "Welcome!")
    client.delete_cookie("session")
    with client:
        for path, is_known in (("/", True), ("/log-out/", False), ("/", False)):
            client.open(path, method="POST" if path == "/log-out/" else "GET")
            assert current_user.is_authenticated is is_known


@pytest.mark.parametrize("email", ["ada@example.com", "bob@example.com", "no address"])
def test_a_wrong_password_costs_one_hash_whoever_has_the_address(
    load: Load, monkeypatch: pytest.MonkeyPatch, email: str
) -> None:
    example = load("login", "token_login")
    assert example.sign_up().status_code == 201
    checked: list[str] = []
    shop = sys.modules["shop"]
    check = vars(shop)["check_password_hash"]

    def check_and_note(hashed: str, typed: str) -> bool:
        checked.append(hashed)
        return bool(check(hashed, typed))

    monkeypatch.setattr(shop, "check_password_hash", check_and_note)
    answer = example.app.test_client().post("/log-in/", data={"email": email, "password": "wrong"})
    assert answer.status_code == 403
    (hashed,) = checked
    method, _, _ = hashed.partition("$")
    assert example.users()[0].password_hash.startswith(f"{method}$")


@pytest.mark.parametrize("kind", ["werkzeug", "bcrypt", "argon2"])
def test_each_hasher_of_the_page_goes_with_its_log_in_and_no_other(build: Builder, kind: str) -> None:
    page = {block.caption: block.text for block in blocks(DOCS / "models.rst")}
    shown: dict[str, Any] = {}
    exec(page["hashers.py"], shown)
    hashers = {"werkzeug": None, "bcrypt": shown["hash_bcrypt"], "argon2": shown["argon2"].hash}
    built = build(registration={"PASSWORD_HASHER": hashers[kind]})
    assert built.register().status_code == 201
    user = SimpleNamespace(**built.row())
    assert shown[f"check_{kind}"](user, PASSWORD)
    assert not shown[f"check_{kind}"](user, f"{PASSWORD}!")
    for other in hashers.keys() - {kind}:
        with pytest.raises((ValueError, InvalidHashError)):
            assert shown[f"check_{other}"](user, PASSWORD), "a check that only refuses"
    if kind == "bcrypt":
        too_long = field_errors(built.register(email="bob@example.com", username="bob", password="violet-anchor" * 6))
        assert list(too_long) == ["password"]


def test_passwords_are_hashed_and_judged_as_the_page_says(load: Load) -> None:
    example, password = load("customising", "passwords"), "shop-47-tundra-anchor"
    refused = example.sign_up(password=password, password_confirm=password)
    assert refused.get_json()["errors"] == {"password": ["Leave our name out of it."]}
    assert example.sign_up().status_code == 201
    assert example.users()[0].password_hash.startswith("$argon2")


def test_the_sixth_sign_up_in_a_minute_is_too_many(load: Load) -> None:
    example = load("deployment", "app")
    for _ in range(10):
        assert example.app.test_client().options("/api/v1/accounts/register/").status_code == 200
    answers = [example.sign_up(email="no address") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [400] * 5 + [429]
    assert answers[-1].get_json()["code"] == "too-many-requests"


def test_a_sign_up_without_a_csrf_token_is_served(load: Load) -> None:
    assert load("deployment", "csrf").sign_up(email="no address").get_json()["code"] == "invalid"


@pytest.mark.parametrize(("host", "is_allowed"), [("frontend", True), ("evil", False)])
def test_the_browser_is_told_which_front_end_may_ask(load: Load, host: str, is_allowed: bool) -> None:
    example, headers = load("deployment", "cors"), {"Origin": f"https://{host}.example"}
    asked = example.app.test_client().options("/api/v1/accounts/register/", headers=headers)
    for answer in (asked, example.sign_up(email="no address", headers=headers)):
        assert answer.headers.get("Access-Control-Allow-Origin") == (headers["Origin"] if is_allowed else None)
        assert answer.headers["Vary"] == "Origin"


def test_a_proxy_is_believed_once(load: Load) -> None:
    example = load("deployment", "app")
    seen: list[str | None] = []
    example.app.before_request(lambda: seen.append(sys.modules["flask"].request.remote_addr))
    example.sign_up(email="no address", headers={"X-Forwarded-For": "192.0.2.1, 203.0.113.7"})
    assert seen == ["203.0.113.7"]


def test_a_key_that_was_moved_to_the_fallbacks_still_verifies(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    example = load("deployment", "app")
    example.add_users()
    assert example.sign_up().status_code == 201
    monkeypatch.setenv("OLD_SECRET_KEYS", os.environ["SECRET_KEY"])
    monkeypatch.setenv("SECRET_KEY", secrets.token_hex())
    with example.app.app_context():
        example.db.engine.dispose()
    del sys.modules["app"]
    assert load("deployment", "app").verify().status_code == 200


def test_addresses_of_mixed_case_are_lowered_unless_two_accounts_would_share_one(
    load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    example = load("adopting", "app")
    written = ["Bob@Example.com", "Eve@example.com", "eve@Example.com", "no address"]
    example.add_users(*[{"email": email} for email in written])
    load("adopting", "lower_addresses")
    assert [user.email for user in example.users()] == ["bob@example.com", *written[1:]]
    printed = capsys.readouterr().out
    assert "accounts 2, 3 share eve@example.com\n" in printed
    assert "account 4: no address is no address" in printed


def test_a_gift_is_given_for_the_verification_once(load: Load) -> None:
    example = load("signals", "app")
    assert example.sign_up().status_code == 201
    assert [example.verify().status_code for _ in range(2)] == [200, 200]
    with example.app.app_context():
        assert list(example.db.session.scalars(sa.select(example.module.Gift.points))) == [100]


@pytest.mark.parametrize("name", ["hash_column", "password_method", "dataclass_model", "composite_key"])
def test_each_model_of_the_page_signs_up_and_verifies(load: Load, name: str) -> None:
    example = load("models", name)
    example.add_users()
    assert (example.sign_up().status_code, example.verify().status_code) == (201, 200)
    assert [bool(user.email_verified_at) for user in example.users()] == [True]


def test_the_dataclass_base_that_the_page_warns_of_fails_or_has_been_fixed(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "from flask_sqlalchemy import SQLAlchemy\n"
        "from sqlalchemy.orm import DeclarativeBase, MappedAsDataclass\n"
        "class Base(MappedAsDataclass, DeclarativeBase): pass\n"
        "SQLAlchemy(model_class=Base)\n"
    )
    outcome = run_python("program.py", folder=tmp_path)
    assert outcome.returncode == 0 or "flask_sqlalchemy" in outcome.stderr


@pytest.fixture
def first(load: Load) -> Example:
    return load("email_first", "app")


def bodies(page: str) -> list[Any]:
    return [json.loads(text) for text in texts(DOCS / f"{page}.rst", "json")]


def send_form(client: FlaskClient, path: str, **fields: str) -> TestResponse:
    """Send a form with what its page has hidden in it."""
    page = client.get(path).text
    hidden = dict(re.findall(r'name="(\w+)"[^>]* value="([^"]+)"', page))
    return client.post(path.partition("?")[0], data={**hidden, **fields})


def test_the_forms_of_the_page_sign_up_and_verify_without_json(load: Load, smtp: RecordingServer) -> None:
    example, account = load("forms", "app"), {"email": "ada@example.com", "password": PASSWORD}
    client = example.app.test_client()
    refused = send_form(client, "/sign-up/", email="ada@", password="x", password_confirm="y")
    assert (refused.status_code, refused.text.count('aria-invalid="true"')) == (400, 3)
    assert re.findall(r' value="(ada@|x|y)"', refused.text) == ["ada@"]
    assert client.post("/sign-up/", data={**account, "password_confirm": PASSWORD}).status_code == 400
    assert send_form(client, "/sign-up/", **account, password_confirm=PASSWORD).location == "/sent/"
    link = link_in(smtp.message).removeprefix("http://localhost:5000")
    assert "The link is not valid." in send_form(client, f"{link}A").text
    assert [user.email_verified_at for user in example.users()] == [None]
    assert send_form(client, link).location == "/log-in/"
    assert [bool(user.email_verified_at) for user in example.users()] == [True]
    assert example.sign_up().status_code == 404


def test_a_refusal_is_shown_by_a_form_of_wtforms(load: Load, smtp: RecordingServer) -> None:
    client = load("forms", "wtforms_sign_up").app.test_client()
    for email, password in (("ada@", PASSWORD), ("ada@example.com", "short")):
        refused = send_form(client, "/sign-up/", email=email, password=password)
        assert lacking(refused.text, "Enter an e-mail" if email == "ada@" else "too short") == []
    smtp.text_reply, account = "451 4.3.0 later", {"email": "ada@example.com", "password": PASSWORD}
    assert "The e-mail could not be sent." in send_form(client, "/sign-up/", **account).text
    smtp.text_reply = None
    assert send_form(client, "/sign-up/", **account).location == "/sent/"


def test_the_form_behind_the_link_makes_the_account_with_e_mail_first(load: Load, smtp: RecordingServer) -> None:
    example = load("forms", "email_first")
    with example.app.test_request_context():
        assert example.module.registration.register({"email": "ada@example.com"}) is None
    link, client = link_in(smtp.message).removeprefix("http://localhost:5000"), example.app.test_client()
    assert "The link is not valid." in client.get(f"{link}A").text
    again = send_form(client, link, password=PASSWORD, password_confirm="else").text
    assert lacking(again, "Your account will have the address ada@example.com.", "not the same") == []
    assert example.users() == []
    assert send_form(client, link, password=PASSWORD, password_confirm=PASSWORD).location == "/log-in/"
    assert [bool(user.email_verified_at) for user in example.users()] == [True]


def told(answer: TestResponse) -> tuple[int, Any]:
    return answer.status_code, answer.get_json()


def test_the_requests_and_the_mail_of_email_first_are_as_the_page_shows(first: Example, smtp: RecordingServer) -> None:
    (address, asked, by_link, account), (by_code,) = bodies("email_first"), bodies("codes")
    assert told(first.post("register", address)) == (202, asked)
    mail = f"Subject: {smtp.message['Subject']}\n\n{text_of(smtp.message)}".replace(code_of(smtp.message), "123456")
    expected = re.escape(texts(DOCS / "codes.rst", "text")[0].strip()).replace(re.escape("..."), ".*?")
    assert re.fullmatch(expected, mail.replace("\r\n", "\n").strip(), re.DOTALL), mail
    values, code = values_of(link_in(smtp.message)), code_of(smtp.message)
    assert values.keys() < by_link.keys()
    assert told(first.post("check-link", values)) == (200, address)
    assert told(first.post("verify-registration", {**by_link, **values})) == (201, account)

    with first.app.app_context():  # the same by its code
        for table in first.db.metadata.tables.values():
            first.db.session.execute(sa.delete(table))
        first.db.session.commit()
    assert told(first.post("register", address)) == (202, asked)
    code = code_of(smtp.messages[-1])
    typed = re.sub(r"\d+", "{}", by_code["code"]).format(code[:3], code[3:])
    assert told(first.post("verify-registration", {**by_code, "code": typed})) == (201, account)


def test_the_bodies_of_the_page_of_the_api_sign_up_and_verify(load: Load, smtp: RecordingServer) -> None:
    example, (_, account, _, link, _, _, checked, resend) = load("resend", "app"), bodies("http")
    assert told(example.post("register", account)) == (201, {"id": 1, "email": "ada@example.com"})
    assert example.post("resend-verification", resend).status_code == 202
    values = values_of(link_in(smtp.messages[-1]))
    assert link.keys() == checked.keys() == values.keys()
    assert told(example.post("verify-registration", values)) == (200, {"detail": "User verified successfully"})


@pytest.mark.parametrize("way", ["link", "code"])
def test_the_bodies_of_the_page_of_the_api_do_so_with_e_mail_first(
    first: Example, smtp: RecordingServer, way: str
) -> None:
    _, _, address, _, by_link, by_code, *_ = bodies("http")
    assert first.post("register", address).status_code == 202
    values, code = values_of(link_in(smtp.message)), {"code": code_of(smtp.message)}
    assert told(first.post("check-link", values)) == (200, address)
    body = {**by_link, **values} if way == "link" else {**by_code, **code}
    made = first.post("verify-registration", {**body, "username": "ada"})
    assert told(made) == (201, {"id": 1, "email": "ada@example.com", "username": "ada"})


def test_an_address_with_an_account_is_answered_alike_and_gets_the_notice(
    first: Example, smtp: RecordingServer
) -> None:
    address, asked, *_ = bodies("email_first")
    first.add_users({"username": "ada", **address})
    assert told(first.post("register", address)) == (202, asked)
    assert re.findall(r"signature=|\d{6}", f"{smtp.message['Subject']} {text_of(smtp.message)}") == []


def test_the_page_behind_the_link_makes_the_account_on_a_click_only(first: Example) -> None:
    client = first.app.test_client()
    page = client.get("/verify-user/?user_id=1&timestamp=2&signature=3&utm_source=mail").get_data(as_text=True)
    on_load, on_click = page.split("form.onsubmit")
    assert re.findall(r'post\("([a-z-]+)"', on_load) == ["check-link"]
    assert re.findall(r'post\("([a-z-]+)"', on_click) == ["verify-registration"]
    assert '["user_id", "timestamp", "signature"]' in on_load
    assert re.findall(r'autocomplete="([a-z-]+)"', page) == ["username", "nickname", "new-password", "new-password"]


def test_accounts_that_were_never_verified_are_listed_then_deleted(
    first: Example, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first.add_users(
        {"email": "ada@example.com", "username": "ada", "email_verified_at": sa.func.now()},
        {"email": "eve@example.com", "username": "eve"},
    )
    runpy.run_path("unverified.py")
    assert capsys.readouterr().out == "2 eve@example.com\n"
    assert len(first.users()) == 2
    monkeypatch.setattr(sys, "argv", ["unverified.py", "--delete"])
    runpy.run_path("unverified.py")
    assert [user.username for user in first.users()] == ["ada"]


def test_the_link_is_sent_again_as_the_page_of_resend_shows(load: Load, smtp: RecordingServer) -> None:
    example, (body, answer) = load("resend", "app"), bodies("resend")
    assert example.sign_up().status_code == 201
    assert told(example.post("resend-verification", body)) == (202, answer)
    assert (len(smtp.messages), example.verify().status_code) == (2, 200)


def test_somebody_who_is_logged_in_has_the_link_sent_by_a_view(load: Load, smtp: RecordingServer) -> None:
    example = load("resend", "app")
    assert example.sign_up().status_code == 201
    client = example.app.test_client()
    assert client.post("/account/send-link-again").status_code == 401
    with client.session_transaction() as session:
        session["_user_id"] = "1"
    for _ in range(2):  # what is verified gets no mail
        assert client.post("/account/send-link-again").status_code == 200
        assert (len(smtp.messages), example.verify().status_code) == (2, 200)
