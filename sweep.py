"""Run, read and look after ablations: `python sweep.py --help`."""

import sys

from sweeps.cli.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
