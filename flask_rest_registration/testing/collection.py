"""Where the attacks appear among the application's tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from .attacks import MODULES

#: The ini option that names the fixture of the app.
APP_FIXTURE = "registration_app_fixture"

# The class of what pytest.fixture() returns has no public name.
_FIXTURE = type(pytest.fixture(lambda: None))

_FOLDER = pytest.StashKey[str]()


class AttackModule(pytest.Module):
    """A module of attacks, collected as if it lay in a folder of the application's tests, to use its fixtures.

    The attacks run in the first folder that sees the app's fixture.
    """

    def funcnamefilter(self, name: str) -> bool:
        """Find the attacks whatever ``python_functions`` says."""
        return name.startswith("test_")

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """Return the attacks, once in a run."""
        folder = self.parent.nodeid if self.parent else ""
        return super().collect() if self.config.stash.setdefault(_FOLDER, folder) == folder else ()


def attacks_below(folder: pytest.Directory) -> Iterator[AttackModule]:
    """Yield the modules of attacks as children of a folder, named ``registration_attacks/links`` and so on."""
    above = "" if folder.path == folder.config.rootpath else f"{folder.nodeid}/"
    for module in MODULES:
        name = f"registration_attacks/{module.__name__.rpartition('.')[2]}"
        collector = AttackModule.from_parent(
            folder, path=Path(str(module.__file__)), name=name, nodeid=f"{above}{name}"
        )
        collector.obj = module
        # The app is made first, and each of its parametrizations is attacked.
        collector.add_marker(pytest.mark.usefixtures(folder.config.getini(APP_FIXTURE)))
        yield collector


def is_visible_in(folder: pytest.Directory) -> bool:
    """Tell whether tests in a folder can use the app's fixture: from a conftest.py there or above, or a plugin."""
    name = folder.config.getini(APP_FIXTURE)
    for plugin in folder.config.pluginmanager.get_plugins():
        if isinstance(plugin, ModuleType) and name in _fixtures_of(plugin):
            path = Path(str(plugin.__file__))
            if path.name != "conftest.py" or folder.path.is_relative_to(path.parent):
                return True
    return False


def _fixtures_of(plugin: ModuleType) -> set[str]:
    return {str(value.name) for value in vars(plugin).values() if isinstance(value, _FIXTURE)}
