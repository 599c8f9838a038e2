"""Attacks on ``register/`` and on everything else that makes an account."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from ...model.user_model import python_type
from ...settings.definitions import Settings
from ..bodies import new_password, with_password
from ..hostile import bodies_like
from ..target import CHECK, REGISTER, RESEND, VERIFY, Target, at_once, is_accepted, stored_address, summary

_FREE_KEY = 424242


def test_a_good_sign_up_makes_no_verified_account_before_its_link_is_used(registration_target: Target) -> None:
    """A new account must not be verified: otherwise anybody can sign up with an address that is not theirs.

    With REGISTER_EMAIL_FIRST there must not even be an account before the link is used. Fix: let nothing but a link
    set the flag or make an account. Look for receivers, events, serializers and defaults of your model that do.
    """
    target = registration_target
    address = target.start()
    if target.is_email_first:
        target.expect(target.row(address) is None, "A sign-up made an account before its link was used.")
        target.expect(target.is_verified(target.sign_up()), "A link made an account that is not verified.")
        return
    target.need_verification()
    target.expect(not target.is_verified(address), "An account was verified right after the sign-up.")


def test_a_stranger_writes_no_column_that_registration_does_not_offer(registration_target: Target) -> None:
    """Mass assignment: a request adds "is_admin": true or "id": 1, and the code passes it on to the model (CWE-915).

    The stranger becomes an administrator, or takes over somebody's account. Fix: remove the field from
    USER_EDITABLE_FIELDS or from your serializer. Give your serializer's Meta neither unknown = INCLUDE nor all
    columns, and let constructors and @post_load take values by name. If strangers may set the field on purpose, add
    it to the ini option registration_open_fields.
    """
    target = registration_target
    with target.app.app_context():
        offered = target.state.serializers.register().load_fields
    names = {name for field_name, field in offered.items() for name in (field_name, field.attribute, field.data_key)}
    rights = set(Settings.user_hidden_fields) - target.open_fields
    target.expect(not rights & names, f"Registration lets a stranger set {sorted(rights & names, key=str)}.")
    victim = target.sign_up()
    before = target.row(victim) or {}
    written, broken = [], []
    for name, value in _extra_values(target, before, names):
        body = {**target.body(), name: value}
        if target.account_request(body)().status_code >= 500:
            broken.append(name)
        stored = (target.row(stored_address(body, target.email_name)) or {}).get(name)
        if str(value) in {str(stored), str(getattr(stored, "name", None)), str(getattr(stored, "value", None))}:
            written.append(name)
    target.expect(not written, f"A stranger's extra fields were stored: {written}.")
    target.expect(not broken, f"A stranger's extra fields caused server errors: {broken}.")
    target.expect(target.row(victim) == before, "A stranger's sign-up changed an account that was there before.")


def _extra_values(target: Target, row: dict[str, object], offered: set[str | None]) -> Iterator[tuple[str, object]]:
    for name, column in target.model.attributes.items():
        if name not in offered:
            kind = python_type(column)
            yield name, not row[name] if kind is bool else _FREE_KEY if kind is int else "admin"
    for key in target.model.keys:
        yield key.name, row[key.name] if isinstance(row[key.name], int) else str(row[key.name])
    for name in (*Settings.user_hidden_fields, *target.model.mapper.relationships.keys(), "user"):
        if name not in offered and name not in target.model.attributes:
            yield name, {"id": 1, "is_admin": True}


def test_a_password_is_stored_as_a_salted_hash_and_never_shown(registration_target: Target) -> None:
    """A stolen table or a logged answer must not let anybody into an account (OWASP, Password Storage Cheat Sheet).

    A password that is hashed twice lets nobody in at all. Fix: let PASSWORD_HASHER, set_password() or your property
    make a slow, salted hash, as werkzeug's generate_password_hash does, let nothing else hash, such as your serializer
    or an event listener, and remove password columns from REGISTER_OUTPUT_SERIALIZER_CLASS.
    """
    target = registration_target
    password = new_password()
    bodies = [with_password(target.body(), password) for _ in range(2)]
    second = target.sign_up(bodies[1])
    answer = target.account_request(bodies[0])()
    rows = [target.row(address) or {} for address in (stored_address(bodies[0], target.email_name), second)]
    hashes = [[str(row[column.name]) for column in target.model.password_columns if row] for row in rows]
    shown = [text for text in (password, *hashes[0]) if text in answer.get_data(as_text=True)]
    target.expect(not shown, "The answer to a sign-up shows the password or its hash.")
    plain = [name for name, value in rows[0].items() if password in str(value)]
    target.expect(not plain, f"The password is stored as it is, in {plain}.")
    is_known = target.has_password(second, password)
    target.expect(is_known is not False, "What is stored is no hash of the password, but of something made of it.")
    salted = not set(hashes[0]) & set(hashes[1])
    target.expect(salted, "Two accounts with the same password have the same hash: it has no salt.")


def test_a_password_that_anybody_guesses_is_refused(registration_target: Target) -> None:
    """Validators that let everything pass: people choose "a", and a stranger's first guess opens the account.

    A function of PASSWORD_VALIDATORS refuses by raising ValidationError; what it returns refuses nothing. Fix: let
    yours raise, and keep the default ones beside it.
    """
    target = registration_target
    target.need(target.settings.password_validators, "PASSWORD_VALIDATORS is empty")
    target.sign_up()
    body = target.body()
    target.need("password" in body, "a sign-up has no field 'password'")
    answer = target.account_request(with_password(body, "a"))()
    target.expect(answer.status_code == 400, f"A sign-up with the password 'a' was answered {summary(answer)}.")


def test_signing_up_logs_nobody_in_before_the_address_is_verified(registration_target: Target) -> None:
    """The answer to a sign-up has a session or token: whoever signs up with a victim's address is logged in first.

    That session stays valid when the victim verifies the address (pre-hijacking, Sudhodanan and Paverd 2022). Fix: do
    not log in from receivers of user_registered or output serializers; use REGISTER_VERIFICATION_AUTO_LOGIN, or log in
    after the verification.
    """
    target = registration_target
    target.need_verification()
    target.sign_up()
    client = target.app.test_client()
    target.post(REGISTER, {}, client)
    with client.session_transaction(**target.place) as session:
        before = set(session)
    answer = target.request_sign_up(target.body(), client)
    with client.session_transaction(**target.place) as session:
        added = set(session) - before - {"_flashes"}
    target.expect(not added, f"After a sign-up the session of the stranger holds {sorted(added)}.")
    tokens = [name for name in answer.get_json(silent=True) or {} if re.search(r"(^|_)(token|jwt|api_key)$", name)]
    target.expect(not tokens, f"The answer to a sign-up has {tokens}.")


def test_one_address_twice_at_once_makes_one_account(registration_target: Target) -> None:
    """Sign-ups with the same data at the same time: code that looks first and writes later finds the address free.

    One of them gets a 500, or each makes an account (dj-rest-auth #552, django-allauth #1017). Fix: let a unique
    constraint decide, and treat its IntegrityError as "taken", also in tables that you fill beside the account.
    """
    target = registration_target
    target.need_simultaneity()
    target.sign_up()
    for _ in range(3):
        answers = at_once(4, target.account_request(target.body()))
        statuses = sorted(answer.status_code for answer in answers)
        target.expect(statuses[-1] < 500, f"Four sign-ups at once were answered {statuses}.")
        accepted = sum(map(is_accepted, answers))
        target.expect(accepted == 1, f"Of four sign-ups at once with one address {accepted} were accepted.")


def test_no_body_is_answered_with_a_server_error(registration_target: Target) -> None:
    """Hostile bodies: NUL, surrogates, huge numbers, deep nesting, wrong types, huge texts, invalid JSON.

    A 5xx means that your code met something unexpected: at best the log fills, at worst a request is left half done.
    Fix: let your serializers' hooks (they run before the types are checked), your validators and your before_request
    functions cope with missing fields, wrong types and bodies that are not objects.
    """
    target = registration_target
    wrong = []
    for path, good in _good_bodies(target):
        for name, data in bodies_like(good):
            answer = target.post(path, data=data, content_type="application/json")
            if answer.status_code >= 500 or not answer.is_json:
                wrong.append(f"{path} with {name}: {summary(answer)[:80]}")
    target.expect(not wrong, "These bodies were not answered properly:\n  " + "\n  ".join(wrong[:8]))


def _good_bodies(target: Target) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    if target.is_email_first:
        yield REGISTER, lambda: target.email_body(target.new_address())
        yield CHECK, _fresh(target, target.link)
        yield VERIFY, _fresh(target, lambda address: {**target.fields(), **target.link(address)})
        if target.settings.register_verification_code_enabled:
            yield VERIFY, _fresh(target, lambda address: {**target.fields(), **target.code(address)})
        return
    yield REGISTER, target.body
    link = target.link(target.sign_up()) if target.model.flag else {}
    yield VERIFY, lambda: link
    if target.state.pending:
        yield RESEND, lambda: target.email_body(target.new_address())


def _fresh(target: Target, make: Callable[[str], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """Return a function that makes bodies about an address, and about a new one once that has an account."""
    addresses = [target.start()]

    def body() -> dict[str, Any]:
        if target.row(addresses[-1]):
            addresses.append(target.start())
        return make(addresses[-1])

    return body
