"""Print a constraints file that pins everything in pyproject.toml to the lowest version that it declares."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def declared_requirements(pyproject: dict[str, Any]) -> Iterator[Requirement]:
    """Yield the requirements of the package, of its extras and of the dependency groups."""
    project = pyproject["project"]
    lists = [
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *pyproject["dependency-groups"].values(),
    ]
    for requirements in lists:
        yield from (Requirement(entry) for entry in requirements if isinstance(entry, str))


def lowest(requirement: Requirement) -> str:
    """Turn ``name>=version`` into ``name==version``, its marker kept."""
    (bound,) = requirement.specifier
    if bound.operator != ">=":
        raise SystemExit(f"{requirement}: a lower bound, name>=version, is expected")
    marker = f"; {requirement.marker}" if requirement.marker else ""
    return f"{requirement.name}=={bound.version}{marker}"


if __name__ == "__main__":
    with (Path(__file__).parent.parent / "pyproject.toml").open("rb") as file:
        pins = [lowest(requirement) for requirement in declared_requirements(tomllib.load(file))]
    print("\n".join(sorted(pins, key=str.lower)))
