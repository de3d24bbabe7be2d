"""`sweep.py verify`: check a bundle, and train some of its cells anew."""

from __future__ import annotations

import secrets
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sweeps.bundles.reader import check_bundle
from sweeps.bundles.rerun import DEFAULT_TOLERANCE, RerunResult, rerun_cells, select_cells
from sweeps.bundles.verification import OpenBundle, find_inconsistencies, open_bundle
from sweeps.monitor.terminal import divert_text, print_json
from uniclip.config.overrides import parse_overrides
from uniclip.errors import UserError
from uniclip.store import Store

EXIT_CHECK_FAILED = 1
OWN_KEYS = ("draw", "tolerance")
MAX_DRAW = 10_000


@dataclass(kw_only=True)
class Verification:
    """What was checked: the JSON record."""

    bundle: str
    digest: str
    """SHA-256 hash of the manifest."""
    files: int
    damage: list[str]
    inconsistencies: list[str] = field(default_factory=list)
    sweep: str | None = None
    finished_cells: int = 0
    draw: int | None = None
    reruns: list[dict[str, object]] = field(default_factory=list)

    @property
    def exit_status(self) -> int:
        """1 if a check did not pass."""
        is_failed = self.damage or self.inconsistencies or not all(r["passed"] for r in self.reruns)
        return EXIT_CHECK_FAILED if is_failed else 0


def add_arguments(parser: ArgumentParser) -> None:
    """Add the bundle, and the flags --rerun and --json."""
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
    parser.add_argument("--json", action="store_true", help="print the results as JSON at the end")


def run(arguments: Namespace) -> int:
    """Check every byte of a bundle and that its records fit together; return 1 if not."""
    if len(arguments.names) != 1:
        raise UserError("verify takes one bundle, the file or its folder")
    path = Path(arguments.names[0]).expanduser()
    draw, tolerance, overrides = _parse_options(arguments.overrides)
    with (
        tempfile.TemporaryDirectory(prefix="uniclip-verify-") as scratch,
        divert_text(is_diverted=arguments.json),
    ):
        verification, bundle = _check(path, Path(scratch, "bundle"))
        if bundle is not None and arguments.rerun > 0:
            verification.draw = draw
            cells = select_cells(bundle, arguments.rerun, draw)
            print(f"training {len(cells)} of {len(bundle.cells)} cells anew (draw={draw}) ...")
            results = rerun_cells(
                bundle, cells, overrides, Store(Path(scratch, "store")), tolerance
            )
            verification.reruns = [_record_rerun(result, tolerance) for result in results]
            num_passed = sum(bool(record["passed"]) for record in verification.reruns)
            print(f"{num_passed} of {len(cells)} cells agree with the bundle")
    if arguments.json:
        print_json(asdict(verification))
    return verification.exit_status


def _check(path: Path, folder: Path) -> tuple[Verification, OpenBundle | None]:
    """Check a bundle, unpack it to a folder, and print the result; None: it did not pass."""
    checked = check_bundle(path, unpack_to=folder)
    verification = Verification(
        bundle=str(path),
        digest=checked.manifest.digest,
        files=len(checked.manifest.hashes),
        damage=[*checked.damage],
    )
    for line in checked.damage:
        print(f"damaged: {line}")
    if checked.damage:
        return verification, None
    bundle = open_bundle(folder)
    verification.sweep, verification.finished_cells = bundle.plan.sweep_id, len(bundle.cells)
    verification.inconsistencies = list(find_inconsistencies(bundle))
    for line in verification.inconsistencies:
        print(f"inconsistent: {line}")
    if verification.inconsistencies:
        return verification, None
    print(
        f"{verification.files} files have the hashes of the manifest; "
        f"{len(bundle.cells)} of {len(bundle.plan.cells)} cells of {bundle.plan.sweep_id}"
    )
    print(f"sha256 of the manifest: {verification.digest}")
    return verification, bundle


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


def _record_rerun(result: RerunResult, tolerance: float) -> dict[str, object]:
    """Print how a cell that was trained anew compares, and return its record."""
    comparison = result.comparison
    line = f"{result.cell.name}: {comparison.agreement}"
    if comparison.reason:
        line += f" ({comparison.reason}; scores differ by {comparison.largest_difference:.4f}"
        line += f" at most, tolerance {tolerance:g})"
    print(f"{'passed' if result.passed else 'FAILED'}: {line}")
    return {"cell": result.cell.name, "passed": result.passed, **asdict(comparison)}
