"""E-mail first, by the code and by the link, from the first page to the last: in the SPA."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.support.clock import Clock
from tests.support.links import with_other_character
from tests.support.mail_servers import RecordingServer

from .looks import Looks
from .serializers import OneAccountPerHousehold
from .sites import Site
from .steps import (
    ACCOUNT,
    ADDRESS,
    DAY,
    MINUTE,
    PASSWORD,
    asked_for_mail,
    click,
    expect_alert,
    expect_error,
    expect_focused_heading,
    expect_heading,
    expect_no_error,
    expect_status,
    field,
    fill_in,
    finish,
    open_link,
    send_address,
    tab_to,
)

SENT_AGAIN = "The mail was sent now, or when you last asked"
NOT_VALID = re.compile("This code is not valid. .* you need a new mail")


def wrong(code: str) -> str:
    return with_other_character(code, 0)


def posts_of(page: Page, site: Site) -> list[str]:
    """Collect the endpoints that a page posts to from now on."""
    posted: list[str] = []
    start = f"{site.api.url}/api/v1/accounts/"
    page.on("request", lambda sent: posted.append(sent.url.removeprefix(start)) if sent.method == "POST" else None)
    return posted


def test_signing_up_by_the_code(page: Page, spa_site: Site, looks: Looks) -> None:
    page.goto(f"{spa_site.url}/")
    expect_heading(page, "Create your account")
    looks.at(page, "spa-address")

    send_address(page, spa_site)
    expect_focused_heading(page, "Look into your mailbox")
    expect(field(page, "email")).to_have_value(ADDRESS)
    looks.at(page, "spa-code")
    assert spa_site.accounts == {}

    finish(page, code=spa_site.code)
    expect_focused_heading(page, "Your account is ready")
    looks.at(page, "spa-done")
    assert spa_site.accounts == {ADDRESS: True}


def test_signing_up_by_the_link_in_another_window(page: Page, spa_site: Site, looks: Looks) -> None:
    asked_for_mail(page, spa_site)
    fill_in(page, **ACCOUNT)
    code = spa_site.code

    with page.expect_popup() as opened:
        page.get_by_role("link", name="your mailbox").click()
    other = opened.value
    other.get_by_role("link", name=code).click()
    other.frame_locator("iframe").get_by_role("link", name="Go on with the sign-up").click()
    expect_focused_heading(other, "Finish your account")
    expect(field(other, "email")).to_have_value(ADDRESS)
    looks.at(other, "spa-link")
    assert spa_site.accounts == {}

    finish(other)
    expect_focused_heading(other, "Your account is ready")
    assert spa_site.accounts == {ADDRESS: True}

    expect_heading(page, "Look into your mailbox")
    finish(page, code=code)
    expect_error(page, "code", NOT_VALID)
    assert spa_site.accounts == {ADDRESS: True}


def test_a_link_that_is_opened_in_another_window_hurts_no_code(page: Page, spa_site: Site) -> None:
    asked_for_mail(page, spa_site)
    fill_in(page, **ACCOUNT)
    other = page.context.new_page()
    open_link(other, spa_site.link)

    finish(page, code=spa_site.code)
    expect_heading(page, "Your account is ready")

    finish(other, username="somebody else")
    expect_focused_heading(other, "This link is not valid")
    expect(other.get_by_text("If you have finished your account already")).to_be_visible()
    assert spa_site.accounts == {ADDRESS: True}


def test_signing_up_by_the_code_with_the_keyboard_alone(page: Page, spa_site: Site) -> None:
    page.goto(f"{spa_site.url}/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    tab_to(page, field(page, "email"))
    page.keyboard.type(ADDRESS)
    page.keyboard.press("Enter")
    expect_focused_heading(page, "Look into your mailbox")

    tab_to(page, page.get_by_role("link", name="Use another address"))
    tab_to(page, field(page, "code"))
    page.keyboard.type(spa_site.code)
    tab_to(page, page.get_by_role("button", name="Send it again"))
    for name, value in {**ACCOUNT, "password_confirm": "else"}.items():
        tab_to(page, field(page, name))
        page.keyboard.type(value)
    page.keyboard.press("Enter")
    expect(field(page, "password_confirm")).to_be_focused()

    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.type(PASSWORD)
    tab_to(page, page.get_by_role("checkbox", name="Show the passwords"))
    page.keyboard.press("Space")
    expect(field(page, "password_confirm")).to_have_attribute("type", "text")
    tab_to(page, page.get_by_role("button", name="Create account"))
    page.keyboard.press("Enter")
    expect_focused_heading(page, "Your account is ready")


def test_signing_up_by_the_link_with_the_keyboard_alone(page: Page, spa_site: Site) -> None:
    asked_for_mail(page, spa_site)
    open_link(page, spa_site.link)
    tab_to(page, field(page, "email"))
    page.keyboard.type("else")  # the address is proven and stays
    expect(field(page, "email")).to_have_value(ADDRESS)
    for name, value in ACCOUNT.items():
        tab_to(page, field(page, name))
        page.keyboard.type(value)
    page.keyboard.press("Enter")
    expect_focused_heading(page, "Your account is ready")
    assert spa_site.accounts == {ADDRESS: True}


def test_browsers_and_phones_know_what_goes_into_each_field(page: Page, spa_site: Site) -> None:
    def told(name: str, *attributes: str) -> list[str | None]:
        return [field(page, name).get_attribute(attribute) for attribute in attributes]

    page.goto(f"{spa_site.url}/")
    assert told("email", "type", "autocomplete") == ["email", "email"]
    asked_for_mail(page, spa_site)
    assert told("code", "type", "autocomplete", "inputmode") == ["text", "one-time-code", "numeric"]
    for _ in range(2):
        assert told("email", "autocomplete", "readonly", "value") == ["username", "", ADDRESS]
        assert told("password", "type", "autocomplete") == ["password", "new-password"]
        assert told("password_confirm", "type", "autocomplete") == ["password", "new-password"]
        open_link(page, spa_site.link)


def test_loading_the_page_of_the_link_only_asks_for_the_address(page: Page, spa_site: Site) -> None:
    asked_for_mail(page, spa_site)
    posted = posts_of(page, spa_site)
    page.goto(spa_site.link, wait_until="networkidle")
    expect_focused_heading(page, "Finish your account")
    assert posted == ["check-link/"]
    assert spa_site.accounts == {}


def test_the_link_works_beside_what_a_mail_service_appends(page: Page, spa_site: Site) -> None:
    asked_for_mail(page, spa_site)
    sent: list[object] = []
    page.on("request", lambda request: sent.append(request.post_data_json) if request.method == "POST" else None)
    open_link(page, f"{spa_site.link}&utm_source=mail&email=eve@example.com&username=eve&code=000000")
    finish(page)
    expect_heading(page, "Your account is ready")
    link = {"user_id", "timestamp", "signature"}
    assert [set(body) for body in sent if isinstance(body, dict)] == [link, {*link, *ACCOUNT}]
    assert spa_site.accounts == {ADDRESS: True}


def test_the_link_does_not_stay_in_the_address(page: Page, spa_site: Site) -> None:
    asked_for_mail(page, spa_site)
    open_link(page, spa_site.link)
    expect(page).to_have_url(f"{spa_site.url}/verify-user/")
    page.reload()
    expect_heading(page, "Finish your account")
    finish(page)
    expect_heading(page, "Your account is ready")


def test_a_wrong_code_is_told_at_its_field(page: Page, spa_site: Site, looks: Looks) -> None:
    asked_for_mail(page, spa_site)
    finish(page, code=wrong(spa_site.code))
    expect_error(page, "code", NOT_VALID)
    expect(field(page, "code")).to_be_focused()
    expect(field(page, "password")).to_have_value(PASSWORD)
    looks.at(page, "spa-code-not-valid")
    assert spa_site.accounts == {}

    fill_in(page, code=spa_site.code)
    expect_no_error(page, "code")
    click(page, "Create account")
    expect_heading(page, "Your account is ready")


def test_a_code_may_be_typed_with_blanks_and_dashes(page: Page, spa_site: Site) -> None:
    asked_for_mail(page, spa_site)
    finish(page, code=f" {spa_site.code[:3]} - {spa_site.code[3:]} ")
    expect_heading(page, "Your account is ready")


def test_a_code_that_is_too_old_is_replaced_by_a_new_one(page: Page, spa_site: Site, clock: Clock) -> None:
    asked_for_mail(page, spa_site)
    clock.move(16 * MINUTE)
    finish(page, code=spa_site.code)
    expect_error(page, "code", NOT_VALID)
    click(page, "Send it again")
    expect_status(page, SENT_AGAIN)
    finish(page, code=spa_site.code)
    expect_heading(page, "Your account is ready")


def test_after_five_wrong_codes_the_link_still_works(page: Page, spa_site: Site) -> None:
    asked_for_mail(page, spa_site)
    fill_in(page, **ACCOUNT)
    for code in [*[wrong(spa_site.code)] * 5, spa_site.code]:
        fill_in(page, code=code)
        with page.expect_response("**/verify-registration/") as answered:
            click(page, "Create account")
        assert answered.value.status == 400
        expect_error(page, "code", NOT_VALID)
    open_link(page, spa_site.link)
    finish(page)
    expect_heading(page, "Your account is ready")


def test_a_user_name_that_is_taken_leaves_the_code_usable(page: Page, spa_site: Site, looks: Looks) -> None:
    spa_site.make_account("grace@example.com", "grace")
    asked_for_mail(page, spa_site)
    fill_in(page, code=spa_site.code, **{**ACCOUNT, "username": "grace"})
    for _ in range(6):  # more often than a code may be wrong
        with page.expect_response("**/verify-registration/"):
            click(page, "Create account")
        expect_error(page, "username", re.compile("already taken"))
        expect(field(page, "username")).to_be_focused()
    expect_no_error(page, "code")
    looks.at(page, "spa-name-taken")

    fill_in(page, username="ada")
    click(page, "Create account")
    expect_heading(page, "Your account is ready")
    assert spa_site.accounts == {"grace@example.com": True, ADDRESS: True}


def test_a_user_name_that_is_taken_leaves_the_link_usable(page: Page, spa_site: Site) -> None:
    spa_site.make_account("grace@example.com", "grace")
    asked_for_mail(page, spa_site)
    open_link(page, spa_site.link)
    finish(page, username="grace")
    expect_error(page, "username", re.compile("already taken"))
    expect(field(page, "username")).to_be_focused()
    finish(page)
    expect_heading(page, "Your account is ready")


def test_errors_stand_at_their_fields(page: Page, spa_site: Site, looks: Looks) -> None:
    asked_for_mail(page, spa_site)
    finish(page, code="12", username="", password="password1", password_confirm="password1")
    expect_error(page, "code", re.compile(r"\w"))
    expect_error(page, "username", re.compile(r"\w"))
    expect_error(page, "password", re.compile(r"At least 8 characters.*\w"))
    expect(field(page, "code")).to_be_focused()
    looks.at(page, "spa-errors")

    fill_in(page, username="ada")
    expect_no_error(page, "username")
    finish(page, code=spa_site.code)
    expect_heading(page, "Your account is ready")


def test_what_is_no_address_is_told_at_its_field(page: Page, spa_site: Site, looks: Looks) -> None:
    send_address(page, spa_site, "ada@")
    expect_error(page, "email", re.compile("valid"))
    expect(field(page, "email")).to_be_focused()
    looks.at(page, "spa-no-address")
    assert not spa_site.mailbox.messages


def test_an_address_that_the_mail_server_refuses_is_told(
    page: Page, spa_site: Site, smtp: RecordingServer, clock: Clock
) -> None:
    refused = "The mail server does not accept this address."
    spa_site.configure({"MAIL_PORT": smtp.port})
    smtp.rcpt_reply = "550 5.1.1 No such user"
    send_address(page, spa_site)
    expect_error(page, "email", refused)
    expect(field(page, "email")).to_be_focused()

    smtp.rcpt_reply = None
    click(page, "Continue")
    expect_heading(page, "Look into your mailbox")
    smtp.rcpt_reply = "550 5.1.1 No such user"
    clock.move(MINUTE)
    click(page, "Send it again")
    expect_status(page, refused)


def test_a_taken_address_is_told_by_mail_alone(page: Page, spa_site: Site) -> None:
    spa_site.make_account(ADDRESS, "grace")
    asked_for_mail(page, spa_site)
    taken = page.get_by_role("main").inner_html()
    (mail,) = spa_site.mailbox.messages
    assert "already" in str(mail.message["Subject"])

    asked_for_mail(page, spa_site, "bob@example.com")
    assert page.get_by_role("main").inner_html() == taken.replace(ADDRESS, "bob@example.com")


def test_an_address_that_got_an_account_meanwhile_is_told(page: Page, spa_site: Site, looks: Looks) -> None:
    asked_for_mail(page, spa_site)
    spa_site.make_account(ADDRESS, "grace")
    finish(page, code=spa_site.code)
    expect_error(page, "email", re.compile("already taken"))
    expect(field(page, "email")).to_be_focused()
    looks.at(page, "spa-address-taken")


def test_an_error_of_the_whole_stands_above_the_fields(page: Page, spa_site: Site, looks: Looks) -> None:
    spa_site.configure({"REST_REGISTRATION_REGISTER_SERIALIZER_CLASS": OneAccountPerHousehold})
    asked_for_mail(page, spa_site)
    finish(page, code=spa_site.code)
    expect_alert(page, "Only one account for each household.")
    looks.at(page, "spa-error-of-the-whole")


def test_the_mail_is_sent_again(page: Page, spa_site: Site, looks: Looks, clock: Clock) -> None:
    asked_for_mail(page, spa_site)
    first = spa_site.code
    clock.move(MINUTE)
    click(page, "Send it again")
    expect_status(page, SENT_AGAIN)
    looks.at(page, "spa-sent-again")
    assert [mail.recipients for mail in spa_site.mailbox.messages] == [(ADDRESS,), (ADDRESS,)]

    finish(page, code=first)
    expect_error(page, "code", NOT_VALID)
    fill_in(page, code=spa_site.code)
    click(page, "Create account")
    expect_heading(page, "Your account is ready")


def test_the_answer_is_the_same_while_the_cooldown_lasts(page: Page, spa_site: Site, clock: Clock) -> None:
    asked_for_mail(page, spa_site)
    for wait, mails in [(29, 1), (1, 2), (59, 2), (1, 3)]:
        clock.move(wait)
        with page.expect_response("**/register/"):
            click(page, "Send it again")
        expect_status(page, SENT_AGAIN)
        assert len(spa_site.mailbox.messages) == mails


def test_a_mail_without_a_code_has_a_link_that_works(page: Page, spa_site: Site, clock: Clock) -> None:
    asked_for_mail(page, spa_site)
    for wait in (1, 2, 4):
        clock.move(wait * MINUTE)
        with page.expect_response("**/register/"):
            click(page, "Send it again")
        expect_status(page, SENT_AGAIN)
    assert len(spa_site.mailbox.messages) == 4
    assert spa_site.codes == []
    expect(page.get_by_role("heading", name="No code in the mail?")).to_be_visible()
    open_link(page, spa_site.link)
    finish(page)
    expect_heading(page, "Your account is ready")


def test_a_link_that_has_expired_is_replaced_by_a_new_mail(
    page: Page, spa_site: Site, looks: Looks, clock: Clock
) -> None:
    asked_for_mail(page, spa_site)
    clock.move(8 * DAY)
    page.goto(spa_site.link)
    expect_focused_heading(page, "This link has expired")
    looks.at(page, "spa-expired")

    fill_in(page, email=ADDRESS)
    click(page, "Send me a new mail")
    expect_focused_heading(page, "Look into your mailbox")
    assert len(spa_site.mailbox.messages) == 2
    finish(page, code=spa_site.code)
    expect_heading(page, "Your account is ready")


def test_a_link_that_expires_while_its_page_is_open_is_told(page: Page, spa_site: Site, clock: Clock) -> None:
    asked_for_mail(page, spa_site)
    open_link(page, spa_site.link)
    clock.move(8 * DAY)
    finish(page)
    expect_focused_heading(page, "This link has expired")
    assert spa_site.accounts == {}


@pytest.mark.parametrize("part", ["user_id", "timestamp", "signature"])
def test_a_link_that_was_changed_is_not_valid(page: Page, spa_site: Site, looks: Looks, part: str) -> None:
    asked_for_mail(page, spa_site)
    link = spa_site.link
    page.goto(with_other_character(link, link.index(f"{part}=") + len(part) + 1))
    expect_focused_heading(page, "This link is not valid")
    if part == "signature":
        looks.at(page, "spa-invalid")
        fill_in(page, email="ada@")
        click(page, "Send me a new mail")
        expect_error(page, "email", re.compile("valid"))
        fill_in(page, email=ADDRESS)
        click(page, "Send me a new mail")
        expect_focused_heading(page, "Look into your mailbox")


def test_a_link_that_was_used_is_not_valid_and_the_page_says_why(page: Page, spa_site: Site) -> None:
    asked_for_mail(page, spa_site)
    open_link(page, spa_site.link)
    finish(page)
    expect_heading(page, "Your account is ready")
    page.goto(spa_site.link)
    expect_focused_heading(page, "This link is not valid")
    expect(page.get_by_text("If you have finished your account already")).to_be_visible()


def test_a_link_without_its_values_is_incomplete(page: Page, spa_site: Site, looks: Looks) -> None:
    posted = posts_of(page, spa_site)
    page.goto(f"{spa_site.url}/verify-user/?user_id=1&timestamp=1700000000")
    expect_heading(page, "This link is incomplete")
    looks.at(page, "spa-incomplete")
    assert posted == []


def test_nothing_is_lost_while_the_api_is_down(page: Page, spa_site: Site, looks: Looks) -> None:
    page.goto(f"{spa_site.url}/")
    fill_in(page, email=ADDRESS)
    spa_site.api.stop()
    click(page, "Continue")
    expect_alert(page, "The server cannot be reached.")
    expect(field(page, "email")).to_have_value(ADDRESS)
    looks.at(page, "spa-unreachable")
    spa_site.api.start()
    click(page, "Continue")
    expect_heading(page, "Look into your mailbox")

    spa_site.api.stop()
    click(page, "Send it again")
    expect_status(page, "The server cannot be reached.")
    finish(page, code=spa_site.code)
    expect_alert(page, "The server cannot be reached.")

    page.goto(spa_site.link)
    expect_focused_heading(page, "The link could not be checked")
    looks.at(page, "spa-link-unchecked")
    click(page, "Try again")
    expect_heading(page, "The link could not be checked")
    spa_site.api.start()
    click(page, "Try again")
    expect_focused_heading(page, "Finish your account")

    fill_in(page, **ACCOUNT)
    spa_site.api.stop()
    click(page, "Create account")
    expect_alert(page, "The server cannot be reached.")
    spa_site.api.start()
    click(page, "Create account")
    expect_heading(page, "Your account is ready")


def test_a_mail_that_cannot_be_sent_can_be_asked_for_again_at_once(page: Page, spa_site: Site) -> None:
    spa_site.mailbox.stop()
    send_address(page, spa_site)
    expect_alert(page, re.compile("mail"))

    spa_site.configure()
    click(page, "Continue")
    expect_heading(page, "Look into your mailbox")
    finish(page, code=spa_site.code)
    expect_heading(page, "Your account is ready")
