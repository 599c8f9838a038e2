"""Many processes at the same time: one activation for each link, one row for each name."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.races.test_account_races import link_of_new_account
from tests.support.apps import REGISTER, VERIFY, Builder
from tests.support.links import values_of
from tests.support.processes import Answer, processes
from tests.support.variants import VARIANTS, build_variant

pytestmark = [pytest.mark.database, pytest.mark.programs, pytest.mark.slow]

PROCESSES = 16
#: docs/promises.rst has the outcome of a hundred.
ROUNDS = int(os.environ.get("TEST_ROUNDS") or 10)


@pytest.mark.parametrize("variant", VARIANTS)
def test_of_sixteen_processes_with_one_link_exactly_one_activates_and_all_get_200(build: Builder, variant: str) -> None:
    built = build_variant(build, variant)
    with processes(PROCESSES, built, variant) as racing:
        for number in range(ROUNDS):
            link = values_of(link_of_new_account(built, f"user{number}"))
            answers = racing.post(VERIFY, *[link] * PROCESSES)
            assert Counter(answers) == {Answer(200, (), 1): 1, Answer(200, (), 0): PROCESSES - 1}, f"round {number}"
    assert [row["email_verified_at"] is not None for row in built.rows()] == [True] * ROUNDS


@pytest.mark.parametrize("variant", VARIANTS)
def test_of_sixteen_processes_with_one_name_exactly_one_gets_201_and_its_row(build: Builder, variant: str) -> None:
    built = build_variant(build, variant)
    allowed = {Answer(400, ("username",), 0)}
    if VARIANTS[variant].may_refuse_the_commit:  # a mail is out by then, so that nothing is tried again
        allowed.add(Answer(503, (), 0))
    with processes(PROCESSES, built, variant) as racing:
        for name in map(str, range(ROUNDS)):
            bodies = [built.body(username=name, email=f"{name}x{each}@example.com") for each in range(PROCESSES)]
            counted = Counter(racing.post(REGISTER, *bodies))
            assert counted.pop(Answer(201, (), 1)) == 1, name
            assert counted.keys() <= allowed, name
            assert [row["username"] for row in built.rows()].count(name) == 1
    assert len(built.rows()) == ROUNDS
