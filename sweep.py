"""Plan, run, monitor and report ablations: `python sweep.py --help`.

The console commands of the distribution start here too. This module imports nothing but the
standard library until it knows that it imports the right packages: Weights & Biases publishes
another package named `sweeps`, and `uniclip` on PyPI is a clipboard tool.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

EXIT_USER_ERROR = 2
COMPLETION_VARIABLE = "_ARGCOMPLETE"
"""What the shell functions of argcomplete set when they ask for completions."""
REQUIRED_FILES = {
    "uniclip": "run.py",
    "ablations": "schema.py",
    "analysis": "formatting.py",
    "sweeps": "cli/main.py",
}
"""Package -> a file that it holds, by which it is recognized."""


def main() -> int:
    """Run the command line of sweeps (`uniclip-sweep`) and return its exit status."""

    def run() -> int:
        if COMPLETION_VARIABLE in os.environ:
            from sweeps.cli.completion import print_completions

            print_completions()
        from sweeps.cli.main import main as run_command_line

        return run_command_line(sys.argv[1:])

    return run_entry_point("sweep.py", run)


def evaluate() -> int:
    """Evaluate one model (`uniclip-evaluate`) and return the exit status."""

    def run() -> int:
        from uniclip.evaluate.__main__ import main as run_evaluation

        return run_evaluation(sys.argv[1:])

    return run_entry_point("uniclip-evaluate", run)


def export() -> int:
    """Export the model of a run (`uniclip-export`) and return the exit status."""

    def run() -> int:
        from uniclip.checkpoints.exporting import main as run_export

        return run_export(sys.argv[1:])

    return run_entry_point("uniclip-export", run)


def run_entry_point(program: str, run: Callable[[], int]) -> int:
    """Run a program; a library that is missing or broken is one line and exit status 2."""
    if not check_packages(program):
        return EXIT_USER_ERROR
    from uniclip.dependencies import describe_import_failure

    try:
        return run()
    except Exception as error:
        line = describe_import_failure(error)
        if line is None:
            raise
        print(f"{program}: {line}", file=sys.stderr)
        return EXIT_USER_ERROR


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
