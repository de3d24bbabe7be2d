"""A whole sweep, made up but complete: real records of the store, scores with planted effects."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np

from uniclip import rng
from uniclip.io.atomic import append_jsonl, atomic_write, write_once
from uniclip.store import (
    Arm,
    AttemptFolder,
    Cell,
    ClaimRecord,
    Component,
    Contrast,
    DatasetScores,
    Outcome,
    Plan,
    PrimaryMetric,
    Score,
    Store,
)
from uniclip.store.json_io import to_json_bytes

NAMES = ("awareness", "mp_nce", "domain_similarity")
EVALUATION = "0123abcd"
SAMPLES = 600
STEPS = 200
WORDS = "red blue small large cat dog hand face flag star boat tree".split()


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What to make up."""

    seeds: tuple[int, ...] = (0, 1, 2)
    effects: Mapping[str, float] = field(default_factory=lambda: {"awareness": 0.08, "mp_nce": 0.0})
    clip: float = 0.55
    """Mean of the baseline `clip`."""
    noise: float = 0.01
    """Spread of one run beyond what its seed does to every arm."""
    diverged: tuple[tuple[str, int], ...] = ()
    missing: tuple[tuple[str, int], ...] = ()
    unscored: tuple[tuple[str, int], ...] = ()
    elsewhere: tuple[tuple[str, int], ...] = ()
    """Trained by other code, in another numerics class."""


def arm_name(levels: Mapping[str, bool]) -> str:
    off = [n for n in NAMES if not levels[n]]
    return "full" if not off else "none" if len(off) == len(NAMES) else "no-" + "-".join(off)


def arms() -> tuple[Arm, ...]:
    crossed = [dict(zip(NAMES, on)) for on in product((True, False), repeat=len(NAMES))]
    crossed.sort(key=lambda levels: -sum(levels.values()))
    made = []
    for levels in crossed:
        off = ", ".join(n.replace("_", " ") for n in NAMES if not levels[n])
        label = f"without {off}" if off else "UniCLIP, all components"
        label = "no component" if not any(levels.values()) else label
        made.append(
            Arm(name=arm_name(levels), label=label, role="crossed", levels=levels, config_diff={})
        )
    outside = {"clip": "CLIP", "clip-same-views": "CLIP, the same views"}
    made += [
        Arm(name=n, label=x, role="outside", levels={}, config_diff={}) for n, x in outside.items()
    ]
    again = "UniCLIP, another stream (A/A)"
    return (
        *made,
        Arm(name="full-again", label=again, role="noise", levels={}, config_diff={"stream": 1}),
    )


def effect_of(*chosen: str) -> dict[str, float]:
    weights = {}
    for on in product((True, False), repeat=len(NAMES)):
        levels = dict(zip(NAMES, on))
        sign = math.prod(1 if levels[n] else -1 for n in chosen)
        weights[arm_name(levels)] = sign / 2 ** (len(NAMES) - 1)
    return weights


def contrasts() -> tuple[Contrast, ...]:
    label = {"awareness": "augmentation awareness", "mp_nce": "MP-NCE loss"}
    label["domain_similarity"] = "domain-dependent similarity"
    made = [
        Contrast(
            name=f"main:{n}",
            label=label[n],
            kind="main",
            weights=effect_of(n),
            primary=True,
            component=n,
        )
        for n in NAMES
    ]
    for a, b in (NAMES[:2], NAMES[::2], NAMES[1:]):
        made.append(
            Contrast(
                name=f"interaction:{a}*{b}",
                label=f"{label[a]} x {label[b]}",
                kind="interaction",
                weights=effect_of(a, b),
                primary=False,
            )
        )
    pairs = [("no-" + n, f"leave out {label[n]}") for n in NAMES]
    pairs += [
        ("clip", "UniCLIP against CLIP"),
        ("clip-same-views", "UniCLIP against CLIP, the same views"),
    ]
    for minus, words in pairs:
        weights = {"full": 1.0, minus: -1.0}
        made.append(
            Contrast(
                name=f"full - {minus}",
                label=words,
                kind="difference",
                weights=weights,
                primary=False,
            )
        )
    weights = {"full": 1.0, "full-again": -1.0}
    again = "noise floor: the same configuration with another random stream"
    return (
        *made,
        Contrast(name="noise", label=again, kind="noise", weights=weights, primary=False),
    )


def plan(truth: Truth) -> Plan:
    every = arms()
    return Plan(
        sweep_id="components-quick-1a2b3c4d",
        ablation="components",
        title="What is each component of UniCLIP worth?",
        budget="quick",
        data="openmoji",
        design="crossed",
        arms=every,
        reference="full",
        components=tuple(
            Component(
                name=n,
                label=n.replace("_", " "),
                reason="It may help; see the paper.",
                off_overrides={f"method.{n}": "off"},
                manipulation_check={"kind": "tied_parameters"},
            )
            for n in NAMES
        ),
        contrasts=contrasts(),
        primary_metric=PrimaryMetric(dataset="openmoji", metric="retrieval.r1"),
        seeds=truth.seeds,
        cells=tuple(
            Cell(arm=a.name, seed=s, run_id=run_id(a.name, s)) for s in truth.seeds for a in every
        ),
        evaluation_hashes={arm.name: {"openmoji": EVALUATION} for arm in every},
        missing_datasets={"scenes": "not for data=openmoji"},
        base_config={
            "views": {"weak": 1, "strong": 2},
            "train": {"batch_size": 128, "steps": STEPS},
        },
        forward_passes={
            a.name: {"image": 1.0 if a.name == "clip" else 3.0, "text": 1.0} for a in every
        },
    )


def run_id(arm: str, seed: int) -> str:
    return f"{rng.derive_key('run', arm, seed):016x}"


def make(root: Path, truth: Truth = Truth()) -> tuple[Store, str]:  # noqa: B008
    """Write the sweep into a new store at `root`."""
    store, planned = Store(root), plan(truth)
    store.get_sweep(planned.sweep_id).write_plan(planned)
    findings = [
        {
            "arm": "full",
            "name": f"{n} is on",
            "passed": True,
            "detail": "bits change",
            "inert": False,
        }
        for n in NAMES
    ]
    atomic_write(
        store.get_sweep(planned.sweep_id).audit_path, to_json_bytes({"checks": findings})
    )
    for cell in planned.cells:
        if (cell.arm, cell.seed) not in truth.missing:
            write_run(store, planned, cell, truth)
    return store, planned.sweep_id


def begin(store: Store, run_id: str, *, time: float = 0.0, host: str = "h") -> AttemptFolder:
    """One attempt more at a run."""
    run = store.get_run(run_id)
    owner = ClaimRecord(
        host=host, boot_id="b", pid=1, start_ticks=1, source_hash="s", training_hash="t", numerics_class={}, time=time
    )  # fmt: skip
    attempt = run.claim_attempt(len(run.list_attempts()) + 1, owner)
    assert attempt is not None
    return attempt


def fail(store: Store, run_id: str, *, seconds: float, host: str = "h") -> None:
    """One attempt more at a run, which failed after so long."""
    attempt = begin(store, run_id, time=seconds, host=host)
    ended = {"kind": "failed", "time": 2 * seconds, "error": f"OSError: {host}"}
    write_once(attempt.path / "ended.json", to_json_bytes(ended))


def level(planned: Plan, cell: Cell, truth: Truth) -> float:
    """The planted score of a run."""
    arm = planned.get_arm(cell.arm)
    draws = np.random.Generator(np.random.Philox(key=rng.derive_key("draw", cell.arm, cell.seed)))
    of_seed = np.random.Generator(np.random.Philox(key=rng.derive_key("seed", cell.seed))).normal(
        0, 0.02
    )
    base = truth.clip if arm.role == "outside" else 0.5
    on = arm.levels if arm.role != "noise" else dict.fromkeys(NAMES, True)
    planted = sum(truth.effects.get(n, 0.0) * (0.5 if up else -0.5) for n, up in on.items())
    return float(base + planted + of_seed + draws.normal(0, truth.noise))


def write_run(store: Store, planned: Plan, cell: Cell, truth: Truth) -> None:
    """One run: its claim, its history, its outcome, and its scores on openmoji."""
    run = store.get_run(cell.run_id)
    run.write_spec({"config": {"seed": cell.seed}, "data": {}})
    owner = ClaimRecord(
        host="h",
        boot_id="b",
        pid=1,
        start_ticks=1,
        source_hash="s",
        training_hash="t",
        numerics_class={"cpu": "AVX2"},
        time=0.0,
    )
    attempt = run.claim_attempt(1, owner)
    assert attempt is not None
    diverged = (cell.arm, cell.seed) in truth.diverged
    other = (cell.arm, cell.seed) in truth.elsewhere
    goal = level(planned, cell, truth)
    for record in _history(cell, goal, diverged):
        append_jsonl(attempt.metrics_path, record)
    run.write_outcome(
        Outcome(
            kind="diverged" if diverged else "trained",
            step=STEPS // 2 if diverged else STEPS,
            attempt=1,
            training_hash="u" if other else "t",
            source_hash="s",
            numerics_class={"cpu": "AVX512" if other else "AVX2"},
            weights_digest=None if diverged else "w" * 32,
            best_step=None if diverged else STEPS,
            cost={"training_seconds": 20.0, "seconds_per_step": 0.1, "parameters": 4e5},
        )
    )
    if not diverged and (cell.arm, cell.seed) not in truth.unscored:
        _score(store, cell, goal)


def _history(cell: Cell, goal: float, diverged: bool) -> list[dict[str, object]]:
    images = 128 if cell.arm == "clip" else 384
    pace = 0.04 if cell.arm == "clip" else 0.1
    records: list[dict[str, object]] = []
    for step in range(10, (STEPS // 2 if diverged else STEPS) + 1, 10):
        part = step / STEPS
        numbers: dict[str, object] = {
            "step": step,
            "phase": "train",
            "loss": 5 * math.exp(-2 * part),
            "images_seen": images * step,
            "samples_seen": 128 * step,
            "seconds": pace * step,
            "loss_terms": {"contrastive": 1.0},
        }
        if "clip" in cell.arm:
            numbers["scale"] = 14 + 3 * part
        else:
            spread = 0 if "similarity" in cell.arm or cell.arm == "none" else 1
            for i, pair in enumerate(("ii", "it", "tt")):
                numbers[f"tau_{pair}"] = 0.07 * math.exp(-part * (0.5 + spread * 0.4 * (i - 1)))
                numbers[f"b_{pair}"] = spread * 0.2 * part * (1 - i)
        records.append(numbers)
        if step % 50 == 0:
            score = goal * (1 - math.exp(-3 * part)) / (1 - math.exp(-3))
            records.append(
                {
                    "step": step,
                    "phase": "validation",
                    "score": score,
                    "best": True,
                    "seconds": pace * step,
                }
            )
    if not diverged:
        used = {"awareness": 0.42, "mp_nce": 0.05, "domain_similarity": 0.08}
        moved = {"augmentation_encoder": 0.6, "image_head": 0.8, "similarity": 0.2}
        records.append({"step": STEPS, "phase": "knockout", "knockout_effect": used, "relative_change": moved})
    return records


def _score(store: Store, cell: Cell, goal: float) -> None:
    shifts = {
        "retrieval.r1": 0.0,
        "retrieval.i2t.r1": -0.01,
        "retrieval.i2t.r5": 0.2,
        "retrieval.t2i.r1": 0.01,
        "retrieval.t2i.r5": 0.22,
        "zeroshot.skin_tone": 0.3,
        "zeroshot.gender": 0.25,
        "probe.category": 0.1,
    }
    arrays, scores = {}, []
    difficulty = np.random.Generator(np.random.Philox(key=rng.derive_key("items"))).uniform(
        size=SAMPLES
    )
    for name, shift in shifts.items():
        right = difficulty < min(0.99, max(0.01, goal + shift))
        kind = "recall" if name.startswith("retrieval") else "accuracy"
        arrays[name] = right
        few = name == "zeroshot.gender"
        scores.append(
            Score(
                name=name,
                value=float(right.mean()),
                kind=kind,
                chance=1 / SAMPLES if kind == "recall" else 0.2,
                num_samples=40 if few else SAMPLES,
                report_only=few,
            )
        )
    scores.append(Score(name="gap", value=0.8, kind="gap", chance=None, num_samples=SAMPLES))
    wrong = 0.1 + goal / 10
    scores.append(Score(name="ece", value=wrong, kind="error", chance=None, num_samples=SAMPLES))
    run = store.get_run(cell.run_id)
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays, **_examples())
    write_once(run.predictions_path("openmoji", EVALUATION), stream.getvalue())
    told = DatasetScores(
        dataset="openmoji",
        evaluation_hash=EVALUATION,
        protocol={},
        weights_digest="w" * 32,
        scores=tuple(scores),
    )
    write_once(run.scores_path("openmoji", EVALUATION), to_json_bytes(told))


def _examples() -> dict[str, np.ndarray]:
    draws = np.random.Generator(np.random.Philox(key=rng.derive_key("examples")))
    pixels = np.full((12, 3, 64, 64), 255, np.uint8)
    y, x = np.mgrid[:64, :64]
    for i in range(12):
        disc = (y - 32) ** 2 + (x - 32) ** 2 < (12 + i) ** 2
        pixels[i][:, disc] = draws.integers(0, 220, 3, dtype=np.uint8)[:, None]
    pick = [[" ".join(draws.choice(WORDS, 2 + j)) for j in range(5)] for _ in range(12)]
    right = np.zeros((12, 5), bool)
    right[np.arange(9), draws.integers(0, 3, 9)] = True
    return {
        "examples.images": pixels,
        "examples.image_names": np.array([f"picture {i}" for i in range(12)]),
        "examples.captions": np.array(pick),
        "examples.is_correct": right,
        "examples.similarity": np.sort(draws.uniform(0.1, 0.8, (12, 5)).astype(np.float32))[
            :, ::-1
        ],
    }
