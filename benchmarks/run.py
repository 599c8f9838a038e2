"""Compare the package with sign-up written by hand."""

from __future__ import annotations

import tempfile
from pathlib import Path

from databases import Databases
from measure import compare
from sides import FLOOR, OURS


def main() -> None:
    """Run the benchmark and print its figures."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        found = compare(Databases(Path(folder)), users=1000, rounds=5, blocks=6, block_size=50)
        for request, it in found.items():
            print(
                f"{request:9} ours {it.median(OURS):6.0f} us, floor {it.median(FLOOR):6.0f} us,"
                f" ratio {it.ratio:.2f} ({min(it.ratios):.2f} to {max(it.ratios):.2f})"
            )


if __name__ == "__main__":
    main()
