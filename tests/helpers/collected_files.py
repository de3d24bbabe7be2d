"""A plug-in of pytest that prints the files that would be collected, and imports none of them."""

from __future__ import annotations

from pathlib import Path


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Print a file and ignore it; folders are decided on by pytest."""
    if collection_path.is_dir():
        return None
    print(collection_path)
    return True
