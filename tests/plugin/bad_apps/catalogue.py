"""What a bad application is, and all of them by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.support import models
from tests.support.apps import Built, make_app

Build = Callable[[str], Built]

VERIFY_VIEW: Final = "rest_registration.verify-registration"


@dataclass(frozen=True)
class BadApp:
    """An application with one mistake.

    :param build: makes it on a database of the given URL.
    :param found_by: the name of the attack that finds the mistake.
    :param words: what the message has to say.
    :param also: other attacks that have to find it.
    """

    build: Build
    found_by: str
    words: str
    also: frozenset[str]


BAD_APPS: dict[str, BadApp] = {}


def found_by(attack: str, words: str, *, also: Iterable[str] = ()) -> Callable[[Build], Build]:
    """Say which attack finds the mistake of an application, and with which words."""

    def add(build: Build) -> Build:
        BAD_APPS[build.__name__] = BadApp(build, f"test_{attack}", words, frozenset(f"test_{each}" for each in also))
        return build

    return add


def built(uri: str, model: models.Model = models.typed, *, pending: bool = False, **registration: object) -> Built:
    return make_app(model, database_uri=uri, pending=pending, registration=registration)


def answer(status: int, detail: str) -> tuple[Mapping[str, str], int]:
    return {"detail": detail}, status


def view_that_falls_back(app: Built, original: Callable[[], Any], by_hand: Callable[[], Any]) -> Callable[[], Any]:
    """Make a view that gives links a second chance."""

    def verify() -> Any:
        try:
            return original()
        except Exception:  # whatever the extension refused
            app.db.session.rollback()
            return by_hand()

    return verify
