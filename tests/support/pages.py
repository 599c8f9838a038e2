"""The pages of the documentation as stories: every file that they show is written, every command is typed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from typing_extensions import Self

import flask_rest_registration

from .concurrency import until
from .services import accepts_connections, free_ports

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_DIRECTIVE = re.compile(r"^( *)\.\. (?:code-block|code|sourcecode|highlight|literalinclude):: *(\S*)\s*$")
_OPTION = re.compile(r"^ +:(\w+): *(.*)$")
_LINK = re.compile(r"https?://[^\s<>\"&]+\?user_id=[^\s<>\"]+&timestamp=\d+&signature=[\w-]+")
_GIVE_UP_AFTER = 300.0

#: What pages call the two servers' ports; tests use free ones.
_PORTS = ("5000", "8025")

#: Languages whose blocks are files when they have a caption, and mere illustration when they have none.
ILLUSTRATIONS = {"html", "jinja", "json", "text", "nginx", "sql", "toml", "javascript", "po", "diff"}


class Block(NamedTuple):
    """One code block of a page.

    :param line: where it stands.
    :param language: what it is written in.
    :param caption: the name of the file that it shows, if it shows one.
    :param text: its lines, without their common indentation.
    """

    line: int
    language: str
    caption: str | None
    text: str


class Command(NamedTuple):
    """One command of a ``console`` block, and what the page says that it prints."""

    text: str
    output: str


def pages() -> list[Path]:
    """Return README.rst and every page of the documentation."""
    return [ROOT / "README.rst", *sorted(DOCS.glob("*.rst"))]


def blocks(page: Path) -> list[Block]:
    """Return the code blocks of a page, in their order."""
    return list(_blocks(page.read_text(encoding="utf-8").splitlines()))


def texts(page: Path, language: str) -> list[str]:
    """Return the code blocks of a page in a language, in their order."""
    return [block.text for block in blocks(page) if block.language == language]


def _blocks(lines: list[str]) -> Iterator[Block]:
    for number, line in enumerate(lines):
        directive = _DIRECTIVE.match(line)
        if not directive:
            continue
        body: list[str] = []
        caption = None
        for following in lines[number + 1 :]:
            if following.strip() and not following.startswith(directive[1] + "   "):
                break
            if (option := _OPTION.match(following)) and not body:
                caption = option[2] if option[1] == "caption" else caption
            elif following.strip() or body:
                body.append(following)
        yield Block(number + 1, directive[2], caption, textwrap.dedent("\n".join(body)).strip("\n") + "\n")


def commands(block: Block) -> list[Command]:
    """Take a ``console`` block apart into what is typed and what is printed."""
    found: list[list[str]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append([line[2:], ""])
        elif _is_open(found[-1][0]):
            found[-1][0] += f"\n{line}"
        else:
            found[-1][1] += f"{line}\n"
    return [Command(typed, printed.strip("\n")) for typed, printed in found]


def _is_open(command: str) -> bool:
    """Tell whether a command goes on in the next line."""
    if command.endswith("\\"):
        return True
    try:
        shlex.split(command)
    except ValueError:
        return True
    return False


class Story:
    """A page that is followed from top to bottom, in a folder of its own.

    Python without a caption goes on with the file before it. Each file is run when it is complete, those of tests by
    pytest, and what it makes of the app is checked. Servers that a page starts run until the end of the story.

    :param page: the page.
    :param folder: an empty folder.
    :param first_file: the name of Python that stands before any caption.
    """

    def __init__(self, page: Path, folder: Path, *, first_file: str | None = None) -> None:
        self.folder = folder
        self._page = page
        self._file = first_file
        self._to_run: list[str] = []
        self._servers: dict[Path, subprocess.Popen[bytes]] = {}  # by what they print
        self._ports = dict(zip(_PORTS, map(str, free_ports(len(_PORTS))), strict=True))
        self._shims = folder / ".shims"
        self.told: list[Block] = []
        self.typed: list[str] = []

    def __enter__(self) -> Self:
        self._shims.mkdir()
        curl = self._shims / "curl"
        curl.write_text(f"#!{sys.executable}\nimport runpy\nrunpy.run_path({str(_CURL)!r}, run_name='__main__')\n")
        curl.chmod(0o755)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers.values():
            server.terminate()
            server.wait(_GIVE_UP_AFTER)

    def tell(self) -> None:
        """Follow the page to its end."""
        for _ in self.steps():
            pass

    def steps(self) -> Iterator[str]:
        """Follow the page to its end, and yield each command when it has been typed."""
        all_blocks = blocks(self._page)
        for number, block in enumerate(all_blocks):
            following = all_blocks[number + 1 :]
            if block.language == "console":
                self._run_files()
                for command in commands(block):
                    self._type(command, block)
                    yield command.text
            elif block.language == "python":
                goes_on = bool(following) and following[0].language == "python" and following[0].caption is None
                self._write_python(block, is_complete=not goes_on)
            elif block.caption:
                self._write(block.caption, block.text)
            else:
                assert block.language in ILLUSTRATIONS, f"{self._where(block)}: what is {block.language!r}?"
            self.told.append(block)
        self._run_files()

    def printed(self) -> str:
        """Return all that the servers have printed."""
        return "\n".join(log.read_text(encoding="utf-8", errors="replace") for log in self._servers)

    def last_link(self) -> dict[str, str]:
        """Return the values of the last link that was mailed to a server of the story."""
        return dict(parse_qsl(urlsplit(_LINK.findall(self.printed())[-1]).query))

    def _write_python(self, block: Block, *, is_complete: bool) -> None:
        text = block.text
        if block.caption is None:
            assert self._file is not None, f"{self._where(block)}: a file needs its name as a caption"
            path = self.folder / self._file
            text = f"{path.read_text(encoding='utf-8')}\n\n{text}" if path.exists() else text
        self._file = block.caption or self._file
        assert self._file is not None
        self._write(self._file, text)
        if is_complete and self._file != "conftest.py":
            self._to_run.append(self._file)

    def _run_files(self) -> None:
        """Run the files that were written since the last command, in one process."""
        if self._to_run:
            # A program that ends as it is leaves its pool's connections open, of which Python 3.13 warns.
            strict = ("-W", "error", "-W", "ignore::ResourceWarning")
            done = self._run([sys.executable, *strict, str(_RUN_FILES), *self._to_run])
            assert done.returncode == 0, f"{self._page.name}: {done.stdout}{done.stderr}"
        self._to_run.clear()

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._with_free_ports(text), encoding="utf-8")

    def _type(self, command: Command, block: Block) -> None:
        self.typed.append(command.text)
        words = shlex.split(command.text)
        if words[0] == "make":
            makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
            assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), f"{self._where(block)}: no such target"
        elif words[:3] == ["python", "-m", "venv"] or words[0] == ".":
            pass  # the environment that runs the tests stands for the reader's
        elif words[0] == "cd":
            self.folder = (self.folder / words[1]).resolve()
        elif words[-1] == "&" or words[-1] == "run":
            self._start(command.text.removesuffix("&"))
        else:
            self._run_to_its_end(command, block)

    def _run_to_its_end(self, command: Command, block: Block) -> None:
        typed = self._with_free_ports(command.text)
        if "pip install" in typed:
            # Offline: what the page installs must be in the environment that runs the tests.
            typed = re.sub(r"(?<=\s)(?:\S*/flask-rest-registration|\.)(?=\s|\[|$)", "flask-rest-registration", typed)
        if "-registration/" in typed and '"signature"' in typed:
            for name, value in self.last_link().items():
                typed = re.sub(rf'"{name}": "[^"]*"', f'"{name}": "{value}"', typed)
        done = self._run(["/bin/sh", "-c", typed])
        assert done.returncode == 0, f"{self._where(block)}: {command.text}\n{done.stdout}{done.stderr}"
        expected = re.escape(command.output).replace(re.escape("..."), ".*?")
        assert not expected or re.fullmatch(self._with_free_ports(expected), done.stdout.strip("\n"), re.DOTALL), (
            f"{self._where(block)}: {command.text}\nprinted\n{done.stdout}{done.stderr}"
        )

    def _start(self, command: str) -> None:
        log = self._shims / f"server-{len(self._servers)}.txt"
        typed = self._with_free_ports(command)
        with log.open("wb") as file:
            server = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {typed}"], cwd=self.folder, env=self._environment(), stdout=file, stderr=file
            )
        self._servers[log] = server
        port = int(next((port for port in self._ports.values() if port in typed), self._ports["5000"]))
        until(lambda: server.poll() is not None or accepts_connections(port))
        assert server.poll() is None, f"{command} did not start: {self.printed()}"

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=_GIVE_UP_AFTER,
            check=False,
        )

    def _environment(self) -> dict[str, str]:
        package = Path(flask_rest_registration.__file__).parents[1]
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("FLASK_", "PYTEST_"))},
            "PATH": os.pathsep.join([str(self._shims), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": f"{package}",
            "PYTHONUNBUFFERED": "1",
            "FLASK_RUN_PORT": self._ports["5000"],
            "PIP_NO_INDEX": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }

    def _with_free_ports(self, text: str) -> str:
        return re.sub(r"\b(?:5000|8025)\b", lambda port: self._ports[port[0]], text)

    def _where(self, block: Block) -> str:
        return f"{self._page.name}:{block.line}"


_CURL = Path(__file__).with_name("curl.py")
_RUN_FILES = Path(__file__).with_name("run_files.py")
