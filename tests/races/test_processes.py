"""Many processes at the same time: one activation for each link, one row for each name, one mail for each address."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from sqlalchemy import func, select

from flask_rest_registration import RegisterSigner
from tests.support.apps import OMITTED, REGISTER, VERIFY, Builder, Built
from tests.support.links import link_in, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.processes import Answer, processes
from tests.support.variants import VARIANTS, WITH_TRANSACTIONS_OF_THEIR_OWN, build_variant

pytestmark = [pytest.mark.database, pytest.mark.programs]

PROCESSES = 16
#: docs/promises.rst has the outcome of a hundred.
ROUNDS = int(os.environ.get("TEST_ROUNDS") or 10)
EMAIL_FIRST = {"REGISTER_EMAIL_FIRST": True}


def sign_up(built: Built, name: str) -> dict[str, str]:
    """Store an account, and return what its link sends."""
    with built.app.app_context():
        user = built.User(email=f"{name}@example.com", username=name, password_hash="x")
        built.db.session.add(user)
        built.db.session.commit()
        return RegisterSigner.for_user(user).get_signed_data()


def count_rows(built: Built, name: str) -> int:
    with built.app.app_context():
        found = select(func.count()).select_from(built.User).where(built.User.username == name)
        return built.db.session.scalar(found) or 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_of_sixteen_processes_with_one_link_exactly_one_activates_and_all_get_200(build: Builder, variant: str) -> None:
    built = build_variant(build, variant)
    with processes(PROCESSES, built, variant) as racing:
        for number in range(ROUNDS):
            values = sign_up(built, f"user{number}")
            answers = racing.post(VERIFY, *[values] * PROCESSES)
            assert Counter(answers) == {Answer(200, (), 1): 1, Answer(200, (), 0): PROCESSES - 1}, f"round {number}"
    assert [row["email_verified_at"] is not None for row in built.rows()] == [True] * ROUNDS


@pytest.mark.parametrize("variant", VARIANTS)
def test_of_sixteen_processes_with_one_name_exactly_one_gets_201_and_its_row(build: Builder, variant: str) -> None:
    built = build_variant(build, variant)
    allowed = {Answer(400, ("username",), 0)}
    if VARIANTS[variant].may_refuse_the_commit:  # a mail is out by then, so that nothing is tried again
        allowed.add(Answer(503, (), 0))
    with processes(PROCESSES, built, variant) as racing:
        for number in range(ROUNDS):
            name = f"user{number}"
            bodies = [built.body(username=name, email=f"{name}x{each}@example.com") for each in range(PROCESSES)]
            answers = racing.post(REGISTER, *bodies)
            counted = Counter(answers)
            assert (counted.pop(Answer(201, (), 1)), count_rows(built, name)) == (1, 1), f"round {number}"
            assert counted.keys() <= allowed, f"round {number}"
    assert len(built.rows()) == ROUNDS


@pytest.mark.parametrize("variant", WITH_TRANSACTIONS_OF_THEIR_OWN)
def test_of_sixteen_processes_one_mails_an_address_and_one_makes_its_account(
    build: Builder, smtp: RecordingServer, variant: str
) -> None:
    built = build_variant(build, variant, pending=True, registration=EMAIL_FIRST)
    with processes(PROCESSES, built, variant, registration=EMAIL_FIRST, mail=smtp) as racing:
        for number in range(ROUNDS):
            asked = racing.post(REGISTER, *[{"email": f"user{number}@example.com"}] * PROCESSES)
            assert Counter(asked) == {Answer(202, (), 0): PROCESSES}, f"round {number}"
            assert len(smtp.messages) == number + 1, f"round {number}"
            link = values_of(link_in(smtp.messages[-1]))
            body = built.body(**{"email": OMITTED, "username": f"user{number}", **link})
            answers = racing.post(VERIFY, *[body] * PROCESSES)
            assert Counter(answers) == {Answer(201, (), 2): 1, Answer(400, (), 0): PROCESSES - 1}, f"round {number}"
    assert [row["email_verified_at"] is not None for row in built.rows()] == [True] * ROUNDS
