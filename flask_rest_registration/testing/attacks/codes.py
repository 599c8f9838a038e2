"""Attacks on the codes in mails, beside the links."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ...database.pending import MAILS_WITH_CODE, MOST_ATTEMPTS
from ..target import Body, Target, at_once, summary

_SECONDS_A_DAY = 24 * 60 * 60


def _wrong(right: Body, *, by: int = 1) -> Body:
    digits = right["code"]
    return {**right, "code": f"{(int(digits) + by) % 10 ** len(digits):0{len(digits)}}"}


def _guess_wrong(target: Target, right: Body, *, times: int) -> None:
    for number in range(1, times + 1):
        target.verify(_wrong(right, by=number))


def _expect_used_up(target: Target, right: Body, compared: Sequence[str], *, before: int = 0) -> None:
    """Send the right code after wrong ones.

    :param compared: all codes that were compared until now.
    :param before: so many of them were guesses of earlier codes.
    """
    answer = target.verify(right)
    guesses = len(compared) - before
    target.expect(
        guesses <= MOST_ATTEMPTS and target.row(right["email"]) is None,
        f"{guesses} guesses of one code were compared; the true one, sent after them, was answered {summary(answer)}.",
    )


def test_a_code_is_guessed_five_times_at_most_and_fifteen_times_a_day(registration_target: Target) -> None:
    """Guess the code of somebody else's address: whoever may guess long enough makes the account in their place.

    A million requests are enough for a code of six digits. Fix: leave code_attempts, sent_at and mails of pending
    registrations alone. Three mails a day have a code, each code allows five guesses, and nothing gives a guess back.
    """
    target = registration_target
    target.need_codes()
    target.wait(0)
    address, compared = target.start(), target.compared_codes()
    elapsed = mails = 0
    while elapsed < _SECONDS_A_DAY:
        mails += 1
        before, right = len(compared), target.code(address)
        _guess_wrong(target, right, times=MOST_ATTEMPTS + 1)
        target.ask_for_mail(address)
        _expect_used_up(target, right, compared, before=before)
        target.wait(target.cooldown(mails))
        target.ask_for_mail(address)
        elapsed += target.cooldown(mails)
    target.expect(
        len(compared) <= MAILS_WITH_CODE * MOST_ATTEMPTS,
        f"{len(compared)} guesses for one address were compared within a day.",
    )


def test_a_message_that_fails_gives_no_guess_back(registration_target: Target) -> None:
    """Guess while no mail can be sent: the failed mail is taken back, and with it the guesses that were counted.

    Whoever can make the mail server refuse, or waits until it fails, guesses without limit. Fix: leave code_attempts
    alone, also after a 503.
    """
    target = registration_target
    target.need_codes()
    target.wait(0)
    address, compared = target.start(), target.compared_codes()
    right = target.code(address)
    _guess_wrong(target, right, times=MOST_ATTEMPTS)
    target.wait(target.cooldown())
    target.change_senders(lambda send: _fail)
    target.ask_for_mail(address)
    _guess_wrong(target, right, times=1)
    _expect_used_up(target, right, compared)


def _fail(request: object, recipient: object) -> None:
    raise RuntimeError("an attack: this mail could not be sent")


def test_guesses_at_once_are_counted_before_they_are_compared(registration_target: Target) -> None:
    """Guesses at the same time: code that reads the count, compares, and writes the count later counts them as one.

    A thousand connections allow a thousand times as many guesses. Fix: count nothing yourself; let the extension's
    view count the guesses, by one conditional UPDATE before it compares.
    """
    target = registration_target
    target.need_codes()
    target.need_simultaneity()
    address, compared = target.start(), target.compared_codes()
    right = target.code(address)
    at_once(8, lambda: target.verify(_wrong(right)))
    target.expect(len(compared) <= MOST_ATTEMPTS, f"Of eight guesses at once {len(compared)} were compared.")
    answer = target.verify(right)
    target.expect(
        target.row(address) is None, f"After eight wrong guesses at once the true code was answered {summary(answer)}."
    )


def test_no_code_fits_several_addresses(registration_target: Target) -> None:
    """Spraying: a stranger tries a few codes, such as the one in their own mail, at each of many addresses.

    Each address allows only five guesses, but there are a million addresses. Fix: accept no fixed code for tests,
    demos or support, and let the extension make the codes, from address, state, time and SECRET_KEY.
    """
    target = registration_target
    target.need_codes()
    own = target.code(target.start())["code"]
    for _ in range(3):
        address = target.start()
        right = target.code(address)
        for code in {own, "0" * len(own), "1" * len(own), "1234567890"[: len(own)]} - {right["code"]}:
            answer = target.verify({**right, "code": code})
            target.expect(
                target.row(address) is None,
                f"The code {code}, which is of another address, was answered {summary(answer)}.",
            )


def test_a_wrong_code_does_not_tell_who_has_an_account(registration_target: Target) -> None:
    """A stranger guesses at many addresses, and learns from the refusals which of them are known.

    It costs one request per address. Fix: let your hooks, after_request functions and error handlers treat all
    answers of verify-registration/ alike, whether a code is wrong, used up or too old, or the address unknown.
    """
    target = registration_target
    target.need_codes()
    addresses = [target.new_address(), target.new_address(), target.start(), target.sign_up()]
    code = _wrong(target.code(addresses[2]))
    guesses = [{**code, "email": address} for address in addresses]
    *unknown, waiting, member = [target.trace(partial(target.verify, guess)) for guess in guesses]
    target.expect_alike("An address that a code was sent to", unknown, waiting)
    target.expect_alike("An address with an account", unknown, member)


def test_whoever_uses_a_code_up_leaves_the_link_alone(registration_target: Target) -> None:
    """Burn somebody's code: a stranger guesses wrong five times, and the victim's sign-up comes to nothing.

    It costs five requests. Fix: let wrong codes change nothing but code_attempts; the link in the same mail must keep
    working.
    """
    target = registration_target
    target.need_codes()
    address = target.start()
    link, right = target.link(address), target.code(address)
    _guess_wrong(target, right, times=MOST_ATTEMPTS + 1)
    answer = target.verify(link)
    found = f"After six wrong codes the link of the same mail was answered {summary(answer)}."
    target.expect(target.row(address), found)


def test_an_old_code_is_worth_nothing(registration_target: Target) -> None:
    """An old code: read off a screen or a notification, or found in a mailbox, long after it was sent.

    A code is good for REGISTER_VERIFICATION_CODE_PERIOD, until the next mail, and while its key is in use. Fix: do not
    replace the extension's view, and change neither sent_at nor SECRET_KEY in your own code.
    """
    target = registration_target
    target.need_codes()

    def expect_refusal(code: Body, why: str) -> None:
        answer = target.verify(code)
        target.expect(target.row(code["email"]) is None, f"A code that {why} was answered {summary(answer)}.")

    address = target.start()
    first = target.code(address)
    target.wait(target.cooldown())
    target.ask_for_mail(address)
    expect_refusal(first, "was replaced by a later one")
    target.wait(int(target.settings.register_verification_code_period.total_seconds()) + 1)
    expect_refusal(target.code(address), "is too old")
    of_dropped_key = target.code(target.start())
    target.monkeypatch.setitem(target.app.config, "SECRET_KEY", "another key, for this attack only")
    target.monkeypatch.setitem(target.app.config, "SECRET_KEY_FALLBACKS", [])
    expect_refusal(of_dropped_key, "was made with a key that was dropped")
