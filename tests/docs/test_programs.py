"""The examples of the documentation do what their pages say of them."""

from __future__ import annotations

import importlib
import io
import json
import re
import runpy
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.support.links import html_of, link_in, text_of, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.pages import DOCS, blocks, texts
from tests.support.web import run_python

pytestmark = pytest.mark.programs

PASSWORD = "violet-anchor-47-tundra"
Load = Callable[..., Any]


@pytest.fixture
def load(tmp_path: Path, smtp: RecordingServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Save the files of a page, and import one of them; its mails go to the test's server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    names: set[str] = set()
    loaded: list[ModuleType] = []

    def load_example(page: str, name: str) -> Any:
        for block in blocks(DOCS / f"{page}.rst"):
            if block.caption:
                path = tmp_path / block.caption
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text.replace("MAIL_PORT=8025", f"MAIL_PORT={smtp.port}"), encoding="utf-8")
                names.add(path.stem)
        module = importlib.import_module(name)
        loaded.append(module)
        module.app.extensions["mail"].port = smtp.port
        return module

    yield load_example
    for module in loaded:
        app: Flask = module.app
        with app.app_context():
            for engine in app.extensions["sqlalchemy"].engines.values():
                engine.dispose()
    for name in names:
        sys.modules.pop(name, None)


def sign_up(app: Flask, *, prefix: str = "/api/v1/accounts", **more: object) -> Any:
    options = {"headers": more.pop("headers", {})}
    body = {"email": "ada@example.com", "password": PASSWORD, "password_confirm": PASSWORD, **more}
    return app.test_client().post(f"{prefix}/register/", json=body, **options)


def users(module: Any) -> list[Any]:
    shop = sys.modules["shop"] if "shop" in sys.modules else sys.modules["app"]
    with module.app.app_context():
        return list(shop.db.session.scalars(shop.db.select(shop.User)))


def test_one_more_field_is_read_and_shown(load: Load) -> None:
    example = load("customising", "one_more_field")
    answer = sign_up(example.app, display_name="Ada")
    assert (answer.status_code, answer.json["display_name"]) == (201, "Ada")
    assert users(example)[0].display_name == "Ada"


def test_a_schema_of_ones_own_has_its_rules(load: Load) -> None:
    example = load("customising", "schema")
    refused = sign_up(example.app, display_name="A", terms=False)
    assert set(refused.json["errors"]) == {"display_name", "terms"}
    assert sign_up(example.app, display_name="Ada", terms=True).status_code == 201
    assert users(example)[0].terms_accepted_at is not None


def test_a_captcha_that_is_not_solved_is_refused_at_its_field(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    example = load("customising", "captcha")
    asked: list[bytes] = []

    def answer(url: str, data: bytes, timeout: float) -> io.BytesIO:
        asked.append(data)
        return io.BytesIO(b'{"success": %s}' % (b"true" if b"response=good" in data else b"false"))

    monkeypatch.setattr(example, "urlopen", answer)
    assert sign_up(example.app, captcha="bad").json["errors"] == {"captcha": ["Please solve the captcha again."]}
    assert users(example) == []
    assert sign_up(example.app, captcha="good").status_code == 201
    assert len(asked) == 2


def test_the_answer_shows_what_the_profile_says(load: Load) -> None:
    answer = sign_up(load("customising", "answer").app)
    assert answer.json == {"id": 1, "email": "ada@example.com", "next": "Look into your mailbox."}


def test_templates_of_the_default_names_win(load: Load, smtp: RecordingServer) -> None:
    assert sign_up(load("customising", "one_more_field").app).status_code == 201
    assert smtp.message["Subject"] == "Welcome to the shop"
    lines = text_of(smtp.message).splitlines()
    assert lines[:4] == ["Hello,", "", "press the button on this page to open your account:", ""]
    assert lines[4].startswith("https://shop.example/verify-user/?")


def test_the_mail_is_in_the_language_of_the_account(load: Load, smtp: RecordingServer) -> None:
    example = load("customising", "languages")
    assert sign_up(example.app, language="de").status_code == 201
    assert smtp.message["Subject"] == "Willkommen im Laden"
    assert "help@shop.example" in text_of(smtp.message)
    assert smtp.message.get_body(("html",)) is None


def test_answers_and_mails_are_in_the_languages_of_request_and_user(load: Load, smtp: RecordingServer) -> None:
    example = load("languages", "speaking")
    german = {"Accept-Language": "de"}
    refused = sign_up(example.app, headers=german, email="nobody")
    assert refused.json["errors"] == {"email": ["Ungültige E-Mail-Adresse."]}
    assert sign_up(example.app, headers=german).status_code == 201
    assert '<html lang="de" dir="ltr">' in html_of(smtp.messages.pop())
    assert sign_up(example.app, headers=german, email="bob@example.com", locale="ar").status_code == 201
    assert '<html lang="ar" dir="rtl">' in html_of(smtp.messages.pop())


def test_the_link_has_its_values_behind_the_hash(load: Load, smtp: RecordingServer) -> None:
    example = load("customising", "link")
    assert sign_up(example.app).status_code == 201
    (link,) = [word for word in text_of(smtp.message).split() if word.startswith("https://")]
    base, _, values = link.partition("#")
    assert base == "https://shop.example/verify-user/"
    answer = example.app.test_client().post("/api/v1/accounts/verify-registration/", json=dict(parse_qsl(values)))
    assert answer.status_code == 200


@pytest.mark.parametrize(("header", "host"), [("wholesale", "wholesale"), ("evil.example", "shop"), (None, "shop")])
def test_a_front_end_is_chosen_from_the_list_alone(
    load: Load, smtp: RecordingServer, header: str | None, host: str
) -> None:
    example = load("customising", "front_ends")
    assert sign_up(example.app, headers={"X-Front-End": header} if header else {}).status_code == 201
    assert f"https://{host}.example/verify-user/?" in text_of(smtp.message)


def test_a_sender_of_ones_own_hands_over_the_finished_message(load: Load, smtp: RecordingServer) -> None:
    example = load("customising", "sender")
    assert sign_up(example.app).status_code == 201
    (message,) = example.app.extensions["outbox"]
    assert message["to"] == "ada@example.com"
    assert "https://shop.example/verify-user/?user_id=1&" in message["text"]
    assert smtp.messages == []


def test_the_click_that_verifies_gives_a_token_once(load: Load, smtp: RecordingServer) -> None:
    example = load("customising", "token_login")
    assert sign_up(example.app).status_code == 201
    link = link_in(smtp.message)
    path = "/api/v1/accounts/verify-registration/"
    assert "access_token" in example.app.test_client().post(path, json=values_of(link)).json
    assert "access_token" not in example.app.test_client().post(path, json=values_of(link)).json


def test_passwords_are_hashed_and_judged_as_the_page_says(load: Load) -> None:
    example = load("customising", "passwords")
    refused = sign_up(example.app, password="shop-47-tundra-anchor", password_confirm="shop-47-tundra-anchor")
    assert refused.json["errors"] == {"password": ["Leave our name out of it."]}
    assert sign_up(example.app).status_code == 201
    assert users(example)[0].password_hash.startswith("$argon2")


def test_a_part_that_is_switched_off_is_404_under_its_new_address(load: Load) -> None:
    answer = sign_up(load("customising", "parts").app, prefix="/auth")
    assert (answer.status_code, answer.json["code"]) == (404, "not-found")


def make_tables(module: Any) -> None:
    with module.app.app_context():
        sys.modules["app"].db.create_all()


def test_the_sixth_sign_up_in_a_minute_is_too_many(load: Load) -> None:
    example = load("deployment", "rate_limits")
    for _ in range(10):
        assert example.app.test_client().options("/api/v1/accounts/register/").status_code == 200
    answers = [sign_up(example.app, email="no address") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [400] * 5 + [429]
    assert answers[-1].json["code"] == "too-many-requests"


def test_a_sign_up_without_a_csrf_token_is_served(load: Load) -> None:
    example = load("deployment", "csrf")
    assert sign_up(example.app, email="no address").json["code"] == "invalid"


@pytest.mark.parametrize(
    ("origin", "allowed"), [("https://frontend.example", "https://frontend.example"), ("https://evil.example", None)]
)
def test_the_browser_is_told_which_front_end_may_ask(load: Load, origin: str, allowed: str | None) -> None:
    example = load("deployment", "cors")
    client = example.app.test_client()
    for answer in (
        client.options("/api/v1/accounts/register/", headers={"Origin": origin}),
        sign_up(example.app, email="no address", headers={"Origin": origin}),
    ):
        assert answer.headers.get("Access-Control-Allow-Origin") == allowed
        assert answer.headers["Vary"] == "Origin"


def test_a_proxy_is_believed_once(load: Load) -> None:
    example = load("deployment", "proxy")
    seen: list[str | None] = []
    example.app.before_request(lambda: seen.append(sys.modules["flask"].request.remote_addr))
    sign_up(example.app, email="no address", headers={"X-Forwarded-For": "192.0.2.1, 203.0.113.7"})
    assert seen == ["203.0.113.7"]


def test_a_key_that_was_moved_to_the_fallbacks_still_verifies(load: Load, smtp: RecordingServer) -> None:
    app = load("deployment", "app")
    make_tables(app)
    assert sign_up(app.app).status_code == 201
    link = link_in(smtp.message)
    rotated = load("deployment", "keys")
    answer = rotated.app.test_client().post("/api/v1/accounts/verify-registration/", json=values_of(link))
    assert answer.status_code == 200


def test_addresses_of_mixed_case_are_lowered_unless_two_accounts_would_share_one(load: Load) -> None:
    app = load("deployment", "app")
    make_tables(app)
    written = ["Bob@Example.com", "Eve@example.com", "eve@Example.com", "no address"]
    with app.app.app_context():
        app.db.session.add_all([app.User(email=email, password_hash="x") for email in written])
        app.db.session.commit()
    printed = io.StringIO()
    with redirect_stdout(printed):
        load("deployment", "lower_addresses")
    assert [user.email for user in users(app)] == ["bob@example.com", *written[1:]]
    assert "accounts 2, 3 share eve@example.com\n" in printed.getvalue()
    assert "account 4: no address is no address" in printed.getvalue()


def test_a_gift_is_given_for_the_verification_once(load: Load, smtp: RecordingServer) -> None:
    example = load("signals", "app")
    assert sign_up(example.app).status_code == 201
    link = link_in(smtp.message)
    for _ in range(2):
        example.app.test_client().post("/api/v1/accounts/verify-registration/", json=values_of(link))
    with example.app.app_context():
        assert [gift.points for gift in example.db.session.scalars(example.db.select(example.Gift))] == [100]


@pytest.mark.parametrize("name", ["hash_column", "password_property", "dataclass_model", "composite_key"])
def test_each_model_of_the_page_signs_up_and_verifies(load: Load, smtp: RecordingServer, name: str) -> None:
    example = load("models", name)
    with example.app.app_context():
        example.db.create_all()
    assert sign_up(example.app).status_code == 201
    link = link_in(smtp.message)
    answer = example.app.test_client().post("/api/v1/accounts/verify-registration/", json=values_of(link))
    assert answer.status_code == 200
    with example.app.app_context():
        assert example.db.session.query(example.User).one().email_verified_at


def test_the_dataclass_base_that_the_page_warns_of_fails_or_has_been_fixed(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from flask_sqlalchemy import SQLAlchemy\n"
        "from sqlalchemy.orm import DeclarativeBase, MappedAsDataclass\n"
        "class Base(MappedAsDataclass, DeclarativeBase): pass\n"
        "SQLAlchemy(model_class=Base)\n",
        encoding="utf-8",
    )
    outcome = run_python("program.py", folder=tmp_path)
    assert outcome.returncode == 0 or "flask_sqlalchemy" in outcome.stderr


def bodies(page: str) -> list[Any]:
    """Return what a page shows as JSON, in its order."""
    return [json.loads(text) for text in texts(DOCS / f"{page}.rst", "json")]


def post(app: Flask, endpoint: str, body: object) -> tuple[int, Any]:
    answer = app.test_client().post(f"/api/v1/accounts/{endpoint}/", json=body)
    return answer.status_code, answer.json


def code_in(subject: str) -> str:
    """Return the code of a mail's subject."""
    (code,) = re.findall(r"\b\d{6}\b", subject)
    return str(code)


def test_the_requests_of_email_first_are_answered_as_the_page_shows(load: Load, smtp: RecordingServer) -> None:
    app = load("email_first", "app").app
    address, told, link, checked, by_link, _, account = bodies("email_first")
    assert post(app, "register", address) == (202, told)
    values = values_of(link_in(smtp.message))
    assert link.keys() == values.keys()
    assert post(app, "check-link", values) == (200, checked)
    assert post(app, "verify-registration", {**by_link, **values}) == (201, account)


def test_the_code_of_email_first_makes_the_account_too(load: Load, smtp: RecordingServer) -> None:
    app = load("email_first", "app").app
    address, told, *_, by_code, account = bodies("email_first")
    assert post(app, "register", address) == (202, told)
    code = code_in(smtp.message["Subject"])
    shown = re.sub(r"\d+", "{}", by_code["code"])
    sent = shown.format(code[:3], code[3:])
    assert post(app, "verify-registration", {**by_code, "code": sent}) == (201, account)


def test_the_mail_of_email_first_is_the_one_that_the_page_shows(load: Load, smtp: RecordingServer) -> None:
    app = load("email_first", "app").app
    address, *_ = bodies("email_first")
    assert post(app, "register", address)[0] == 202
    code, link = code_in(smtp.message["Subject"]), link_in(smtp.message)
    mail = f"Subject: {smtp.message['Subject']}\n\n{text_of(smtp.message)}".replace(code, "123456")
    expected = re.escape(texts(DOCS / "email_first.rst", "text")[0].strip()).replace(re.escape("..."), ".*?")
    assert link in mail
    assert re.fullmatch(expected, mail.replace("\r\n", "\n").strip(), re.DOTALL), mail


def test_an_address_with_an_account_is_answered_alike_and_gets_the_notice(load: Load, smtp: RecordingServer) -> None:
    example = load("email_first", "app")
    address, told, *_ = bodies("email_first")
    with example.app.app_context():
        example.db.session.add(example.User(email=address["email"], username="ada", password_hash="x"))
        example.db.session.commit()
    assert post(example.app, "register", address) == (202, told)
    assert "signature=" not in text_of(smtp.message)
    assert re.findall(r"\d{6}", f"{smtp.message['Subject']} {text_of(smtp.message)}") == []


def test_the_migration_of_email_first_makes_the_table_of_the_model(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = sa.MetaData()

    class Operations:  # what Alembic's op does with these
        @staticmethod
        def create_table(name: str, *items: Any) -> None:
            sa.Table(name, metadata, *items)

    alembic = ModuleType("alembic")
    alembic.op = Operations  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "alembic", alembic)
    example = load("email_first", "app")
    runpy.run_path("migrations/versions/add_pending_registrations.py")["upgrade"]()
    (migrated,) = metadata.tables.values()
    assert described(migrated) == described(example.PendingRegistration.__table__)


def described(table: sa.Table) -> object:
    columns = [(column.name, repr(column.type), column.nullable, column.primary_key) for column in table.columns]
    unique = [
        [column.name for column in constraint.columns]
        for constraint in table.constraints
        if isinstance(constraint, sa.UniqueConstraint)
    ]
    return table.name, columns, unique


def test_the_page_behind_the_link_makes_the_account_on_a_click_only(load: Load) -> None:
    client = load("email_first", "app").app.test_client()
    page = client.get("/verify-user/?user_id=1&timestamp=2&signature=3&utm_source=mail").get_data(as_text=True)
    on_load, on_click = page.split("form.onsubmit")
    assert re.findall(r'post\("([a-z-]+)"', on_load) == ["check-link"]
    assert re.findall(r'post\("([a-z-]+)"', on_click) == ["verify-registration"]
    assert '["user_id", "timestamp", "signature"]' in on_load
    assert re.findall(r'autocomplete="([a-z-]+)"', page) == ["username", "nickname", "new-password", "new-password"]


def test_accounts_that_were_never_verified_are_listed_then_deleted(
    load: Load, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example = load("email_first", "app")
    with example.app.app_context():
        for name, verified_at in (("ada", sa.func.now()), ("eve", None)):
            user = example.User(
                email=f"{name}@example.com", username=name, password_hash="x", email_verified_at=verified_at
            )
            example.db.session.add(user)
        example.db.session.commit()
    runpy.run_path("unverified.py")
    assert capsys.readouterr().out == "2 eve@example.com\n"
    assert len(users(example)) == 2
    monkeypatch.setattr(sys, "argv", ["unverified.py", "--delete"])
    runpy.run_path("unverified.py")
    assert [user.username for user in users(example)] == ["ada"]


def test_the_link_is_sent_again_as_the_page_of_resend_shows(load: Load, smtp: RecordingServer) -> None:
    app = load("resend", "app").app
    body, told = bodies("resend")
    assert sign_up(app).status_code == 201
    smtp.messages.clear()
    assert post(app, "resend-verification", body) == (202, told)
    assert post(app, "verify-registration", values_of(link_in(smtp.message)))[0] == 200


def test_somebody_who_is_logged_in_has_the_link_sent_by_a_view(load: Load, smtp: RecordingServer) -> None:
    example = load("resend", "app")
    assert sign_up(example.app).status_code == 201
    smtp.messages.clear()
    client = example.app.test_client()
    assert client.post("/account/send-link-again").status_code == 401
    with client.session_transaction() as session:
        session["_user_id"] = "1"
    assert client.post("/account/send-link-again").status_code == 200
    assert post(example.app, "verify-registration", values_of(link_in(smtp.message)))[0] == 200
    assert client.post("/account/send-link-again").status_code == 200
    assert len(smtp.messages) == 1
