"""Where the attacks stand in the tree of tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from .attacks import MODULES

#: The ini option that names the fixture of the application.
APP_FIXTURE = "registration_app_fixture"

# What pytest.fixture() makes of a function; its class has no public name.
_FIXTURE = type(pytest.fixture(lambda: None))

_FOLDER = pytest.StashKey[str]()


class AttackModule(pytest.Module):
    """One of our modules as if it lay in a folder of the application's tests, whose fixtures it can use.

    Of all folders that see the app's fixture, the first one that is run has the attacks.
    """

    def funcnamefilter(self, name: str) -> bool:
        """Find our tests whatever the application calls its own."""
        return name.startswith("test_")

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """Give the attacks, once in a run."""
        folder = self.parent.nodeid if self.parent else ""
        return super().collect() if self.config.stash.setdefault(_FOLDER, folder) == folder else ()


def attacks_below(folder: pytest.Directory) -> Iterator[AttackModule]:
    """Make the modules of attacks as children of a folder.

    :param folder: the folder whose fixtures they use.
    :returns: them, named ``registration_attacks/links`` and so on.
    """
    above = "" if folder.path == folder.config.rootpath else f"{folder.nodeid}/"
    for module in MODULES:
        name = f"registration_attacks/{module.__name__.rpartition('.')[2]}"
        collector = AttackModule.from_parent(
            folder, path=Path(str(module.__file__)), name=name, nodeid=f"{above}{name}"
        )
        collector.obj = module
        # So that it is made first, and in each of its parametrizations.
        collector.add_marker(pytest.mark.usefixtures(folder.config.getini(APP_FIXTURE)))
        yield collector


def is_visible_in(folder: pytest.Directory) -> bool:
    """Tell whether tests in a folder can use the application's fixture.

    :param folder: a folder whose conftest.py was loaded.
    :returns: whether it is defined in a conftest.py there or above, or in a plugin.
    """
    name = folder.config.getini(APP_FIXTURE)
    for plugin in folder.config.pluginmanager.get_plugins():
        if isinstance(plugin, ModuleType) and name in _fixtures_of(plugin):
            path = Path(str(plugin.__file__))
            if path.name != "conftest.py" or folder.path.is_relative_to(path.parent):
                return True
    return False


def _fixtures_of(plugin: ModuleType) -> set[str]:
    return {str(value.name) for value in vars(plugin).values() if isinstance(value, _FIXTURE)}
