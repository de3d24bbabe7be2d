"""What several test modules share: small runs, trees of data sets, a private Slurm, fake sweeps."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The root of the checkout."""
