"""Texts for people: complete catalogues, and the language that Flask-Babel chooses."""

from __future__ import annotations

import enum
import logging
import re
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import pytest
import zxcvbn_rs_py
from babel import Locale
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.plurals import get_plural
from flask import Flask, request
from flask_babel import Babel
from flask_sqlalchemy import SQLAlchemy
from marshmallow import ValidationError, validates
from sqlalchemy import (
    Boolean,
    Column,
    Date,
    DateTime,
    Enum,
    Float,
    Interval,
    Numeric,
    SmallInteger,
    String,
    Time,
    Uuid,
)
from sqlalchemy.orm import mapped_column

from flask_rest_registration import (
    ConfigurationError,
    DefaultRegisterUserSerializer,
    send_register_verification_email_notification,
)
from flask_rest_registration.passwords import validate_length
from tests.support import models
from tests.support.apps import OMITTED, PASSWORD, Builder, Built
from tests.support.links import html_of, text_of
from tests.support.mail_servers import RecordingServer
from tests.support.messages import lacking
from tools import catalogues
from tools.catalogues import LANGUAGES, strings_of

# The catalogues


@pytest.fixture(scope="module", params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def catalogue(language: str) -> Catalog:
    return catalogues.read(language)


@pytest.fixture(scope="module")
def source() -> Catalog:
    return catalogues.extracted()


def texts(catalogue: Catalog) -> dict[Any, tuple[str, ...]]:
    return {message.id: strings_of(message.string) for message in catalogue if message.id}


def test_the_source_has_texts_of_all_kinds(source: Catalog) -> None:
    found = texts(source)
    assert "The link is not valid." in found  # of an exception
    assert "Confirm my address" in found  # of a template
    assert any(isinstance(text, tuple) for text in found)  # with a number


def test_a_catalogue_has_exactly_the_texts_of_the_source_all_translated(catalogue: Catalog, source: Catalog) -> None:
    found = texts(catalogue)
    assert found.keys() == texts(source).keys()
    assert [text for text, strings in found.items() if not all(strings)] == []
    assert [message.id for message in catalogue if message.id and message.fuzzy] == []
    assert catalogue.obsolete == {}


def test_a_translation_has_the_placeholders_of_its_text(catalogue: Catalog) -> None:
    wrong = []
    for text, strings in texts(catalogue).items():
        expected = placeholders(text[-1] if isinstance(text, tuple) else text)
        wrong += [string for string in strings if placeholders(string) != expected]
    assert wrong == []


def placeholders(text: str) -> list[str]:
    """Return what ``%`` stands before, so that a lost letter or bracket shows as well."""
    return sorted(re.findall(r"%(?:\(\w*\)\w|.|$)", text))


def test_a_catalogue_has_every_plural_form_of_its_language(catalogue: Catalog, language: str) -> None:
    rule = get_plural(language)
    assert (catalogue.num_plurals, catalogue.plural_expr) == (rule.num_plurals, rule.plural_expr)
    counts = {len(strings) for text, strings in texts(catalogue).items() if isinstance(text, tuple)}
    assert counts == {rule.num_plurals}


def test_the_compiled_catalogue_is_that_of_the_source(catalogue: Catalog, language: str) -> None:
    assert catalogues.path_of(language, ".mo").read_bytes() == catalogues.compiled(catalogue)


def test_a_catalogue_says_its_own_tag_and_direction(catalogue: Catalog, language: str) -> None:
    found = texts(catalogue)
    assert found["en"] == (language.replace("_", "-"),)
    assert found["ltr"] == (Locale.parse(language).text_direction,)


def test_there_is_a_catalogue_for_each_language_and_no_other() -> None:
    assert {path.parents[1].name for path in catalogues.FOLDER.rglob("*.po")} == set(LANGUAGES)


def said(language: str, text: str, **variables: object) -> str:
    """Return a text as a catalogue has it."""
    return strings_of(catalogues.read(language)[text].string)[0] % variables


# The language of an answer

Before = Callable[[Flask], None]


def by_header(app: Flask) -> None:
    """Let the request's Accept-Language decide, as applications do."""
    Babel(app, locale_selector=lambda: request.accept_languages.best_match([*LANGUAGES, "en"], default="en"))


def always(locale: str, **config: object) -> Before:
    """Give an application one language."""

    def before_init(app: Flask) -> None:
        app.config.update(config)
        Babel(app, locale_selector=lambda: locale)

    return before_init


def details(built: Built, **headers: str) -> str:
    """Follow a link that is not true, and return what people are told."""
    sent = {"user_id": "1", "timestamp": "1", "signature": "x"}
    answer = built.post("verify-registration/", sent, headers=headers)
    assert answer.get_json()["code"] == "signature-invalid"
    return str(answer.get_json()["detail"])


def test_the_requests_language_decides(build: Builder) -> None:
    built = build(before_init=by_header)
    told = [details(built, **{"Accept-Language": name}) for name in ("de", "ja", "en", "de")]
    text = "The link is not valid."
    assert told == [said("de", text), said("ja", text), text, said("de", text)]


def test_without_flask_babel_everything_is_english(build: Builder) -> None:
    assert details(build(), **{"Accept-Language": "de"}) == "The link is not valid."


@pytest.mark.parametrize(
    ("locale", "read"),
    [
        *(("de_AT", "de"), ("pt_BR", "pt_BR"), ("pt", "pt_BR"), ("pt_PT", "pt_BR")),
        *(("zh", "zh_Hans"), ("zh_CN", "zh_Hans"), ("zh_Hans", "zh_Hans"), ("zh_Hans_SG", "zh_Hans")),
        *(("zh_TW", None), ("zh_Hant", None), ("sv", None), ("en_GB", None)),
    ],
)
def test_a_region_reads_the_catalogue_of_its_language(build: Builder, locale: str, read: str | None) -> None:
    text = "The link is not valid."
    assert details(build(before_init=always(locale))) == (said(read, text) if read else text)


def test_two_apps_in_one_process_have_their_languages(build: Builder) -> None:
    german, polish = build(before_init=always("de")), build(before_init=always("pl"))
    text = "The link is not valid."
    assert [details(built) for built in (german, polish, german)] == [said(name, text) for name in ("de", "pl", "de")]


class Colour(enum.Enum):
    RED = "red"


COLUMNS: dict[str, Any] = {
    "flag": Boolean(),
    "count": SmallInteger(),
    "ratio": Float(),
    "price": Numeric(),
    "day": Date(),
    "moment": DateTime(),
    "hour": Time(),
    "period": Interval(),
    "code": Uuid(),
    "colour": Enum(Colour),
    "size": Enum("small", "large", name="size"),
    "tag": String(3),
}

#: What the default serializers refuse, each for a reason of its own.
REFUSED: list[dict[str, object]] = [
    {"email": OMITTED, "password": None, "surprise": 1},
    {"email": 5, "password": "", **dict.fromkeys(COLUMNS, "no such value")},
    {"email": "nobody", "password_confirm": "another", **{name: [] for name in COLUMNS}},
    {"count": 2**15, "ratio": "1e400", "price": "nan", "period": 10**300, "moment": "0001-01-01T00:00:00"},
    {"count": 10**400, "flag": None, "tag": "four"},
    {"username": " "},
    {"username": "x" * 3000},
    {"password": "short"},
    {"password": "x" * 300},
    {"password": "password"},
    {"password_confirm": "another"},
    {"email": "taken@example.com"},
]


def reported(build: Builder, before_init: Before | None) -> list[str]:
    """Send everything that is refused, and return the texts in their order."""
    nullable = {name: Column(kind, nullable=True) for name, kind in COLUMNS.items()}
    model = models.declared(username=Column(String(80), unique=True, nullable=False), **nullable)
    registration = {"USER_EDITABLE_FIELDS": ["username", *COLUMNS]}
    built = build(model, registration=registration, before_init=before_init)
    assert built.register(email="taken@example.com").status_code == 201
    found = []
    for changes in REFUSED:
        answer = built.register(**{"username": "bob", **changes})
        assert answer.status_code == 400, changes
        found.append(answer.get_json()["detail"])
        found += [f"{name}: {text}" for name, texts in sorted(answer.get_json()["errors"].items()) for text in texts]
    return found


def test_every_text_that_the_default_serializers_report_is_translated(build: Builder) -> None:
    english, german = reported(build, None), reported(build, always("de"))
    assert len(english) == len(german) > 40
    assert [each for each, other in zip(english, german, strict=True) if each == other] == []


def test_what_marshmallow_filled_in_stands_in_the_translation(build: Builder) -> None:
    settings = {"USER_EDITABLE_FIELDS": ["tag", "count", "size"]}
    columns = {name: Column(COLUMNS[name], nullable=True) for name in ("tag", "count", "size")}
    built = build(models.declared(**columns), registration=settings, before_init=always("fr"))
    errors = built.register(tag="four", count=2**15, size="huge").get_json()["errors"]
    within = said(
        "fr",
        "Must be greater than or equal to %(min)s and less than or equal to %(max)s.",
        min=-(2**15),
        max=2**15 - 1,
    )
    assert errors == {
        "tag": [said("fr", "Longer than maximum length %(max)s.", max=3)],
        "count": [within],
        "size": [said("fr", "Must be one of: %(choices)s.", choices="small, large")],
    }


def test_a_text_of_the_applications_own_schema_stays_as_it_is(build: Builder) -> None:
    class Serializer(DefaultRegisterUserSerializer):
        @validates("username")
        def check(self, value: str, **_: object) -> None:
            raise ValidationError("Frag den Admin.")

    built = build(registration={"REGISTER_SERIALIZER_CLASS": Serializer}, before_init=always("de"))
    assert built.register().get_json()["errors"] == {"username": ["Frag den Admin."]}


@pytest.mark.parametrize("kind", [zxcvbn_rs_py.Warning, zxcvbn_rs_py.Suggestion], ids=lambda kind: kind.__name__)
def test_all_advice_of_zxcvbn_is_in_the_catalogues(source: Catalog, kind: type[Any]) -> None:
    advice = {str(getattr(kind, name)) for name in vars(kind) if not name.startswith("_")}
    assert advice
    assert advice - texts(source).keys() == set()


def test_numbers_take_the_form_of_the_language(build: Builder) -> None:
    built = build(before_init=always("pl"))
    errors = built.register(password="short").get_json()["errors"]["password"]
    forms = catalogues.read("pl")["This password is too short: it needs at least %(count)s character."].string
    assert errors[0] == strings_of(forms)[2] % {"count": 8}  # 8 is neither one nor few
    assert len(set(strings_of(forms))) == 3


def test_outside_an_app_a_validator_speaks_english() -> None:
    with pytest.raises(ValidationError, match="it needs at least 8 characters"):
        validate_length("short", {})


# The language of a mail


def test_the_mail_is_in_the_requests_language(build: Builder, smtp: RecordingServer) -> None:
    built = build(before_init=by_header)
    answer = built.post("register/", built.body(), headers={"Accept-Language": "es"})
    assert answer.status_code == 201
    message = smtp.messages.pop()
    assert message["Subject"] == said("es", "Confirm your e-mail address for %(site)s", site="frontend.example")
    assert said("es", "Hello,") in text_of(message)
    assert said("es", "Confirm my address") in html_of(message)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_html_says_its_language_and_the_direction_that_it_is_written_in(
    build: Builder, smtp: RecordingServer, language: str
) -> None:
    built = build(before_init=always(language))
    assert built.register().status_code == 201
    tag, direction = language.replace("_", "-"), Locale.parse(language).text_direction
    message = smtp.messages.pop()
    html = html_of(message)
    assert f'<html lang="{tag}" dir="{direction}">' in html
    assert f"<title>{escape(message['Subject'])}</title>" in html
    assert "text-align:left" not in html.replace(" ", "")
    assert 'dir="ltr" href=' in html  # the address of the page, whatever surrounds it


def test_an_english_mail_says_so(build: Builder, smtp: RecordingServer) -> None:
    assert build().register().status_code == 201
    assert '<html lang="en" dir="ltr">' in html_of(smtp.messages.pop())


def speaking(db: SQLAlchemy) -> type[Any]:
    user: type[Any] = models.typed(db)
    user.locale = mapped_column(String(20), nullable=True)
    return user


def own_locale(_: object, user: Any) -> str | None:
    locale: str | None = user.locale
    return locale


USERS_LOCALE = {"USER_EDITABLE_FIELDS": ["username", "locale"], "VERIFICATION_LOCALE_SELECTOR": own_locale}


@pytest.mark.parametrize(
    ("locale", "read"), [("ko", "ko"), ("pt-BR", "pt_BR"), (None, "de"), ("no locale", "de"), ("tlh", "de")]
)
def test_the_users_language_wins_over_the_requests_where_it_is_one(
    build: Builder, smtp: RecordingServer, locale: str | None, read: str
) -> None:
    built = build(speaking, registration=USERS_LOCALE, before_init=always("de"))
    answer = built.register(locale=locale, password_confirm=PASSWORD)
    assert answer.status_code == 201
    assert said(read, "Hello,") in text_of(smtp.messages.pop())
    assert details(built) == said("de", "The link is not valid.")


def test_a_script_which_has_no_request_speaks_the_default_language(build: Builder, smtp: RecordingServer) -> None:
    def before_init(app: Flask) -> None:
        Babel(app, default_locale="nl", locale_selector=lambda: request.accept_languages.best_match(["de"]))

    built = build(before_init=before_init)
    with built.app.app_context():
        user = built.User(email="ann@example.com", username="ann", password_hash="h")
        built.db.session.add(user)
        built.db.session.commit()
        send_register_verification_email_notification(None, user)
    assert said("nl", "Hello,") in text_of(smtp.messages.pop())


def test_a_selector_that_fails_in_a_request_is_not_passed_over(build: Builder) -> None:
    def fail() -> str:
        raise RuntimeError("a mistake")

    def before_init(app: Flask) -> None:
        Babel(app, locale_selector=fail)

    built = build(before_init=before_init)
    with pytest.raises(RuntimeError, match="a mistake"):
        details(built)


def test_a_locale_that_is_none_is_logged_without_being_quoted(
    build: Builder, smtp: RecordingServer, caplog: pytest.LogCaptureFixture
) -> None:
    built = build(speaking, registration=USERS_LOCALE, before_init=always("de"))
    assert built.register(locale="no locale").status_code == 201
    (record,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert "VERIFICATION_LOCALE_SELECTOR" in record.getMessage()
    assert "no locale" not in record.getMessage().replace("is no locale", "")


@pytest.mark.parametrize(
    ("has_account", "subject"),
    [(False, "Confirm your e-mail address for %(site)s"), (True, "You have an account at %(site)s already")],
    ids=["free", "taken"],
)
def test_with_e_mail_first_the_selector_chooses_the_language_by_the_pending_row(
    build: Builder, smtp: RecordingServer, has_account: bool, subject: str
) -> None:
    """Nobody is a user by then, and the notice's language does not tell who is one."""
    rows: list[Any] = []

    def choose(_: object, row: Any) -> str | None:
        rows.append(row)
        return "uk" if row.email == "ann@example.com" else None

    settings = {"REGISTER_EMAIL_FIRST": True, "VERIFICATION_LOCALE_SELECTOR": choose}
    built = build(pending=True, registration=settings, before_init=always("de"))
    addresses = {"ann@example.com": "uk", "bob@example.com": "de"}
    with built.app.app_context():
        if has_account:
            users = [built.User(email=each, username=each, password_hash="h") for each in addresses]
            built.db.session.add_all(users)
            built.db.session.commit()
    for address, language in addresses.items():
        assert built.post("register/", {"email": address}).status_code == 202
        assert smtp.messages[-1]["Subject"] == said(language, subject, site="frontend.example")
    assert {type(row) for row in rows} == {built.Pending}


def test_a_selector_without_flask_babel_is_a_configuration_error_that_says_what_to_install(build: Builder) -> None:
    built = build(speaking, registration=USERS_LOCALE)
    with pytest.raises(ConfigurationError) as caught:
        built.register()
    assert lacking(str(caught.value), "VERIFICATION_LOCALE_SELECTOR", "Babel(app)", "[babel]") == []


# Texts of the application's own

TOO_SHORT = (
    "This password is too short: it needs at least %(count)s character.",
    "This password is too short: it needs at least %(count)s characters.",
)


@pytest.fixture
def own_catalogue(tmp_path: Path) -> Path:
    """Make an application's own catalogue of Swedish, in which one translation has a slip, and of German and Danish."""
    translations: dict[str, dict[Any, Any]] = {
        "sv": {
            "The link is not valid.": "Länken är inte giltig.",
            "Confirm your e-mail address for %(site)s": "Bekräfta din e-postadress för %(sajt)s",
        },
        "de": {
            "The link is not valid.": "Zu alt: nimm den neuesten Link.",
            TOO_SHORT: ("Wenigstens ein Zeichen", "Wenigstens %(count)s Zeichen"),
        },
        "da": {TOO_SHORT: ("Mindst et tegn", "Mindst %(count)s tegn")},
    }
    for language, found in translations.items():
        folder = tmp_path / language / "LC_MESSAGES"
        folder.mkdir(parents=True)
        catalog = Catalog(locale=language)
        for text, string in found.items():
            catalog.add(text, string)
        with (folder / "messages.mo").open("wb") as file:
            write_mo(file, catalog)
    return tmp_path


@pytest.mark.parametrize(
    ("locale", "expected"), [("sv", "Länken är inte giltig."), ("de", "Zu alt: nimm den neuesten Link.")]
)
def test_the_applications_own_catalogue_wins_and_may_be_of_any_language(
    build: Builder, own_catalogue: Path, locale: str, expected: str
) -> None:
    built = build(before_init=always(locale, BABEL_TRANSLATION_DIRECTORIES=str(own_catalogue)))
    assert details(built) == expected


@pytest.mark.parametrize(("locale", "expected"), [("de", "Wenigstens 8 Zeichen"), ("da", "Mindst 8 tegn")])
def test_the_applications_own_catalogue_wins_for_numbers_of_things_too(
    build: Builder, own_catalogue: Path, locale: str, expected: str
) -> None:
    built = build(before_init=always(locale, BABEL_TRANSLATION_DIRECTORIES=str(own_catalogue)))
    answer = built.register(password="short", password_confirm="short")
    assert answer.get_json()["errors"]["password"][0] == expected


def test_a_slip_in_a_translation_of_the_applications_own_costs_no_sign_up(
    build: Builder, smtp: RecordingServer, own_catalogue: Path
) -> None:
    built = build(before_init=always("sv", BABEL_TRANSLATION_DIRECTORIES=str(own_catalogue)))
    assert built.register().status_code == 201
    assert smtp.messages.pop()["Subject"] == "Confirm your e-mail address for frontend.example"
