#!/usr/bin/env bash
# A sweep on a Slurm cluster. Run it on a login node: it submits jobs and returns.
#   examples/slurm/sweep.sh            checks, then submits
#   examples/slurm/sweep.sh status     the status of every cell
set -euo pipefail

sweep=(ablation=components budget=study seeds=5 store="${STORE:-$PWD/store}")
launcher=(launcher=slurm launcher.partition="${PARTITION:-gpu}" launcher.gpus_per_node=1
          launcher.timeout_min=240 runtime.device=cuda)
program=(python "$(dirname "$0")/../../sweep.py")

if test "$#" -gt 0; then
    exec "${program[@]}" "$1" "${sweep[@]}" "${launcher[@]}" "${@:2}"
fi
"${program[@]}" doctor "${sweep[@]}" "${launcher[@]}"
exec "${program[@]}" run "${sweep[@]}" "${launcher[@]}"
