"""Attacks with the address of somebody else: what a stranger takes with it, learns by it and sends to it."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import sqlalchemy as sa

from ...settings.definitions import LONGEST_COOLDOWN
from ..bodies import PASSWORDS, new_address, new_password
from ..target import REGISTER, Target, at_once, stored_address, told

_AT_SIGN_UP = "REGISTER_EMAIL_FIRST is off: a stranger's sign-up takes the address, with a password of the stranger's"


# What a stranger takes


def test_a_stranger_prepares_no_password_for_somebody_elses_address(registration_target: Target) -> None:
    """Sign up with the victim's address and a password of one's own, then wait: the owner clicks on the link.

    The account is the owner's and the stranger's then (better-auth #11023). It costs one request. Fix: with
    REGISTER_EMAIL_FIRST the password comes with the link; keep your hooks from storing one that came with register/.
    """
    target = registration_target
    target.need(target.is_email_first, _AT_SIGN_UP)
    strangers, owners = new_password(), new_password()
    body = target.body()
    address = stored_address(body, target.email_name)
    prepared = dict.fromkeys(PASSWORDS, strangers)
    target.post(REGISTER, {**body, **prepared, **target.email_body(address)})
    target.verify({**target.link(target.start()), target.email_name: address})
    target.verify({**prepared, "email": address, "code": "000000"})
    target.expect(target.row(address) is None, "A stranger has made an account for somebody else's address.")
    target.start(body)
    chosen = {name: owners for name in PASSWORDS if name in body}
    answer = target.verify({**body, **chosen, **target.link(address)})
    target.expect(target.row(address), f"After a stranger's sign-up the owner's link was answered {told(answer)}.")
    target.expect(
        not target.has_password(address, strangers),
        "The password that a stranger sent with the sign-up opens the account that the owner has made.",
    )
    target.need(
        target.has_password(address, owners),
        "it cannot be told whose password a hash is: give your model a method check_password(password)",
    )


def test_a_stranger_neither_keeps_an_address_nor_fills_the_users_table(registration_target: Target) -> None:
    """Sign up with other people's addresses: they are taken, or the users' table is full of people who never came.

    It costs one request for each. Fix: with REGISTER_EMAIL_FIRST a sign-up makes no user before its link is used;
    keep your hooks from making one, and from refusing an address because somebody else has asked for it.
    """
    target = registration_target
    target.need(target.is_email_first, _AT_SIGN_UP)
    address = target.start()
    before = _count_users(target)
    for each in (address, new_address(), new_address(), new_address(), new_address()):
        target.ask(each)
    made = _count_users(target) - before
    target.expect(not made, f"Five sign-ups of a stranger, whose links nobody used, made {made} users.")
    answer = target.ask(address)
    target.expect(answer.status_code == 202, f"After a stranger's sign-up the owner's was answered {told(answer)}.")
    answer = target.verify(target.link(address))
    target.expect(target.row(address), f"After a stranger's sign-up the owner's link was answered {told(answer)}.")


def _count_users(target: Target) -> int:
    with target.app.app_context():
        session = target.app.extensions["sqlalchemy"].session
        return int(session.scalar(sa.select(sa.func.count()).select_from(target.model.cls)))


# What a stranger learns


def test_asking_for_a_message_does_not_tell_who_has_an_account(registration_target: Target) -> None:
    """A stranger asks for thousands of addresses, and reads from the answers which of them have accounts.

    By status, text or header, or by the time that more statements or a missing message take. It costs a request for
    each. Fix: let the e-mail field of your register serializer, hooks, receivers, after_request functions and error
    handlers neither look the account up nor answer by it, and let REGISTER_EXISTING_EMAIL_SENDER send the way that
    the other sender does.
    """
    target = registration_target
    target.need_pending()
    target.wait(0)
    but_for: tuple[str, ...] = ()
    if target.is_email_first:
        free, taken = [target.start(), target.start()], [target.sign_up()]
    else:
        # Whether an account waits is told by its message, which takes its time; the docs say so.
        but_for = ("statements", "messages")
        free, taken = [new_address(), new_address()], [target.start(), target.start()]
        target.verify(target.link(taken[1]))
    target.forget_messages(*free, *taken)
    cooldown = int(target.settings.register_verification_resend_cooldown.total_seconds())
    for when, seconds in (("first message", 0), ("cooldown", 0), ("next message", cooldown)):
        target.wait(seconds)
        traces = [target.trace(partial(target.ask, address)) for address in (*free, *taken)]
        target.expect(traces[0]["status"] == 202, f"A request for a message was answered {traces[0]['body']}.")
        ignored = () if when == "cooldown" else but_for
        for trace in traces[2:]:
            target.expect_alike(f"An address with an account, at its {when},", traces[:2], trace, but_for=ignored)


def test_a_second_request_does_not_tell_who_has_signed_up_meanwhile(registration_target: Target) -> None:
    """A stranger causes a message, waits a little, and asks again, to learn whether its reader has signed up.

    If the cooldown ends with the sign-up, the second request sends a message, and takes the time of one. It costs two
    requests. Fix: leave the rows of pending registrations alone; they outlive the sign-up on purpose, and
    "flask rest-registration purge" deletes those that may go.
    """
    target = registration_target
    target.need_email_first()
    target.wait(0)
    addresses = [target.start(), target.start(), target.sign_up()]
    *free, taken = [target.trace(partial(target.ask, address)) for address in addresses]
    target.expect_alike("An address whose owner has just signed up", free, taken)


def test_many_requests_at_once_send_one_message_and_tell_nothing(registration_target: Target) -> None:
    """Requests for one address at the same time: each finds that a message is due, or they are in each other's way.

    Eight requests are eight mails in somebody's mailbox, or a 500 that tells who has an account. Fix: let a unique
    constraint or a conditional UPDATE decide what your hooks do beside the extension's statements.
    """
    target = registration_target
    target.need_pending()
    target.need_simultaneity()
    addresses = {"new": new_address(), "asked for": target.start(), "taken": target.sign_up()}
    sent = target.count_messages()
    target.wait(int(LONGEST_COOLDOWN.total_seconds()))
    answers = {}
    for name, address in addresses.items():
        sent.clear()
        answers[name] = {told(answer) for answer in at_once(8, partial(target.ask, address))}
        target.expect(len(sent) <= 1, f"Eight requests at once for one address sent {len(sent)} messages.")
    target.expect(
        len(set.union(*answers.values())) == 1, f"Eight requests at once for one address were answered {answers}."
    )


# What a stranger sends


def test_no_mailbox_is_bombed(registration_target: Target) -> None:
    """A stranger asks for messages to one address again and again, in any spelling: its owner's mailbox is full.

    It costs a request for each mail, and mail services block a server that sends so. Fix: leave next_mail_at, sent_at
    and mails of pending registrations alone, and let nobody who is not logged in have a link mailed in another way;
    REGISTER_VERIFICATION_RESEND_COOLDOWN says how soon the second message may go.
    """
    target = registration_target
    target.need_pending()
    address = new_address() if target.is_email_first else target.start()
    sent = target.count_messages()
    target.wait(0)
    target.ask(address)
    target.expect(len(sent) == 1, f"The first request for an address sent {len(sent)} messages.")
    cooldown = target.settings.register_verification_resend_cooldown
    for number in range(1, 12):
        seconds = int(min(cooldown * 2 ** (number - 1), LONGEST_COOLDOWN).total_seconds())
        for wait, spelling in ((0, address.upper()), (seconds - 1, address)):
            target.wait(wait)
            target.ask(spelling)
            target.expect(
                len(sent) <= number,
                f"Message {number + 1} in a row to one address was sent {wait} seconds after the one before.",
            )
        target.wait(1)
        target.ask(address)


# Whose rows are deleted


def test_nothing_deletes_a_row_of_somebody_else(registration_target: Target) -> None:
    """Sign-ups, links, requests for messages, purge: what deletes rows will some day delete a person's.

    An account that goes takes its orders along, by ON DELETE CASCADE. It costs one request, or none. Fix: let nothing
    of yours refer to pending registrations, and delete no accounts in hooks, receivers and listeners.
    """
    target = registration_target
    body = target.body()
    member, waiting = target.sign_up(body), target.start()
    before = target.keys_of_rows()
    target.begin(body)
    target.account_request({**body, target.email_name: new_address()})()
    if target.model.flag:
        target.verify({**target.link(waiting), "signature": "x"})
        target.verify(target.link(waiting))
    lost = before - target.keys_of_rows()
    target.expect(not lost, f"Sign-ups and links have deleted rows of others: {sorted(lost)[:5]}.")
    pending = target.registration.pending
    if pending:
        target.ask(member)
        target.ask(waiting)
        period = max(target.settings.register_verification_period, timedelta(days=1))
        target.wait(2 * int(period.total_seconds()))
        with target.app.app_context():
            list(pending.delete_stale())
        lost = before - target.keys_of_rows()
        target.expect(not lost, f"The purge of pending registrations has deleted other rows: {sorted(lost)[:5]}.")
