"""The link: what it is made of, what it proves, and every way of forging one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import string
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import product
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from flask_sqlalchemy import SQLAlchemy
from itsdangerous import Signer
from sqlalchemy import ForeignKey, select
from sqlalchemy.orm import mapped_column, relationship
from werkzeug.test import TestResponse

from flask_rest_registration import ConfigurationError, RegisterSigner
from flask_rest_registration.signers import DOCUMENTED_KEYS, key_faults
from tests.support import models
from tests.support.apps import CHECK_LINK, REGISTER, VERIFICATION_URL, VERIFY, Builder, Built, make_app
from tests.support.clock import Clock
from tests.support.links import changed, link_in, values_of, with_other_character
from tests.support.mail_servers import RecordingServer
from tests.support.messages import lacking

NOW = 1_700_000_000
KEY = "a key for tests only"
SALT = "flask_rest_registration.register_verification"
ALPHABET = string.ascii_letters + string.digits + "-_"
PERIOD = 7 * 24 * 3600

Values = dict[str, Any]
Refused = Callable[[Values], None]


def sign(message: list[str], *, key: str = KEY, salt: str = SALT, digest: str = "sha256") -> str:
    """Compute a signature without the package and without itsdangerous."""
    derived = hmac.new(key.encode(), salt.encode(), digest).digest()
    made = hmac.new(derived, json.dumps(message).encode(), digest).digest()
    return base64.urlsafe_b64encode(made).decode().rstrip("=")


def link_to(user_id: str, address: str, *, key: str = KEY, page: str = VERIFICATION_URL) -> str:
    """Return the link that is made at the time of the stopped clock."""
    return f"{page}?user_id={user_id}&timestamp={NOW}&signature={sign([user_id, str(NOW), address], key=key)}"


def signed_data(built: Built, **attributes: object) -> dict[str, str]:
    """Return what the app signs for an account that need not be stored."""
    with built.app.app_context():
        return RegisterSigner.for_user(built.User(**attributes)).get_signed_data()


def with_keys(build: Builder, built: Built, key: str, fallbacks: object) -> Built:
    """Build another app on the same database, with other keys."""
    keys = {"SECRET_KEY": key, "SECRET_KEY_FALLBACKS": fallbacks}
    return build(database_uri=built.database_uri, config=keys, tables=False)


def seen_by_client(answer: TestResponse) -> tuple[int, bytes, list[tuple[str, str]]]:
    return answer.status_code, answer.data, sorted(answer.headers)


@pytest.fixture
def built(build: Builder, clock: Clock) -> Built:
    """Ann and Bob have signed up at the time of the stopped clock."""
    app = build()
    assert app.register().status_code == 201
    assert app.register(email="bob@example.com", username="bob").status_code == 201
    return app


@pytest.fixture
def values(built: Built, smtp: RecordingServer) -> Values:
    return dict(values_of(link_in(smtp.messages[0])))


@pytest.fixture
def refused(built: Built, values: Values) -> Iterator[Refused]:
    """Demand the answer that a signature of nonsense gets, byte by byte, and that nobody is verified."""
    reference = built.verify(changed(values, signature="nonsense"))
    assert (reference.status_code, reference.get_json()["code"]) == (400, "signature-invalid")

    def demand(forged: Values) -> None:
        assert seen_by_client(built.verify(forged)) == seen_by_client(reference), forged

    yield demand
    assert [row["email_verified_at"] for row in built.rows()] == [None, None]


def test_the_link_is_the_base_url_with_id_time_and_the_documented_hmac(built: Built, smtp: RecordingServer) -> None:
    assert link_in(smtp.messages[0]) == link_to("1", "ann@example.com")


@pytest.mark.parametrize(
    ("one_time_use", "verified", "flag", "expected"),
    [
        *((False, verified, [], "_xL2zevJZb-BG9Fsn2DEG3r9VCBHSOpHWQKvys5IqPE") for verified in (False, True)),
        (True, False, ["unverified"], "rUBDpi6trc61CnudR0cXCXwrS_PSW-Ebyr6DZVzUm7s"),
        (True, True, ["verified"], "oN3JocksCT7bDP7od1ffno4OVzEN8KfFbuYaouOVqng"),
    ],
)
def test_golden_signatures_never_change(
    build: Builder, clock: Clock, one_time_use: bool, verified: bool, flag: list[str], expected: str
) -> None:
    built = build(models.boolean_flag, registration={"REGISTER_VERIFICATION_ONE_TIME_USE": one_time_use})
    data = signed_data(built, id=42, email="Ann.O'Hara@Example.com", email_verified=verified)
    assert data["signature"] == expected == sign(["42", str(NOW), "ann.o'hara@example.com", *flag])


def test_no_two_accounts_times_addresses_and_keys_have_one_signature(clock: Clock) -> None:
    # Short texts of few characters, so that values differ by a shift into the neighbour as well.
    pieces = ["", "1", '"', ",", '","', "\\"]
    texts = sorted({first + second for first, second in product(pieces, repeat=2)})
    made = []
    for key in ("key", "key1"):
        built = make_app(models.string_key, config={"SECRET_KEY": key}, tables=False)
        with built.app.app_context():
            for clock.time, user_id, email in product([1, 11], texts[1:], texts):
                made.append(RegisterSigner.for_user(built.User(id=user_id, email=email)).get_signed_data()["signature"])
    assert len(texts) > 20
    assert len(set(made)) == len(made) == 2 * 2 * (len(texts) - 1) * len(texts)


def test_every_changed_character_is_refused(refused: Refused, values: Values) -> None:
    for field, value in values.items():
        for position in range(len(value)):
            refused(changed(values, **{field: with_other_character(value, position)}))


def other_spellings(signature: str) -> list[str]:
    half = signature[:20]
    # A decoder of base64 reads four of these as the same signature.
    other_ends = [signature[:-1] + character for character in ALPHABET if character != signature[-1]]
    in_the_standard_alphabet = signature.replace("-", "+").replace("_", "/")
    decoded = base64.urlsafe_b64decode(signature + "=")
    full_width = "".join(chr(ord(each) + 0xFEE0) for each in signature)
    around = ["{}=", "{}==", " {}", "{} ", "{}\n", "{}\u200b", '"{}"', ".{}", "{0}{0}", "{}A"]
    inside = [half + character + signature[20:] for character in ("\r\n", "!")]
    cut = [signature[:-1], half, "", signature[:-1] + "é", f"{in_the_standard_alphabet}="]
    whole = [decoded.hex(), signature.upper(), signature.lower(), full_width]
    return [*other_ends, *(form.format(signature) for form in around), *inside, *cut, *whole]


def test_every_other_spelling_of_the_signature_is_refused(refused: Refused, values: Values) -> None:
    spellings = set(other_spellings(values["signature"]))
    assert len(spellings) == 63 + 21
    assert values["signature"] not in spellings
    for spelling in spellings:
        refused(changed(values, signature=spelling))


def test_every_other_time_and_every_other_spelling_of_the_time_is_refused(refused: Refused, values: Values) -> None:
    for form in ("{}.0", "+{}", "0{}", " {}", "{} ", "{}\n", "{:_}", "{}e0", "-{}", "{:x}"):
        refused(changed(values, timestamp=form.format(NOW)))
    for zero in "٠０۰":
        refused(changed(values, timestamp="".join(chr(ord(zero) + int(digit)) for digit in str(NOW))))
    for timestamp in (NOW + 1, NOW + 100 * PERIOD, 2**31, 2**63, 10**30, -1, 0):
        refused(changed(values, timestamp=str(timestamp)))
        refused(changed(values, timestamp=timestamp))


def test_an_account_that_does_not_exist_is_refused_like_a_wrong_signature(refused: Refused, values: Values) -> None:
    for user_id in ("", "0", "3", "-1", "999", str(2**31), str(2**63), str(2**70), "ann", "None"):
        refused(changed(values, user_id=user_id))
        for address in ("", "ann@example.com", "None"):
            signature = sign([user_id, values["timestamp"], address], key="other")
            refused(changed(values, user_id=user_id, signature=signature))
    # Even who has the key gets nothing where there is no account.
    for message in (["", values["timestamp"], ""], ["999", values["timestamp"], ""]):
        refused(changed(values, user_id="999", signature=sign(message)))


@pytest.mark.parametrize("fallbacks", [[], ["older", "oldest"]], ids=len)
def test_an_account_that_does_not_exist_costs_as_many_signatures_as_one_that_does(
    build: Builder, built: Built, values: Values, fallbacks: list[str]
) -> None:
    other = with_keys(build, built, KEY, fallbacks)
    costs = []
    for forged in (changed(values, signature="x"), changed(values, user_id="3"), changed(values, user_id="ann")):
        with patch.object(Signer, "get_signature", autospec=True, side_effect=Signer.get_signature) as made:
            other.verify(forged)
        costs.append(made.call_count)
    assert costs == [len(fallbacks) + 1] * 3


def test_values_of_another_account_or_of_another_field_are_refused(
    refused: Refused, values: Values, smtp: RecordingServer
) -> None:
    others = values_of(link_in(smtp.messages[1]))
    refused(changed(values, user_id=others["user_id"]))
    refused(changed(values, signature=others["signature"]))
    names = ["user_id", "timestamp", "signature"]
    for shift in (1, 2):
        moved = [values[name] for name in names[shift:] + names[:shift]]
        refused(dict(zip(names, moved, strict=True)))
    refused(changed(values, user_id=values["timestamp"], timestamp=values["user_id"]))
    refused(changed(values, user_id="1" + values["timestamp"][0], timestamp=values["timestamp"][1:]))


def test_a_signature_by_another_key_salt_or_digest_is_refused(refused: Refused, values: Values) -> None:
    message = ["1", str(NOW), "ann@example.com"]
    keys = [{"key": key} for key in ("another app's key", KEY.upper(), "")]
    salts = [{"salt": salt} for salt in ("itsdangerous.Signer", f"{SALT}signer", "flask_rest_registration.reset", "")]
    for options in (*keys, *salts, {"digest": "sha1"}, {"digest": "sha512"}):
        refused(changed(values, signature=sign(message, **options)))
    for bare in (KEY, f"{SALT}signer{KEY}", SALT + KEY):
        for derived in (bare.encode(), hashlib.sha256(bare.encode()).digest()):
            made = base64.urlsafe_b64encode(hmac.new(derived, json.dumps(message).encode(), "sha256").digest())
            refused(changed(values, signature=made.decode().rstrip("=")))


@pytest.mark.parametrize("stored", ["account", "pending"])
def test_a_link_of_one_purpose_is_worth_nothing_for_the_other(build: Builder, clock: Clock, stored: str) -> None:
    """An account and a pending registration of one id, address and time: the salts tell them apart."""
    built = build(models.uuid_key, pending=True, registration={"REGISTER_EMAIL_FIRST": True})
    assert built.Pending is not None
    same = {"id": uuid.uuid4(), "email": "ann@example.com"}
    account = built.User(**same, username="ann", password_hash="x")
    pending = built.Pending(**same, sent_at=NOW, mails=1, next_mail_at=NOW, code_attempts=0)
    row, other_row = (account, pending) if stored == "account" else (pending, account)
    with built.app.app_context():
        link, other = (RegisterSigner.for_user(each).get_signed_data() for each in (row, other_row))
        built.db.session.add(row)
        built.db.session.commit()
    assert {name for name in link if link[name] != other[name]} == {"signature"}
    fields = built.body(username="bob")
    answer = built.verify({**fields, **other})
    assert (answer.status_code, answer.get_json()["code"]) == (400, "signature-invalid")
    assert built.post(CHECK_LINK, other).status_code == 400
    assert built.verify({**fields, **link}).status_code < 300


def test_after_a_change_of_address_the_old_link_is_refused(built: Built, values: Values) -> None:
    """After a change back it works again, in any case of the address."""
    for address, code in (("ann@elsewhere.example", "signature-invalid"), ("Ann@Example.COM", None)):
        built.execute_outside("UPDATE user SET email = :address WHERE id = 1", address=address)
        assert built.verify(values).get_json().get("code") == code


@pytest.mark.parametrize("period", [timedelta(days=7), PERIOD], ids=["timedelta", "seconds"])
def test_a_link_lives_for_the_period_and_no_second_longer(
    build: Builder, smtp: RecordingServer, clock: Clock, period: object
) -> None:
    built = build(registration={"REGISTER_VERIFICATION_PERIOD": period})
    built.register()
    # At the last age, the clock that made the link is ahead of ours.
    for age, code in ((PERIOD + 1, "signature-expired"), (PERIOD, None), (-10 * PERIOD, None)):
        clock.time = NOW + age
        assert built.verify(link_in(smtp.message)).get_json().get("code") == code


def test_every_expired_link_gets_one_answer_unless_its_signature_is_wrong(
    refused: Refused, built: Built, values: Values, smtp: RecordingServer, clock: Clock
) -> None:
    clock.move(PERIOD + 1)
    answers = {seen_by_client(built.verify(link_in(message)))[:2] for message in smtp.messages}
    assert [status for status, _ in answers] == [400]
    refused(changed(values, signature=with_other_character(values["signature"], 0)))
    refused(changed(values, timestamp=str(clock.time)))


def test_a_key_verifies_for_as_long_as_it_is_a_fallback_and_never_signs(
    build: Builder, built: Built, values: Values
) -> None:
    answer = with_keys(build, built, "the new key", ["an older one"]).verify(values)
    assert (answer.status_code, answer.get_json()["code"]) == (400, "signature-invalid")
    assert built.rows()[0]["email_verified_at"] is None
    rotated = with_keys(build, built, "the new key", ["an older one", KEY])
    signature = signed_data(rotated, id=1, email="ann@example.com")["signature"]
    assert signature == sign(["1", str(NOW), "ann@example.com"], key="the new key")
    assert rotated.verify(values).status_code == 200


@pytest.mark.parametrize("fallbacks", [KEY, KEY.encode()], ids=["text", "bytes"])
def test_fallbacks_that_are_no_list_are_a_configuration_error(
    build: Builder, built: Built, values: Values, fallbacks: object
) -> None:
    """Of a text each character would be a key, which anybody can guess."""
    rotated = with_keys(build, built, "the new key", fallbacks)
    guessed = changed(values, signature=sign(["1", str(NOW), "ann@example.com"], key=KEY[0]))
    for link in (values, guessed):
        with pytest.raises(ConfigurationError, match="SECRET_KEY_FALLBACKS must be a list"):
            rotated.verify(link)
    assert [row["email_verified_at"] for row in built.rows()] == [None, None]


FORGEABLE: dict[str, tuple[object, object, str]] = {
    "a short key": ("k" * 15, [], "has 15 characters"),
    "short bytes": (b"k" * 15, [], "has 15 characters"),
    "an empty fallback": (KEY, [""], "has 0 characters"),
    "a short fallback": (KEY, ["the new key of today", "hunter2"], "has 7 characters"),
    **{key: (key, [], "stands in this package's documentation") for key in DOCUMENTED_KEYS},
    "bytes of the docs": (KEY, [DOCUMENTED_KEYS[0].encode()], "stands in this package's documentation"),
}


@pytest.mark.parametrize("name", FORGEABLE)
@pytest.mark.parametrize(
    "lenient", [{}, {"TESTING": "False"}, {"TESTING": True}, {"DEBUG": "0"}, {"DEBUG": 1}], ids=str
)
def test_keys_that_can_be_guessed_sign_and_verify_under_testing_and_debug_only(
    build: Builder, built: Built, values: Values, name: str, lenient: dict[str, object]
) -> None:
    key, fallbacks, fault = FORGEABLE[name]
    rotated = with_keys(build, built, KEY, [])
    rotated.app.config.update({"TESTING": False, "PROPAGATE_EXCEPTIONS": True, **lenient})
    rotated.app.config.update(SECRET_KEY=key, SECRET_KEY_FALLBACKS=fallbacks)
    (told,) = key_faults(rotated.app)
    assert lacking(told, "SECRET_KEY", fault, "Fix: set it to the output of python -c") == []
    if True in lenient.values():
        assert rotated.verify(values).status_code in {200, 400}
        assert rotated.register(email="c@example.com", username="c").status_code == 201
        return
    for path, body in ((VERIFY, values), (REGISTER, rotated.body(email="c@example.com", username="c"))):
        with pytest.raises(ConfigurationError, match=re.escape(told)):
            rotated.post(path, body)
    assert [row["email_verified_at"] for row in rotated.rows()] == [None, None]


@pytest.mark.parametrize("strange", [None, 5, ["a key in a list of its own"]])
@pytest.mark.parametrize("testing", [True, False])
def test_a_key_that_is_neither_text_nor_bytes_is_a_configuration_error(
    build: Builder, built: Built, values: Values, strange: object, testing: bool
) -> None:
    """Such as the None of ``[os.environ.get("OLD_KEY")]``."""
    rotated = with_keys(build, built, KEY, [strange])
    rotated.app.config.update(TESTING=testing, PROPAGATE_EXCEPTIONS=True)
    with pytest.raises(ConfigurationError, match=f"neither text nor bytes but {type(strange).__name__}"):
        rotated.verify(values)


def test_keys_of_16_characters_have_no_fault(build: Builder) -> None:
    assert key_faults(build(config={"SECRET_KEY": "k" * 16, "SECRET_KEY_FALLBACKS": [b"k" * 16]}).app) == []


BASES = ["", "/verify", "/verify/?lang=en&next=%2Fhome%3Fa%3D1", "/#/verify/here?not=query", "/a%20b/?empty=&flag#top"]


@pytest.mark.parametrize("base", [f"https://front.example:3000{rest}" for rest in BASES])
def test_a_query_string_and_a_fragment_that_are_there_already_are_kept(build: Builder, clock: Clock, base: str) -> None:
    built = build(registration={"REGISTER_VERIFICATION_URL": base})
    with built.app.app_context():
        signer = RegisterSigner.for_user(built.User(id=1, email="ann@example.com"))
        url, expected = urlsplit(signer.get_url()), urlsplit(base)
    assert url._replace(query="") == expected._replace(query="")
    kept = parse_qsl(expected.query, keep_blank_values=True)
    assert parse_qsl(url.query, keep_blank_values=True) == [*kept, *signer.get_signed_data().items()]
    assert url.query.startswith(expected.query)
    assert signer.get_base_url() == base


def test_every_value_is_percent_encoded(build: Builder, clock: Clock) -> None:
    built = build(models.string_key)
    for number, user_id in enumerate(["a b", "a&signature=x", "a+b", "50%", "a#b", "a=b?c", "a/b", "é", 'x"<>']):
        address = f"{number}@example.com"
        with built.app.app_context():
            user = built.User(id=user_id, email=address, username=str(number), password_hash="x")
            url = RegisterSigner.for_user(user).get_url()
            built.db.session.add(user)
            built.db.session.commit()
        query = url.removeprefix(f"{VERIFICATION_URL}?")
        assert set(query) <= set(ALPHABET + "%.~&=")
        assert parse_qs(query)["user_id"] == [user_id]
        assert built.verify(url).status_code == 200


def test_no_request_header_changes_the_link(build: Builder, smtp: RecordingServer, clock: Clock) -> None:
    tampering = [
        {"Host": "evil.example:443"},
        {"X-Forwarded-Host": "evil.example"},
        {"X-Forwarded-Proto": "gopher", "X-Forwarded-Port": "70", "X-Forwarded-Prefix": "/evil"},
        {"Forwarded": "host=evil.example;proto=http"},
        {"X-Original-URL": "https://evil.example/", "X-Rewrite-URL": "https://evil.example/"},
        {"Origin": "https://evil.example", "Referer": "https://evil.example/verify/"},
        {"X-Host": "evil.example", "X-HTTP-Host-Override": "evil.example"},
    ]
    built = build()
    for number, headers in enumerate(tampering, 1):
        address = f"{number}@example.com"
        body = built.body(email=address, username=str(number))
        assert built.post(REGISTER, body, headers=headers).status_code == 201
        assert link_in(smtp.messages[-1]) == link_to(str(number), address)
        assert b"evil" not in smtp.envelopes[-1].content


def test_a_link_needs_the_url_of_its_page(build: Builder) -> None:
    def send(request: object, user: object) -> None:
        RegisterSigner.for_user(user).get_url()

    built = build(registration={"REGISTER_VERIFICATION_URL": None, "REGISTER_VERIFICATION_EMAIL_SENDER": send})
    with pytest.raises(ConfigurationError, match="REGISTER_VERIFICATION_URL is missing"):
        built.register()
    assert built.rows() == []


def test_an_account_without_an_id_has_no_link_and_gets_no_mail(build: Builder, smtp: RecordingServer) -> None:
    built = build()
    with built.app.app_context():
        user = built.User(email="ann@example.com")
        for make in (built.registration.verification_mail, lambda user: RegisterSigner.for_user(user).get_url()):
            with pytest.raises(ConfigurationError, match=r"has no id yet.* Fix: add it to db\.session and flush\(\)"):
                make(user)
    assert smtp.messages == []


def test_for_user_takes_the_time_once_and_gives_nothing_but_texts(built: Built, clock: Clock) -> None:
    with built.app.app_context():
        signer = RegisterSigner.for_user(built.db.session.get(built.User, 1))
        data, url = signer.get_signed_data(), signer.get_url()
        clock.move(100)
        assert (signer.get_signed_data(), signer.get_url()) == (data, url)
    assert list(data) == ["user_id", "timestamp", "signature"]
    assert {type(value) for value in data.values()} == {str}
    assert data["timestamp"] == str(NOW)
    assert built.verify(data).status_code == 200


def test_for_user_works_in_any_app_context_by_the_settings_of_that_app(build: Builder, clock: Clock) -> None:
    first = build()
    settings = {"REGISTER_VERIFICATION_URL": "https://second.example/"}
    second = build(models.other_email_name, registration=settings, config={"SECRET_KEY": "second"})
    with first.app.test_request_context("/anywhere"):
        user = second.User(id=5, mail_address="eve@example.com")
        with second.app.app_context():
            url = RegisterSigner.for_user(user).get_url()
    assert url == link_to("5", "eve@example.com", key="second", page="https://second.example/")


@pytest.mark.parametrize("lazy", ["joined", "selectin", "subquery", "select"])
def test_a_link_verifies_an_account_whose_collections_are_loaded_along_with_it(build: Builder, lazy: Any) -> None:
    def with_pets(db: SQLAlchemy) -> type[Any]:
        class Pet(db.Model):  # type: ignore[misc,name-defined]
            id = mapped_column(db.Integer, primary_key=True)
            user_id = mapped_column(ForeignKey("user.id"))

        return models.declared(pets=relationship(Pet, lazy=lazy))(db)

    built = build(with_pets)
    with built.app.app_context():
        pets = [built.User.pets.property.mapper.class_() for _ in range(2)]
        user = built.User(email="ann@example.com", password_hash="x", pets=pets)
        built.db.session.add(user)
        built.db.session.commit()
        url = RegisterSigner.for_user(user).get_url()
    assert built.verify(url).status_code == 200
    with built.app.app_context():
        assert built.db.session.scalar(select(built.User.email_verified_at)) is not None
