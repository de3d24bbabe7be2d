"""`make bench`: uniclip and its peers side by side, in one run, as ratios; never a test.

python -m tests.benchmarks [subject ...] [--quick] [--out FOLDER] prints a table for each subject
and writes it to <out>/<subject>.md and .json.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

from tests.benchmarks.table import Options

SUBJECTS = (
    *("views", "objectives", "evaluation", "overhead", "front_door", "training_step"),
    *("epoch_order", "shards", "index_scale", "table_scale", "results"),
    *("all_lists", "whole_trainer", "step_scaling", "activation_checkpointing", "checkpoints"),
)


def main() -> None:
    """Run the subjects of the command line, or all."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("subjects", nargs="*", metavar="subject", help=", ".join(SUBJECTS))
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    parser.add_argument("--out", type=Path, default=Path("store/bench"))
    parser.add_argument("--objective", nargs="*", default=(), help="only these objectives")
    parser.add_argument("--form", nargs="*", default=(), help="only these forms")
    parser.add_argument("--sizes", nargs="*", type=int, default=(), help="pairs in a batch")
    parser.add_argument(
        "--baseline",
        type=Path,
        help="front_door and training_step: another checkout to compare with",
    )
    arguments = parser.parse_args()
    unknown = sorted({*arguments.subjects} - {*SUBJECTS})
    if unknown:
        parser.error(f"no subject {unknown[0]!r}; there are {', '.join(SUBJECTS)}")
    options = Options(
        out=arguments.out,
        quick=arguments.quick,
        objectives=tuple(arguments.objective),
        forms=tuple(arguments.form),
        sizes=tuple(arguments.sizes),
        baseline=arguments.baseline,
    )
    for subject in arguments.subjects or SUBJECTS:
        table = import_module(f"tests.benchmarks.{subject}").run(options)
        table.write(options.out)
        print(f"\n## {subject}\n\n{table.markdown()}")


if __name__ == "__main__":
    main()
