"""The documentation: generated pages are up to date, what pages name exists, and every example works as shown."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from pygments.lexers import get_lexer_by_name
from pygments.token import Generic

import flask_rest_registration
from flask_rest_registration import RequestRefused
from flask_rest_registration.settings.definitions import describe_settings
from flask_rest_registration.signers import DOCUMENTED_KEYS
from tests.support.pages import DOCS, ILLUSTRATIONS, ROOT, Story, blocks, commands, pages

pytestmark = pytest.mark.programs

TESTS = Path(__file__).parents[1]

#: Pages whose examples need more than a folder, such as servers: test_examples.py, test_adopting.py and
#: test_transports.py run them.
TOLD_ELSEWHERE = {"adopting.rst", "celery.rst", "commands.rst", "openapi.rst", "transports.rst"}

EXECUTED = {"python", "console"}
WITH_PROGRAMS = [page for page in pages() if any(block.language in EXECUTED for block in blocks(page))]
STORIES = [page for page in WITH_PROGRAMS if page.name not in TOLD_ELSEWHERE]
PAGES = pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def below(kind: type[Any]) -> set[type[Any]]:
    return {kind}.union(*(below(subclass) for subclass in kind.__subclasses__()))


@pytest.mark.parametrize("name", ["settings", "errors", "http"])
def test_a_generated_page_is_what_the_definitions_in_the_code_say(name: str) -> None:
    assert read(f"{name}.rst") == runpy.run_path(str(DOCS / f"generate_{name}.py"))["render"]()


def test_every_refusal_is_on_the_page_of_codes_and_no_other() -> None:
    shown = set(re.findall(r"^([\w-]+)\n-+$", read("errors.rst"), re.MULTILINE))
    assert shown == {kind.code for kind in below(RequestRefused)}


def test_the_page_of_the_api_has_every_endpoint_and_every_code_and_no_other(build: Any) -> None:
    page = read("http.rst")
    shown = {(int(status), code) for status, code in re.findall(r"(\d{3})\s+``([a-z-]+)``", page)}
    assert shown == {(kind.status, kind.code) for kind in below(RequestRefused) if "code" in vars(kind)}
    rules = {rule.rule for rule in build().app.url_map.iter_rules() if rule.endpoint.startswith("rest_registration.")}
    named = set(re.findall(r"^``POST (\S+)``\n-+$", page, re.MULTILINE))
    assert {f"/api/v1/accounts/{name}" for name in named} == {rule for rule in rules if rule.endswith("/")}


def test_the_reference_has_every_public_name_and_no_other() -> None:
    documented = re.findall(r"^\.\. auto(?:class|exception|function|data):: (\w+)$", read("api.rst"), re.MULTILINE)
    assert sorted(documented) == sorted(flask_rest_registration.__all__)


@PAGES
def test_every_setting_that_a_page_names_is_one(page: Path) -> None:
    known = {setting.name for setting in describe_settings()}
    text = page.read_text(encoding="utf-8")
    if page.name == "coming_from_django.rst":  # whose tables name that project's settings at the left
        text = re.sub(r"^   \* - .*\n(?:       .*\n)*", "", text, flags=re.MULTILINE)
    named = re.findall(r"``((?:USER|REGISTER|VERIFICATION|PASSWORD|LOGIN|URL)_[A-Z_]+)``", text)
    assert [name for name in named if name not in known] == []


@PAGES
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    sources: list[str] = []
    was_module = False
    for name in re.findall(r"``(test_\w+(?:\.py)?)``", page.read_text(encoding="utf-8")):
        is_module = name.endswith(".py")
        if is_module:
            sources = sources if was_module else []  # several modules may share what is named after them
            sources += [
                path.read_text(encoding="utf-8") for folder in (TESTS, ROOT / "tools") for path in folder.rglob(name)
            ]
        else:
            assert sources, f"{name} stands after no module"
            assert any(f"def {name}(" in source for source in sources), name
        was_module = is_module


@pytest.mark.parametrize("page", [*pages(), *(ROOT / "examples").rglob("*.py")], ids=lambda page: page.name)
def test_every_key_that_is_written_out_is_refused_as_one_that_everybody_knows(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    shown = re.findall(r"\bSECRET_KEY(?:_FALLBACKS)?\W{0,5}[=:] ?\W{0,2}b?[\"'](.*)[\"']", text)
    assert [key for key in shown if key not in DOCUMENTED_KEYS] == []
    assert re.findall(r"environ\.get\(.SECRET_KEY., .*", text) == [], "a key that stands in for the real one"


def test_every_page_behind_a_link_takes_three_names_and_no_other_from_its_address() -> None:
    sources = [*pages(), *(ROOT / "examples").glob("*/s*/*.[jt]s")]
    found = {path.name: path.read_text(encoding="utf-8") for path in sources}
    read = {name: text for name, text in found.items() if re.search(r"location\.(search|href)", text)}
    assert {"quickstart.rst", "email_first.rst", "verify_user.js", "link.ts"} <= set(read)
    names = '["user_id", "timestamp", "signature"]'
    assert [name for name, text in read.items() if names not in text or "query.get(name)" not in text] == []
    whole = r"(fromEntries|\.\.\.|forEach|entries)\W*(new URLSearchParams|query\b)"
    assert [name for name, text in read.items() if re.search(whole, text)] == []


def test_each_attack_on_the_page_of_security_has_its_test() -> None:
    rows = r"^   \* - (.*\n(?:       .*\n)*)     - (.*\n(?:       .*\n)*)"
    attacks = [attack for attack, _ in re.findall(rows, read("security.rst"), re.MULTILINE) if attack != "Attack\n"]
    tests = dict(re.findall(rows, read("promises.rst"), re.MULTILINE))
    assert len(attacks) > 25
    assert [each for each in attacks if not re.search(r"``test_\w+\.py``:\s+``test_\w+``", tests.get(each, ""))] == []


def test_users_pages_name_no_tests() -> None:
    named = {page.name: re.findall(r"``test_\w+(?:``|\.py``)", page.read_text(encoding="utf-8")) for page in pages()}
    assert {name for name, tests in named.items() if tests} == {"promises.rst"}


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.rst")), ids=lambda page: page.name)
def test_every_page_begins_with_what_it_shows(page: Path) -> None:
    text = re.sub(r"\n\.\. (Generated .*|meta::\n( +.*\n)+)\n", "\n", page.read_text(encoding="utf-8"))
    first = text.split("\n\n")[1]
    assert re.search(r"\bThis page shows\b", first), first


@pytest.mark.slow
@pytest.mark.parametrize("page", STORIES, ids=lambda page: page.name)
def test_every_file_and_every_command_of_a_page_works_as_it_is_shown(page: Path, tmp_path: Path) -> None:
    # A README has no captions: what it shows before any is saved as signup.py, says its text.
    first_file = "signup.py" if page.name == "README.rst" else None
    with Story(page, tmp_path, first_file=first_file) as story:
        story.tell()
    assert story.told == blocks(page)


@PAGES
def test_no_example_of_a_page_is_left_out(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    shown = re.findall(r"^ *\.\. +(?:code|code-block|sourcecode|literalinclude|parsed-literal)::", text, re.MULTILINE)
    found = blocks(page)
    assert len(found) == len(shown)
    assert ">>>" not in text, "a doctest: show the program and what it prints"
    assert re.findall(r"^(?! *\.\. ).*::\s*$", text, re.MULTILINE) == [], "a block without a language"
    assert {block.language for block in found} <= EXECUTED | ILLUSTRATIONS
    for block in found:
        if block.language == "json":
            json.loads(block.text)
        if block.language == "console":
            assert commands(block)


@PAGES
def test_a_command_is_copied_whole_and_without_prompt_and_output(page: Path) -> None:
    for block in blocks(page):
        if block.language == "console":
            tokens = get_lexer_by_name("console").get_tokens(block.text)
            copied = "".join(text for kind, text in tokens if kind not in {Generic.Prompt, Generic.Output})
            assert copied.strip() == "\n".join(command.text for command in commands(block))


@pytest.mark.parametrize(
    ("shown", "complaint"),
    [
        (".. code-block:: python\n   :caption: a.py\n\n   1 / 0\n", "ZeroDivisionError"),
        (".. code-block:: console\n\n   $ python -c 'print(1)'\n   2\n", "printed\n1"),
        (".. code-block:: console\n\n   $ false\n", "false"),
        (".. code-block:: console\n\n   $ make nothing\n", "no such target"),
        (".. code-block:: python\n\n   1 + 1\n", "needs its name"),
        (".. code-block:: fortran\n\n   END\n", "fortran"),
    ],
)
def test_a_story_fails_where_a_page_is_wrong(tmp_path: Path, shown: str, complaint: str) -> None:
    page = tmp_path / "page.rst"
    page.write_text(shown, encoding="utf-8")
    with Story(page, tmp_path) as story, pytest.raises(AssertionError, match=re.escape(complaint)):
        story.tell()


def test_every_picture_and_file_that_a_page_shows_is_there_and_small() -> None:
    shown = {ROOT / "docs" / "workflow.svg"}
    for page in (*pages(), *(ROOT / "examples").glob("*/*.rst")):
        found = re.findall(r"(?:(?:image|figure)::|^ +:file:) (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        shown |= {(page.parent / name).resolve() for name in found}
    assert [name for name in shown if not name.exists()] == []
    pictures = set((DOCS / "images").glob("*.png"))
    assert pictures
    assert [picture.name for picture in pictures if picture.stat().st_size > 150_000] == []
    assert (DOCS / "images" / "flow.gif").stat().st_size < 1_000_000


def test_the_lock_file_of_the_front_end_names_no_host_of_a_registry() -> None:
    lock = json.loads((ROOT / "examples" / "spa" / "package-lock.json").read_text(encoding="utf-8"))
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages
    assert [name for name, entry in packages.items() if "resolved" in entry or "integrity" not in entry] == []
