"""The pytest plugin: quiet on good applications, and it finds the mistake of each bad one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest
from flask import Flask
from flask_mail import Message
from kombu import Connection
from sqlalchemy import select

import flask_rest_registration.testing  # the runs inside must not import it anew
from flask_rest_registration import user_registered
from flask_rest_registration.testing.attacks import MODULES, codes
from flask_rest_registration.testing.bodies import make_body
from flask_rest_registration.testing.hostile import bodies_like
from tests.plugin.bad_apps import BAD_APPS, GOOD_APPS, SENDERS, WAITING
from tests.support.apps import Built, make_app
from tests.support.celery_app import celery_init_app
from tests.support.mail_servers import RecordingServer
from tests.support.messages import lacking
from tests.support.pages import DOCS, blocks
from tests.support.serializers import Rich

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.slow  # each attacks an application or more

PLUGIN = flask_rest_registration.testing.__name__

CONFTEST = """
import pytest
from tests.plugin import test_attacks
from tests.plugin.bad_apps import BAD_APPS, GOOD_APPS, SENDERS
from tests.support.apps import make_app

@pytest.fixture{options}
def app(request, tmp_path_factory):
    file = f"sqlite:///{{tmp_path_factory.mktemp('database')}}/app.db"
    built = {call}
    built.app.before = test_attacks.changeable(built.app)
    yield built.app
    built.dispose()
"""

LOG_IN = """
@pytest.fixture
def registration_login(app):
    return app.extensions.get("log_in")
"""

OWN_TESTS = """
from tests.plugin import test_attacks

def test_of_the_application(app):
    assert app.config["TESTING"]
    assert test_attacks.changeable(app) == app.before
"""

PACKAGE = [module for name, module in sys.modules.items() if name.startswith("flask_rest_registration")]


def changeable(app: Flask) -> object:
    """Read what attacks change while they run, of an application and of the package."""
    functions = [each for module in PACKAGE for each in vars(module).values() if isinstance(each, FunctionType)]
    mail = app.extensions.get("mail")
    return dict(app.config), mail and dict(vars(mail)), app.extensions["rest_registration"], functions


@dataclass(frozen=True)
class Outcome:
    """What a run inside gave, by the ids of the tests: ``passed``, ``skipped`` or ``failed``, and why."""

    exit_code: int
    results: dict[str, str]
    texts: dict[str, str]

    def about(self, app: str) -> Outcome:
        ids = [each for each in self.texts if re.search(rf"[\[-]{re.escape(app)}[\]-]", each)]
        results = {each: self.results[each] for each in ids if each in self.results}
        return Outcome(self.exit_code, results, {each: self.texts[each] for each in ids})

    def names(self, result: str) -> set[str]:
        """Return the tests with a result, without their modules and parameters."""
        return {each.rpartition("::")[2].partition("[")[0] for each, found in self.results.items() if found == result}

    @property
    def messages(self) -> str:
        return "\n".join(self.texts.values())

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many passed, were skipped, failed."""
        found = list(self.results.values())
        return found.count("passed"), found.count("skipped"), found.count("failed")


@dataclass(frozen=True)
class Inside:
    """A folder in which pytest is run with the plugin, in this process."""

    pytester: pytest.Pytester

    def write(self, **files: str) -> None:
        for name, content in files.items():
            path = self.pytester.path / (name.replace("__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    def attack(self, call: str, *arguments: str, options: str = "", more: str = "") -> Outcome:
        self.write(conftest=CONFTEST.format(call=call, options=options) + more, test_own=OWN_TESTS)
        return self.run(*arguments)

    def run(self, *arguments: str) -> Outcome:
        done = self.pytester.inline_run("-p", PLUGIN, "-p", "no:cacheprovider", "-W", "error", *arguments)
        results: dict[str, str] = {}
        texts: dict[str, str] = {}
        for report in done.getreports("pytest_runtest_logreport"):
            if report.when == "call" or report.outcome != "passed":
                results[report.nodeid] = report.outcome
            texts[report.nodeid] = texts.get(report.nodeid, "") + report.longreprtext
        return Outcome(int(done.ret or 0), results, texts)


@pytest.fixture
def inside(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Inside:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini("[pytest]\n")  # else the configuration of whatever folder the temporary one lies in counts
    return Inside(pytester)


CHOOSE = """
def pytest_collection_modifyitems(items):
    own = "test_of_the_application"
    items[:] = [
        each for each in items if each.originalname in {own, *BAD_APPS[each.callspec.params["app"]].attacks}
    ]
"""


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_the_mistake_of_a_bad_application_is_found(inside: Inside, module: ModuleType) -> None:
    names = [name for name, bad in BAD_APPS.items() if hasattr(module, bad.attack)]
    options = f"(scope='session', params={names})"
    outcome = inside.attack("BAD_APPS[request.param].build(file)", options=options, more=LOG_IN + CHOOSE)
    for name in names:
        about, bad = outcome.about(name), BAD_APPS[name]
        assert about.names("failed") == bad.attacks
        assert lacking(about.messages, bad.words, "Fix:") == []
        # What an attack changes of the app is put back, also after a failure.
        assert "test_of_the_application" in about.names("passed")


def test_every_attack_finds_the_mistake_of_a_bad_application() -> None:
    attacks = {name for module in MODULES for name in vars(module) if name.startswith("test_")}
    assert set().union(*(bad.attacks for bad in BAD_APPS.values())) == attacks


#: What is skipped of some, all other attacks having an aim.
OF_SENDERS = "test_a_sender_that_fails_leaves_no_account"
OF_LOCK_OUTS = "test_no_link_lets_an_account_in_that_was_locked_out"
OF_LOG_INS = "test_the_chosen_password_opens_the_account_once_it_is_verified"
OF_GATES = "test_whoever_is_logged_in_and_not_verified_can_verify"
OF_FIRST = {
    "test_a_stranger_prepares_no_password_for_somebody_elses_address",
    "test_a_stranger_neither_keeps_an_address_nor_fills_the_users_table",
    "test_a_second_request_does_not_tell_who_has_signed_up_meanwhile",
    "test_a_link_of_one_purpose_serves_no_other",
    "test_a_registration_is_completed_once",
}
OF_CODES = {name for name in vars(codes) if name.startswith("test_")}
WITHOUT_AIM = {
    "codes": {OF_SENDERS, OF_LOCK_OUTS, OF_GATES},
    "links alone, UUIDs, orders": {OF_SENDERS, OF_LOCK_OUTS, OF_GATES, OF_LOG_INS, *OF_CODES},
    "a lock-out flag, consent, log-in": {OF_SENDERS, OF_GATES, OF_LOG_INS},
    "resend": {OF_SENDERS, OF_LOCK_OUTS, OF_LOG_INS, *OF_FIRST, *OF_CODES},
}


@pytest.mark.parametrize("group", GOOD_APPS)
def test_no_attack_succeeds_against_a_good_application(inside: Inside, group: str) -> None:
    inside.pytester.makeini("[pytest]\nregistration_open_fields = role\n")
    names = list(GOOD_APPS[group])
    options = f"(scope='session', params={names})"
    outcome = inside.attack(f"GOOD_APPS[{group!r}][request.param](file)", options=options, more=LOG_IN)
    assert (outcome.exit_code, outcome.names("failed")) == (0, set()), outcome.messages
    for name in names:
        passed, skipped = outcome.about(name).names("passed"), outcome.about(name).names("skipped")
        assert {"test_of_the_application", "test_no_body_is_answered_with_a_server_error"} <= passed
        assert skipped == WITHOUT_AIM[name] if name in WITHOUT_AIM else skipped


def test_mail_servers_fail_as_it_is_said_whatever_the_applications_own_one_demands(
    inside: Inside, caplog: pytest.LogCaptureFixture
) -> None:
    config = {"MAIL_USE_TLS": True, "MAIL_USERNAME": "app", "MAIL_PASSWORD": "of smtp"}
    outcome = inside.attack(f"make_app(config={config}, database_uri=file)", "-k", "mail_server_that_fails")
    assert outcome.counts == (3, 0, 0), outcome.messages
    reasons = [record.message for record in caplog.records if record.message.startswith("email-not-sent")]
    for reason, words in zip(reasons, ("ConnectionRefusedError", "time-out", "SMTPDataError, 451"), strict=True):
        assert words in reason


def with_queue(built: Built, queue: str) -> Built:
    """Give an application Celery, its broker in this process's memory, and a receiver that greets in two ways."""
    built.app.config["CELERY"] = {"broker_url": "memory://", "task_default_queue": queue}
    celery = celery_init_app(built.app)

    def greet(sender: Flask, user: Any, **_: object) -> None:
        celery.send_task("greet", [user.email])
        built.mail.send(Message("Hello", recipients=[user.email], body="Hello!"))

    user_registered.connect(greet, built.app, weak=False)
    return built


def queued(queue: str) -> int:
    with Connection("memory://") as connection:
        return int(connection.default_channel.queue_declare(queue).message_count)


@pytest.mark.parametrize("sender", SENDERS)
def test_no_mail_leaves_the_process_and_none_is_queued(inside: Inside, smtp: RecordingServer, sender: str) -> None:
    queue = str(uuid.uuid4())
    settings = f"registration={{'REGISTER_VERIFICATION_EMAIL_SENDER': SENDERS[{sender!r}]}}"
    config = f"config={{'MAIL_PORT': {smtp.port}, 'MAIL_SUPPRESS_SEND': False}}"
    call = f"test_attacks.with_queue(make_app({settings}, {config}, database_uri=file), {queue!r})"
    outcome = inside.attack(call, "-k", "attacks/links or slow_mail_server or reaches_its_reader")
    assert (outcome.names("failed"), len(outcome.names("passed")) > 5) == (set(), True), outcome.messages
    assert (smtp.connections, queued(queue)) == (0, 0)
    # A sender that waits for a server does so inside the transaction, which is told.
    assert ("inside the transaction: let it queue" in outcome.messages) is (sender in WAITING)
    built = with_queue(make_app(registration={"REGISTER_VERIFICATION_EMAIL_SENDER": SENDERS[sender]}, mail=smtp), queue)
    assert built.register().status_code == 201
    for thread in threading.enumerate():
        if thread.name == "sender":
            thread.join()
    assert smtp.connections + queued(queue) == 3


WITH_CODES = "pending=True, registration={'REGISTER_EMAIL_FIRST': True, 'REGISTER_VERIFICATION_CODE_ENABLED': True}"
ONE_CONNECTION = """
from sqlalchemy.orm import scoped_session, sessionmaker

@pytest.fixture(autouse=True)
def one_connection(app):
    db = app.extensions["sqlalchemy"]
    with app.app_context():
        connection = db.engine.connect()
    db.session = scoped_session(sessionmaker(bind=connection))
    yield
    connection.close()
"""


@pytest.mark.parametrize(
    ("call", "more", "left_out"),
    [(f"make_app({WITH_CODES})", "", 4), ("make_app(database_uri=file)", ONE_CONNECTION, 2)],
    ids=["in memory", "a session on one connection"],
)
def test_attacks_at_once_are_left_out_where_the_database_is_one_connection(
    inside: Inside, call: str, more: str, left_out: int
) -> None:
    outcome = inside.attack(call, "-k", "at_once", more=more)
    assert outcome.counts == (0, 4, 0), outcome.messages
    assert outcome.messages.count("use a file") == left_out


MORE = """
import flask
from uuid import uuid4
from marshmallow import fields, post_load
from flask_rest_registration import DefaultRegisterUserSerializer, RestRegistration

class Odd(DefaultRegisterUserSerializer):
    fingerprint = fields.Raw(required=True)

    @post_load
    def keep(self, data, **extra):
        data.pop("fingerprint")
        return data

def break_down(app):
    @app.before_request
    def fail():
        raise LookupError("no such tenant")

def slow_down(where):
    return lambda app: app.before_request(lambda: ("slow down", 429) if where in flask.request.path else None)
"""
BODY = """
@pytest.fixture
def registration_body():
    return lambda: {
        "email": f"{uuid4()}@Example.com", "username": str(uuid4()), "fingerprint": [1],
        "password": "violet-anchor-47-tundra", "password_confirm": "violet-anchor-47-tundra",
    }
"""


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("make_app(registration={'REGISTER_SERIALIZER_CLASS': Odd})", "the field 'fingerprint' is a Raw"),
        ("make_app(before_init=slow_down('/register/'))", "answered 429 slow down"),
        ("make_app(registration={'REGISTER_SERIALIZER_CLASS': 'no.such'})", "REGISTER_SERIALIZER_CLASS is 'no.such'"),
        (
            f"make_app({WITH_CODES}, before_init=slow_down('verify'))",
            "A link with email, username, password, password_confirm was answered 429 slow down",
        ),
        ("make_app(before_init=break_down)", "(LookupError: no such tenant)"),
        ("make_app(extension=RestRegistration(endpoints=False))", "it has RestRegistration(endpoints=False)"),
    ],
    ids=["unknown field", "refused", "not set up", "link refused", "broken", "no endpoints"],
)
def test_where_no_sign_up_is_possible_one_failure_says_what_to_do(inside: Inside, call: str, words: str) -> None:
    outcome = inside.attack(call, "-k", "good_sign_up or salted_hash or writes_no_column", more=MORE)
    assert outcome.counts == (0, 2, 1), outcome.messages
    assert lacking(outcome.messages, words, "registration_body") == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("config={'TESTING': False}", "TESTING is false: attacks must reach neither"),
        ("tables=False", "The accounts cannot be read"),
    ],
)
def test_an_app_that_is_not_set_up_for_tests_is_not_attacked(
    inside: Inside, smtp: RecordingServer, options: str, words: str
) -> None:
    inside.write(conftest=CONFTEST.format(call=f"make_app({options}, mail=SMTP)", options=""))
    with (inside.pytester.path / "conftest.py").open("a") as conftest:
        conftest.write(f"\nfrom types import SimpleNamespace\nSMTP = SimpleNamespace(port={smtp.port})\n")
    outcome = inside.run()
    assert (outcome.counts[0], outcome.counts[2], smtp.connections) == (0, 1, 0)
    assert lacking(outcome.messages, words, "Fix: let the fixture of the app return one for tests") == []


def with_member(built: Built) -> Built:
    """Let an application have rows that are not the attacks'."""
    register_alone = {"email": "ann@example.com"}  # with e-mail first
    assert 201 in {built.register().status_code, built.post("register/", register_alone).status_code - 1}

    def rows() -> object:
        return built.rows(), built.Pending and built.pending_rows()

    built.app.rows, built.app.rows_before = rows, rows()  # type: ignore[attr-defined]
    return built


def with_orders_of_all(built: Built) -> Built:
    """Let every account have an order, whose foreign key SQLite does not enforce; no order may lose its account."""

    def order(sender: Flask, user: Any, **_: object) -> None:
        built.db.session.add(built.User.order(user_id=user.id))
        built.db.session.commit()

    def orders_without_account() -> object:
        with built.app.app_context():
            user_ids = set(built.db.session.scalars(select(built.User.order.user_id)))
        return user_ids - {row["id"] for row in built.rows()}, len(user_ids) > 3

    user_registered.connect(order, built.app, weak=False)
    built.app.rows, built.app.rows_before = orders_without_account, (set(), True)  # type: ignore[attr-defined]
    return built


def with_database_that_keeps_rows(built: Built) -> Built:
    refusal = "BEFORE DELETE ON user BEGIN SELECT RAISE(ABORT, 'accounts are kept'); END"
    built.execute_outside(f"CREATE TRIGGER keep {refusal}")
    built.app.rows, built.app.rows_before = lambda: len(built.rows()) > 3, True  # type: ignore[attr-defined]
    return built


OF_ROWS = """
def test_of_the_rows(app):
    assert app.rows() == app.rows_before
"""
WITH_RESEND = "pending=True, registration={'REGISTER_VERIFICATION_RESEND_ENABLED': True}"
BODY_OF_MEMBER = """
@pytest.fixture
def registration_body():
    return lambda: {"email": "Ann@example.com", "username": "ann", "password": "violet-anchor-47-tundra",
                    "password_confirm": "violet-anchor-47-tundra"}
"""


@pytest.mark.parametrize(
    ("call", "more"),
    [
        ("with_member(GOOD_APPS['account at sign-up']['the usual model, log-in'](file))", ""),
        ("with_member(GOOD_APPS['account at sign-up']['several tables'](file))", ""),
        (f"with_member(make_app({WITH_RESEND}, database_uri=file))", ""),
        ("with_member(GOOD_APPS['e-mail first']['codes'](file))", ""),
        ("with_member(make_app(database_uri=file))", BODY_OF_MEMBER),
        ("with_orders_of_all(GOOD_APPS['e-mail first']['links alone, UUIDs, orders'](file))", ""),
        ("with_database_that_keeps_rows(make_app(database_uri=file))", ""),
    ],
    ids=["usual", "several tables", "resend", "e-mail first", "a member's address", "orders", "the database refuses"],
)
def test_the_attacks_delete_the_accounts_that_they_made_and_no_other(inside: Inside, call: str, more: str) -> None:
    inside.write(test_rows=OF_ROWS)
    choice = "attacks/links or attacks/log_in or mailbox or test_rows"
    outcome = inside.attack(f"test_attacks.{call}", "-k", choice, options="(scope='session')", more=more)
    assert "test_of_the_rows" in outcome.names("passed"), outcome.messages
    assert bool(outcome.names("failed")) is bool(more)


def test_the_application_says_what_a_good_body_is(inside: Inside) -> None:
    call = "make_app(registration={'REGISTER_SERIALIZER_CLASS': Odd}, database_uri=file)"
    outcome = inside.attack(call, "-k", "registration_attacks/sign_up", more=MORE + BODY)
    assert outcome.counts == (7, 0, 0), outcome.messages


def test_a_good_body_meets_every_check_of_the_serializer() -> None:
    built = make_app(registration={"REGISTER_SERIALIZER_CLASS": Rich})
    schema = built.registration.register_schema(built.app)
    body = make_body(built.app)
    assert schema.validate(body) == {}
    assert body.keys() == {field.data_key or name for name, field in schema.fields.items() if field.required}


def test_a_hostile_body_is_what_its_name_says() -> None:
    hostile = dict(bodies_like(lambda: {"email": "ann@example.com", "username": "ann"}))
    names = "null, a number, a text, a list, a list of objects, an empty object, NUL in a name, a surrogate in a name"
    values: list[object] = [None, 1, "text", [], [{}], {}, {"\0": 1}, {"\ud800": 1}]
    assert [json.loads(hostile[name]) for name in names.split(", ")] == values
    assert json.loads(hostile["a name twice"]) == {"email": []}
    assert json.loads(hostile["100,000 characters"]) == {"email": "x" * 100_000}
    assert hostile["a number without end"] == b'{"email": 1' + b"0" * 5000 + b"}"
    assert hostile["30,000 lists in each other"] == b"[" * 30_000
    assert hostile["5,000 objects in each other"] == b'{"email": ' * 5000 + b"1" + b"}" * 5000

    names = "null, true, zero, a negative number, a fraction, an empty text, a blank, an empty list, nested lists"
    for field, other in (("email", "username"), ("username", "email")):
        bodies = [json.loads(hostile[f"{name} as {field}"]) for name in names.split(", ")]
        assert repr([body[field] for body in bodies]) == repr([None, True, 0, -1, 1e308, "", " ", [], [[[[]]]]])
        assert json.loads(hostile[f"a number beyond 64 bits as {field}"])[field] == 2**64
        assert json.loads(hostile[f"20,000 characters as {field}"])[field] == "x" * 20_000
        assert all(body[other] in {"ann", "ann@example.com"} for body in bodies)


APP = CONFTEST.format(call="make_app()", options="")
ONE = "used_again"


@pytest.mark.parametrize(
    ("conftest", "arguments", "stands_in"),
    [
        ("conftest", ".", ""),
        ("conftest", "shop blog", "shop/"),
        ("shop__conftest", ".", "shop/"),
        ("shop__conftest", "shop/unit", "shop/unit/"),
        ("shop__conftest", "blog shop", "shop/"),
    ],
)
def test_the_attacks_stand_once_in_the_first_folder_that_sees_the_app(
    inside: Inside, conftest: str, arguments: str, stands_in: str
) -> None:
    tests = dict.fromkeys(["shop__test_own", "shop__unit__test_more", "blog__test_post"], OWN_TESTS)
    inside.write(**{conftest: APP}, **tests)
    outcome = inside.run("-k", ONE, *arguments.split())
    name = f"{stands_in}registration_attacks/links::test_a_link_that_is_used_again_changes_nothing"
    assert outcome.results == {name: "passed"}


@pytest.mark.parametrize("plugin", ["account_fixtures", "shop_fixtures"])
def test_the_fixture_may_come_from_a_plugin(inside: Inside, plugin: str) -> None:
    inside.write(**{f"plugins__{plugin}": APP}, tests__test_own=OWN_TESTS)
    inside.pytester.syspathinsert(inside.pytester.path / "plugins")
    assert inside.run("-p", plugin, "-k", ONE, "tests").counts == (1, 0, 0)


def test_the_fixture_may_have_another_name_and_parameters(inside: Inside) -> None:
    inside.pytester.makeini("[pytest]\nregistration_app_fixture = shop\npython_functions = check_*\n")
    inside.write(conftest=APP.replace("fixture\n", "fixture(params=[1, 2])\n").replace("def app(", "def shop("))
    assert inside.run("-k", ONE).counts == (2, 0, 0)


def test_an_application_without_celery_is_attacked(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    inside.write(conftest=APP)
    monkeypatch.delitem(sys.modules, "kombu")
    assert inside.run("-k", ONE).counts == (1, 0, 0)


def test_whoever_selects_a_file_gets_no_attacks(inside: Inside) -> None:
    inside.write(conftest=APP, test_own=OWN_TESTS)
    assert inside.run("test_own.py").results == {"test_own.py::test_of_the_application": "passed"}


def test_a_run_without_the_fixture_is_refused(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_own(): pass")
    result = pytester.runpytest_inprocess("-p", PLUGIN)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*found no fixture 'app' in a conftest.py*registration_app_fixture*"])


def test_a_folder_that_cannot_be_collected_is_reported_as_ever(inside: Inside) -> None:
    inside.write(conftest=APP, shop__conftest="raise RuntimeError", shop__test_own=OWN_TESTS)
    assert inside.run().exit_code == pytest.ExitCode.INTERRUPTED


def test_the_attacks_run_in_several_processes(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    inside.write(conftest=APP, test_own_tests=OWN_TESTS)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    command = [sys.executable, *f"-m pytest -p xdist -p {PLUGIN} -n 2 -k".split(), f"{ONE} or has_changed or own_tests"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=inside.pytester.path)
    assert done.returncode == 0, done.stdout
    assert " 3 passed" in done.stdout


SHOP = """
from unittest.mock import Mock
from sqlalchemy import String
from sqlalchemy.orm import mapped_column
from tests.support import apps, models

db = Mock()

def create_app(config):
    model = models.declared(country=mapped_column(String(2), nullable=False))
    return apps.make_app(model, database_uri=config["SQLALCHEMY_DATABASE_URI"]).app
"""


def test_the_page_of_the_docs_shows_a_conftest_that_works(inside: Inside) -> None:
    python = [block for block in blocks(DOCS / "testing.rst") if block.language == "python"]
    assert [block.caption for block in python] == ["shop.py", "conftest.py", None, None, "test_sign_up.py"]
    inside.write(conftest="\n".join(block.text for block in python[1:4]), shop=SHOP)
    outcome = inside.run("-k", "good_sign_up or " + ONE)
    assert outcome.counts == (2, 0, 0), outcome.messages
