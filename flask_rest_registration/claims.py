"""What may happen to an account before it is verified: its link again, its rejection, its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, cast

from flask import Request

from . import clock
from .claim_rules import refuse_unfit_for_purge
from .claim_statements import Batch, ClaimStatements
from .database_errors import ConstraintViolation
from .exceptions import ClaimInUse, ConfigurationError, EmailNotSent, NotFound, SignatureInvalid
from .links import account_behind, load_link
from .notifications import Mailer
from .owners import write_to_owner
from .serializers import ResendVerificationSerializer, load
from .signers import RejectionSigner
from .state import Registration
from .texts import gettext, gettext_noop

ReadJson = Callable[[], Any]

#: What every request for a link is answered, and what a rejection is.
SENT = gettext_noop("If an account with this address waits for its verification, the link is on its way.")
REJECTED = gettext_noop("Registration rejected successfully")
_resend_serializer = ResendVerificationSerializer()


def resend(registration: Registration, read_json: ReadJson, *, request: Request) -> dict[str, str]:
    """Send a claim its link again, if the cooldown has passed; whoever asks is not told what was found.

    :param registration: the app's state.
    :param read_json: reads and parses the request's body.
    :param request: the request that it came with.
    :returns: one and the same body.
    :raises InvalidInput: for what is no e-mail address.
    :raises EmailNotSent: if the mail server is out of reach, for everybody alike.
    """
    claims = registration.claims
    if claims is None or not registration.settings.register_verification_resend_enabled:
        raise NotFound
    with registration.accounts.rolled_back_on_failure():
        address = load(_resend_serializer, read_json())["email"]
        with Mailer(registration) as mailer:

            def find_claim() -> object | None:
                user = registration.accounts.find_by_address(address)
                return user if user is not None and registration.model.is_claim(user) else None

            try:
                write_to_owner(registration, claims, mailer, find=find_claim, request=request)
            except EmailNotSent as error:
                registration.app.logger.warning("A link was not sent again: %s", error.reason)
    return {"detail": gettext(SENT)}


def reject(registration: Registration, read_json: ReadJson) -> dict[str, str]:
    """Delete the claim of whoever says "this was not me".

    :param registration: the app's state.
    :param read_json: reads and parses the request's body.
    :returns: the answer's body.
    :raises SignatureInvalid: for anything but a claim and its own link.
    :raises SignatureExpired: if the link is too old.
    :raises ClaimInUse: if the database keeps the claim because of other rows.
    """
    claims = registration.claims
    if claims is None or registration.settings.register_rejection_url is None:
        raise NotFound
    with registration.accounts.rolled_back_on_failure():
        link = load_link(read_json())

        def delete() -> bool:
            user = account_behind(registration, RejectionSigner, link)
            registration.accounts.commit()
            return registration.model.is_claim(user) and claims.delete(user)

        try:
            deleted = registration.accounts.retry_conflicts(delete)
        except ConstraintViolation as violation:
            registration.app.logger.warning("A claim that was rejected could not be deleted: %s", violation)
            raise ClaimInUse from None
        if not deleted:
            raise SignatureInvalid
    return {"detail": gettext(REJECTED)}


class Purge:
    """The deletion of claims whose last link was sent long ago.

    :param registration: the app's state.
    :param older_than: the shortest time since then.
    :raises ConfigurationError: if claims cannot be told from other accounts, or their keys would be given again.
    :raises ValueError: if links of that age still work.
    """

    def __init__(self, registration: Registration, older_than: timedelta) -> None:
        if not registration.settings.register_verification_enabled:
            raise ConfigurationError(
                "purge deletes accounts that wait for their verification, and REGISTER_VERIFICATION_ENABLED is False:"
                " nothing is deleted."
            )
        refuse_unfit_for_purge(registration.model, registration.serializers, dialect=registration.accounts.dialect)
        period = registration.settings.register_verification_period
        if older_than < period:
            raise ValueError(f"links live for {period} (REGISTER_VERIFICATION_PERIOD): give at least as much")
        self._claims = cast(ClaimStatements, registration.claims)  # a model that is fit for purge has them
        self._sent_before = clock.seconds_ago(older_than)

    def count(self) -> int:
        """Count what there is to delete."""
        return self._claims.count(sent_before=self._sent_before)

    def run(self) -> Iterator[Batch]:
        """Delete batch by batch, each with a COMMIT of its own.

        :yields: what each COMMIT made of a batch, or of one claim where the database refused to delete it whole.
        :raises DatabaseUnavailable: if the database is out of reach; what was yielded before is deleted.
        """
        last = None
        while ids := self._claims.next_ids(last, sent_before=self._sent_before):
            yield from self._claims.delete_batch(ids, sent_before=self._sent_before)
            last = ids[-1]
