"""Sign up and verify with the package that openapi-python-client makes, where the account is made at sign-up."""

import sys

import httpx
from registration_client import Client
from registration_client.api.registration import register, resend_verification, verify_registration
from registration_client.models import (
    RegisterResponse400,
    RegistrationAccount,
    RegistrationAddress,
    RegistrationDetail,
    RegistrationLink,
    RegistrationSignUp,
    RegistrationVerified,
    VerifyRegistrationResponse400,
)
from registration_client.types import Unset

SERVER = sys.argv[1]
EMAIL, PASSWORD = "ada@example.com", "violet-anchor-47-tundra"

with Client(base_url=SERVER, raise_on_unexpected_status=True) as client:
    weak = RegistrationSignUp(email=EMAIL, username="ada", password="short", password_confirm="short")
    refused = register.sync(client=client, body=weak)
    assert isinstance(refused, RegisterResponse400)
    assert refused.code == "invalid"
    assert not isinstance(refused.errors, Unset)
    assert refused.errors["password"]

    body = RegistrationSignUp(email=EMAIL, username="ada", password=PASSWORD, password_confirm=PASSWORD)
    stored = register.sync(client=client, body=body)
    assert isinstance(stored, RegistrationAccount)
    id_: int = stored.id
    assert stored.to_dict() == {"id": id_, "email": EMAIL, "username": "ada"}

    link = RegistrationLink.from_dict(httpx.get(f"{SERVER}/last-mail").json()["link"])
    forged = RegistrationLink(user_id=link.user_id, timestamp=link.timestamp, signature="forged")
    invalid = verify_registration.sync(client=client, body=forged)
    assert isinstance(invalid, VerifyRegistrationResponse400)
    assert invalid.code == "signature-invalid"
    verified = verify_registration.sync(client=client, body=link)
    assert isinstance(verified, RegistrationVerified)
    assert verified.detail

    again = resend_verification.sync_detailed(client=client, body=RegistrationAddress(email=EMAIL))
    assert again.status_code == 202
    assert isinstance(again.parsed, RegistrationDetail)
