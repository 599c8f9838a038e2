"""Sign up with an address, then with a link and with a code, with the package that openapi-python-client makes."""

import sys
from typing import Any

import httpx
from registration_client import Client
from registration_client.api.registration import check_link, register, verify_registration
from registration_client.models import (
    RegistrationAccount,
    RegistrationAddress,
    RegistrationDetail,
    RegistrationLink,
    RegistrationLinkAddress,
    VerifyRegistrationBodyType0,
    VerifyRegistrationBodyType1,
    VerifyRegistrationResponse400,
)

SERVER = sys.argv[1]
PASSWORD = "violet-anchor-47-tundra"
ADA, BOB = "ada@example.com", "bob@example.com"


def mail_to(client: Client, email: str) -> dict[str, Any]:
    """Sign up with an address, and return what was mailed to it."""
    asked = register.sync(client=client, body=RegistrationAddress(email=email))
    assert isinstance(asked, RegistrationDetail)
    mailed: dict[str, Any] = httpx.get(f"{SERVER}/last-mail").json()
    return mailed


with Client(base_url=SERVER, raise_on_unexpected_status=True) as client:
    link = RegistrationLink.from_dict(mail_to(client, ADA)["link"])
    checked = check_link.sync(client=client, body=link)
    assert isinstance(checked, RegistrationLinkAddress)
    assert checked.email == ADA
    by_link = VerifyRegistrationBodyType0(
        user_id=link.user_id,
        timestamp=link.timestamp,
        signature=link.signature,
        username="ada",
        password=PASSWORD,
        password_confirm=PASSWORD,
    )
    stored = verify_registration.sync(client=client, body=by_link)
    assert isinstance(stored, RegistrationAccount)
    assert (stored.email, stored.username) == (ADA, "ada")

    code = mail_to(client, BOB)["code"]
    by_code = VerifyRegistrationBodyType1(
        email=BOB,
        code="000001" if code == "000000" else "000000",
        username="bob",
        password=PASSWORD,
        password_confirm=PASSWORD,
    )
    refused = verify_registration.sync(client=client, body=by_code)
    assert isinstance(refused, VerifyRegistrationResponse400)
    assert refused.code == "code-invalid"
    by_code.code = code
    answer = verify_registration.sync_detailed(client=client, body=by_code)
    assert answer.status_code == 201
