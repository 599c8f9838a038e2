"""The link: what it is made of, what it proves, and every way of forging one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import string
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from flask_sqlalchemy import SQLAlchemy
from itsdangerous import Signer
from sqlalchemy import ForeignKey, select, update
from sqlalchemy.orm import Mapped, mapped_column, relationship
from werkzeug.test import TestResponse

from flask_rest_registration import ConfigurationError, RegisterSigner
from tests.support import models
from tests.support.apps import CHECK_LINK, VERIFICATION_URL, Builder, Built, make_app
from tests.support.clock import Clock
from tests.support.links import changed, link_in, text_of, values_of, with_other_character
from tests.support.mail_servers import RecordingServer

NOW = 1_700_000_000
KEY = "a key for tests only"
SALT = "flask_rest_registration.register_verification"
ALPHABET = string.ascii_letters + string.digits + "-_"
PERIOD = 7 * 24 * 3600

Values = dict[str, Any]


def sign(message: list[str], *, key: str = KEY, salt: str = SALT, digest: str = "sha256") -> str:
    """Compute a signature without the package and without itsdangerous."""
    derived = hmac.new(key.encode(), salt.encode(), digest).digest()
    made = hmac.new(derived, json.dumps(message).encode(), digest).digest()
    return base64.urlsafe_b64encode(made).decode().rstrip("=")


def signed_data(built: Built, **attributes: object) -> dict[str, str]:
    """Return what the app signs for an account that need not be stored."""
    with built.app.app_context():
        return RegisterSigner.for_user(built.User(**attributes)).get_signed_data()


def set_address(built: Built, address: str) -> None:
    with built.app.app_context():
        built.db.session.execute(update(built.User).where(built.User.id == 1).values(email=address))
        built.db.session.commit()


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
def refused(built: Built, values: Values) -> Iterator[Callable[[Values], None]]:
    """Demand the answer that a signature of nonsense gets, byte by byte, and that nobody is verified."""
    reference = built.verify(changed(values, signature="nonsense"))
    assert (reference.status_code, reference.get_json()["code"]) == (400, "signature-invalid")

    def demand(forged: Values) -> None:
        assert seen_by_client(built.verify(forged)) == seen_by_client(reference), forged

    yield demand
    assert [row["email_verified_at"] for row in built.rows()] == [None, None]


# What is signed


def test_the_signature_is_the_documented_hmac(values: Values) -> None:
    assert values == {
        "user_id": "1",
        "timestamp": str(NOW),
        "signature": sign(["1", str(NOW), "ann@example.com"]),
    }


@pytest.mark.parametrize(
    ("one_time_use", "verified", "expected"),
    [
        (False, False, "_xL2zevJZb-BG9Fsn2DEG3r9VCBHSOpHWQKvys5IqPE"),
        (False, True, "_xL2zevJZb-BG9Fsn2DEG3r9VCBHSOpHWQKvys5IqPE"),
        (True, False, "rUBDpi6trc61CnudR0cXCXwrS_PSW-Ebyr6DZVzUm7s"),
        (True, True, "oN3JocksCT7bDP7od1ffno4OVzEN8KfFbuYaouOVqng"),
    ],
)
def test_golden_signatures_never_change(
    build: Builder, clock: Clock, one_time_use: bool, verified: bool, expected: str
) -> None:
    built = build(models.boolean_flag, registration={"REGISTER_VERIFICATION_ONE_TIME_USE": one_time_use})

    data = signed_data(built, id=42, email="Ann.O'Hara@Example.com", email_verified=verified)

    flag = (["verified"] if verified else ["unverified"]) if one_time_use else []
    assert data["signature"] == expected == sign(["42", str(NOW), "ann.o'hara@example.com", *flag])


def test_of_10_000_random_accounts_times_addresses_and_keys_no_two_signatures_are_equal(clock: Clock) -> None:
    built = make_app(models.string_key, tables=False)
    chance = random.Random(0)
    # Short texts of few characters, so that values differ by a shift into the neighbour as well.
    pieces = ["", "1", "11", '"', '","', "a", "A", ",", "\\", "é", "@"]

    def text() -> str:
        return "".join(chance.choices(pieces, k=4))

    tuples: set[tuple[str, int, str, str]] = set()
    while len(tuples) < 10_000:
        tuples.add((text() or "1", chance.choice([1, 11, 111, NOW]), text().lower(), f"key{text()}"))
    signatures = set()
    with built.app.app_context():
        for user_id, clock.time, email, built.app.config["SECRET_KEY"] in tuples:
            signer = RegisterSigner.for_user(built.User(id=user_id, email=email))
            signatures.add(signer.get_signed_data()["signature"])
    assert len(signatures) == 10_000


def test_the_case_of_the_stored_address_does_not_matter(built: Built, values: Values) -> None:
    set_address(built, "Ann@Example.COM")

    assert built.verify(values).status_code == 200


# What is refused


@pytest.mark.parametrize("field", ["user_id", "timestamp", "signature"])
def test_every_changed_character_is_refused(refused: Callable[[Values], None], values: Values, field: str) -> None:
    for position in range(len(values[field])):
        refused(changed(values, **{field: with_other_character(values[field], position)}))


def test_every_other_character_at_the_end_of_the_signature_is_refused(
    refused: Callable[[Values], None], values: Values
) -> None:
    """A decoder of base64 reads four of them as the same signature."""
    signature = values["signature"]
    others = [character for character in ALPHABET if character != signature[-1]]
    assert len(others) == 63
    for character in others:
        refused(changed(values, signature=signature[:-1] + character))


def standard_alphabet(signature: str) -> str:
    return signature.replace("-", "+").replace("_", "/") + ("" if {"-", "_"} & set(signature) else "=")


def as_hexadecimal(signature: str) -> str:
    return base64.urlsafe_b64decode(signature + "=").hex()


OTHER_SPELLINGS: dict[str, Callable[[str], str]] = {
    "padded": lambda text: text + "=",
    "padded twice": lambda text: text + "==",
    "standard alphabet": standard_alphabet,
    "hexadecimal": as_hexadecimal,
    "upper case": str.upper,
    "lower case": str.lower,
    "blank before": lambda text: " " + text,
    "blank behind": lambda text: text + " ",
    "line end": lambda text: text + "\n",
    "broken into lines": lambda text: text[:20] + "\r\n" + text[20:],
    "ignored character": lambda text: text[:20] + "!" + text[20:],
    "zero-width space": lambda text: text + "\u200b",
    "full-width": lambda text: "".join(chr(ord(each) + 0xFEE0) for each in text),
    "quoted": lambda text: f'"{text}"',
    "dot before": lambda text: "." + text,
    "twice": lambda text: text + text,
    "cut off": lambda text: text[:-1],
    "one more": lambda text: text + "A",
    "first half": lambda text: text[:21],
    "empty": lambda text: "",
    "outside latin": lambda text: text[:-1] + "é",
}


@pytest.mark.parametrize("spelling", OTHER_SPELLINGS)
def test_every_other_spelling_of_the_signature_is_refused(
    refused: Callable[[Values], None], values: Values, spelling: str
) -> None:
    other = OTHER_SPELLINGS[spelling](values["signature"])
    assert other != values["signature"]

    refused(changed(values, signature=other))


@pytest.mark.parametrize("form", ["{}.0", "+{}", "0{}", " {}", "{} ", "{}\n", "{:_}", "{}e0", "-{}", "{:x}"])
@pytest.mark.parametrize("field", ["user_id", "timestamp"])
def test_every_other_spelling_of_a_number_is_refused(
    refused: Callable[[Values], None], values: Values, field: str, form: str
) -> None:
    other = form.format(int(values[field]))
    if other == values[field]:  # one digit has no thousands and is its own hexadecimal
        other = f"0x{other}"
    refused(changed(values, **{field: other}))


@pytest.mark.parametrize("zero", ["٠", "０", "۰"])
def test_digits_of_other_scripts_are_refused(refused: Callable[[Values], None], values: Values, zero: str) -> None:
    for field in ("user_id", "timestamp"):
        other = "".join(chr(ord(zero) + int(digit)) for digit in values[field])
        refused(changed(values, **{field: other}))


@pytest.mark.parametrize("user_id", ["", "0", "3", "-1", "999", str(2**31), str(2**63), str(2**70), "ann", "None"])
def test_an_account_that_does_not_exist_is_refused_like_a_wrong_signature(
    refused: Callable[[Values], None], values: Values, user_id: str
) -> None:
    refused(changed(values, user_id=user_id))
    for address in ("", "ann@example.com", "None"):
        refused(changed(values, user_id=user_id, signature=sign([user_id, values["timestamp"], address], key="other")))


def test_a_signature_for_nobody_is_no_signature_for_an_account_that_does_not_exist(
    refused: Callable[[Values], None], values: Values
) -> None:
    """Even who has the key gets nothing where there is no account."""
    for message in (["", values["timestamp"], ""], ["999", values["timestamp"], ""]):
        refused(changed(values, user_id="999", signature=sign(message)))


@pytest.mark.parametrize("fallbacks", [[], ["older", "oldest"]], ids=len)
def test_an_account_that_does_not_exist_costs_as_many_signatures_as_one_that_does(
    built: Built, values: Values, monkeypatch: pytest.MonkeyPatch, fallbacks: list[str]
) -> None:
    built.app.config["SECRET_KEY_FALLBACKS"] = fallbacks
    made: list[object] = []
    get_signature = Signer.get_signature

    def counted(signer: Signer, value: str | bytes) -> bytes:
        made.append(value)
        return get_signature(signer, value)

    monkeypatch.setattr(Signer, "get_signature", counted)
    costs = []
    for forged in (changed(values, signature="x"), changed(values, user_id="3"), changed(values, user_id="ann")):
        made.clear()
        built.verify(forged)
        costs.append(len(made))

    assert costs == [len(fallbacks) + 1] * 3


def test_links_of_two_accounts_cannot_be_mixed(
    refused: Callable[[Values], None], values: Values, smtp: RecordingServer
) -> None:
    others = values_of(link_in(smtp.messages[1]))
    refused(changed(values, user_id=others["user_id"]))
    refused(changed(values, signature=others["signature"]))


def test_values_moved_between_fields_are_refused(refused: Callable[[Values], None], values: Values) -> None:
    names = ["user_id", "timestamp", "signature"]
    for shift in (1, 2):
        moved = [values[name] for name in names[shift:] + names[:shift]]
        refused(dict(zip(names, moved, strict=True)))
    refused(changed(values, user_id=values["timestamp"], timestamp=values["user_id"]))
    refused(changed(values, user_id="1" + values["timestamp"][0], timestamp=values["timestamp"][1:]))


def test_characters_moved_from_one_value_into_its_neighbour_are_refused(build: Builder, clock: Clock) -> None:
    """The signature of account 1 at the time 11 is not the one of account 11 at the time 1."""
    built = build(models.string_key)
    clock.time = 11
    data = signed_data(built, id="1", email="1@example.com")
    with built.app.app_context():
        built.db.session.add(built.User(id="11", email="1@example.com", username="x", password_hash="x"))
        built.db.session.commit()

    answer = built.verify({**data, "user_id": "11", "timestamp": "1"})

    assert (answer.status_code, answer.get_json()["code"]) == (400, "signature-invalid")


@pytest.mark.parametrize(
    "forgery",
    [
        {"key": "another app's key"},
        {"key": KEY.upper()},
        {"key": ""},
        {"salt": "itsdangerous.Signer"},
        {"salt": f"{SALT}signer"},
        {"salt": "flask_rest_registration.reset_password"},
        {"salt": ""},
        {"digest": "sha1"},
        {"digest": "sha512"},
    ],
    ids=str,
)
def test_a_signature_by_another_key_salt_or_digest_is_refused(
    refused: Callable[[Values], None], values: Values, forgery: dict[str, str]
) -> None:
    refused(changed(values, signature=sign(["1", str(NOW), "ann@example.com"], **forgery)))


def test_a_signature_by_the_bare_key_is_refused(refused: Callable[[Values], None], values: Values) -> None:
    message = json.dumps(["1", str(NOW), "ann@example.com"]).encode()
    for key in (KEY, f"{SALT}signer{KEY}", SALT + KEY):
        for derived in (key.encode(), hashlib.sha256(key.encode()).digest()):
            made = base64.urlsafe_b64encode(hmac.new(derived, message, "sha256").digest())
            refused(changed(values, signature=made.decode().rstrip("=")))


def test_the_link_of_another_app_is_refused(
    build: Builder, refused: Callable[[Values], None], clock: Clock, smtp: RecordingServer
) -> None:
    other = build(config={"SECRET_KEY": "another app's key"})
    assert other.register().status_code == 201

    foreign = values_of(link_in(smtp.messages[-1]))

    assert (foreign["user_id"], foreign["timestamp"]) == ("1", str(NOW))
    refused(dict(foreign))


@pytest.mark.parametrize("purpose", ["account", "pending registration"])
def test_a_link_of_one_purpose_is_worth_nothing_for_the_other(build: Builder, clock: Clock, purpose: str) -> None:
    """An account and a pending registration of one id, address and time: the salts tell them apart."""
    built = build(models.uuid_key, pending=True, registration={"REGISTER_EMAIL_FIRST": True})
    assert built.Pending is not None
    same = {"id": uuid.uuid4(), "email": "ann@example.com"}
    account = built.User(**same, username="ann", password_hash="x")
    pending = built.Pending(**same, sent_at=NOW, mails=1, next_mail_at=NOW, code_attempts=0)
    with built.app.app_context():
        links = {
            "account": RegisterSigner.for_user(account).get_signed_data(),
            "pending registration": RegisterSigner.for_user(pending).get_signed_data(),
        }
        signatures = [link.pop("signature") for link in links.values()]
        assert links["account"] == links["pending registration"]
        assert len(set(signatures)) == 2
        built.db.session.add(account if purpose == "account" else pending)
        built.db.session.commit()
    theirs, other = signatures if purpose == "account" else reversed(signatures)
    fields = built.body(username="bob")
    answer = built.verify({**fields, **links[purpose], "signature": other})
    assert (answer.status_code, answer.get_json()["code"]) == (400, "signature-invalid")
    assert built.post(CHECK_LINK, {**links[purpose], "signature": other}).status_code == 400
    assert built.verify({**fields, **links[purpose], "signature": theirs}).status_code < 300


def test_after_a_change_of_address_the_old_link_is_refused(
    refused: Callable[[Values], None], built: Built, values: Values
) -> None:
    set_address(built, "ann@elsewhere.example")

    refused(values)


def test_after_a_change_of_address_and_back_the_link_is_true_again(built: Built, values: Values) -> None:
    set_address(built, "ann@elsewhere.example")
    set_address(built, "ann@example.com")

    assert built.verify(values).status_code == 200


# Time


@pytest.mark.parametrize("period", [timedelta(days=7), PERIOD], ids=["timedelta", "seconds"])
@pytest.mark.parametrize(("age", "code"), [(0, None), (PERIOD, None), (PERIOD + 1, "signature-expired")])
def test_a_link_lives_for_the_period_and_no_second_longer(
    build: Builder, smtp: RecordingServer, clock: Clock, period: object, age: int, code: str | None
) -> None:
    built = build(registration={"REGISTER_VERIFICATION_PERIOD": period})
    built.register()
    clock.move(age)

    answer = built.verify(link_in(smtp.message))

    assert (answer.status_code, answer.get_json().get("code")) == (400 if code else 200, code)


def test_every_expired_link_gets_one_and_the_same_answer(built: Built, smtp: RecordingServer, clock: Clock) -> None:
    clock.move(PERIOD + 1)
    first = [seen_by_client(built.verify(link_in(message))) for message in smtp.messages]
    clock.move(PERIOD)
    later = [seen_by_client(built.verify(link_in(message))) for message in smtp.messages]

    assert len({answer[1] for answer in first + later}) == 1
    assert {answer[0] for answer in first + later} == {400}
    assert [row["email_verified_at"] for row in built.rows()] == [None, None]


def test_an_old_link_with_a_wrong_signature_does_not_tell_that_it_is_old(
    refused: Callable[[Values], None], values: Values, clock: Clock
) -> None:
    clock.move(PERIOD + 1)
    refused(changed(values, signature=with_other_character(values["signature"], 0)))
    refused(changed(values, timestamp=str(clock.time)))


@pytest.mark.parametrize("seconds", [1, 3, 3600, 10 * PERIOD])
def test_a_link_from_a_clock_ahead_of_ours_is_accepted(
    built: Built, values: Values, clock: Clock, seconds: int
) -> None:
    clock.move(-seconds)

    assert built.verify(values).status_code == 200


@pytest.mark.parametrize("timestamp", [NOW + 1, NOW + 100 * PERIOD, 2**31, 2**63, 10**30, -1, 0])
def test_a_forged_time_is_refused_however_far_it_is(
    refused: Callable[[Values], None], values: Values, timestamp: int
) -> None:
    refused(changed(values, timestamp=str(timestamp)))
    refused(changed(values, timestamp=timestamp))


# Keys that change


def test_a_key_moved_to_the_fallbacks_still_verifies(built: Built, values: Values) -> None:
    built.app.config.update(SECRET_KEY="the new key", SECRET_KEY_FALLBACKS=["an older one", KEY])

    assert built.verify(values).status_code == 200


def test_a_key_taken_out_of_the_fallbacks_is_refused(
    refused: Callable[[Values], None], built: Built, values: Values
) -> None:
    built.app.config.update(SECRET_KEY="the new key", SECRET_KEY_FALLBACKS=["an older one"])

    refused(values)


def test_a_fallback_never_signs(built: Built, clock: Clock) -> None:
    built.app.config.update(SECRET_KEY="the new key", SECRET_KEY_FALLBACKS=[KEY])

    signature = signed_data(built, id=1, email="ann@example.com")["signature"]

    assert signature == sign(["1", str(NOW), "ann@example.com"], key="the new key")


@pytest.mark.parametrize("fallbacks", [KEY, KEY.encode()], ids=["text", "bytes"])
def test_fallbacks_that_are_no_list_are_a_configuration_error(built: Built, values: Values, fallbacks: object) -> None:
    """Of a text each character would be a key, which anybody can guess."""
    built.app.config.update(SECRET_KEY="the new key", SECRET_KEY_FALLBACKS=fallbacks)

    guessed = changed(values, signature=sign(["1", str(NOW), "ann@example.com"], key=KEY[0]))
    for link in (values, guessed):
        with pytest.raises(ConfigurationError, match="SECRET_KEY_FALLBACKS must be a list"):
            built.verify(link)
    assert [row["email_verified_at"] for row in built.rows()] == [None, None]


# The URL


def test_the_link_is_the_base_url_with_the_three_values(built: Built, smtp: RecordingServer) -> None:
    signature = sign(["1", str(NOW), "ann@example.com"])

    assert link_in(smtp.messages[0]) == f"{VERIFICATION_URL}?user_id=1&timestamp={NOW}&signature={signature}"


@pytest.mark.parametrize(
    "base",
    [
        "https://front.example",
        "http://localhost:3000/verify",
        "https://front.example/verify/?lang=en&next=%2Fhome%3Fa%3D1",
        "https://front.example/#/verify/here?not=query",
        "https://front.example/a%20b/?empty=&flag#top",
    ],
)
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


@pytest.mark.parametrize("user_id", ["a b", "a&signature=x", "a+b", "50%", "a#b", "a=b?c", "a/b", "é", 'x"<>'])
def test_every_value_is_percent_encoded(build: Builder, clock: Clock, user_id: str) -> None:
    built = build(models.string_key)
    with built.app.app_context():
        url = RegisterSigner.for_user(built.User(id=user_id, email="a@example.com")).get_url()
        built.db.session.add(built.User(id=user_id, email="a@example.com", username="a", password_hash="x"))
        built.db.session.commit()

    query = url.removeprefix(f"{VERIFICATION_URL}?")
    assert set(query) <= set(ALPHABET + "%.~&=")
    assert parse_qs(query)["user_id"] == [user_id]
    assert built.verify(url).status_code == 200


def path_of_the_values(signer: RegisterSigner) -> str:
    data = signer.get_signed_data()
    return f"{signer.get_base_url()}{data['user_id']}/{data['timestamp']}/{data['signature']}"


@pytest.mark.parametrize("builder", [path_of_the_values, f"{__name__}.path_of_the_values"], ids=["object", "path"])
def test_a_url_builder_of_ones_own_makes_the_link(
    build: Builder, smtp: RecordingServer, clock: Clock, builder: object
) -> None:
    built = build(registration={"VERIFICATION_URL_BUILDER": builder})
    built.register()

    signature = sign(["1", str(NOW), "ann@example.com"])
    assert f"{VERIFICATION_URL}1/{NOW}/{signature}" in text_of(smtp.message).split()
    assert built.verify({"user_id": "1", "timestamp": str(NOW), "signature": signature}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:443"},
        {"X-Forwarded-Host": "evil.example"},
        {"X-Forwarded-Proto": "gopher", "X-Forwarded-Port": "70", "X-Forwarded-Prefix": "/evil"},
        {"Forwarded": "host=evil.example;proto=http"},
        {"X-Original-URL": "https://evil.example/", "X-Rewrite-URL": "https://evil.example/"},
        {"Origin": "https://evil.example", "Referer": "https://evil.example/verify/"},
        {"X-Host": "evil.example", "X-HTTP-Host-Override": "evil.example"},
    ],
    ids=str,
)
def test_no_request_header_changes_the_link(
    build: Builder, smtp: RecordingServer, clock: Clock, headers: dict[str, str]
) -> None:
    built = build()

    assert built.post("register/", built.body(), headers=headers).status_code == 201

    signature = sign(["1", str(NOW), "ann@example.com"])
    assert link_in(smtp.message) == f"{VERIFICATION_URL}?user_id=1&timestamp={NOW}&signature={signature}"
    assert b"evil" not in smtp.envelopes[0].content


# for_user


def test_for_user_takes_the_time_once(built: Built, clock: Clock) -> None:
    with built.app.app_context():
        signer = RegisterSigner.for_user(built.db.session.get(built.User, 1))
        before = (signer.get_signed_data(), signer.get_url())
        clock.move(100)
        assert (signer.get_signed_data(), signer.get_url()) == before

    assert before[0]["timestamp"] == str(NOW)
    assert built.verify(before[0]).status_code == 200


def test_for_user_gives_nothing_but_texts(built: Built) -> None:
    data = signed_data(built, id=1, email="ann@example.com")

    assert list(data) == ["user_id", "timestamp", "signature"]
    assert {type(value) for value in data.values()} == {str}


def test_for_user_works_in_any_app_context_by_the_settings_of_that_app(build: Builder, clock: Clock) -> None:
    first = build()
    second = build(
        models.other_email_name,
        registration={"REGISTER_VERIFICATION_URL": "https://second.example/"},
        config={"SECRET_KEY": "second"},
    )
    with first.app.test_request_context("/anywhere"):
        user = second.User(id=5, mail_address="eve@example.com")
        with second.app.app_context():
            url = RegisterSigner.for_user(user).get_url()

    signature = sign(["5", str(NOW), "eve@example.com"], key="second")
    assert url == f"https://second.example/?user_id=5&timestamp={NOW}&signature={signature}"


@pytest.mark.parametrize("model", [models.uuid_key, models.string_key, models.other_column_names])
def test_a_link_by_a_script_verifies_an_account_of_any_key(build: Builder, model: models.Model) -> None:
    built = build(model)
    built.register()
    with built.app.app_context():
        user = built.db.session.scalars(built.db.select(built.User)).one()
        url = RegisterSigner.for_user(user).get_url()
        assert values_of(url)["user_id"] == str(user.id)

    assert built.verify(url).status_code == 200


def with_pets(lazy: Any) -> models.Model:
    """Return a model with a collection that is loaded along with it."""

    def model(db: SQLAlchemy) -> type[Any]:
        user_class = models.typed(db)

        class Pet(db.Model):  # type: ignore[misc,name-defined]
            id: Mapped[int] = mapped_column(primary_key=True)
            owner_id: Mapped[int] = mapped_column(ForeignKey("user.id"))

        user_class.Pet = Pet
        user_class.pets = relationship(Pet, lazy=lazy)
        return user_class

    return model


@pytest.mark.parametrize("pets", [0, 2])
@pytest.mark.parametrize("lazy", ["joined", "selectin", "subquery", "select"])
def test_a_link_verifies_an_account_whose_collections_are_loaded_along_with_it(
    build: Builder, lazy: str, pets: int
) -> None:
    built = build(with_pets(lazy))
    with built.app.app_context():
        user = built.User(email="ann@example.com", username="ann", password_hash="x")
        user.pets = [built.User.Pet() for _ in range(pets)]
        built.db.session.add(user)
        built.db.session.commit()
        url = RegisterSigner.for_user(user).get_url()

    assert built.verify(url).status_code == 200
    with built.app.app_context():
        assert built.db.session.scalar(select(built.User.email_verified_at)) is not None


def test_a_link_needs_the_url_of_its_page(build: Builder) -> None:
    def send(request: object, user: object) -> None:
        RegisterSigner.for_user(user).get_url()

    settings = {"REGISTER_VERIFICATION_URL": None, "REGISTER_VERIFICATION_EMAIL_SENDER": send}
    built = build(registration=settings)
    with pytest.raises(ConfigurationError, match="REGISTER_VERIFICATION_URL is missing"):
        built.register()
    assert built.rows() == []
