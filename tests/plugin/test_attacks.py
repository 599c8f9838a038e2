"""The pytest plugin: quiet on good applications, and it finds the mistake of each bad one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

import flask_rest_registration.testing  # the runs inside must not import it anew
from flask_rest_registration.testing.attacks import MODULES, codes
from flask_rest_registration.testing.bodies import make_body
from flask_rest_registration.testing.hostile import bodies_like
from tests.plugin.bad_apps import BAD_APPS, GOOD_APPS
from tests.support.apps import make_app
from tests.support.pages import DOCS, blocks
from tests.support.serializers import Rich

pytest_plugins = ["pytester"]

PLUGIN = flask_rest_registration.testing.__name__

CONFTEST = """
import pytest
from {module} import {name}

@pytest.fixture(scope="{scope}"{params})
def app(request, tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("database")
    built = {call}
    yield built.app
    built.dispose()
"""

OWN_TESTS = """
from flask_rest_registration import clock, signers
from flask_rest_registration.workflows import email_first

def test_of_the_application(app):
    assert app.config["TESTING"]
    assert clock.now.__qualname__ == "now"
    assert email_first.accepts_code is signers.accepts_code
"""


@dataclass(frozen=True)
class Outcome:
    """What a run inside gave: names of attacks, without their folder and module."""

    exit_code: int
    passed: list[str]
    skipped: list[str]
    failed: list[str]
    texts: Mapping[str, str]

    @property
    def ids(self) -> list[str]:
        return list(self.texts)

    @property
    def messages(self) -> str:
        return "\n".join(self.texts.values())

    def about(self, app: str) -> Outcome:
        """Return what it gave about one of several applications."""

        def is_about(name: str) -> bool:
            return any(text in name for text in (f"[{app}]", f"[{app}-", f"-{app}]"))

        def attacks(names: list[str]) -> list[str]:
            return [name.partition("[")[0] for name in names if is_about(name)]

        texts = {name: text for name, text in self.texts.items() if is_about(name)}
        return Outcome(self.exit_code, attacks(self.passed), attacks(self.skipped), attacks(self.failed), texts)


Run = Callable[..., Outcome]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run pytest with the plugin in the folder of the test."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini("[pytest]\n")  # else the configuration of whatever folder the temporary one lies in counts

    def run_inside(*arguments: str) -> Outcome:
        done = pytester.inline_run("-p", PLUGIN, "-p", "no:cacheprovider", "-W", "error", *arguments)
        reports = done.getreports("pytest_runtest_logreport")
        by_outcome: dict[str, list[str]] = {"passed": [], "skipped": [], "failed": []}
        for report in reports:
            if report.when == "call" or report.outcome != "passed":
                by_outcome[report.outcome].append(report.nodeid.rpartition("::")[2])
        texts: dict[str, str] = {}
        for report in reports:
            texts[report.nodeid] = texts.get(report.nodeid, "") + report.longreprtext
        return Outcome(int(done.ret or 0), **by_outcome, texts=texts)

    return run_inside


@pytest.fixture
def application(pytester: pytest.Pytester) -> Callable[..., None]:
    """Write an application's conftest.py, with the fixture of its app."""

    def write(
        call: str,
        *,
        module: str = "tests.support.apps",
        name: str = "make_app",
        scope: str = "function",
        params: Iterable[str] = (),
        more: str = "",
    ) -> None:
        listed = f", params={list(params)}" if params else ""
        code = CONFTEST.format(module=module, name=name, call=call, scope=scope, params=listed)
        pytester.makeconftest(code + more)
        pytester.makepyfile(test_own=OWN_TESTS)

    return write


FILE = "f'sqlite:///{tmp_path}/app.db'"


# Bad applications

#: The bad applications by the module of the attack that finds their mistakes: each of these is one run.
GROUPS = {
    module.__name__.rpartition(".")[2]: [name for name, bad in BAD_APPS.items() if hasattr(module, bad.found_by)]
    for module in MODULES
}


HEAVY = ("no_body_is_answered", "writes_no_column", "mail_server_that_fails")


@pytest.mark.parametrize("group", GROUPS)
def test_the_mistake_of_a_bad_application_is_found_by_one_attack_and_by_no_other(
    run: Run, application: Callable[..., None], group: str
) -> None:
    names = GROUPS[group]
    call = f"BAD_APPS[request.param].build({FILE})"
    application(call, module="tests.plugin.bad_apps", name="BAD_APPS", scope="module", params=names)
    # The heaviest are run where they have something to find.
    heavy = [each for each in HEAVY if not any(each in BAD_APPS[name].found_by for name in names)]
    outcome = run("-k", " and ".join(f"not {each}" for each in heavy))
    found = {name: set(outcome.about(name).failed) for name in names}
    assert found == {name: {BAD_APPS[name].found_by, *BAD_APPS[name].also} for name in names}
    for name in names:
        about = outcome.about(name)
        assert BAD_APPS[name].words in about.messages
        assert "Fix:" in about.messages
        assert about.passed, "the other attacks had no aim"


def test_every_bad_application_is_in_one_group() -> None:
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(BAD_APPS)


# Good applications

#: What is skipped of some, all other attacks having an aim.
OF_SENDERS = "test_a_sender_that_fails_leaves_no_account"
OF_LOCK_OUTS = "test_no_link_lets_an_account_in_that_was_locked_out"
OF_FIRST = {
    "test_a_stranger_prepares_no_password_for_somebody_elses_address",
    "test_a_stranger_neither_keeps_an_address_nor_fills_the_users_table",
    "test_a_second_request_does_not_tell_who_has_signed_up_meanwhile",
    "test_a_link_of_one_purpose_serves_no_other",
    "test_a_registration_is_completed_once",
}
OF_CODES = {name for name in vars(codes) if name.startswith("test_")}
WITHOUT_AIM = {
    "codes": {OF_SENDERS, OF_LOCK_OUTS},
    "links alone, UUIDs, orders": {OF_SENDERS, OF_LOCK_OUTS, *OF_CODES},
    "a lock-out flag, consent, log-in": {OF_SENDERS},
    "resend": {OF_SENDERS, OF_LOCK_OUTS, *OF_FIRST, *OF_CODES},
}
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


@pytest.mark.parametrize("group", GOOD_APPS)
def test_no_attack_succeeds_against_a_good_application(
    run: Run, application: Callable[..., None], pytester: pytest.Pytester, group: str
) -> None:
    pytester.makeini("[pytest]\nregistration_open_fields = role\n")
    names = list(GOOD_APPS[group])
    call = f"GOOD_APPS[{group!r}][request.param]({FILE})"
    application(call, module="tests.plugin.bad_apps", name="GOOD_APPS", scope="module", params=names)
    outcome = run()
    assert outcome.failed == [], outcome.messages
    assert outcome.exit_code == 0
    for name in names:
        about = outcome.about(name)
        assert {"test_of_the_application", "test_no_body_is_answered_with_a_server_error"} <= set(about.passed)
        assert set(about.skipped) == WITHOUT_AIM[name] if name in WITHOUT_AIM else about.skipped


def test_an_application_may_do_without_flask_mail(run: Run, application: Callable[..., None]) -> None:
    more = """
@pytest.fixture(autouse=True)
def no_mail(app):
    del app.extensions["mail"]
"""
    call = f"GOOD_APPS['account at sign-up, more']['a sender of its own']({FILE})"
    application(call, module="tests.plugin.bad_apps", name="GOOD_APPS", more=more)
    outcome = run("-k", "good_sign_up or mail")
    assert outcome.failed == [], outcome.messages
    assert "the default sender is not in use" in outcome.messages


def test_mail_servers_fail_as_it_is_said_whatever_the_applications_own_one_demands(
    run: Run, application: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    config = {"MAIL_USE_TLS": True, "MAIL_USERNAME": "app", "MAIL_PASSWORD": "of smtp"}
    application(f"make_app(config={config}, database_uri={FILE})")
    outcome = run("-k", "mail_server_that_fails")
    assert outcome.failed == [], outcome.messages
    reasons = [record.message for record in caplog.records if record.message.startswith("email-not-sent")]
    assert len(reasons) == 3
    for reason, words in zip(reasons, ("ConnectionRefusedError", "time-out", "SMTPSenderRefused, 451"), strict=True):
        assert words in reason


WITH_CODES = "pending=True, registration={'REGISTER_EMAIL_FIRST': True, 'REGISTER_VERIFICATION_CODE_ENABLED': True}"


@pytest.mark.parametrize(
    ("call", "more", "left_out"),
    [(f"make_app({WITH_CODES})", "", 4), (f"make_app(database_uri={FILE})", ONE_CONNECTION, 2)],
)
def test_attacks_at_once_are_left_out_where_the_database_is_one_connection(
    run: Run, application: Callable[..., None], call: str, more: str, left_out: int
) -> None:
    application(call, more=more)
    outcome = run("-k", "at_once")
    assert outcome.failed == []
    assert len(outcome.skipped) == 4
    assert outcome.messages.count("use a file") == left_out


def test_what_an_attack_changes_of_the_app_is_put_back(
    run: Run, application: Callable[..., None], pytester: pytest.Pytester
) -> None:
    bad_app = "requests_read_the_configuration_again"
    application(f"BAD_APPS[{bad_app!r}].build({FILE})", module="tests.plugin.bad_apps", name="BAD_APPS", scope="module")
    pytester.makepyfile(
        test_own="""
        def test_last(app):
            mail = app.extensions["mail"]
            assert app.config["SECRET_KEY"] == "a key for tests only"
            assert not app.config.get("SECRET_KEY_FALLBACKS")
            assert app.config.get("PROPAGATE_EXCEPTIONS") is None
            assert (mail.server, mail.port, mail.suppress) == ("127.0.0.1", 1, True)
            assert type(app.extensions["rest_registration"]).__name__ == "AppState"
        """
    )
    outcome = run()
    assert outcome.failed == ["test_a_key_that_was_dropped_verifies_no_link"]
    assert "test_last" in outcome.passed


# Where no sign-up is possible

UNKNOWN_FIELD = """
from marshmallow import fields, post_load
from flask_rest_registration import DefaultRegisterUserSerializer

class Odd(DefaultRegisterUserSerializer):
    fingerprint = fields.Raw(required=True)

    @post_load
    def keep(self, data, **extra):
        data.pop("fingerprint")
        return data
"""

BODY = """
from uuid import uuid4

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
        ("make_app(before_init=lambda app: app.before_request(lambda: ('slow down', 429)))", "answered 429 slow down"),
        ("make_app(registration={'REGISTER_SERIALIZER_CLASS': 'no.such'})", "REGISTER_SERIALIZER_CLASS is 'no.such'"),
    ],
)
def test_where_no_sign_up_is_possible_one_failure_says_what_to_do(
    run: Run, application: Callable[..., None], call: str, words: str
) -> None:
    application(call, more=UNKNOWN_FIELD)
    outcome = run("-k", "registration_attacks")
    assert len(outcome.failed) == 1
    assert outcome.passed == []
    assert words in outcome.messages
    assert "registration_body" in outcome.messages


def test_where_no_link_makes_an_account_the_first_failure_says_what_to_do(
    run: Run, application: Callable[..., None]
) -> None:
    refuse = "lambda: ('slow down', 429) if 'verify' in flask.request.path else None"
    call = f"make_app({WITH_CODES}, before_init=lambda app: app.before_request({refuse}))"
    application(call, more="import flask\n")
    outcome = run("-k", "good_sign_up or salted_hash")
    assert (len(outcome.failed), len(outcome.skipped)) == (1, 1)
    assert "A link with email, username, password, password_confirm was answered 429 slow down" in outcome.messages
    assert "registration_body" in outcome.messages


def test_the_application_says_what_a_good_body_is(run: Run, application: Callable[..., None]) -> None:
    application(
        f"make_app(registration={{'REGISTER_SERIALIZER_CLASS': Odd}}, database_uri={FILE})", more=UNKNOWN_FIELD + BODY
    )
    outcome = run()
    assert outcome.failed == [], outcome.messages
    assert len(outcome.passed) > 10


# Good and hostile bodies


def test_a_good_body_meets_every_check_of_the_serializer() -> None:
    built = make_app(registration={"REGISTER_SERIALIZER_CLASS": Rich})
    schema = built.registration.register_schema(built.app)
    body = make_body(built.app)
    assert schema.validate(body) == {}
    assert body.keys() == {field.data_key or name for name, field in schema.fields.items() if field.required}


PARSED: dict[str, object] = {
    "null": None,
    "a number": 1,
    "a text": "text",
    "a list": [],
    "a list of objects": [{}],
    "an empty object": {},
    "NUL in a name": {"\0": 1},
    "a surrogate in a name": {"\ud800": 1},
    "a name twice": {"email": []},
    "100,000 characters": {"email": "x" * 100_000},
}
OF_A_FIELD: dict[str, object] = {
    "null": None,
    "true": True,
    "zero": 0,
    "a negative number": -1,
    "a number beyond 64 bits": 18446744073709551616,
    "a fraction": 1e308,
    "an empty text": "",
    "a blank": " ",
    "20,000 characters": "x" * 20_000,
    "an empty list": [],
    "nested lists": [[[[]]]],
}


def test_a_hostile_body_is_what_its_name_says() -> None:
    hostile = dict(bodies_like(lambda: {"email": "ann@example.com", "username": "ann"}))
    assert {name: json.loads(hostile[name]) for name in PARSED} == PARSED
    for field, other in (("email", "username"), ("username", "email")):
        bodies = {name: json.loads(hostile[f"{name} as {field}"]) for name in OF_A_FIELD}
        assert {name: body[field] for name, body in bodies.items()} == OF_A_FIELD
        assert all(type(body[field]) is type(OF_A_FIELD[name]) for name, body in bodies.items())
        assert all(body[other] in {"ann", "ann@example.com"} for body in bodies.values())
    digits = hostile["a number without end"].removeprefix(b'{"email": ').removesuffix(b"}")
    assert digits == b"1".ljust(5001, b"0")
    assert hostile["30,000 lists in each other"] == b"[".ljust(30_000, b"[")
    depth = hostile["5,000 objects in each other"]
    assert (depth.count(b"{"), depth.count(b"}"), depth.count(b'"email": '), depth.count(b"1")) == (5000, 5000, 5000, 1)


# Where the attacks stand

ONE = "used_again"


def write_tree(pytester: pytest.Pytester, **files: str) -> None:
    for name, content in files.items():
        path = pytester.path / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


APP = CONFTEST.format(module="tests.support.apps", name="make_app", call="make_app()", scope="function", params="")


@pytest.mark.parametrize(
    ("conftest", "arguments", "stands_in"),
    [
        ("conftest", ".", ""),
        ("conftest", "shop", "shop/"),
        ("conftest", "shop blog", "shop/"),
        ("shop__conftest", ".", "shop/"),
        ("shop__conftest", "shop", "shop/"),
        ("shop__conftest", "shop/unit", "shop/unit/"),
        ("shop__conftest", "blog shop", "shop/"),
    ],
)
def test_the_attacks_stand_once_in_the_first_folder_that_sees_the_app(
    run: Run, pytester: pytest.Pytester, conftest: str, arguments: str, stands_in: str
) -> None:
    tests = dict.fromkeys(["shop__test_own", "shop__unit__test_more", "blog__test_post"], OWN_TESTS)
    write_tree(pytester, **{conftest: APP}, **tests)
    outcome = run("-k", ONE, *arguments.split())
    assert outcome.ids == [f"{stands_in}registration_attacks/links::test_a_link_that_is_used_again_changes_nothing"]
    assert outcome.failed == []


@pytest.mark.parametrize("plugin", ["account_fixtures", "shop_fixtures"])
def test_the_fixture_may_come_from_a_plugin(run: Run, pytester: pytest.Pytester, plugin: str) -> None:
    write_tree(pytester, **{f"plugins__{plugin}": APP}, tests__test_own=OWN_TESTS)
    pytester.syspathinsert(pytester.path / "plugins")
    assert len(run("-p", plugin, "-k", ONE, "tests").passed) == 1


def test_the_fixture_may_have_another_name_and_parameters(run: Run, pytester: pytest.Pytester) -> None:
    fixture = APP.replace('scope="function"', "params=[1, 2]").replace("def app(", "def shop(")
    write_tree(pytester, conftest=fixture)
    pytester.makeini("[pytest]\nregistration_app_fixture = shop\npython_functions = check_*\n")
    assert len(run("-k", ONE).passed) == 2


def test_whoever_selects_a_file_gets_no_attacks(run: Run, pytester: pytest.Pytester) -> None:
    write_tree(pytester, conftest=APP, test_own=OWN_TESTS)
    assert run("test_own.py").ids == ["test_own.py::test_of_the_application"]


def test_a_run_without_the_fixture_is_refused(pytester: pytest.Pytester) -> None:
    write_tree(pytester, test_own="def test_own(): pass\n")
    result = pytester.runpytest_inprocess("-p", PLUGIN)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*found no fixture 'app' in a conftest.py*registration_app_fixture*"])


def test_a_folder_that_cannot_be_collected_is_reported_as_ever(run: Run, pytester: pytest.Pytester) -> None:
    write_tree(pytester, conftest=APP, shop__conftest="raise RuntimeError", shop__test_own=OWN_TESTS)
    assert run().exit_code == pytest.ExitCode.INTERRUPTED


def test_the_attacks_run_in_several_processes(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tree(pytester, conftest=APP, test_own_tests=OWN_TESTS)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", PLUGIN, "-n", "2", "-k", "used_again or has_changed or own_tests"],
        capture_output=True,
        text=True,
        check=False,
        cwd=pytester.path,
    )
    assert done.returncode == 0, done.stdout
    assert " 3 passed" in done.stdout


# Docs


def test_the_page_of_the_docs_shows_a_conftest_that_works(run: Run, pytester: pytest.Pytester) -> None:
    python = [block for block in blocks(DOCS / "testing.rst") if block.language == "python"]
    assert [block.caption for block in python] == ["shop.py", "conftest.py", None, "test_sign_up.py"]
    write_tree(pytester, conftest=f"{python[1].text}\n{python[2].text}")
    pytester.makepyfile(
        shop="""
        from sqlalchemy import String
        from sqlalchemy.orm import mapped_column
        from tests.support import apps, models

        def model(db):
            return models.declared(country=mapped_column(String(2), nullable=False))(db)

        def create_app(config):
            return apps.make_app(model, database_uri=config["SQLALCHEMY_DATABASE_URI"]).app

        class db:
            create_all = drop_all = staticmethod(lambda: None)

            class engine:
                dispose = staticmethod(lambda: None)
        """
    )
    outcome = run("-k", "good_sign_up or " + ONE)
    assert outcome.failed == [], outcome.messages
    assert len(outcome.passed) == 2
