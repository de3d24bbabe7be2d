"""Plan, run, monitor and report ablations: `python sweep.py --help`.

The console commands of the distribution start here too. This module imports nothing but the
standard library until it knows that it imports the right packages: Weights & Biases publishes
another package named `sweeps`, and `uniclip` on PyPI is a clipboard tool.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

EXIT_USER_ERROR = 2
REQUIRED_FILES = {
    "uniclip": "run.py",
    "ablations": "schema.py",
    "analysis": "formatting.py",
    "sweeps": "cli/main.py",
}
"""Package -> a file that it holds, by which it is recognized."""


def main() -> int:
    """Run the command line of sweeps (`uniclip-sweep`) and return its exit status."""
    if not check_packages("sweep.py"):
        return EXIT_USER_ERROR
    from sweeps.cli.main import main as run_command_line

    return run_command_line(sys.argv[1:])


def evaluate() -> int:
    """Evaluate one model (`uniclip-evaluate`) and return the exit status."""
    if not check_packages("uniclip-evaluate"):
        return EXIT_USER_ERROR
    from uniclip.evaluate.__main__ import main as run_evaluation

    return run_evaluation(sys.argv[1:])


def export() -> int:
    """Export the model of a run (`uniclip-export`) and return the exit status."""
    if not check_packages("uniclip-export"):
        return EXIT_USER_ERROR
    from uniclip.checkpoints.exporting import main as run_export

    return run_export(sys.argv[1:])


def check_packages(program: str) -> bool:
    """Return whether Python imports the packages of this project; print one line if it does not."""
    for package, required_file in REQUIRED_FILES.items():
        folder = find_package_folder(package)
        if folder is None or not (folder / required_file).is_file():
            location = f"{folder} is another package" if folder else "it is not installed"
            print(
                f"{program}: Python does not find this project's package {package!r}: {location}; "
                "change PYTHONPATH, or install uniclip-ablations in a separate environment",
                file=sys.stderr,
            )
            return False
    return True


def find_package_folder(package: str) -> Path | None:
    """Return the folder that `import package` would read, without importing it."""
    spec = find_spec(package)
    locations = list(spec.submodule_search_locations or ()) if spec is not None else []
    if locations:
        return Path(locations[0])
    return Path(spec.origin) if spec is not None and spec.origin else None


if __name__ == "__main__":
    sys.exit(main())
