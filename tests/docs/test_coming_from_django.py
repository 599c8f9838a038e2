"""The page for those who come from django-rest-registration, held against the real one."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import partial
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from flask import session
from marshmallow import Schema
from werkzeug.security import check_password_hash

from flask_rest_registration import ConfigurationError, exceptions
from flask_rest_registration.settings.definitions import describe_settings
from tests.support import django_project
from tests.support.apps import PASSWORD, Builder
from tests.support.clock import Clock
from tests.support.django_project import Site
from tests.support.links import text_of, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.pages import DOCS, texts

pytestmark = pytest.mark.programs

PAGE = DOCS / "coming_from_django.rst"
PAGE_OF_LINK = "https://frontend.example/verify-user/"
TEMPLATES = {
    "subject.txt": "To {{ user.username }}",
    "body.txt": "{{ email }}/{{ user_address }}/{{ verification_url|safe }}",
    "body.html": "<html><body><p>Go <a href='{{ verification_url }}'>here</a></p></body></html>",
}
SUBJECT, BODY, HTML = TEMPLATES
LINK = "user_id=&timestamp=&signature="
A = "https://a.example/"


class Case(NamedTuple):
    """What a row or a paragraph of the page says, as something that both are asked.

    :param ask: asks, and returns what came of it.
    :param there: what comes of it with django-rest-registration.
    :param here: what comes of it with this package.
    :param settings: those of both.
    """

    ask: Callable[[Site], object]
    there: object
    here: object
    settings: Mapping[str, object]


def different(ask: Callable[[Site], object], there: object, here: object, **settings: object) -> Case:
    return Case(ask, there, here, settings)


def same(ask: Callable[[Site], object], outcome: object, **settings: object) -> Case:
    return Case(ask, outcome, outcome, settings)


def templates(**names: object) -> dict[str, object]:
    return {"REGISTER_VERIFICATION_EMAIL_TEMPLATES": names}


def status(site: Site) -> int:
    return site.register()[0]


def sign_up(**body: object) -> Callable[[Site], tuple[int, list[str]]]:
    """Return what asks for the status and the fields at fault."""

    def ask(site: Site) -> tuple[int, list[str]]:
        status, answer = site.register(**body)
        return status, sorted(set(answer.get("errors", answer)) - {"non_field_errors"}) if status == 400 else []

    return ask


def stores(**body: object) -> Callable[[Site], bool]:
    """Return what asks whether a sign-up stores a field."""

    def ask(site: Site) -> bool:
        site.register(**body)
        return any(row.items() >= body.items() for row in site.rows())

    return ask


def shown(site: Site) -> list[str]:
    return sorted(site.register()[1])


def recipient(site: Site) -> str:
    assert site.register(username="bob@example.com")[0] == 201
    return str(site.mails()[0]["To"])


def id_in_link(site: Site) -> str:
    return values_of(site.signed_up().link)["user_id"]


def flags(site: Site, name: str = "is_active") -> list[bool]:
    """Return the flag after the sign-up and after the verification."""
    before = bool(site.signed_up().rows()[0][name])
    site.verify()
    return [before, bool(site.rows()[0][name])]


def staff_without_verification(site: Site) -> object:
    return site.signed_up().rows()[0]["is_staff"]


def three_uses(site: Site) -> list[int]:
    """Use a link, use it again, and once more after the application has cleared the flag."""
    answers = [site.signed_up().verify()[0], site.verify()[0]]
    site.change(is_active=False)
    return [*answers, site.verify()[0]]


def after_change_of_address(site: Site) -> int:
    site.signed_up().change(email="new@example.com")
    return site.verify()[0]


def hides_who_is_gone(site: Site) -> bool:
    untrue = site.signed_up().verify(signature="x" * 43)
    site.delete()
    return site.verify() == untrue


def uses_at_the_end_of_an_hour(site: Site) -> list[int]:
    site.register()
    answers = []
    for seconds in (3600, 1):
        site.clock.move(seconds)
        answers.append(site.verify()[0])
    return answers


def link(site: Site) -> str:
    """Return the link without its values."""
    return re.sub(r"=(?:\d+|[\w-]{43})(?=&|#|$)", "=", site.signed_up().link)


def mail(site: Site) -> tuple[str, bool]:
    """Return the mail's subject, and whether it has HTML."""
    (sent,) = site.signed_up().mails()
    return str(sent["Subject"]), bool(sent.get_body(("html",)))


def text(site: Site) -> str:
    (sent,) = site.signed_up().mails()
    return text_of(sent).strip().replace(site.link, "URL")


def header(name: str) -> Callable[[Site], str]:
    return lambda site: str(site.signed_up().mails()[0][name])


def log_ins(site: Site) -> list[bool]:
    """Return which of two uses of a link log in."""
    site.register()
    return [site.verify()[0] == 200 and site.has_set_cookie for _ in range(2)]


def hook(result: Callable[..., object] = lambda *_: None) -> Callable[..., object]:
    """Make a hook that notes how it is called: with how many arguments by position, and with which by name."""

    def noting(*args: object, **kwargs: object) -> object:
        CALLS.append((len(args), sorted(kwargs)))
        return result(*args)

    return noting


CALLS: list[tuple[int, list[str]]] = []


def call(site: Site) -> tuple[int, list[str]]:
    CALLS.clear()
    site.register()
    return CALLS[0]


def build_url(signer: Any) -> str:
    """Tell in the link what a builder is given."""
    values = signer.get_signed_data()
    kinds = "-".join(sorted({type(value).__name__ for value in values.values()}))
    return f"{signer.get_base_url()}?{urlencode({**values, 'kinds': kinds, 'request': hasattr(signer, 'request')})}"


def told_by_link(site: Site) -> tuple[str, str, int]:
    query = dict(parse_qsl(urlsplit(site.signed_up().link).query))
    return query["kinds"], query["request"], site.verify()[0]


def link_alone(html: str) -> str:
    return unescape(html.partition("href='")[2].partition("'")[0])


def fail(request: object, user: object) -> None:
    raise OSError("no mail today")


def set_session(request: object, user: Any) -> None:
    session["user"] = user.id


def default(site: Site, name: str) -> Any:
    return {setting.name: setting.default for setting in describe_settings()}[name] if site.is_here else theirs()[name]


def theirs() -> dict[str, Any]:
    django_project.configure()
    return dict(importlib.import_module("rest_registration.settings").DEFAULTS)


def has_create(name: str) -> Callable[[Site], bool]:
    def ask(site: Site) -> bool:
        module, _, attribute = default(site, name).rpartition(".")
        serializer = getattr(importlib.import_module(module), attribute)
        assert issubclass(serializer, Schema) == site.is_here
        return hasattr(serializer, "create")

    return ask


def hides_privileges(site: Site) -> bool:
    return {"role", "is_admin"} <= set(default(site, "USER_HIDDEN_FIELDS"))


def from_signer(site: Site) -> int:
    """Use a link that code of one's own has made."""
    signer = site.signed_up().signer()
    assert signer.get_url().startswith(signer.get_base_url())
    return site.post("verify-registration/", signer.get_signed_data())[0]


def again(site: Site) -> list[int]:
    site.signed_up().send_again()
    return [len(site.mails()), site.verify()[0]]


def opens_without_blanks(site: Site) -> list[bool]:
    """Sign up with blanks around the password; return whether it logs in without and with them."""
    assert site.register(password=f" {PASSWORD} ")[0] == 201
    return [site.opens(PASSWORD), site.opens(f" {PASSWORD} ")]


def rows_without_mail(site: Site) -> list[object]:
    assert site.register()[0] >= 500
    return list(site.rows())


def activations(site: Site) -> list[str]:
    site.signed_up().verify()
    site.verify()
    return [getattr(sender, "__name__", type(sender).__name__) for sender in site.activations]


#: By what the page calls them: the first name in the left column of a row, or the bold words of a paragraph.
CASES: dict[str, list[Case]] = {
    "register/": [
        same(status, 201),
        different(lambda site: site.post("register", site.body())[0], 404, 201),
        different(lambda site: site.post("register/", site.body(), form=True)[0], 201, 415),
    ],
    "verify-registration/": [
        same(link, f"{PAGE_OF_LINK}?{LINK}"),
        same(lambda site: site.signed_up().verify(utm_source="mail"), (200, {"detail": "User verified successfully"})),
        same(lambda site: site.signed_up().verify(user_id=1, timestamp=site.clock())[0], 200),
    ],
    "send_register_verification_email_notification(request, user)": [same(again, [2, 200])],
    "USER_HIDDEN_FIELDS": [
        same(stores(is_staff=True), False),
        same(stores(last_name="Lee"), False, USER_HIDDEN_FIELDS=["last_name", "is_active"]),
        different(hides_privileges, False, True),
        different(stores(is_staff=True), False, True, USER_EDITABLE_FIELDS=["username", "is_staff"]),
    ],
    "USER_PUBLIC_FIELDS": [
        different(stores(last_name="Lee"), True, False, USER_PUBLIC_FIELDS=["last_name", "username"]),
        different(
            shown,
            ["email", "last_name", "username"],
            ["last_name", "username"],
            USER_PUBLIC_FIELDS=["last_name", "username"],
        ),
    ],
    "USER_EDITABLE_FIELDS": [
        same(stores(last_name="Lee"), True, USER_EDITABLE_FIELDS=["username", "last_name"]),
        different(stores(last_name="Lee"), True, False, USER_EDITABLE_FIELDS=["username"]),
    ],
    "USER_EMAIL_FIELD": [
        different(lambda site: site.signed_up().register(username="bob")[0], 201, 400),
        different(recipient, "ann@example.com", "bob@example.com", USER_EMAIL_FIELD="username"),
    ],
    "USER_VERIFICATION_ID_FIELD": [
        same(id_in_link, "1"),
        same(id_in_link, "ann", USER_VERIFICATION_ID_FIELD="username"),
        different(id_in_link, "1", ConfigurationError, USER_VERIFICATION_ID_FIELD="pk"),
    ],
    "USER_VERIFICATION_FLAG_FIELD": [
        same(flags, [False, True]),
        same(partial(flags, name="is_staff"), [False, True], USER_VERIFICATION_FLAG_FIELD="is_staff"),
        different(status, 500, 201, USER_VERIFICATION_FLAG_FIELD="last_login"),
    ],
    "REGISTER_FLOW_ENABLED": [
        same(status, 404, REGISTER_FLOW_ENABLED=False),
        same(lambda site: site.post("verify-registration/", {})[0], 400, REGISTER_FLOW_ENABLED=False),
    ],
    "REGISTER_SERIALIZER_CLASS": [different(has_create("REGISTER_SERIALIZER_CLASS"), True, False)],
    "REGISTER_SERIALIZER_PASSWORD_CONFIRM": [
        same(sign_up(password_confirm=None), (400, ["password_confirm"])),
        same(sign_up(password_confirm="x"), (400, ["password_confirm"])),
        same(sign_up(password_confirm=None), (201, []), REGISTER_SERIALIZER_PASSWORD_CONFIRM=False),
    ],
    "REGISTER_OUTPUT_SERIALIZER_CLASS": [different(has_create("REGISTER_OUTPUT_SERIALIZER_CLASS"), True, False)],
    "REGISTER_VERIFICATION_ENABLED": [
        same(lambda site: len(site.signed_up().mails()), 0, REGISTER_VERIFICATION_ENABLED=False),
        same(lambda site: site.post("verify-registration/", {})[0], 404, REGISTER_VERIFICATION_ENABLED=False),
        different(
            staff_without_verification,
            False,
            True,
            REGISTER_VERIFICATION_ENABLED=False,
            USER_VERIFICATION_FLAG_FIELD="is_staff",
        ),
    ],
    "REGISTER_VERIFICATION_EMAIL_SENDER": [
        same(call, (2, []), REGISTER_VERIFICATION_EMAIL_SENDER=hook()),
        different(status, 500, 503, REGISTER_VERIFICATION_EMAIL_SENDER=fail),
    ],
    "REGISTER_VERIFICATION_PERIOD": [
        same(uses_at_the_end_of_an_hour, [200, 400], REGISTER_VERIFICATION_PERIOD=timedelta(hours=1)),
        different(uses_at_the_end_of_an_hour, [500, 500], [200, 400], REGISTER_VERIFICATION_PERIOD=3600),
    ],
    "REGISTER_VERIFICATION_URL": [
        different(link, f"http://testserver/a/?{LINK}", ConfigurationError, REGISTER_VERIFICATION_URL="/a/"),
        different(link, f"{A}?b=c?{LINK}", f"{A}?b=c&{LINK}", REGISTER_VERIFICATION_URL=f"{A}?b=c"),
        different(link, f"{A}#/b?{LINK}", f"{A}?{LINK}#/b", REGISTER_VERIFICATION_URL=f"{A}#/b"),
    ],
    "REGISTER_VERIFICATION_ONE_TIME_USE": [
        same(three_uses, [200, 200, 200]),
        same(three_uses, [200, 400, 200], REGISTER_VERIFICATION_ONE_TIME_USE=True),
    ],
    "REGISTER_VERIFICATION_EMAIL_TEMPLATES": [
        same(mail, ("To ann", False), **templates(subject=SUBJECT, body=BODY)),
        same(mail, ("To ann", False), **templates(subject=SUBJECT, text_body=BODY)),
        same(mail, ("To ann", True), **templates(subject=SUBJECT, text_body=BODY, html_body=HTML)),
        same(mail, ("To ann", True), **templates(subject=SUBJECT, html_body=HTML)),
        different(mail, ("To ann", True), ConfigurationError, **templates(subject=SUBJECT, body=HTML, is_html=True)),
        different(status, 500, 201, **templates(body=BODY)),
        different(lambda site: mail(site)[1], False, True),
    ],
    "REGISTER_VERIFICATION_AUTO_LOGIN": [
        different(
            log_ins, [True, True], [True, False], REGISTER_VERIFICATION_AUTO_LOGIN=True, LOGIN_HANDLER=set_session
        )
    ],
    "VERIFICATION_FROM_EMAIL": [
        same(header("From"), "a@a.example", VERIFICATION_FROM_EMAIL="a@a.example"),
        different(header("From"), "", "A <a@a.example>", VERIFICATION_FROM_EMAIL=("A", "a@a.example")),
    ],
    "VERIFICATION_REPLY_TO_EMAIL": [
        same(header("Reply-To"), "no-reply@app.example"),
        same(header("Reply-To"), "b@b.example", VERIFICATION_REPLY_TO_EMAIL="b@b.example"),
    ],
    "VERIFICATION_EMAIL_HTML_TO_TEXT_CONVERTER": [
        same(
            text,
            "URL",
            VERIFICATION_EMAIL_HTML_TO_TEXT_CONVERTER=link_alone,
            **templates(subject=SUBJECT, html_body=HTML),
        ),
        different(text, "Go here (URL)", "Go here <URL>", **templates(subject=SUBJECT, html_body=HTML)),
    ],
    "VERIFICATION_URL_BUILDER": [
        different(told_by_link, ("int-str", "True", 200), ("str", "False", 200), VERIFICATION_URL_BUILDER=build_url)
    ],
    "VERIFICATION_TEMPLATE_CONTEXT_BUILDER": [
        different(
            call,
            (3, ["notification_method", "notification_type"]),
            (3, []),
            VERIFICATION_TEMPLATE_CONTEXT_BUILDER=hook(lambda *args: args[2]),
        ),
        different(text, "ann@example.com//URL", "/ann@example.com/URL", **templates(subject=SUBJECT, body=BODY)),
    ],
    "VERIFICATION_TEMPLATES_SELECTOR": [
        different(
            call,
            (0, ["notification_method", "notification_type", "request", "user"]),
            (2, []),
            VERIFICATION_TEMPLATES_SELECTOR=hook(lambda *_: {}),
        ),
        different(status, 500, 201, VERIFICATION_TEMPLATES_SELECTOR=hook(lambda *_: {})),
    ],
    "AUTH_PASSWORD_VALIDATORS": [
        different(sign_up(password="48120937715602"), (400, ["password"]), (201, [])),
        different(sign_up(password="violet-anchor" * 10), (400, ["password"]), (201, [])),
        different(sign_up(password="summer2024!"), (201, []), (400, ["password"])),
    ],
    'RegisterSigner({"user_id": user.pk}, request=request)': [same(from_signer, 200)],
    "user_registered": [different(activations, ["VerifyRegistrationView"] * 2, ["Flask"])],
    "Unknown fields": [different(sign_up(colour="red"), (201, []), (400, ["colour"]))],
    "Optional columns": [
        different(stores(last_name="Lee"), True, False),
        different(shown, ["email", "first_name", "id", "last_name", "username"], ["email", "id", "username"]),
    ],
    "The address": [
        different(sign_up(email=None), (400, ["detail"]), (400, ["email"])),
        different(stores(email="Ann@example.com"), True, False),
    ],
    "Passwords": [
        different(opens_without_blanks, [True, False], [False, True]),
        same(lambda site: site.register(username=" ann ", email=" ann@example.com ")[1]["username"], "ann"),
    ],
    "A mail that fails": [same(rows_without_mail, [], REGISTER_VERIFICATION_EMAIL_SENDER=fail)],
    "Refusals": [
        different(lambda site: sorted(site.signed_up().verify(signature="x")[1]), ["detail"], ["code", "detail"]),
        different(lambda site: sorted(site.register(username=None)[1]), ["username"], ["code", "detail", "errors"]),
    ],
    "The link": [different(after_change_of_address, 200, 400), different(hides_who_is_gone, False, True)],
    "Faults of settings": [
        different(status, 201, ConfigurationError, REGISTER_VERIFICATION_PERIODE=1),
        different(status, 500, ConfigurationError, REGISTER_VERIFICATION_URL=None),
    ],
}

#: The rows that tell names alone.
NAMES = {
    "login/",
    "rest_registration.contrib.verification_redirects",
    "proving the address before there is an account: not there",
    "VERIFICATION_TEMPLATE_RENDERER",
    "LOGIN_AUTHENTICATE_SESSION",
    "PASSWORD_HASHERS",
    "AUTH_USER_MODEL",
    "USER_LOGIN_FIELDS",
    "DefaultRegisterUserSerializer",
    "SignatureExpired",
    "manage.py check",
}
#: The paragraphs that have a test of their own.
TOLD_BELOW = {"Hashes", "Links of the old application"}


Open = Callable[..., Site]


@pytest.fixture
def open_site(
    build: Builder, smtp: RecordingServer, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Open]:
    """Start the one or the other with some settings; both have the same templates, and one clock."""
    django_project.configure()
    monkeypatch.setattr("rest_registration.utils.signers.get_current_timestamp", clock)
    (tmp_path / django_project.TEMPLATES).mkdir()
    for name, template in TEMPLATES.items():
        (tmp_path / django_project.TEMPLATES / name).write_text(template, encoding="utf-8")
    with ExitStack() as stack:

        def start(is_here: bool, settings: Mapping[str, object]) -> Site:
            here = partial(django_project.here, build=build, smtp=smtp)
            opened = (here if is_here else django_project.there)(settings, folder=tmp_path, clock=clock)
            return stack.enter_context(opened)

        yield start


ALL_CASES = [pytest.param(case, id=f"{name}-{n}") for name, cases in CASES.items() for n, case in enumerate(cases)]


@pytest.mark.slow
@pytest.mark.parametrize("is_here", [False, True], ids=["there", "here"])
@pytest.mark.parametrize("case", ALL_CASES)
def test_both_do_what_the_page_says(open_site: Open, case: Case, is_here: bool) -> None:
    try:
        outcome = case.ask(open_site(is_here, case.settings))
    except ConfigurationError:
        outcome = ConfigurationError
    assert outcome == (case.here if is_here else case.there)


def rows() -> dict[str, tuple[list[str], str]]:
    """Return the rows of the page by the first name at their left: all names there, and what stands at the right."""
    found = {}
    for row in re.findall(
        r"^   \* - (.*\n(?:       .*\n)*)     - (.*\n(?:       .*\n)*)", PAGE.read_text("utf-8"), re.MULTILINE
    ):
        left, right = (" ".join(cell.split()) for cell in row)
        names = re.findall("``(.+?)``", left)
        found[names[0] if names else left] = names, right
    del found["django-rest-registration"]
    return found


def test_each_row_and_paragraph_of_the_page_is_held_by_a_case() -> None:
    paragraphs = set(re.findall(r"^\* \*\*(.+?)\*\*", PAGE.read_text("utf-8"), re.MULTILINE))
    assert rows().keys() | paragraphs == CASES.keys() | NAMES | TOLD_BELOW
    assert not CASES.keys() & (NAMES | TOLD_BELOW)


def test_the_page_says_the_same_only_where_it_is() -> None:
    ours = {setting.name: setting.default for setting in describe_settings()}
    for name, (_, right) in rows().items():
        differs = any(case.here != case.there for case in CASES.get(name, []))
        assert not (differs and right == "the same"), name
        if right.startswith("the same") and "default" not in right and name in theirs():
            assert str(ours[name]).rpartition(".")[2] == str(theirs()[name]).rpartition(".")[2], name
        elif name in CASES and not right.startswith("the same"):
            assert differs or right.endswith("as before"), name


def test_each_setting_of_theirs_is_a_row_and_each_row_is_one_of_theirs() -> None:
    of_django = {"AUTH_PASSWORD_VALIDATORS", "PASSWORD_HASHERS", "AUTH_USER_MODEL"}
    assert of_django <= vars(importlib.import_module("django.conf.global_settings")).keys()
    known = of_django | theirs().keys()
    named = [name for names, _ in rows().values() for name in names if re.fullmatch(r"[A-Z_]+\*?", name)]
    meant = {name: {each for each in known if fnmatchcase(each, name)} for name in named}
    assert [name for name, found in meant.items() if not found] == []
    assert known - set().union(*meant.values()) == set()


def test_the_other_names_of_the_page_are_those_of_the_two_packages() -> None:
    django_project.configure()
    urls = importlib.import_module("rest_registration.api.urls").urlpatterns
    named = [name for names, _ in rows().values() for name in names if name.endswith("/")]
    assert sorted(named) == sorted(str(url.pattern) for url in urls)
    importlib.import_module("rest_registration.contrib.verification_redirects")
    serializers = importlib.import_module("rest_registration.api.serializers")
    assert [name for name in rows()["DefaultRegisterUserSerializer"][0] if not hasattr(serializers, name)] == []
    refusals = importlib.import_module("rest_registration.exceptions")
    for name in rows()["SignatureExpired"][0]:
        assert getattr(refusals, name).default_code == getattr(exceptions, name).code


def test_hashes_of_django_are_read_after_what_the_page_does_to_them() -> None:
    django_project.configure()
    shown: dict[str, Any] = {}
    exec(texts(PAGE, "python")[-1], shown)
    hashers = importlib.import_module("django.contrib.auth.hashers")
    default = importlib.import_module("django.conf.global_settings").PASSWORD_HASHERS[0]
    assert default.rpartition(".")[2] == "PBKDF2PasswordHasher"
    stored = hashers.PBKDF2PasswordHasher().encode(PASSWORD, "salt", iterations=1000)
    with pytest.raises(ValueError, match="pbkdf2_sha256"):
        check_password_hash(stored, PASSWORD)
    assert check_password_hash(shown["to_werkzeug"](stored), PASSWORD)
    assert not check_password_hash(shown["to_werkzeug"](stored), f"{PASSWORD}x")
    with pytest.raises(ValueError, match="argon2"):
        shown["to_werkzeug"]("argon2$argon2id$v=19$m=102400,t=2,p=8")


def test_a_link_of_the_old_application_is_not_valid_here(open_site: Open) -> None:
    old, new = (open_site(is_here, {}).signed_up() for is_here in (False, True))
    sent = values_of(old.link)
    assert sent["user_id"] == values_of(new.link)["user_id"]
    assert new.post("verify-registration/", sent)[1]["code"] == "signature-invalid"
