"""Attacks with links, on ``verify-registration/`` and on the page behind a link."""

from __future__ import annotations

from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from ...settings.definitions import LOCK_OUT_FIELDS
from ...signers import RegisterSigner
from ..target import CHECK, VERIFY, Target, at_once, summary


def test_one_link_many_times_at_once_activates_once(registration_target: Target) -> None:
    """Eight clicks at the same time: code that reads the flag and sets it later gives the welcome gift eight times.

    (CVE-2019-5421 in Devise.) Fix: let the extension's view decide: it does so by one conditional UPDATE. Do the rest
    of the activation in receivers of user_activated, and do not send this signal yourself.
    """
    target = registration_target
    target.need_verification()
    target.need_simultaneity()
    address = target.start()
    link = target.link(address)
    with target.activations() as activated:
        answers = at_once(8, lambda: target.verify(link))
    statuses = sorted(answer.status_code for answer in answers)
    target.expect(statuses[-1] < 500, f"Eight requests at once with one link were answered {statuses}.")
    target.expect(
        len(activated) == 1 and target.is_verified(address),
        f"Eight requests at once with one link sent user_activated {len(activated)} times.",
    )


def test_a_link_that_is_used_again_changes_nothing(registration_target: Target) -> None:
    """Replay: a link stays in mailboxes, proxy logs and browser histories long after it was used.

    Its second use must neither activate again nor log in (GHSA-hc7v-rggr-4hvx in Better Auth). Fix: do not log in from
    a view or hook of your own; use REGISTER_VERIFICATION_AUTO_LOGIN, which logs in with the activating request only.
    REGISTER_VERIFICATION_ONE_TIME_USE refuses the second use.
    """
    target = registration_target
    target.need_verification()
    address = target.start()
    link = target.link(address)
    first = target.verify(link)
    target.expect(first.status_code == target.status_of_verification, f"A good link was answered {summary(first)}.")
    before, stranger = target.row(address), target.app.test_client()
    with target.activations() as activated:
        second = target.verify(link, stranger)
    once = target.is_email_first or target.settings.register_verification_one_time_use
    target.expect(
        second.status_code == (400 if once else 200), f"A link that was used before was answered {summary(second)}."
    )
    target.expect(not activated, "A link that was used before sent user_activated again.")
    target.expect(target.row(address) == before, "A link that was used before changed the account.")
    with stranger.session_transaction() as session:
        inside = set(session) or set(second.get_json()) - {"detail", "code", "errors"}
    target.expect(not inside, f"A link that was used before logs in: it gives {sorted(inside)}.")


def test_no_link_lets_an_account_in_that_was_locked_out(registration_target: Target) -> None:
    """Replay after a lock-out: you set is_active to false, and the locked-out person opens last week's mail.

    (Seen in djoser and django-rest-registration.) Fix: keep "verified" and "not locked out" apart. Give your model a
    column for the first, email_verified_at = db.Column(db.DateTime), which the extension finds by itself, and let
    neither links nor receivers of user_activated change the second.
    """
    target = registration_target
    flag = target.need_verification()
    names = [name for name in LOCK_OUT_FIELDS if name in target.model.attributes]
    target.need(names, f"the model has no column {' or '.join(LOCK_OUT_FIELDS)}")
    is_verified_first = flag.name in names or target.is_email_first
    for when in ("after its verification", "before its verification")[: 1 if is_verified_first else 2]:
        address = target.start()
        link = target.link(address)
        if when.startswith("after"):
            target.verify(link)
        with target.account(address) as user:
            setattr(user, names[0], False)
        answer = target.verify(link)
        target.expect(
            not (target.row(address) or {})[names[0]],
            f"{names[0]} was set to false {when}; the old link, answered {summary(answer)}, set it again.",
        )


def test_a_link_is_dead_after_the_address_has_changed(registration_target: Target) -> None:
    """Sign up with your address, change it to the victim's, and click: a link to one address verifies another.

    (CVE-2026-32700 in Devise, allauth 65.12.1.) Fix: check links with RegisterSigner, which signs the address too.
    """
    target = registration_target
    target.need_verification()
    address, other = target.start(), target.new_address()
    link = target.link(address)
    with target.recipient(address) as recipient:
        setattr(recipient, "email" if target.is_email_first else target.model.email.name, other)
    answer = target.verify(link)
    target.expect(
        answer.status_code == 400 and not target.is_verified(other),
        f"A link that was mailed to an old address verified the new one: {summary(answer)}.",
    )


def test_only_the_true_link_of_an_account_verifies_it(registration_target: Target) -> None:
    """Links that a stranger makes up: with another account's signature or changed values; and an expired link.

    (CVE-2019-13177 in django-rest-registration, CVE-2019-16109 in Devise.) Fix: do not replace the extension's view;
    if you must, check links with RegisterSigner(...).accepts() and has_expired(), and with nothing else.
    """
    target = registration_target
    target.need_verification()
    victim = target.start()
    good, other = target.link(victim), target.link(target.start())
    period = int(target.settings.register_verification_period.total_seconds())
    forged: dict[str, dict[str, object]] = {
        "another account's signature": {**good, "signature": other["signature"]},
        "a later time": {**good, "timestamp": str(int(good["timestamp"]) + 1)},
        "no signature": {**good, "signature": ""},
        "an old time": {**target.link(victim, age=period + 60)},
    }
    for name, link in forged.items():
        answer = target.verify(link)
        target.expect(
            answer.status_code == 400 and not target.is_verified(victim),
            f"A link with {name} was answered {summary(answer)}.",
        )


def test_a_key_that_was_dropped_verifies_no_link(registration_target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """Key rotation: you replace SECRET_KEY after a leak, and whoever has the old key must not make links any more.

    Links that are in the mail stay good only while SECRET_KEY_FALLBACKS has their key. Fix: let your code read
    app.config["SECRET_KEY"] each time, and neither keep a copy of the key nor write it back.
    """
    target = registration_target
    target.need_verification()
    kept, dropped = target.start(), target.start()
    links = target.link(kept), target.link(dropped)
    monkeypatch.setitem(target.app.config, "SECRET_KEY_FALLBACKS", [target.app.config["SECRET_KEY"]])
    monkeypatch.setitem(target.app.config, "SECRET_KEY", "another key, for this attack only")
    answer = target.verify(links[0])
    target.expect(
        answer.status_code == target.status_of_verification,
        f"With its key in SECRET_KEY_FALLBACKS a link was answered {summary(answer)}.",
    )
    monkeypatch.setitem(target.app.config, "SECRET_KEY_FALLBACKS", [])
    answer = target.verify(links[1])
    target.expect(not target.is_verified(dropped), f"A link of a key that was dropped was answered {summary(answer)}.")


def test_opening_a_link_verifies_nothing(registration_target: Target) -> None:
    """Mail scanners open every link, often before the reader does: a machine verifies a stranger's account.

    (LanternOps/breeze #6539, Ghost #12347.) Fix: let the page behind the link show a button, and POST the link's
    values to verify-registration/ when the button is clicked. No GET request may set the flag.
    """
    target = registration_target
    target.need_verification()
    address = target.start()
    with target.recipient(address) as recipient:
        signer = RegisterSigner.for_user(recipient)
        values = signer.get_signed_data()
        pages = {f"{target.settings.url_prefix}/{VERIFY}": target.place}
        if target.settings.register_verification_url:
            pages[urlsplit(signer.get_base_url()).path or "/"] = {}
    for page, place in pages.items():
        for method in ("HEAD", "GET"):
            target.app.test_client().open(page, method=method, query_string=values, **place)
            target.expect(not target.is_verified(address), f"{method} {page} with a link's values verified an account.")


def test_a_link_of_one_purpose_serves_no_other(registration_target: Target) -> None:
    """A link that completes a registration must not verify an account, and vice versa (CVE-2026-9087 in Keycloak).

    Otherwise a stranger who gets one kind of link for an id of their choice has the other kind too. It costs one
    request. Fix: do not replace the extension's views, and sign links of your own with another salt.
    """
    target = registration_target
    flag = target.need_verification()
    target.need_email_first()
    pending = target.need_pending()
    address = target.start()
    with target.pending_row(address) as row:
        names = {target.model.link_id.name: row.id, target.model.email.name: row.email, flag.name: None}
        signer = RegisterSigner(target.state, SimpleNamespace(**names), timestamp=str(row.sent_at))
        link = signer.get_signed_data()
    answers = [target.post(CHECK, link), target.verify(link)]
    target.expect(
        [answer.status_code for answer in answers] == [400, 400] and target.row(address) is None,
        f"A link of an account's kind was accepted for a pending registration: {[*map(summary, answers)]}.",
    )
    member = target.sign_up()
    with target.account(member) as user:
        setattr(user, flag.name, flag.value_unset)
        row = pending.mapper.class_manager.new_instance()
        row.id, row.email = str(getattr(user, target.model.link_id.name)), member
        link = RegisterSigner(target.state, row, timestamp=signer.get_signed_data()["timestamp"]).get_signed_data()
    answer = target.verify(link)
    target.expect(
        answer.status_code == 400 and not target.is_verified(member),
        f"A link of a pending registration's kind verified an account: {summary(answer)}.",
    )


def test_a_registration_is_completed_once(registration_target: Target) -> None:
    """Old mails about a registration: once it is completed, none of them may make an account again.

    Somebody gets two mails, signs up with the second, and changes the account's address years later. Whoever reads
    the old mailbox then must find nothing in it that works. Fix: do not replace the extension's view, and leave the
    ids of pending registrations alone: the extension changes the id when a registration is completed.
    """
    target = registration_target
    target.need_email_first()
    address, other = target.start(), target.new_address()
    first = target.link(address)
    target.wait(target.cooldown())
    target.ask_for_mail(address)
    proofs = [first, target.link(address)]
    if target.settings.register_verification_code_enabled:
        proofs.append(target.code(address))
    answer = target.verify(proofs[1])
    target.expect(target.is_verified(address), f"A good link was answered {summary(answer)}.")
    with target.account(address) as user:
        setattr(user, target.model.email.name, other)
    for proof in proofs:
        answer = target.verify(proof)
        target.expect(
            answer.status_code == 400 and target.row(address) is None,
            f"A registration was completed, and {', '.join(proof)} of its mails completed it again: {summary(answer)}.",
        )
