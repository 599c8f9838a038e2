"""The account at sign-up, with resend, from the first page to the last: in the quickstart."""

from __future__ import annotations

import re
from smtplib import SMTP

import pytest
from playwright.sync_api import Route, expect

from tests.browser.visitor import ACCOUNT, ADDRESS, DAY, MINUTE, PASSWORD, Visitor
from tests.support.clock import Clock

HOSTILE = b"""\
Subject: <script>document.title = "run"</script>
From: "<img src=x onerror=alert()>" <eve@example.com>
X-Header: <script>document.title = "run"</script>
MIME-Version: 1.0
Content-Type: text/html; charset=unheard-of

<h1>Hello \xff</h1><script>document.title = "run"</script><img src="http://evil.example/image">
<meta http-equiv="refresh" content="0; url=http://evil.example/"><link rel="stylesheet" href="http://evil.example/style">
<iframe src="http://evil.example/frame"></iframe><img src="x" onerror="document.title = 'run'">
"""
CONFIRMED = "Your address is confirmed"
RESENT = "If an account with this address waits for its verification, a message was sent"


def test_opening_the_link_posts_nothing_and_leaves_no_secret_in_the_address(quickstart: Visitor) -> None:
    page = quickstart.page
    quickstart.open("/mailbox/")
    expect(page.get_by_text("No mails yet.")).to_be_visible()
    quickstart.looks_at("quickstart-mailbox-empty")
    quickstart.open()
    quickstart.looks_at("quickstart-sign-up")

    quickstart.begin()
    quickstart.sees_page("Look into your mailbox")
    expect(page.get_by_text(ADDRESS)).to_be_visible()
    quickstart.looks_at("quickstart-sent")

    page.get_by_role("link", name="Open the mailbox").click()
    expect(page.get_by_text(f"to {ADDRESS}")).to_be_visible()
    quickstart.looks_at("quickstart-mailbox")
    page.get_by_role("link", name="Confirm your e-mail address").click()
    expect(page.frame_locator("iframe").get_by_role("heading")).to_be_visible()
    quickstart.looks_at("quickstart-mail")

    posts = quickstart.posts()
    page.frame_locator("iframe").get_by_role("link", name="Open the confirmation page").click()
    quickstart.sees_heading("Confirm your address")
    page.wait_for_load_state("networkidle")
    expect(page).to_have_url(f"{quickstart.site.url}/verify-user/")
    quickstart.looks_at("quickstart-ask")
    page.reload()
    quickstart.sees_heading("Confirm your address")
    assert (posts, quickstart.site.accounts) == ([], {ADDRESS: False})
    quickstart.click("Confirm my address")
    quickstart.sees_page(CONFIRMED)
    quickstart.looks_at("quickstart-done")
    assert quickstart.site.accounts == {ADDRESS: True}
    quickstart.follow("Log in")
    quickstart.log_in()
    quickstart.sees_heading("Your account")


def test_errors_stand_at_their_fields(quickstart: Visitor) -> None:
    quickstart.get_mail()
    quickstart.begin()
    quickstart.sees_error("email", "already has an account", focused=True)

    quickstart.begin(email="ada@", username="")
    quickstart.sees_error("email", "Enter an e-mail address", focused=True)
    quickstart.sees_error("username")
    quickstart.sees_no_error("password")
    quickstart.looks_at("quickstart-errors")

    weak = {"password": "password1", "password_confirm": "password1"}
    quickstart.begin(email="grace@example.com", username="grace", **weak)
    quickstart.sees_error("password", r"At least 8 characters.*\w", focused=True)
    quickstart.fill_in(password=PASSWORD, password_confirm=PASSWORD)
    quickstart.sees_no_error("password")
    quickstart.click("Create account")
    quickstart.sees_heading("Look into your mailbox")


def test_the_answer_to_send_it_again_is_the_same_while_the_cooldown_lasts(quickstart: Visitor, clock: Clock) -> None:
    quickstart.get_mail()
    for wait, mails in [(0, 2), (29, 2), (1, 3)]:
        clock.move(wait)
        with quickstart.page.expect_response("**/resend-verification/"):
            quickstart.click("Send it again")
        quickstart.sees_status(RESENT)
        assert [mail.recipients for mail in quickstart.site.mails] == [(ADDRESS,)] * mails
    quickstart.looks_at("quickstart-sent-again")


def test_a_button_that_waits_keeps_the_focus_and_sends_nothing_more(quickstart: Visitor) -> None:
    quickstart.get_mail()
    held: list[Route] = []
    quickstart.page.route("**/resend-verification/", lambda route: held.append(route))
    quickstart.click("Send it again")
    waiting = quickstart.page.get_by_role("button", name="Sending…")
    expect(waiting).to_be_focused()
    quickstart.looks_at("quickstart-sending")
    quickstart.page.keyboard.press("Enter")
    held[0].continue_()
    quickstart.sees_status(RESENT)
    expect(quickstart.page.get_by_role("button", name="Send it again")).to_be_focused()
    assert len(held) == 1


def test_a_link_that_has_expired_is_replaced_by_a_new_one(quickstart: Visitor, clock: Clock) -> None:
    quickstart.get_mail()
    clock.move(8 * DAY)
    quickstart.confirm()
    quickstart.sees_page("This link has expired")
    quickstart.looks_at("quickstart-expired")
    assert quickstart.site.accounts == {ADDRESS: False}

    address = quickstart.page.get_by_label("Your e-mail address")
    address.fill("ada@")
    quickstart.click("Send me a new link")
    expect(address).to_have_attribute("aria-invalid", "true")
    expect(address).to_have_accessible_description(re.compile("Enter an e-mail address"))
    expect(address).to_be_focused()
    address.fill(ADDRESS)
    quickstart.click("Send me a new link")
    quickstart.sees_status(RESENT)
    quickstart.looks_at("quickstart-expired-sent-again")
    assert len(quickstart.site.mails) == 2
    quickstart.confirm()
    quickstart.sees_heading(CONFIRMED)


def test_somebody_whose_link_was_lost_gets_another_at_the_log_in(quickstart: Visitor, clock: Clock) -> None:
    quickstart.get_mail()
    quickstart.open("/log-in/")
    quickstart.log_in()
    quickstart.sees_page("Confirm your address first")
    quickstart.looks_at("quickstart-not-verified")
    clock.move(MINUTE)
    quickstart.click("Send it again")
    quickstart.sees_status(RESENT)
    assert len(quickstart.site.mails) == 2
    quickstart.confirm()
    quickstart.sees_heading(CONFIRMED)


def test_a_link_works_after_a_failure_and_again_unless_it_is_for_one_time_use(quickstart: Visitor) -> None:
    quickstart.get_mail()
    link = quickstart.site.link
    quickstart.page.goto(link)
    quickstart.site.api.stop()
    quickstart.click("Confirm my address")
    quickstart.sees_alert("The server cannot be reached.")
    quickstart.site.api.start()
    quickstart.click("Confirm my address")
    quickstart.sees_page(CONFIRMED)
    quickstart.confirm()
    quickstart.sees_page("Your address is already confirmed")
    quickstart.looks_at("quickstart-already")
    quickstart.follow("Log in")
    quickstart.sees_heading("Log in")
    quickstart.site.configure(REST_REGISTRATION_REGISTER_VERIFICATION_ONE_TIME_USE=True)
    quickstart.page.goto(link)
    quickstart.click("Confirm my address")
    quickstart.sees_page("This link is not valid")


def test_somebody_who_is_logged_in_signs_up_and_confirms_another_address(quickstart: Visitor) -> None:
    quickstart.has_account()
    quickstart.open("/log-in/")
    quickstart.log_in()
    quickstart.sees_heading("Your account")
    quickstart.get_mail(email="grace@example.com", username="grace")
    quickstart.confirm()
    quickstart.sees_page(CONFIRMED)
    assert quickstart.site.accounts == {ADDRESS: True, "grace@example.com": True}
    quickstart.click("Log out")
    quickstart.sees_heading("Log in")


def test_a_mail_is_shown_as_html_and_its_other_parts_are_links(quickstart: Visitor) -> None:
    page = quickstart.page
    quickstart.get_mail()
    quickstart.open("/mailbox/1/")
    expect(page.frame_locator("iframe").get_by_role("heading")).to_be_visible()
    for name, pattern in (("Text", f"Hello,.*{re.escape(quickstart.site.link)}"), ("Headers", f"To.*{ADDRESS}.*MIME")):
        quickstart.follow(name)
        expect(page.get_by_role("link", name=name)).to_have_attribute("aria-current", "page")
        expect(page.locator(".text")).to_contain_text(re.compile(pattern, re.DOTALL))
        quickstart.looks_at(f"quickstart-mail-{name.lower()}")
    quickstart.follow("HTML")
    expect(page.locator("iframe")).to_be_visible()


def test_a_hostile_mail_is_shown_runs_nothing_and_asks_nobody(quickstart: Visitor) -> None:
    with SMTP("127.0.0.1", quickstart.site.mailbox.port) as server:
        server.sendmail("eve@example.com", [ADDRESS], HOSTILE)
    page = quickstart.page
    asked: list[str] = []

    def note(route: Route) -> None:
        asked.append(route.request.url)
        route.abort()

    page.route("http://evil.example/**", note)
    for path in ("", "1/", "1/headers/", "1/html"):
        quickstart.open(f"/mailbox/{path}")
        page.wait_for_load_state("networkidle")
        assert page.title() != "run"
    expect(page.get_by_role("heading", name="Hello \ufffd")).to_be_visible()
    assert asked == []


def test_new_mails_show_up_and_are_announced_while_focus_and_place_stay(quickstart: Visitor) -> None:
    page, client = quickstart.page, quickstart.site.configure().test_client()

    def sign_up(numbers: range) -> None:
        for number in numbers:
            body = {**ACCOUNT, "email": f"ada{number}@example.com", "username": f"ada{number}"}
            assert client.post("/api/v1/accounts/register/", json=body).status_code == 201
        page.clock.run_for(4000)
        expect(page.locator(".mails > li")).to_have_count(numbers[-1])

    page.clock.install(time=0)
    page.clock.pause_at(1000)
    quickstart.open("/mailbox/")
    expect(page.get_by_role("link", name="Refresh")).to_be_hidden()
    sign_up(range(1, 2))
    quickstart.sees_status("New mail: Confirm your e-mail address")
    expect(page.get_by_text("No mails yet.")).to_be_hidden()

    sign_up(range(2, 11))
    oldest = page.get_by_role("link", name="ada1@example.com")
    oldest.focus()
    place = oldest.bounding_box()
    sign_up(range(11, 13))
    quickstart.sees_status("2 new mails")
    expect(oldest).to_be_focused()
    assert oldest.bounding_box() == pytest.approx(place, abs=1)
    page.clock.resume()
    quickstart.looks_at("quickstart-mailbox-refreshed")

    quickstart.site.configure()  # another run of the application, with an empty mailbox
    page.clock.run_for(4000)
    expect(page.get_by_text("No mails yet.")).to_be_visible()


@pytest.mark.parametrize(
    ("status", "method", "path", "heading"),
    [
        (404, "GET", "/nowhere/", "There is no such page"),
        (405, "POST", "/account/", "This does not work here"),
        (413, "POST", "/log-in/", "That was too much at once"),
        (400, "POST", "/log-out/", "This page was out of date"),
        (500, "GET", "/broken/", "Something went wrong on our side"),
    ],
)
def test_an_error_has_a_page_with_the_looks_of_the_others(
    quickstart: Visitor, status: int, method: str, path: str, heading: str
) -> None:
    @quickstart.site.configure().get("/broken/")
    def fail() -> str:
        raise ZeroDivisionError

    page = quickstart.page
    quickstart.open("/log-in/")
    send = """([method, path, size]) => {
        const form = document.createElement("form");
        form.append(Object.assign(document.createElement("input"), {name: "text", value: "x".repeat(size)}));
        document.body.append(form);
        Object.assign(form, {method, action: path}).submit();
    }"""
    with page.expect_response(f"**{path}*") as response:
        page.evaluate(send, [method, path, 70_000 if status == 413 else 1])
    quickstart.sees_heading(heading)
    assert response.value.status == status
    quickstart.looks_at(f"quickstart-error-{status}")
    quickstart.follow("Go to the first page")
    quickstart.sees_heading("Create your account")


def test_the_whole_way_is_recorded_for_the_documentation(quickstart: Visitor) -> None:
    page = quickstart.page
    quickstart.site.configure(REST_REGISTRATION_SITE_NAME="Quickstart")
    with quickstart.records("flow") as shot:
        quickstart.open()
        shot(1.5)
        quickstart.fill_in(email=ADDRESS, **ACCOUNT)
        page.get_by_role("button", name="Create account").hover()
        shot(2)
        quickstart.click("Create account")
        quickstart.sees_page("Look into your mailbox")
        page.get_by_role("main").get_by_role("link", name="Open the mailbox").hover()
        shot(2)
        quickstart.follow("Open the mailbox")
        page.get_by_role("link", name="Confirm your e-mail address").hover()
        shot(1.5)
        page.get_by_role("link", name="Confirm your e-mail address").click()
        page.frame_locator("iframe").get_by_role("link", name="Open the confirmation page").hover()
        shot(2.5)
        page.frame_locator("iframe").get_by_role("link", name="Open the confirmation page").click()
        quickstart.sees_heading("Confirm your address")
        page.get_by_role("button", name="Confirm my address").hover()
        shot(2)
        quickstart.click("Confirm my address")
        quickstart.sees_page(CONFIRMED)
        page.get_by_role("main").get_by_role("link", name="Log in").hover()
        shot(2)
        quickstart.follow("Log in")
        quickstart.fill_in(email=ADDRESS, password=PASSWORD)
        page.get_by_role("button", name="Log in").hover()
        shot(1.5)
        quickstart.click("Log in")
        quickstart.sees_heading("Your account")
        page.mouse.move(0, 0)
        shot(3)
    assert quickstart.site.accounts == {ADDRESS: True}
