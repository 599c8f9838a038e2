"""What is the SPA's own: the other origin, the limits, its history."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import cast
from urllib.request import Request, urlopen

import pytest
from flask import Blueprint
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from itsdangerous import TimestampSigner
from playwright.sync_api import Browser, expect

from tests.browser.sites import EXAMPLES, backend
from tests.browser.visitor import ACCOUNT, ADDRESS, PASSWORD, Visitor

Hold = Callable[[], Callable[[], None]]


@pytest.mark.parametrize(
    ("path", "method", "header"),
    [
        ("accounts/register/", "POST", "content-type"),
        ("log-in/", "POST", "content-type"),
        ("me", "GET", "authorization"),
    ],
)
def test_the_api_of_another_origin_allows_the_front_end_and_nobody_else(
    spa: Visitor, path: str, method: str, header: str
) -> None:
    url = f"{spa.site.api.url}/api/v1/{path}"

    def preflight(origin: str) -> dict[str, str]:
        asks_for = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": header}
        with urlopen(Request(url, method="OPTIONS", headers={"Origin": origin, **asks_for})) as answer:
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return {name: value for name, value in headers.items() if name.startswith("access-control-allow-")}

    assert not url.startswith(spa.site.url)
    allowed = preflight(spa.site.url)
    assert allowed.pop("access-control-allow-headers").lower() == header
    assert allowed == {"access-control-allow-origin": spa.site.url, "access-control-allow-methods": method}
    for origin in ("https://evil.example", f"{spa.site.url}.evil.example", "null"):
        assert "access-control-allow-origin" not in preflight(origin)


def test_a_limit_is_told_with_the_time_to_wait(spa: Visitor) -> None:
    app = spa.site.configure(RATELIMIT_HEADERS_ENABLED=True, RATELIMIT_STORAGE_URI="memory://")
    limiter = Limiter(get_remote_address, app=app)
    limiter.limit("1/day", methods=["POST"])(cast(Blueprint, app.blueprints["rest_registration"]))
    spa.begin(email="ada@")
    spa.sees_error("email", focused=True)
    spa.click("Continue")
    spa.sees_alert("That was too often. Please try again in 24 hours.")
    spa.looks_at("spa-too-often")


@pytest.fixture
def hold(spa: Visitor) -> Hold:
    """Let requests to the API wait from now on; what is returned waits for the first of them and lets them go."""
    asked, answer = Event(), Event()
    answer.set()

    @spa.site.configure().before_request
    def wait() -> None:
        asked.set()
        assert answer.wait(60)

    def let_go() -> None:
        assert asked.wait(20)
        answer.set()

    def begin() -> Callable[[], None]:
        asked.clear()
        answer.clear()
        return let_go

    return begin


def test_a_page_says_what_it_waits_for(spa: Visitor, hold: Hold) -> None:
    spa.get_mail()
    let_go = hold()
    spa.page.goto(spa.site.link)
    spa.sees_heading("Checking the link…")
    spa.looks_at("spa-checking")
    let_go()
    spa.sees_page("Finish your account")

    let_go = hold()
    spa.finish()
    expect(spa.page.get_by_role("button", name="Creating your account…")).to_be_focused()
    expect(spa.page.get_by_role("status")).to_have_text("Creating your account…")
    spa.looks_at("spa-creating")
    spa.page.keyboard.press("Enter")  # has no effect
    let_go()
    spa.sees_page("Your account is ready")


def test_going_on_before_the_link_is_checked_is_not_undone(spa: Visitor, hold: Hold) -> None:
    spa.get_mail()
    let_go = hold()
    # As if the link were opened in the same window: the page stays, and only its view changes.
    open_here = "link => { history.pushState(null, '', link); dispatchEvent(new PopStateEvent('popstate')) }"
    spa.page.evaluate(open_here, spa.site.link)
    spa.sees_heading("Checking the link…")
    spa.page.go_back()
    spa.sees_heading("Look into your mailbox")
    with spa.page.expect_response("**/check-link/"):
        let_go()
    spa.page.wait_for_timeout(200)
    spa.sees_heading("Look into your mailbox")


def test_back_and_forth_lead_to_address_and_code_but_not_behind_the_last_page(spa: Visitor) -> None:
    spa.get_mail()
    spa.page.go_back()
    spa.sees_page("Create your account")
    spa.page.go_forward()
    spa.sees_page("Look into your mailbox")
    spa.page.reload()
    spa.sees_heading("Look into your mailbox")
    expect(spa.field("email")).to_have_value(ADDRESS)

    spa.finish(code=spa.site.code)
    spa.sees_heading("Your account is ready")
    spa.page.reload()
    spa.sees_heading("Your account is ready")
    spa.page.go_back()
    spa.sees_page("Create your account")


@pytest.mark.parametrize("path", ["/code/", "/done/"])
def test_a_later_page_that_knows_no_address_is_the_first_one(spa: Visitor, path: str) -> None:
    spa.open(path)
    spa.sees_heading("Create your account")
    spa.fill_in(email=ADDRESS)
    spa.click("Continue")
    spa.sees_heading("Look into your mailbox")


def test_an_unknown_page_and_the_mailbox_lead_to_the_first_page(spa: Visitor) -> None:
    spa.open("/nowhere/")
    spa.sees_heading("There is no such page")
    spa.looks_at("spa-not-found")
    spa.page.get_by_role("link", name="Sign up").click()
    spa.sees_heading("Create your account")
    spa.page.goto(f"{spa.site.api.url}/mailbox/")
    spa.page.get_by_role("main").get_by_role("link", name="Sign up").click()
    expect(spa.page).to_have_url(f"{spa.site.url}/")


def test_signing_up_logs_in_until_the_tab_is_closed(spa: Visitor) -> None:
    spa.get_mail()
    spa.gets_account(code=spa.site.code)
    spa.follow("Go to your account")
    spa.sees_heading("Your account")
    assert spa.page.evaluate("[document.cookie, localStorage.length]") == ["", 0]
    other = spa.in_window(spa.page.context.new_page())
    other.open("/account/")
    other.sees_heading("Log in")


@pytest.mark.parametrize(
    "end",
    [
        "the hour is over",
        "the token was changed",
        "the flag was cleared",
    ],
)
def test_a_token_that_is_good_no_more_leads_to_the_log_in(
    spa: Visitor, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    spa.has_account()
    spa.open("/log-in/")
    spa.log_in()
    spa.sees_page("Your account")
    if end == "the hour is over":
        later = int(TimestampSigner("").get_timestamp()) + 3601
        monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda signer: later)
    elif end == "the token was changed":
        spa.page.evaluate("sessionStorage.token = sessionStorage.token.replace(/^./, 'x')")
    else:
        spa.site.clear_flags()
    spa.page.reload()
    spa.sees_page("Log in")
    expect(spa.page.get_by_text("Your session has ended. Please log in again.")).to_be_visible()
    assert spa.page.evaluate("sessionStorage.length") == 0


def test_the_account_is_shown_when_the_api_is_back(spa: Visitor) -> None:
    spa.has_account()
    spa.open("/log-in/")
    spa.site.api.stop()
    spa.log_in()
    spa.sees_alert("The server cannot be reached.")
    spa.site.api.start()
    spa.click("Log in")
    spa.sees_page("Your account")
    spa.site.api.stop()
    spa.page.reload()
    spa.sees_page("Your account could not be loaded")
    spa.looks_at("spa-account-unknown")
    spa.site.api.start()
    spa.click("Try again")
    spa.sees_page("Your account")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[" * 5000,
        b"[]",
        b"null",
        b'{"email": 1, "password": []}',
        b'{"email": "ada@example.com", "password": "\\ud800"}',
    ],
)
def test_a_log_in_that_is_no_address_and_password_is_refused_like_any_other(spa: Visitor, body: bytes) -> None:
    client = spa.site.configure().test_client()
    answer = client.post("/api/v1/log-in/", data=body, content_type="application/json")
    assert (answer.status_code, answer.get_json()["code"]) == (403, "log-in-refused")


@pytest.mark.parametrize("path", ["verify-user/", "a" * 300, "%00", "../app.py", "/etc/passwd"])
def test_every_address_that_is_no_file_of_the_front_end_is_its_one_page(tmp_path: Path, path: str) -> None:
    (tmp_path / "index.html").write_text("the page")
    with backend.create_front_end(tmp_path, "http://api.example").test_client().get(f"/{path}") as answer:
        assert (answer.status_code, answer.get_data(as_text=True)) == (200, "the page")


@pytest.mark.parametrize(("motion", "animation"), [("reduce", "none"), ("no-preference", "turn")])
def test_nothing_turns_for_those_who_want_it_calm(spa: Visitor, motion: str, animation: str) -> None:
    spa.page.emulate_media(reduced_motion="reduce" if motion == "reduce" else "no-preference")
    spa.open()
    button = spa.page.get_by_role("button", name="Continue")
    button.evaluate("button => button.setAttribute('aria-disabled', 'true')")
    assert button.evaluate("button => getComputedStyle(button, '::before').animationName") == animation


@pytest.mark.parametrize(
    ("language", "direction", "name", "headings", "refusal", "subject", "log_in"),
    [
        (
            "de",
            "ltr",
            "Deutsch",
            ["Konto anlegen", "Schauen Sie in Ihr Postfach", "Ihr Konto ist fertig", "Ihr Konto", "Anmelden"],
            "Geben Sie eine E-Mail-Adresse",
            "Ihr Code",
            "Diese Adresse und dieses Passwort gehören nicht zusammen.",
        ),
        (
            "ar",
            "rtl",
            "العربية",
            ["إنشاء حساب", "تحقق من بريدك", "حسابك جاهز", "حسابك", "تسجيل الدخول"],
            "أدخل عنوان بريد إلكتروني",
            "رمز التحقق",
            "عنوان البريد وكلمة المرور لا يتطابقان.",
        ),
    ],
)
def test_pages_answers_and_mails_speak_the_language_that_was_chosen(
    spa: Visitor, language: str, direction: str, name: str, headings: list[str], refusal: str, subject: str, log_in: str
) -> None:
    def sees(heading: str, view: str) -> None:
        spa.sees_heading(heading)
        expect(page.locator("html")).to_have_attribute("lang", language)
        expect(page.locator("html")).to_have_attribute("dir", direction)
        expect(page).to_have_title(f"{heading} · Fernpost")
        spa.looks_at(f"spa-{view}-{language}")

    def send(**values: str) -> None:
        for field, value in values.items():
            page.locator(f"[name={field}]").fill(value)
        page.locator("button[type=submit]").click()

    page = spa.page
    spa.open()
    spa.fill_in(email="ada@")
    spa.click(name)
    sees(headings[0], "address")
    expect(page.get_by_role("button", name=name)).to_be_focused()
    expect(page.locator("[name=email]")).to_have_value("ada@")
    page.locator("button[type=submit]").click()
    expect(page.locator("[name=email]")).to_have_accessible_description(re.compile(refusal))
    spa.looks_at(f"spa-no-address-{language}")
    send(email=ADDRESS)
    sees(headings[1], "code")
    assert subject in spa.site.mails[0].message["Subject"]
    send(code="12", username="", password="password1", password_confirm="else")
    expect(page.locator("[name=code]")).to_be_focused()
    spa.looks_at(f"spa-errors-{language}")
    send(code=spa.site.code, **ACCOUNT)
    sees(headings[2], "done")
    page.goto(spa.site.link)  # which has done its work
    expect(page.get_by_role("main").locator("a.button")).to_have_text(headings[4])
    spa.looks_at(f"spa-invalid-{language}")

    page.goto(f"{spa.site.url}/account/")  # the language is remembered
    sees(headings[3], "account")
    page.get_by_role("main").get_by_role("button").click()
    sees(headings[4], "log-in")
    send(email=ADDRESS, password=f"not {PASSWORD}")
    spa.sees_alert(log_in)
    spa.click("English")
    spa.sees_heading("Log in")
    expect(page.locator("html")).to_have_attribute("dir", "ltr")


@pytest.mark.parametrize(("locale", "language"), [("ar-EG", "ar"), ("de-AT", "de"), ("fr-FR", "en")])
def test_without_a_choice_the_language_is_the_browsers(
    spa: Visitor, browser: Browser, locale: str, language: str
) -> None:
    with browser.new_context(locale=locale) as context:
        visitor = spa.in_window(context.new_page())
        visitor.open()
        expect(visitor.page.locator("html")).to_have_attribute("lang", language)


def test_a_language_that_is_chosen_halfway_costs_nothing_that_was_typed(spa: Visitor) -> None:
    spa.get_mail()
    spa.open_link()
    posts = spa.posts()
    spa.fill_in(**ACCOUNT)
    spa.click("Deutsch")
    spa.sees_heading("Registrierung abschließen")
    spa.click("Konto anlegen")
    spa.sees_page("Ihr Konto ist fertig")
    assert [path for path, _ in posts] == ["verify-registration/"]
    assert spa.site.accounts == {ADDRESS: True}


def test_each_text_has_the_same_names_in_braces_in_every_language() -> None:
    def names(path: Path) -> dict[str, list[str]]:
        entries = re.findall(r"^  (\w+):((?:.*\n)(?: {4}.*\n)*)", path.read_text(encoding="utf-8"), re.MULTILINE)
        return {key: re.findall(r"{(\w+)}", text) for key, text in entries}

    english, *others = (names(EXAMPLES / "spa" / "src" / "texts" / f"{code}.ts") for code in ("en", "de", "ar"))
    assert "logIn" in english["haveAccount"]
    assert others == [english, english]
