"""Attacks with somebody else's address: what a stranger takes with it, learns from it and sends to it."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import sqlalchemy as sa

from ...settings.parsers import LONGEST_COOLDOWN
from ..bodies import PASSWORDS, new_password, with_password
from ..target import REGISTER, Target, at_once, stored_address, summary

# What a stranger takes


def test_a_stranger_prepares_no_password_for_somebody_elses_address(registration_target: Target) -> None:
    """Sign up with the victim's address and a password of your own, and wait until the victim clicks on the link.

    The account is the victim's and the stranger's then (better-auth #11023). It costs one request. Fix: with
    REGISTER_EMAIL_FIRST the password comes with the link; keep your hooks from storing one that came with register/.
    """
    target = registration_target
    target.need_email_first()
    of_stranger, of_victim = new_password(), new_password()
    body = target.body()
    address = stored_address(body, target.email_name)
    prepared = dict.fromkeys(PASSWORDS, of_stranger)
    target.post(REGISTER, {**body, **prepared, **target.email_body(address)})
    target.verify({**target.link(target.start()), target.email_name: address})
    target.verify({**prepared, "email": address, "code": "000000"})
    target.expect(target.row(address) is None, "A stranger has made an account for somebody else's address.")
    target.start(body)
    answer = target.verify({**with_password(body, of_victim), **target.link(address)})
    target.expect(target.row(address), f"After a stranger's sign-up the victim's link was answered {summary(answer)}.")
    target.expect(
        not target.has_password(address, of_stranger),
        "The password that a stranger sent with the sign-up gives access to the account that the victim has made.",
    )
    is_of_victim = target.has_password(address, of_victim)
    target.need(
        is_of_victim is not None,
        "nothing knows which password the hash is of: give your model a method check_password(password)",
    )
    target.expect(is_of_victim, "The account that the victim has made does not have the victim's password.")


def test_a_stranger_neither_keeps_an_address_nor_fills_the_users_table(registration_target: Target) -> None:
    """Sign up with other people's addresses: they are taken, or the users' table fills with people who never came.

    It costs one request per address. Fix: with REGISTER_EMAIL_FIRST a sign-up makes no user before its link is used;
    keep your hooks from making one, and from refusing an address because somebody else has asked for it.
    """
    target = registration_target
    target.need_email_first()
    address = target.start()
    before = _count_users(target)
    for each in (address, target.new_address(), target.new_address(), target.new_address(), target.new_address()):
        target.ask_for_mail(each)
    made = _count_users(target) - before
    target.expect(not made, f"Five sign-ups of a stranger, whose links nobody used, made {made} users.")
    answer = target.ask_for_mail(address)
    target.expect(answer.status_code == 202, f"After a stranger's sign-up the victim's was answered {summary(answer)}.")
    answer = target.verify(target.link(address))
    target.expect(target.row(address), f"After a stranger's sign-up the victim's link was answered {summary(answer)}.")


def _count_users(target: Target) -> int:
    with target.app.app_context():
        session = target.app.extensions["sqlalchemy"].session
        return int(session.scalar(sa.select(sa.func.count()).select_from(target.model.cls)))


# What a stranger learns


def test_asking_for_a_message_does_not_tell_who_has_an_account(registration_target: Target) -> None:
    """A stranger asks for mails to thousands of addresses, and learns from the answers which of them have accounts.

    What tells is a status, text or header, or the time that one more statement takes or one mail less saves. It costs
    one request per address. Fix: let the e-mail field of your register serializer, hooks, receivers, after_request
    functions and error handlers neither look the account up nor answer by it, and let REGISTER_EXISTING_EMAIL_SENDER
    send the way that the other sender does.
    """
    target = registration_target
    target.need_pending()
    target.wait(0)
    but_for: tuple[str, ...] = ()
    if target.is_email_first:
        free, taken = [target.start(), target.start()], [target.sign_up()]
    else:
        # Only an account that waits for its verification gets a mail, which takes time; the docs say so.
        but_for = ("statements", "mails")
        free, taken = [target.new_address(), target.new_address()], [target.start(), target.start()]
        target.verify(target.link(taken[0]))
    target.delete_pending(*free, *taken)
    for when, seconds in (("first mail", 0), ("cooldown", 0), ("next mail", target.cooldown())):
        target.wait(seconds)
        traces = [target.trace(partial(target.ask_for_mail, address)) for address in (*free, *taken)]
        target.expect(traces[0]["status"] == 202, f"A request for a mail was answered {traces[0]['body']}.")
        for trace, ignored in zip(traces[2:], ((), () if when == "cooldown" else but_for), strict=False):
            target.expect_alike(f"An address with an account, at its {when},", traces[:2], trace, but_for=ignored)


def test_a_second_request_does_not_tell_who_has_signed_up_meanwhile(registration_target: Target) -> None:
    """A stranger causes a mail, waits a little, and asks again, to learn whether its reader has signed up.

    If the sign-up ends the cooldown, the second request sends a mail, and takes as long as that. It costs two
    requests. Fix: leave the rows of pending registrations alone: they outlive the sign-up on purpose, and
    "flask rest-registration purge" deletes those that may go.
    """
    target = registration_target
    target.need_email_first()
    target.wait(0)
    addresses = [target.start(), target.start(), target.sign_up()]
    *free, taken = [target.trace(partial(target.ask_for_mail, address)) for address in addresses]
    target.expect_alike("An address whose account was just made", free, taken)


def test_many_requests_at_once_send_one_message_and_tell_nothing(registration_target: Target) -> None:
    """Requests for one address at the same time: each finds that a mail is due, or they get in each other's way.

    Eight requests become eight mails in somebody's mailbox, or a 500 that tells who has an account. Fix: where your
    hooks write beside the extension, let a unique constraint or a conditional UPDATE decide.
    """
    target = registration_target
    target.need_pending()
    target.need_simultaneity()
    addresses = {"new": target.new_address(), "asked for": target.start(), "taken": target.sign_up()}
    sent = target.sent_mails()
    target.wait(int(LONGEST_COOLDOWN.total_seconds()))
    answers = {}
    for name, address in addresses.items():
        sent.clear()
        answers[name] = set(map(summary, at_once(8, partial(target.ask_for_mail, address))))
        target.expect(len(sent) <= 1, f"Eight requests at once for one address sent {len(sent)} mails.")
    alike = len(set.union(*answers.values())) == 1
    target.expect(alike, f"Eight requests at once for one address were answered {answers}.")


# What a stranger sends


def test_no_mailbox_is_bombed(registration_target: Target) -> None:
    """A stranger asks for mails to one address again and again, in any spelling, until the mailbox is full.

    It costs one request per mail, and mail services block servers that send like this. Fix: leave next_mail_at,
    sent_at and mails of pending registrations alone, and let nobody who is not logged in have a link mailed in another
    way. REGISTER_VERIFICATION_RESEND_COOLDOWN says how soon the second mail may go.
    """
    target = registration_target
    target.need_pending()
    address = target.new_address() if target.is_email_first else target.start()
    sent = target.sent_mails()
    target.wait(0)
    target.ask_for_mail(address)
    target.expect(len(sent) == 1, f"The first request for an address sent {len(sent)} mails.")
    for number in range(1, 12):
        for wait, spelling in ((0, address.upper()), (target.cooldown(number) - 1, address)):
            target.wait(wait)
            target.ask_for_mail(spelling)
            target.expect(
                len(sent) <= number,
                f"Mail {number + 1} in a row to one address was sent {wait} seconds after the one before.",
            )
        target.wait(1)
        target.ask_for_mail(address)


# Whose rows are deleted


def test_nothing_deletes_a_row_of_somebody_else(registration_target: Target) -> None:
    """Sign-ups, links, requests for mails, purge: whatever deletes rows will one day delete those of other people.

    A deleted account takes its orders along, by ON DELETE CASCADE. It costs one request, or none. Fix: let nothing of
    yours refer to pending registrations, and delete no accounts in hooks, receivers and listeners.
    """
    target = registration_target
    body = target.body()
    member, waiting = target.sign_up(body), target.start()
    before = target.keys_of_rows()
    target.request_sign_up(body)
    target.account_request({**body, target.email_name: target.new_address()})()
    if target.model.flag:
        target.verify({**target.link(waiting), "signature": "x"})
        target.verify(target.link(waiting))
    lost = before - target.keys_of_rows()
    target.expect(not lost, f"Sign-ups and links have deleted rows of others: {sorted(lost)[:5]}.")
    pending = target.state.pending
    if pending:
        target.ask_for_mail(member)
        target.ask_for_mail(waiting)
        period = max(target.settings.register_verification_period, timedelta(days=1))
        target.wait(2 * int(period.total_seconds()))
        with target.app.app_context():
            list(pending.delete_stale())
        lost = before - target.keys_of_rows()
        target.expect(not lost, f"The purge of pending registrations has deleted other rows: {sorted(lost)[:5]}.")
