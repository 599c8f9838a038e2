"""Texts for people: complete catalogues, and the language that Flask-Babel chooses."""

from __future__ import annotations

import enum
import gc
import gettext
import logging
import re
from collections import Counter
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import sqlalchemy as sa
import zxcvbn_rs_py
from babel import Locale
from babel.messages.catalog import Catalog
from babel.messages.plurals import get_plural
from flask import Flask, request
from flask_babel import Babel, get_locale
from marshmallow import ValidationError, fields

from flask_rest_registration import (
    ConfigurationError,
    DefaultRegisterUserSerializer,
    send_register_verification_email_notification,
)
from flask_rest_registration.passwords import validate_length
from tests.support import models
from tests.support.answers import refused
from tests.support.apps import OMITTED, REGISTER, VERIFY, Builder, Built
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


def test_a_catalogue_has_exactly_the_texts_of_the_source_all_translated(catalogue: Catalog, source: Catalog) -> None:
    found = texts(catalogue)
    assert found.keys() == texts(source).keys()
    assert [text for text, strings in found.items() if not all(strings)] == []
    assert [message.id for message in catalogue if message.id and message.fuzzy] == []
    assert catalogue.obsolete == {}


def test_a_translation_has_the_placeholders_of_its_text(catalogue: Catalog) -> None:
    stands_for = Counter(map(gettext.c2py(catalogue.plural_expr), range(1000)))
    for text, strings in texts(catalogue).items():
        wanted = text[-1] if isinstance(text, tuple) else text
        # What % stands before, so that a lost letter or bracket shows as well.
        expected, *found = (sorted(re.findall(r"%(?:\(\w*\)\w|.|$)", each)) for each in (wanted, *strings))
        for form, placeholders in enumerate(found):
            # A form for one number alone, such as the Arabic dual, may say the number as a word.
            is_word = isinstance(text, tuple) and stands_for[form] == 1 and placeholders == []
            assert is_word or placeholders == expected, text


def test_a_catalogue_has_the_plurals_tag_and_direction_of_its_language(catalogue: Catalog, language: str) -> None:
    rule, found = get_plural(language), texts(catalogue)
    assert (catalogue.num_plurals, catalogue.plural_expr) == (rule.num_plurals, rule.plural_expr)
    assert {len(strings) for text, strings in found.items() if isinstance(text, tuple)} == {rule.num_plurals}
    assert found["en"] == (language.replace("_", "-"),)
    assert found["ltr"] == (Locale.parse(language).text_direction,)


def test_the_compiled_catalogue_is_that_of_the_source(catalogue: Catalog, language: str) -> None:
    assert catalogues.path_of(language, ".mo").read_bytes() == catalogues.compiled(catalogue)


def test_there_is_a_catalogue_for_each_language_and_no_other() -> None:
    assert {path.parents[1].name for path in catalogues.FOLDER.rglob("*.po")} == set(LANGUAGES)


def translated(language: str, text: str, **variables: object) -> str:
    """Return a text as a catalogue has it."""
    return strings_of(catalogues.read(language)[text].string)[0] % variables


# The language of an answer

Before = Callable[[Flask], object]
NOT_VALID = "The link is not valid."
NO_ADDRESS = "Enter an e-mail address such as name@example.com."


def by_header(app: Flask) -> None:
    """Let the request's Accept-Language decide, as applications do."""
    Babel(app, locale_selector=lambda: request.accept_languages.best_match([*LANGUAGES, "en"], default="en"))


def always(locale: str) -> Before:
    """Give an application one language."""
    return lambda app: Babel(app, locale_selector=lambda: locale)


def details(built: Built, **headers: str) -> str:
    """Send a forged link, and return the detail of the answer."""
    answer = built.post(VERIFY, {"user_id": "1", "timestamp": "1", "signature": "x"}, headers=headers)
    return str(refused(answer, 400, "signature-invalid")["detail"])


def test_the_requests_language_decides_in_each_of_two_apps_by_its_own_selector(build: Builder) -> None:
    asking, polish = build(before_init=by_header), build(before_init=always("pl"))
    for name in ("de", "ja", "de"):
        assert details(asking, **{"Accept-Language": name}) == translated(name, NOT_VALID)
        assert details(polish, **{"Accept-Language": name}) == translated("pl", NOT_VALID)
    assert details(asking, **{"Accept-Language": "en"}) == NOT_VALID


def test_without_flask_babel_everything_is_english(build: Builder, smtp: RecordingServer) -> None:
    built = build()
    assert details(built, **{"Accept-Language": "de"}) == NOT_VALID
    assert built.register().status_code == 201
    assert '<html lang="en" dir="ltr">' in html_of(smtp.message)
    with pytest.raises(ValidationError, match="it needs at least 8 characters"):
        validate_length("short", {})  # outside an app


def test_another_extension_with_the_key_of_flask_babel_leaves_everything_english(
    build: Builder, smtp: RecordingServer
) -> None:
    built = build(before_init=other_babel)
    assert details(built, **{"Accept-Language": "de"}) == NOT_VALID
    assert built.register(email="ann").get_json()["errors"]["email"] == [NO_ADDRESS]
    assert built.register().status_code == 201
    assert '<html lang="en" dir="ltr">' in html_of(smtp.message)


@pytest.mark.parametrize(
    ("locale", "read"),
    [
        *(("de_AT", "de"), ("pt_BR", "pt_BR"), ("pt", "pt_BR"), ("pt_PT", "pt_BR")),
        *((name, "zh_Hans") for name in ("zh", "zh_CN", "zh_Hans", "zh_Hans_SG")),
        *((name, None) for name in ("zh_TW", "zh_Hant", "sv", "en_GB")),
    ],
)
def test_a_region_reads_the_catalogue_of_its_language(build: Builder, locale: str, read: str | None) -> None:
    expected = translated(read, NOT_VALID) if read else NOT_VALID
    assert details(build(before_init=always(locale))) == expected


Colour = enum.Enum("Colour", ["RED"])
COLUMNS: dict[str, Any] = {
    "flag": sa.Boolean(),
    "count": sa.SmallInteger(),
    "ratio": sa.Float(),
    "price": sa.Numeric(),
    "day": sa.Date(),
    "time": sa.DateTime(),
    "hour": sa.Time(),
    "period": sa.Interval(),
    "code": sa.Uuid(),
    "colour": sa.Enum(Colour),
    "size": sa.Enum("small", "large", name="size"),
    "tag": sa.String(3),
}

#: What the default serializers refuse, each for a reason of its own.
REFUSED: list[dict[str, Any]] = [
    {"email": OMITTED, "password": None, "surprise": 1},
    {"email": 5, "password": "", **dict.fromkeys(COLUMNS, "no such value")},
    {"email": "nobody", "password_confirm": "another", **{name: [] for name in COLUMNS}},
    {"count": 2**15, "ratio": "1e400", "price": "nan", "period": 10**300, "time": "0001-01-01T00:00:00"},
    {"count": 10**400, "flag": None, "tag": "four"},
    *[{"username": text} for text in (" ", "x" * 3000)],
    *[{"password": text} for text in ("short", "x" * 300, "password")],
    {"password_confirm": "another"},
    {"email": "taken@example.com"},
]


def reported(build: Builder, before_init: Before | None) -> list[str]:
    """Send everything that is refused, and return the texts in their order."""
    nullable = {name: sa.Column(kind, nullable=True) for name, kind in COLUMNS.items()}
    model = models.declared(username=sa.Column(sa.String(80), unique=True, nullable=False), **nullable)
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
    columns = {name: sa.Column(COLUMNS[name], nullable=True) for name in ("tag", "count", "size")}
    built = build(models.declared(**columns), registration=settings, before_init=always("fr"))
    between = "Choose a value from %(min)s to %(max)s."
    assert built.register(tag="four", count=2**15, size="huge").get_json()["errors"] == {
        "tag": [translated("fr", "This is too long. The longest possible length is %(max)s.", max=3)],
        "count": [translated("fr", between, min=-(2**15), max=2**15 - 1)],
        "size": [translated("fr", "Choose one of these: %(choices)s.", choices="small, large")],
    }


@pytest.mark.parametrize("text", ["Frag den Admin.", "", "100 %(x)s"])
def test_a_text_of_the_applications_own_schema_stays_as_it_is(build: Builder, text: str) -> None:
    def refuse(value: object) -> None:
        raise ValidationError(text)

    own = fields.String(required=True, validate=refuse)
    serializer = type("Own", (DefaultRegisterUserSerializer,), {"username": own})
    built = build(registration={"REGISTER_SERIALIZER_CLASS": serializer}, before_init=always("de"))
    assert built.register().get_json()["errors"] == {"username": [text]}


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


# The language of a mail

SUBJECT = "Confirm your e-mail address for %(site)s"


def test_the_mail_is_in_the_requests_language(build: Builder, smtp: RecordingServer) -> None:
    built = build(before_init=by_header)
    assert built.post(REGISTER, built.body(), headers={"Accept-Language": "es"}).status_code == 201
    assert smtp.message["Subject"] == translated("es", SUBJECT, site="frontend.example")
    assert translated("es", "Hello,") in text_of(smtp.message)
    assert translated("es", "Open the confirmation page") in html_of(smtp.message)


def test_the_html_says_its_language_and_the_direction_that_it_is_written_in(
    build: Builder, smtp: RecordingServer, language: str
) -> None:
    assert build(before_init=always(language)).register().status_code == 201
    tag, direction = language.replace("_", "-"), Locale.parse(language).text_direction
    html = html_of(smtp.message)
    assert f'<html lang="{tag}" dir="{direction}">' in html
    assert f"<title>{escape(smtp.message['Subject'])}</title>" in html
    assert "text-align:left" not in html.replace(" ", "")
    assert 'dir="ltr" href=' in html  # the address of the page, whatever surrounds it


def build_speaking(build: Builder, before_init: Before | None = None, **more: object) -> Built:
    """Build an app whose accounts have a language of their own."""
    settings = {"USER_EDITABLE_FIELDS": ["locale"], "VERIFICATION_LOCALE_SELECTOR": lambda _, user: user.locale, **more}
    return build(models.declared(locale=sa.Column(sa.String(20))), registration=settings, before_init=before_init)


@pytest.mark.parametrize(
    ("locale", "read"), [("ko", "ko"), ("pt-BR", "pt_BR"), (None, "de"), ("no locale", "de"), ("tlh", "de")]
)
def test_the_users_language_wins_over_the_requests_where_it_is_one(
    build: Builder, smtp: RecordingServer, caplog: pytest.LogCaptureFixture, locale: str | None, read: str
) -> None:
    built = build_speaking(build, always("de"))
    assert built.register(locale=locale).status_code == 201
    assert translated(read, "Hello,") in text_of(smtp.message)
    assert details(built) == translated("de", NOT_VALID)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert ["VERIFICATION_LOCALE_SELECTOR" in text for text in warnings] == [True] * (locale in {"no locale", "tlh"})
    assert not re.search("no locale|tlh", "".join(warnings).replace("is no locale", ""))  # it is not quoted


def test_locales_that_strangers_make_up_are_read_without_being_kept(build: Builder, smtp: RecordingServer) -> None:
    used, kept = set(), []

    def note(request: object, user: object, context: dict[str, object]) -> dict[str, object]:
        used.add(str(get_locale()))
        return context

    asking = build(before_init=lambda app: Babel(app, locale_selector=lambda: request.headers["X-Locale"]))
    built = build_speaking(build, always("fr"), VERIFICATION_TEMPLATE_CONTEXT_BUILDER=note)
    for round_ in ("first", "second"):
        made_up = [f"de@{round_}{number}" for number in range(5)] + [f"tr_TR@{round_}", f"sv@{round_}", "de_AT_1996"]
        for number, locale in enumerate(made_up):
            assert built.register(email=f"{round_}{number}@example.com", locale=locale).status_code == 201
            read = {"tr": "tr", "de": "de"}.get(locale[:2])
            assert (translated(read, "Hello,") if read else "Hello,") in text_of(smtp.messages[-1])
            assert details(asking, **{"X-Locale": locale}) == (translated(read, NOT_VALID) if read else NOT_VALID)
        gc.collect()
        ours = {gettext.GNUTranslations, gettext.NullTranslations}  # not what Flask-Babel keeps of its own selector's
        kept.append(sum(type(each) in ours for each in gc.get_objects()))
    assert used == {"de", "tr_TR", "sv", "de_AT"}
    assert kept[0] == kept[1]


def test_a_script_which_has_no_request_speaks_the_default_language(build: Builder, smtp: RecordingServer) -> None:
    def before_init(app: Flask) -> None:
        Babel(app, default_locale="nl", locale_selector=lambda: request.accept_languages.best_match(["de"]))

    built = build(before_init=before_init)
    with built.app.app_context():
        user = built.User(email="ann@example.com", username="ann", password_hash="h")
        built.db.session.add(user)
        built.db.session.commit()
        send_register_verification_email_notification(None, user)
    assert translated("nl", "Hello,") in text_of(smtp.message)


def test_a_selector_that_fails_in_a_request_is_not_passed_over(build: Builder) -> None:
    built = build(before_init=lambda app: Babel(app, locale_selector=Mock(side_effect=RuntimeError("a mistake"))))
    with pytest.raises(RuntimeError, match="a mistake"):
        details(built)


@pytest.mark.parametrize(
    ("accounts", "subject"),
    [([], "Finish signing up at %(site)s"), (["ann", "bob"], "You already have an account at %(site)s")],
)
def test_with_e_mail_first_the_selector_chooses_the_language_by_the_pending_row(
    build: Builder, smtp: RecordingServer, accounts: list[str], subject: str
) -> None:
    """Nobody is a user by then, and the notice's language does not tell who is one."""
    choose = Mock(side_effect=lambda _, row: "uk" if row.email == "ann@example.com" else None)
    settings = {"REGISTER_EMAIL_FIRST": True, "VERIFICATION_LOCALE_SELECTOR": choose}
    built = build(pending=True, registration=settings, before_init=always("de"))
    with built.app.app_context():
        users = [built.User(email=f"{name}@example.com", username=name, password_hash="h") for name in accounts]
        built.db.session.add_all(users)
        built.db.session.commit()
    for name, language in (("ann", "uk"), ("bob", "de")):
        assert built.post(REGISTER, {"email": f"{name}@example.com"}).status_code == 202
        assert smtp.messages[-1]["Subject"] == translated(language, subject, site="frontend.example")
    assert {type(call.args[1]) for call in choose.call_args_list} == {built.Pending}


def other_babel(app: Flask) -> None:
    """Do what Flask-BabelPlus and Flask-BabelEx do: they have the same key."""
    app.extensions["babel"] = Mock(instance=None)


@pytest.mark.parametrize("before_init", [None, other_babel])
def test_a_selector_without_flask_babel_is_a_configuration_error_with_the_fix(
    build: Builder, before_init: Before | None
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build_speaking(build, before_init).register()
    assert lacking(str(caught.value), "VERIFICATION_LOCALE_SELECTOR", "Babel(app)", "[babel]") == []


# Texts of the application's own

TOO_SHORT = (
    "This password is too short: it needs at least %(count)s character.",
    "This password is too short: it needs at least %(count)s characters.",
)
OWN: dict[str, dict[Any, Any]] = {
    # "sv" and "da" have a mistake: a placeholder that the text does not have.
    "sv": {NOT_VALID: "Länken är inte giltig.", SUBJECT: "Bekräfta din e-postadress för %(sajt)s"},
    "de": {NOT_VALID: "Zu alt: nimm den neuesten Link.", TOO_SHORT: ("Ein Zeichen", "Wenigstens %(count)s Zeichen")},
    "da": {TOO_SHORT: ("Mindst et tegn", "Mindst %(antal)s tegn")},
}


@pytest.mark.parametrize(
    ("language", "link", "password"),
    [
        ("sv", "Länken är inte giltig.", TOO_SHORT[1] % {"count": 8}),
        ("de", "Zu alt: nimm den neuesten Link.", "Wenigstens 8 Zeichen"),
        ("da", NOT_VALID, TOO_SHORT[1] % {"count": 8}),
    ],
)
def test_the_applications_own_catalogue_wins_and_its_mistakes_cost_no_sign_up(
    build: Builder, smtp: RecordingServer, tmp_path: Path, language: str, link: str, password: str
) -> None:
    catalog = Catalog(locale=language)
    for text, string in OWN[language].items():
        catalog.add(text, string)
    file = tmp_path / language / "LC_MESSAGES" / "messages.mo"
    file.parent.mkdir(parents=True)
    file.write_bytes(catalogues.compiled(catalog))
    built = build(config={"BABEL_TRANSLATION_DIRECTORIES": str(tmp_path)}, before_init=always(language))
    assert details(built) == link
    assert built.register(password="short").get_json()["errors"]["password"][0] == password
    assert built.register().status_code == 201
    subject = translated("de", SUBJECT, site="frontend.example") if language == "de" else SUBJECT
    assert smtp.message["Subject"] == subject % {"site": "frontend.example"}
