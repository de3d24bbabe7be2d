"""Write a picture of the page of a sweep.

    python docs/generate_pictures.py live STORE SWEEP      docs/page_live.png, of the state of now
    python docs/generate_pictures.py report STORE SWEEP    docs/page_report.png, of the report

It needs Chromium with its driver (Debian: chromium, chromium-driver) and selenium (the extra
`test`).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from tests.helpers.browser import open_browser  # noqa: E402

FOLDER = Path(__file__).resolve().parent
WIDTH, HEIGHT = 1280, 860
"""Size of a picture, in pixels."""


def write_page(store: Path, sweep_id: str, command: str, *words: str) -> None:
    """Execute a command that writes a page."""
    line = [sys.executable, str(ROOT / "sweep.py"), command, sweep_id, *words, f"store={store}"]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)


def take_picture(page: Path, picture: Path) -> None:
    """Save what a window shows of a page."""
    with open_browser() as browser:
        browser.open(page.resolve().as_uri())
        browser.set_width(WIDTH, HEIGHT)
        browser.driver.save_screenshot(str(picture))
    print(picture.relative_to(ROOT))


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["live", "report"])
    parser.add_argument("store", type=Path)
    parser.add_argument("sweep")
    arguments = parser.parse_args()
    picture = FOLDER / f"page_{arguments.kind}.png"
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "status.html"
        if arguments.kind == "live":
            write_page(arguments.store, arguments.sweep, "status", f"--html={page}")
        else:
            write_page(arguments.store, arguments.sweep, "report")
            page = arguments.store / "reports" / arguments.sweep / "report.html"
        take_picture(page, picture)


if __name__ == "__main__":
    main()
