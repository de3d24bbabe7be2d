"""`sweep.py verify`: check a bundle, and train some of its cells anew."""

from __future__ import annotations

import secrets
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from sweeps.bundles.reader import check_bundle
from sweeps.bundles.rerun import DEFAULT_TOLERANCE, rerun_cells, select_cells
from sweeps.bundles.verification import OpenBundle, find_inconsistencies, open_bundle
from uniclip.config.overrides import parse_overrides
from uniclip.errors import UserError
from uniclip.store import Store

EXIT_CHECK_FAILED = 1
OWN_KEYS = ("draw", "tolerance")
MAX_DRAW = 10_000


def add_arguments(parser: ArgumentParser) -> None:
    """Add the bundle, and the flag --rerun."""
    parser.add_argument(
        "names", nargs="*", metavar="bundle", help="the file, or the folder that it was unpacked to"
    )
    parser.add_argument(
        "--rerun",
        type=int,
        default=0,
        metavar="k",
        help="train k cells anew, drawn at random (draw=<number> repeats a draw), and compare bit "
        "for bit; in another numerics class, scores may differ by tolerance=0.05",
    )


def run(arguments: Namespace) -> int:
    """Check every byte of a bundle and that its records fit together; return 1 if not."""
    if len(arguments.names) != 1:
        raise UserError("verify takes one bundle, the file or its folder")
    path = Path(arguments.names[0]).expanduser()
    draw, tolerance, overrides = _parse_options(arguments.overrides)
    with tempfile.TemporaryDirectory(prefix="uniclip-verify-") as scratch:
        folder = Path(scratch, "bundle")
        checked = check_bundle(path, unpack_to=folder)
        for line in checked.damage:
            print(f"damaged: {line}")
        if checked.damage:
            return EXIT_CHECK_FAILED
        bundle = open_bundle(folder)
        inconsistencies = list(find_inconsistencies(bundle))
        for line in inconsistencies:
            print(f"inconsistent: {line}")
        if inconsistencies:
            return EXIT_CHECK_FAILED
        print(
            f"{len(checked.manifest.hashes)} files have the hashes of the manifest; "
            f"{len(bundle.cells)} of {len(bundle.plan.cells)} cells of {bundle.plan.sweep_id}"
        )
        print(f"sha256 of the manifest: {checked.manifest.digest}")
        if arguments.rerun <= 0:
            return 0
        return _rerun(bundle, arguments.rerun, draw, tolerance, overrides, Path(scratch, "store"))


def _parse_options(words: Sequence[str]) -> tuple[int, float, list[str]]:
    """Return the draw, the tolerance and the remaining words."""
    own_words = [word for word in words if word.partition("=")[0] in OWN_KEYS]
    values = parse_overrides(own_words)
    draw, tolerance = values.get("draw"), values.get("tolerance", DEFAULT_TOLERANCE)
    if draw is not None and (type(draw) is not int or draw < 0):
        raise UserError(f"draw={draw!r} must be a whole number from 0")
    if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)) or not tolerance >= 0:
        raise UserError(f"tolerance={tolerance!r} must be a number from 0, such as 0.05")
    number = secrets.randbelow(MAX_DRAW) if draw is None else draw
    return number, float(tolerance), [word for word in words if word not in own_words]


def _rerun(
    bundle: OpenBundle,
    count: int,
    draw: int,
    tolerance: float,
    overrides: Sequence[str],
    store_path: Path,
) -> int:
    """Train cells anew and print how each compares; return 1 if one does not agree."""
    cells = select_cells(bundle, count, draw)
    print(f"training {len(cells)} of {len(bundle.cells)} cells anew (draw={draw}) ...")
    failures = 0
    for result in rerun_cells(bundle, cells, overrides, Store(store_path), tolerance):
        comparison = result.comparison
        line = f"{result.cell.name}: {comparison.agreement}"
        if comparison.reason:
            line += f" ({comparison.reason}; scores differ by {comparison.largest_difference:.4f}"
            line += f" at most, tolerance {tolerance:g})"
        print(f"{'passed' if result.passed else 'FAILED'}: {line}")
        failures += not result.passed
    print(f"{len(cells) - failures} of {len(cells)} cells agree with the bundle")
    return EXIT_CHECK_FAILED if failures else 0
