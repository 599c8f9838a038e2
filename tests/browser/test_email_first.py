"""E-mail first, by the code and by the link, from the first page to the last: in the SPA."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.visitor import ACCOUNT, ADDRESS, DAY, MINUTE, PASSWORD, Visitor
from tests.support.clock import Clock
from tests.support.links import with_other_character
from tests.support.mail_servers import RecordingServer

NOT_VALID = "This code is not valid. .* you need a new mail"


def test_signing_up_by_the_code_which_may_have_blanks_after_a_wrong_one(spa: Visitor) -> None:
    spa.open()
    spa.looks_at("spa-address")
    spa.begin()
    spa.sees_page("Look into your mailbox")
    expect(spa.field("email")).to_have_value(ADDRESS)
    spa.looks_at("spa-code")

    code = spa.site.code
    spa.finish(code=with_other_character(code, 0))
    spa.sees_error("code", NOT_VALID, focused=True)
    expect(spa.field("password")).to_have_value(PASSWORD)
    spa.looks_at("spa-code-not-valid")
    assert spa.site.accounts == {}
    spa.fill_in(code=f" {code[:3]} - {code[3:]} ")
    spa.sees_no_error("code")
    spa.click("Create account")
    spa.sees_page("Your account is ready")
    spa.looks_at("spa-done")
    assert spa.site.accounts == {ADDRESS: True}


def test_signing_up_by_the_link_in_another_window(spa: Visitor) -> None:
    spa.get_mail()
    spa.fill_in(**ACCOUNT)
    with spa.page.expect_popup() as opened:
        spa.page.get_by_role("link", name="your mailbox").click()
    other = spa.in_window(opened.value)
    other.page.get_by_role("link", name=spa.site.code).click()
    other.page.frame_locator("iframe").get_by_role("link", name="Finish signing up").click()
    other.sees_page("Finish your account")
    other.type_in(email="else")  # the address is proven and stays
    expect(other.field("email")).to_have_value(ADDRESS)
    other.looks_at("spa-link")
    assert spa.site.accounts == {}

    other.gets_account()
    assert spa.site.accounts == {ADDRESS: True}
    spa.finish(code=spa.site.code)
    spa.sees_error("code", NOT_VALID)
    other.page.goto(spa.site.link)
    other.sees_page("This link is not valid")
    expect(other.page.get_by_text("If you have finished your account already")).to_be_visible()
    assert spa.site.accounts == {ADDRESS: True}


def test_a_link_that_is_opened_in_another_window_hurts_no_code(spa: Visitor) -> None:
    spa.get_mail()
    other = spa.in_window(spa.page.context.new_page())
    other.open_link()
    spa.gets_account(code=spa.site.code)
    other.finish(username="somebody else")
    other.sees_page("This link is not valid")
    assert spa.site.accounts == {ADDRESS: True}


def test_browsers_and_phones_know_what_goes_into_each_field(spa: Visitor) -> None:
    def told(name: str, *attributes: str) -> list[str | None]:
        return [spa.field(name).get_attribute(attribute) for attribute in attributes]

    spa.open()
    assert told("email", "type", "autocomplete") == ["email", "email"]
    spa.get_mail()
    assert told("code", "type", "autocomplete", "inputmode") == ["text", "one-time-code", "numeric"]
    for _ in range(2):
        assert told("email", "autocomplete", "readonly", "value") == ["username", "", ADDRESS]
        assert told("password", "type", "autocomplete") == ["password", "new-password"]
        assert told("password_confirm", "type", "autocomplete") == ["password", "new-password"]
        spa.open_link()


def test_only_the_links_own_values_are_sent_and_none_stays_in_the_address(spa: Visitor) -> None:
    spa.get_mail()
    posts = spa.posts()
    # as a mail service appends them
    spa.open_link("&utm_source=mail&email=eve@example.com&username=eve&code=000000")
    link = {"user_id", "timestamp", "signature"}
    assert [(path, set(body)) for path, body in posts] == [("check-link/", link)]
    assert spa.site.accounts == {}
    expect(spa.page).to_have_url(f"{spa.site.url}/verify-user/")

    spa.page.reload()
    spa.sees_heading("Finish your account")
    spa.gets_account()
    assert [(path, set(body)) for path, body in posts[2:]] == [("verify-registration/", {*link, *ACCOUNT})]
    assert spa.site.accounts == {ADDRESS: True}


@pytest.mark.parametrize("way", ["code", "link"])
def test_a_user_name_that_is_taken_leaves_code_and_link_usable(spa: Visitor, way: str) -> None:
    spa.site.make_account("grace@example.com", "grace")
    spa.get_mail()
    if way == "link":
        spa.open_link()
    else:
        spa.fill_in(code=spa.site.code)
    spa.fill_in(**{**ACCOUNT, "username": "grace"})
    spa.click("Create account")
    spa.sees_error("username", "already taken", focused=True)
    spa.looks_at(f"spa-name-taken-{way}")
    spa.gets_account()
    assert spa.site.accounts == {"grace@example.com": True, ADDRESS: True}


def test_errors_stand_at_their_fields(spa: Visitor) -> None:
    spa.begin(email="ada@")
    spa.sees_error("email", "Enter an e-mail address", focused=True)
    spa.looks_at("spa-no-address")
    assert spa.site.mails == []

    spa.get_mail()
    spa.finish(code="12", username="", password="password1", password_confirm="password1")
    spa.sees_error("code", focused=True)
    spa.sees_error("username")
    spa.sees_error("password", r"At least 8 characters.*\w")
    spa.looks_at("spa-errors")
    spa.fill_in(username="ada")
    spa.sees_no_error("username")
    spa.gets_account(code=spa.site.code)


def test_an_address_that_the_mail_server_refuses_is_told(spa: Visitor, smtp: RecordingServer, clock: Clock) -> None:
    spa.site.configure(MAIL_PORT=smtp.port)
    smtp.rcpt_reply = "550 5.1.1 No such user"
    spa.begin()
    spa.sees_error("email", "The mail server does not accept this address.", focused=True)

    smtp.rcpt_reply = None
    spa.click("Continue")
    spa.sees_heading("Look into your mailbox")
    smtp.rcpt_reply = "550 5.1.1 No such user"
    clock.move(MINUTE)
    spa.click("Send it again")
    spa.sees_status("The mail server does not accept this address.")


def test_a_taken_address_is_told_only_by_mail_or_after_the_right_code(spa: Visitor) -> None:
    spa.site.make_account(ADDRESS, "grace")
    spa.get_mail()
    taken = spa.page.get_by_role("main").inner_html()
    (mail,) = spa.site.mails
    assert "already" in mail.message["Subject"]
    spa.get_mail(email="bob@example.com")
    assert spa.page.get_by_role("main").inner_html() == taken.replace(ADDRESS, "bob@example.com")

    spa.site.make_account("bob@example.com", "bob")
    spa.finish(code=spa.site.code)
    spa.sees_error("email", "already has an account", focused=True)
    spa.looks_at("spa-address-taken")


def test_send_it_again_is_answered_the_same_and_its_last_mail_has_no_code(spa: Visitor, clock: Clock) -> None:
    spa.get_mail()
    first = spa.site.code
    for wait, mails in [(29, 1), (1, 2), (59, 2), (1, 3), (4 * MINUTE, 4)]:
        clock.move(wait)
        with spa.page.expect_response("**/register/"):
            spa.click("Send it again")
        spa.sees_status("The mail was sent now, or when you last asked")
        assert [mail.recipients for mail in spa.site.mails] == [(ADDRESS,)] * mails
    spa.looks_at("spa-sent-again")
    spa.finish(code=first)
    spa.sees_error("code", NOT_VALID)

    assert spa.site.codes == []
    expect(spa.page.get_by_role("heading", name="No code in the mail?")).to_be_visible()
    spa.open_link()
    spa.gets_account()


def test_a_link_that_has_expired_is_replaced_by_a_new_mail(spa: Visitor, clock: Clock) -> None:
    spa.get_mail()
    spa.open_link()
    clock.move(8 * DAY)
    spa.finish()
    spa.sees_page("This link has expired")
    assert spa.site.accounts == {}
    spa.page.goto(spa.site.link)
    spa.sees_page("This link has expired")
    spa.looks_at("spa-expired")

    spa.fill_in(email="ada@")
    spa.click("Send me a new mail")
    spa.sees_error("email", "Enter an e-mail address")
    spa.fill_in(email=ADDRESS)
    spa.click("Send me a new mail")
    spa.sees_page("Look into your mailbox")
    assert len(spa.site.mails) == 2
    spa.gets_account(code=spa.site.code)


def test_neither_code_nor_link_is_lost_while_the_api_is_down(spa: Visitor) -> None:
    spa.get_mail()
    spa.site.api.stop()
    spa.click("Send it again")
    spa.sees_status("The server cannot be reached.")
    spa.finish(code=spa.site.code)
    spa.sees_alert("The server cannot be reached.")

    spa.page.goto(spa.site.link)
    spa.sees_page("The link could not be checked")
    spa.looks_at("spa-link-unchecked")
    spa.click("Try again")
    spa.sees_heading("The link could not be checked")
    spa.site.api.start()
    spa.click("Try again")
    spa.sees_page("Finish your account")

    spa.site.api.stop()
    spa.finish()
    spa.sees_alert("The server cannot be reached.")
    spa.site.api.start()
    spa.click("Create account")
    spa.sees_heading("Your account is ready")
