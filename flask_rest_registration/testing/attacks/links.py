"""Attacks with links, on ``verify-registration/`` and on the page behind a link."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from ...settings import LOCK_OUT_FIELDS
from ...signers import RegisterSigner
from ..bodies import new_address
from ..target import VERIFY, Target, at_once, told


def test_one_link_many_times_at_once_activates_once(registration_target: Target) -> None:
    """Eight clicks at the same moment: code that looks at the flag and sets it then gives the welcome gift eight times.

    (CVE-2019-5421 in Devise.) Mend: let the extension's view set the flag, which one conditional UPDATE decides, and
    do what belongs to the activation in user_activated, without sending it yourself.
    """
    target = registration_target
    target.need_verification()
    target.need_simultaneity()
    address = target.sign_up()
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
    """Replay: a link stays in mailboxes, proxies' logs and browsers' histories long after it was used.

    Its second use may neither activate again nor log in (GHSA-hc7v-rggr-4hvx in Better Auth). Mend: log in by
    REGISTER_VERIFICATION_AUTO_LOGIN, which logs in only with the activating request, not in a view or hook of your
    own; REGISTER_VERIFICATION_ONE_TIME_USE refuses the second use.
    """
    target = registration_target
    target.need_verification()
    address = target.sign_up()
    link = target.link(address)
    first = target.verify(link)
    target.expect(first.status_code == 200, f"A good link was answered {told(first)}.")
    before, stranger = target.row(address), target.app.test_client()
    with target.activations() as activated:
        second = target.verify(link, stranger)
    one_time = target.settings.register_verification_one_time_use or target.settings.password_at_verification
    target.expect(
        second.status_code == (400 if one_time else 200), f"A link that was used before was answered {told(second)}."
    )
    target.expect(not activated, "A link that was used before sent user_activated again.")
    target.expect(target.row(address) == before, "A link that was used before changed the account.")
    with stranger.session_transaction() as session:
        inside = set(session) or set(second.get_json()) - {"detail", "code", "errors"}
    target.expect(not inside, f"A link that was used before logs in: it gives {sorted(inside)}.")


def test_no_link_lets_an_account_in_that_was_locked_out(registration_target: Target) -> None:
    """Replay after a lock-out: you set is_active to false, and the banned user opens last week's mail.

    (Seen in djoser and django-rest-registration.) Mend: "verified" and "not locked out" are two things; give your
    model a column for the first, email_verified_at = db.Column(db.DateTime), which the extension finds by itself,
    and let neither links nor receivers of user_activated touch the other one.
    """
    target = registration_target
    flag = target.need_verification()
    names = [name for name in LOCK_OUT_FIELDS if name in target.model.attributes]
    target.need(names, f"the model has no column {' or '.join(LOCK_OUT_FIELDS)}")
    for moment in ("after its verification", "before its verification")[: 1 if flag.name in names else 2]:
        address = target.sign_up()
        link = target.link(address)
        if moment.startswith("after"):
            target.verify(link)
        with target.account(address) as user:
            setattr(user, names[0], False)
        answer = target.verify(link)
        target.expect(
            not (target.row(address) or {})[names[0]],
            f"{names[0]} was set to false {moment}; the old link, answered {told(answer)}, set it again.",
        )


def test_a_link_is_dead_after_the_address_has_changed(registration_target: Target) -> None:
    """A link sent to one address verifies another one: sign up with yours, change it to the victim's, click.

    (CVE-2026-32700 in Devise, allauth 65.12.1.) Mend: check links with RegisterSigner, which signs the address too.
    """
    target = registration_target
    target.need_verification()
    address, other = target.sign_up(), new_address()
    link = target.link(address)
    with target.account(address) as user:
        setattr(user, target.model.email.name, other)
    answer = target.verify(link)
    target.expect(
        answer.status_code == 400 and not target.is_verified(other),
        f"A link that was mailed to an old address verified the new one: {told(answer)}.",
    )


def test_only_the_true_link_of_an_account_verifies_it(registration_target: Target) -> None:
    """Links that a stranger makes up: another account's signature, changed values, one that is too old.

    (CVE-2019-13177 in django-rest-registration, CVE-2019-16109 in Devise.) Mend: do not replace the extension's view;
    if you must, check links with RegisterSigner(...).accepts() and has_expired() and nothing else.
    """
    target = registration_target
    target.need_verification()
    victim = target.sign_up()
    good, other = target.link(victim), target.link(target.sign_up())
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
            f"A link with {name} was answered {told(answer)}.",
        )


def test_a_key_that_was_dropped_verifies_no_link(registration_target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """Key rotation: after a leak you replace SECRET_KEY; whoever has the old one may not make links any more.

    Links that are on their way stay good only while SECRET_KEY_FALLBACKS has the key. Mend: let your code read
    app.config["SECRET_KEY"] each time, and neither keep a copy of the key nor write it back.
    """
    target = registration_target
    target.need_verification()
    kept, dropped = target.sign_up(), target.sign_up()
    links = target.link(kept), target.link(dropped)
    monkeypatch.setitem(target.app.config, "SECRET_KEY_FALLBACKS", [target.app.config["SECRET_KEY"]])
    monkeypatch.setitem(target.app.config, "SECRET_KEY", "another key, for this attack only")
    answer = target.verify(links[0])
    target.expect(
        answer.status_code == 200, f"With its key in SECRET_KEY_FALLBACKS a link was answered {told(answer)}."
    )
    monkeypatch.setitem(target.app.config, "SECRET_KEY_FALLBACKS", [])
    answer = target.verify(links[1])
    target.expect(not target.is_verified(dropped), f"A link of a key that was dropped was answered {told(answer)}.")


def test_opening_a_link_verifies_nothing(registration_target: Target) -> None:
    """Mail scanners open every link, often before its reader does: a stranger's account is verified by a machine.

    (LanternOps/breeze #6539, Ghost #12347.) Mend: the page behind the link shows a button, and sends its values by
    POST to verify-registration/ when the button is clicked; no GET request sets the flag.
    """
    target = registration_target
    target.need_verification()
    address = target.sign_up()
    with target.account(address) as user:
        signer = RegisterSigner.for_user(user)
        values = signer.get_signed_data()
        pages = [f"{target.settings.url_prefix}/{VERIFY}"]
        if target.settings.register_verification_url:
            pages.append(urlsplit(signer.get_base_url()).path or "/")
    for page in pages:
        for method in ("HEAD", "GET"):
            target.app.test_client().open(page, method=method, query_string=values)
            target.expect(not target.is_verified(address), f"{method} {page} with a link's values verified an account.")
