"""What the quickstart and the SPA have in common."""

from __future__ import annotations

from marshmallow import ValidationError, validates_schema
from playwright.sync_api import expect

from flask_rest_registration import DefaultRegisterUserSerializer
from tests.browser.visitor import ACCOUNT, ADDRESS, LONG_ADDRESS, LONG_NAME, PASSWORD, Visitor
from tests.support.links import with_other_character


class OneAccountPerHousehold(DefaultRegisterUserSerializer):
    @validates_schema
    def refuse(self, data: dict[str, object], **_: object) -> None:
        raise ValidationError("Only one account for each household.")


def test_signing_up_with_the_keyboard_alone(visitor: Visitor) -> None:
    page, keyboard = visitor.page, visitor.page.keyboard
    visitor.open()
    keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    keyboard.press("Enter")
    visitor.type_in(email=ADDRESS)
    if visitor.site.name == "spa":
        keyboard.press("Enter")
        visitor.sees_page("Look into your mailbox")
        visitor.tab_to(page.get_by_role("link", name="Use another address"))
        visitor.type_in(code=visitor.site.code)
        visitor.tab_to(page.get_by_role("button", name="Send it again"))
    visitor.type_in(**{**ACCOUNT, "password_confirm": "else"})
    keyboard.press("Enter")
    visitor.sees_error("password_confirm", focused=True)

    keyboard.press("ControlOrMeta+A")
    keyboard.type(PASSWORD)
    visitor.tab_to(page.get_by_role("checkbox", name="Show the passwords"))
    keyboard.press("Space")
    expect(visitor.field("password_confirm")).to_have_attribute("type", "text")
    visitor.tab_to(page.get_by_role("button", name="Create account"))
    keyboard.press("Enter")
    if visitor.site.name == "quickstart":
        visitor.sees_page("Look into your mailbox")
        visitor.tab_to(page.get_by_role("button", name="Send it again"))
        page.goto(visitor.site.link)
        visitor.tab_to(page.get_by_role("button", name="Confirm my address"))
        keyboard.press("Space")
    visitor.sees_page("Your account is ready" if visitor.site.name == "spa" else "Your address is confirmed")
    assert visitor.site.accounts == {ADDRESS: True}


def test_an_error_of_the_whole_stands_above_the_fields(visitor: Visitor) -> None:
    visitor.site.configure(REST_REGISTRATION_REGISTER_SERIALIZER_CLASS=OneAccountPerHousehold)
    if visitor.site.name == "spa":
        visitor.get_mail()
        visitor.finish(code=visitor.site.code)
    else:
        visitor.begin()
    visitor.sees_alert("Only one account for each household.")
    visitor.looks_at(f"{visitor.site.name}-error-of-the-whole")


def test_a_link_that_was_changed_is_not_valid(visitor: Visitor) -> None:
    visitor.get_mail()
    link = visitor.site.link
    visitor.page.goto(with_other_character(link, link.index("signature=") + len("signature=")))
    if visitor.site.name == "quickstart":
        visitor.click("Confirm my address")
    visitor.sees_page("This link is not valid")
    visitor.looks_at(f"{visitor.site.name}-invalid")
    assert True not in visitor.site.accounts.values()


def test_a_link_without_its_values_is_incomplete_and_posts_nothing(visitor: Visitor) -> None:
    posts = visitor.posts()
    visitor.open("/verify-user/?user_id=1&timestamp=1700000000")
    visitor.sees_heading("This link is incomplete")
    visitor.looks_at(f"{visitor.site.name}-incomplete")
    assert posts == []


def test_a_sign_up_is_not_lost_while_the_api_is_down(visitor: Visitor) -> None:
    visitor.open()
    visitor.site.api.stop()
    visitor.send_first_page()
    visitor.sees_alert("The server cannot be reached.")
    expect(visitor.field("email")).to_have_value(ADDRESS)
    visitor.looks_at(f"{visitor.site.name}-unreachable")
    visitor.site.api.start()
    visitor.click("Create account|Continue")
    visitor.sees_heading("Look into your mailbox")


def test_a_sign_up_whose_mail_cannot_be_sent_can_be_repeated_at_once(visitor: Visitor) -> None:
    visitor.site.mailbox.stop()
    visitor.begin()
    visitor.sees_alert("mail")
    assert visitor.site.accounts == {}
    visitor.site.configure()
    visitor.click("Create account|Continue")
    visitor.sees_heading("Look into your mailbox")


def test_a_log_in_leads_to_the_account_and_the_log_out_closes_it(visitor: Visitor) -> None:
    visitor.has_account()
    visitor.open("/account/")
    visitor.sees_heading("Log in")
    expect(visitor.page.get_by_text("Log in to see your account.")).to_be_visible()
    visitor.looks_at(f"{visitor.site.name}-log-in")
    for email, password in ((ADDRESS, "wrong"), ("nobody@example.com", PASSWORD)):
        visitor.log_in(email, password)
        visitor.sees_alert("This address and this password do not belong together.")
        expect(visitor.field("email")).to_have_value(email)
    visitor.looks_at(f"{visitor.site.name}-log-in-refused")

    visitor.log_in(ADDRESS.title())
    visitor.sees_heading("Your account")
    expect(visitor.page).to_have_url(f"{visitor.site.url}/account/")
    expect(visitor.page.get_by_role("main")).to_contain_text(ADDRESS)
    visitor.looks_at(f"{visitor.site.name}-account")
    visitor.page.reload()
    visitor.sees_heading("Your account")
    visitor.open("/log-in/")
    visitor.sees_heading("Your account")

    visitor.click("Log out")
    visitor.sees_heading("Log in")
    expect(visitor.page.get_by_text("You are logged out.")).to_be_visible()
    visitor.page.go_back()
    visitor.open("/account/")
    visitor.sees_heading("Log in")


def test_a_long_address_and_a_long_name_fit_into_each_page(visitor: Visitor) -> None:
    if visitor.site.name == "spa":
        visitor.get_mail(email=LONG_ADDRESS)
        visitor.gets_account(code=visitor.site.code, username=LONG_NAME)
        visitor.follow("Go to your account")
    else:
        visitor.get_mail(email=LONG_ADDRESS, username=LONG_NAME)
        visitor.looks_at("quickstart-long-sent")
        visitor.open("/mailbox/")
        visitor.looks_at("quickstart-long-mailbox")
        visitor.open("/mailbox/1/headers/")
        visitor.looks_at("quickstart-long-mail")
        visitor.open("/log-in/")
        visitor.log_in(LONG_ADDRESS)
        visitor.sees_page("Confirm your address first")
        visitor.looks_at("quickstart-long-not-verified")
        visitor.confirm()
        visitor.sees_page("Your address is confirmed")
        visitor.open("/log-in/")
        visitor.log_in(LONG_ADDRESS)
    visitor.sees_heading("Your account")
    expect(visitor.page.get_by_text(LONG_ADDRESS)).to_be_visible()
    visitor.looks_at(f"{visitor.site.name}-long-account")


def test_what_is_chosen_or_wrong_is_seen_where_the_system_chooses_the_colours(visitor: Visitor) -> None:
    page = visitor.page
    visitor.begin(email="ada@")
    visitor.sees_error("email")
    page.emulate_media(forced_colors="active")
    background = "element => getComputedStyle(element).backgroundColor"
    chosen, *others = [each.evaluate(background) for each in page.locator(".bar nav a, .languages button").all()]
    assert chosen not in others
    expect(visitor.field("email")).to_have_css("border-top-width", "3px")


def test_the_first_page_and_the_log_in_lead_to_each_other(visitor: Visitor) -> None:
    visitor.open()
    visitor.follow("Log in")
    visitor.sees_heading("Log in")
    visitor.follow("Sign up")
    visitor.sees_heading("Create your account")


def test_password_managers_know_the_fields_of_the_log_in(visitor: Visitor) -> None:
    visitor.open("/log-in/")
    for name, kind in (("email", "username"), ("password", "current-password")):
        expect(visitor.field(name)).to_have_attribute("autocomplete", kind)
