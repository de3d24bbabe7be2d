"""Whether the nodes of a partition have what a job requests, now or at all.

Slurm accepts a held job whatever it requests; released, it waits for ever with the reason
BadConstraints. `sbatch --test-only` rejects it, but gives the same message if such nodes are merely
down or reserved.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

SINFO_FORMAT = "%T|%D|%c|%m|%G|%f"
"""State, number of nodes, cores, memory in MB, generic resources and features."""
USABLE_NODE_STATES = {"idle", "mixed", "allocated", "completing", "planned"}
MEMORY_UNITS = {"": 1.0, "K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2}
"""Unit of a memory size -> MB."""


@dataclass(frozen=True, kw_only=True)
class NodeGroup:
    """Nodes of a partition that are alike."""

    state: str
    count: int = 1
    cpus: int = 0
    memory_mb: int = 0
    gpus: Mapping[str, int] = field(default_factory=dict)
    """Kind of GPU, "" if Slurm knows none -> number of them on a node."""
    features: frozenset[str] = frozenset()

    @property
    def is_usable(self) -> bool:
        """Whether jobs can run there now, or when others have ended."""
        return self.state.rstrip("*+-~#%$@!^") in USABLE_NODE_STATES


@dataclass(frozen=True, kw_only=True)
class NodeRequest:
    """What a job requests of each of its nodes, as far as its options say."""

    nodes: int = 1
    cpus: int = 1
    memory_mb: float = 0.0
    gpus: Mapping[str, int] = field(default_factory=dict)
    """Kind of GPU, "" for any -> number."""
    features: frozenset[str] = frozenset()

    def is_met(self, group: NodeGroup) -> bool:
        """Return whether a node of the group has all that is requested."""
        return not find_unmet_requests(self, [group])


def parse_node_groups(lines: Iterable[str]) -> tuple[NodeGroup, ...]:
    """Return the node groups in the output of `sinfo -h -e -o SINFO_FORMAT`."""
    groups = []
    for line in lines:
        cells = line.split("|")
        if len(cells) == 6:
            state, count, cpus, memory_mb, gres, features = cells
            group = NodeGroup(
                state=state,
                count=_parse_int(count),
                cpus=_parse_int(cpus),
                memory_mb=_parse_int(memory_mb),
                gpus=parse_gpus(gres),
                features=frozenset(features.split(",")) - {"(null)", ""},
            )
            groups.append(group)
    return tuple(groups)


def parse_gpus(gres: str) -> dict[str, int]:
    """Return kind -> number of the GPUs in generic resources such as "gpu:a100:2(S:0),shard:8"."""
    gpus: dict[str, int] = {}
    for item in re.sub(r"\([^)]*\)", "", gres).replace("=", ":").split(","):
        name, *rest = item.removeprefix("gres/").split(":")
        if name != "gpu":
            continue
        count = int(rest.pop()) if rest and rest[-1].isdecimal() else 1
        kind = rest[0].lower() if rest else ""
        gpus[kind] = gpus.get(kind, 0) + count
    return gpus


def parse_request(options: Sequence[str], variables: Mapping[str, str], nodes: int) -> NodeRequest:
    """Return what the options of sbatch request of a node.

    Args:
        options: command-line options of sbatch.
        variables: option of sbatch -> value, as exported in the environment.
        nodes: nodes of a job, if the options do not say.
    """
    pairs = (option.removeprefix("--").partition("=") for option in options)
    values = {**variables, **{name.replace("-", "_"): value for name, _, value in pairs}}
    tasks = _parse_int(values.get("ntasks_per_node", "1")) or 1
    cpus = tasks * (_parse_int(values.get("cpus_per_task", "1")) or 1)
    gpus = parse_gpus(values.get("gres", ""))
    for name, factor in (("gpus_per_node", 1), ("gpus_per_task", tasks)):
        if name in values:
            gpus |= {k: n * factor for k, n in parse_gpus(f"gpu:{values[name]}").items()}
    constraint = values.get("constraint", "")
    is_simple = re.fullmatch(r"[\w.-]+(&[\w.-]+)*", constraint) is not None
    return NodeRequest(
        nodes=_parse_int(values.get("nodes", "")) or nodes,
        cpus=cpus,
        memory_mb=max(
            parse_memory_mb(values.get("mem", "")),
            cpus * parse_memory_mb(values.get("mem_per_cpu", "")),
        ),
        gpus={kind: count for kind, count in gpus.items() if count},
        features=frozenset(constraint.split("&")) if is_simple else frozenset(),
    )


def parse_memory_mb(text: str) -> float:
    """Return a size such as "1536MB", "20G" or "4000" in MB; 0 for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)B?", text.strip().upper())
    return float(match[1]) * MEMORY_UNITS[match[2]] if match else 0.0


def find_unmet_requests(
    request: NodeRequest, groups: Sequence[NodeGroup]
) -> list[tuple[str, str, str]]:
    """Return (what is requested, what nodes have, what to change), of what no node has."""
    unmet = []
    max_cpus = max((group.cpus for group in groups), default=0)
    if request.cpus > max_cpus:
        fix = "a smaller launcher.cpus_per_task or tasks_per_node"
        unmet.append((f"{request.cpus} cores", f"at most {max_cpus}", fix))
    max_memory_mb = max((group.memory_mb for group in groups), default=0)
    if request.memory_mb > max_memory_mb:
        fix = f"launcher.mem_gb of at most {max_memory_mb / 1024:.4g}"
        requested_memory = f"{request.memory_mb / 1024:.6g} GB of memory"
        unmet.append((requested_memory, f"at most {max_memory_mb / 1024:.4g} GB", fix))
    for kind, count in request.gpus.items():
        if not any(_count_gpus(group, kind) >= count for group in groups):
            present = sorted({_format_gpus(group.gpus) for group in groups})
            fix = "another launcher.gres or launcher.gpus_per_node"
            unmet.append((_format_gpus({kind: count}), " or ".join(present), fix))
    if not any(request.features <= group.features for group in groups):
        present = sorted({feature for group in groups for feature in group.features})
        fix = "another launcher.constraint"
        requested_features = f"the features {', '.join(sorted(request.features))}"
        unmet.append((requested_features, ", ".join(present) or "no features", fix))
    return unmet


def count_nodes(request: NodeRequest, groups: Iterable[NodeGroup]) -> int:
    """Return how many nodes have all that is requested."""
    return sum(group.count for group in groups if request.is_met(group))


def _count_gpus(group: NodeGroup, kind: str) -> int:
    return group.gpus.get(kind, 0) if kind else sum(group.gpus.values())


def _format_gpus(gpus: Mapping[str, int]) -> str:
    texts = [f"gpu:{kind}:{n}" if kind else f"gpu:{n}" for kind, n in sorted(gpus.items())]
    return ",".join(texts) or "no GPU"


def _parse_int(text: str) -> int:
    match = re.match(r"\d+", text.strip())
    return int(match[0]) if match else 0
