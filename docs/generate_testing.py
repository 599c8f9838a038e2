"""Write the attacks into testing.rst from their docstrings: ``python docs/generate_testing.py``."""

from __future__ import annotations

import inspect
import pathlib
from collections.abc import Iterator
from types import FunctionType, ModuleType

from flask_rest_registration.testing.attacks import MODULES

_PAGE = pathlib.Path(__file__).with_name("testing.rst")
_BEGIN = ".. attacks-begin: written by docs/generate_testing.py from flask_rest_registration/testing/attacks\n"
_END = ".. attacks-end\n"


def render() -> str:
    """Return the page with the attacks that there are.

    :returns: reStructuredText.
    """
    before, begin, rest = _PAGE.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    return "".join((before, begin, *(section for module in MODULES for section in _sections(module)), "\n", end, after))


def _sections(module: ModuleType) -> Iterator[str]:
    yield f"\n.. rubric:: {inspect.cleandoc(module.__doc__ or '').rstrip('.')}\n"
    for name, attack in vars(module).items():
        if isinstance(attack, FunctionType) and name.startswith("test_"):
            meaning = inspect.cleandoc(attack.__doc__ or "")
            told = "\n".join(f"    {line}".rstrip() for line in meaning.splitlines())
            yield f"\n``{name.removeprefix('test_')}``\n{told}\n"


if __name__ == "__main__":
    _PAGE.write_text(render(), encoding="utf-8")
