"""The requirements of jobs, and the parsers of what Slurm says of a cluster."""

from __future__ import annotations

from sweeps.doctor.cluster_info import (
    JobRequirements,
    extract_last_line,
    parse_leading_int,
    parse_smallest_limit,
)
from sweeps.doctor.slurm_nodes import NodeRequest
from sweeps.slurm_environment import SbatchVariables


def test_output_of_slurm_is_parsed() -> None:
    assert [parse_leading_int(t) for t in ("300 sec", "8", None, "n/a")] == [300, 8, 0, 0]
    assert parse_smallest_limit(["", "40", "7"]) == 7
    assert parse_smallest_limit(["", ""]) is None
    output = "sbatch: error: Batch job submission failed: Invalid account\n"
    assert extract_last_line(output) == "Batch job submission failed: Invalid account"


def test_options_of_the_environment_count_unless_the_launcher_sets_them() -> None:
    variables = SbatchVariables(
        applied={"SBATCH_PARTITION": "a,b", "SBATCH_ACCOUNT": "lab", "SBATCH_GRES": "gpu:2"}
    )
    requirements = JobRequirements(
        sbatch_options=("--qos=long", "--mem=2G"), sbatch_variables=variables, nodes=2
    )
    assert requirements.partitions == ["a", "b"]
    assert [requirements.get_option(name) for name in ("account", "qos", "constraint")] == [
        "lab",
        "long",
        None,
    ]
    assert requirements.node_request == NodeRequest(nodes=2, memory_mb=2048.0, gpus={"": 2})
    assert JobRequirements(partition="c", sbatch_variables=variables).partitions == ["c"]
    assert JobRequirements().partitions == []
