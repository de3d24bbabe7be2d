"""A complete synthetic sweep: real records of the store, and scores with planted effects."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from unittest import mock

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
    Look,
    Margin,
    Outcome,
    Plan,
    PrimaryMetric,
    Score,
    Store,
)
from uniclip.store.json_io import to_json_bytes

COMPONENTS = ("awareness", "mp_nce", "domain_similarity")
EVALUATION = "0123abcd"
NUM_SAMPLES = 600
NUM_STEPS = 200
CAPTION_WORDS = "red blue small large cat dog hand face flag star boat tree".split()


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Parameters of a synthetic sweep."""

    seeds: tuple[int, ...] = (0, 1, 2)
    effects: Mapping[str, float] = field(default_factory=lambda: {"awareness": 0.08, "mp_nce": 0.0})
    clip: float = 0.55
    """Mean score of the outside baselines."""
    noise: float = 0.01
    """Standard deviation of one run beyond the effect that its seed has on every arm."""
    diverged: tuple[tuple[str, int], ...] = ()
    missing: tuple[tuple[str, int], ...] = ()
    unscored: tuple[tuple[str, int], ...] = ()
    looks: tuple[Look, ...] = (Look(num_seeds=3, level=0.05),)
    margin: float | None = None
    """Margin of the primary score."""
    other_code: tuple[tuple[str, int], ...] = ()
    """Cells trained by other code, in another numerics class."""


def format_arm_name(levels: Mapping[str, bool]) -> str:
    off = [n for n in COMPONENTS if not levels[n]]
    if len(off) == len(COMPONENTS):
        return "none"
    return "-".join(["no", *off]).replace("_", "-") if off else "full"


def arms() -> tuple[Arm, ...]:
    crossed = [dict(zip(COMPONENTS, on)) for on in product((True, False), repeat=len(COMPONENTS))]
    crossed.sort(key=lambda levels: -sum(levels.values()))
    built = []
    for levels in crossed:
        off = ", ".join(n.replace("_", " ") for n in COMPONENTS if not levels[n])
        label = f"without {off}" if off else "UniCLIP, all components"
        label = "no component" if not any(levels.values()) else label
        built.append(
            Arm(
                name=format_arm_name(levels),
                label=label,
                role="crossed",
                levels=levels,
                config_diff={},
            )
        )
    outside = {"clip": "CLIP", "clip-same-views": "CLIP, the same views"}
    built += [
        Arm(name=n, label=x, role="outside", levels={}, config_diff={}) for n, x in outside.items()
    ]
    noise_label = "UniCLIP, another stream (A/A)"
    return (
        *built,
        Arm(
            name="full-again",
            label=noise_label,
            role="noise",
            levels={},
            config_diff={"stream": 1},
        ),
    )


def effect_weights(*components: str) -> dict[str, float]:
    weights = {}
    for on in product((True, False), repeat=len(COMPONENTS)):
        levels = dict(zip(COMPONENTS, on))
        sign = math.prod(1 if levels[n] else -1 for n in components)
        weights[format_arm_name(levels)] = sign / 2 ** (len(COMPONENTS) - 1)
    return weights


def contrasts() -> tuple[Contrast, ...]:
    label = {"awareness": "augmentation awareness", "mp_nce": "MP-NCE loss"}
    label["domain_similarity"] = "domain-dependent similarity"
    built = [
        Contrast(
            name=f"main:{n}",
            label=label[n],
            kind="main",
            weights=effect_weights(n),
            primary=True,
            component=n,
        )
        for n in COMPONENTS
    ]
    for a, b in (COMPONENTS[:2], COMPONENTS[::2], COMPONENTS[1:]):
        built.append(
            Contrast(
                name=f"interaction:{a}*{b}",
                label=f"{label[a]} x {label[b]}",
                kind="interaction",
                weights=effect_weights(a, b),
                primary=False,
            )
        )
    pairs = [("no-" + n.replace("_", "-"), f"leave out {label[n]}") for n in COMPONENTS]
    pairs += [
        ("clip", "UniCLIP against CLIP"),
        ("clip-same-views", "UniCLIP against CLIP, the same views"),
    ]
    for minus, text in pairs:
        weights = {"full": 1.0, minus: -1.0}
        built.append(
            Contrast(
                name=f"full - {minus}",
                label=text,
                kind="difference",
                weights=weights,
                primary=False,
            )
        )
    weights = {"full": 1.0, "full-again": -1.0}
    noise_label = "noise floor: the same configuration with other random draws"
    return (
        *built,
        Contrast(name="noise", label=noise_label, kind="noise", weights=weights, primary=False),
    )


def plan(truth: Truth) -> Plan:
    all_arms = arms()
    return Plan(
        sweep_id="components-quick-1a2b3c4d",
        ablation="components",
        title="What is each component of UniCLIP worth?",
        budget="quick",
        data="openmoji",
        design="crossed",
        arms=all_arms,
        reference="full",
        components=tuple(
            Component(
                name=n,
                label=n.replace("_", " "),
                reason="It may help; see the paper.",
                off_overrides={f"method.{n}": "off"},
                manipulation_check={"kind": "tied_parameters"},
            )
            for n in COMPONENTS
        ),
        contrasts=contrasts(),
        primary_metric=PrimaryMetric(dataset="openmoji", metric="retrieval.r1"),
        seeds=truth.seeds,
        cells=tuple(
            Cell(arm=a.name, seed=s, run_id=run_id(a.name, s))
            for s in truth.seeds
            for a in all_arms
        ),
        evaluation_hashes={arm.name: {"openmoji": EVALUATION} for arm in all_arms},
        missing_datasets={"scenes": "not for data=openmoji"},
        base_config={
            "views": {"num_weak": 1, "num_strong": 2},
            "train": {"batch_size": 128, "steps": NUM_STEPS},
        },
        forward_passes={
            a.name: {"image": 1.0 if a.name == "clip" else 3.0, "text": 1.0} for a in all_arms
        },
        looks=truth.looks,
        margins=margins(truth),
    )


def margins(truth: Truth) -> tuple[Margin, ...]:
    if truth.margin is None:
        return ()
    reason = "a smaller gain would not pay for a second encoder"
    return (Margin(dataset="openmoji", metric="retrieval.r1", value=truth.margin, reason=reason),)


def run_id(arm: str, seed: int) -> str:
    return f"{rng.derive_key('run', arm, seed):016x}"


def make(root: Path, truth: Truth = Truth()) -> tuple[Store, str]:  # noqa: B008
    """Write the sweep into a new store at `root`; return the store and the sweep's id."""
    store, sweep_plan = Store(root), plan(truth)
    store.get_sweep(sweep_plan.sweep_id).write_plan(sweep_plan)
    findings = [
        {
            "arm": "full",
            "name": f"{n} is on",
            "passed": True,
            "detail": "bits change",
            "inert": False,
        }
        for n in COMPONENTS
    ]
    atomic_write(
        store.get_sweep(sweep_plan.sweep_id).audit_path, to_json_bytes({"checks": findings})
    )
    with mock.patch("os.fsync"):  # nothing here must outlast a crash of the machine
        for cell in sweep_plan.cells:
            if (cell.arm, cell.seed) not in truth.missing:
                write_run(store, sweep_plan, cell, truth)
    return store, sweep_plan.sweep_id


def begin(store: Store, run_id: str, *, time: float = 0.0, host: str = "h") -> AttemptFolder:
    """Claim one more attempt of a run."""
    run = store.get_run(run_id)
    claim_record = ClaimRecord(
        host=host, boot_id="b", pid=1, start_ticks=1, source_hash="s", training_hash="t",
        numerics_class={}, time=time,
    )  # fmt: skip
    attempt = run.claim_attempt(len(run.list_attempts()) + 1, claim_record)
    assert attempt is not None
    return attempt


def fail(store: Store, run_id: str, *, seconds: float, host: str = "h") -> None:
    """Add an attempt of a run that failed after so many seconds."""
    attempt = begin(store, run_id, time=seconds, host=host)
    end_record = {"kind": "failed", "time": 2 * seconds, "error": f"OSError: {host}"}
    write_once(attempt.end_path, to_json_bytes(end_record))


def level(sweep_plan: Plan, cell: Cell, truth: Truth) -> float:
    """Return the planted score of a run."""
    arm = sweep_plan.get_arm(cell.arm)
    draws = np.random.Generator(np.random.Philox(key=rng.derive_key("draw", cell.arm, cell.seed)))
    seed_effect = np.random.Generator(
        np.random.Philox(key=rng.derive_key("seed", cell.seed))
    ).normal(0, 0.02)
    base = truth.clip if arm.role == "outside" else 0.5
    on = arm.levels if arm.role != "noise" else dict.fromkeys(COMPONENTS, True)
    planted = sum(truth.effects.get(n, 0.0) * (0.5 if up else -0.5) for n, up in on.items())
    return float(base + planted + seed_effect + draws.normal(0, truth.noise))


def write_run(store: Store, sweep_plan: Plan, cell: Cell, truth: Truth) -> None:
    """Write one run: its claim, history, outcome, and scores on openmoji."""
    run = store.get_run(cell.run_id)
    run.write_spec({"config": {"seed": cell.seed}, "data": {}})
    claim_record = ClaimRecord(
        host="h",
        boot_id="b",
        pid=1,
        start_ticks=1,
        source_hash="s",
        training_hash="t",
        numerics_class={"cpu": "AVX2"},
        time=0.0,
    )
    attempt = run.claim_attempt(1, claim_record)
    assert attempt is not None
    diverged = (cell.arm, cell.seed) in truth.diverged
    other = (cell.arm, cell.seed) in truth.other_code
    final_score = level(sweep_plan, cell, truth)
    for record in _history(cell, final_score, diverged):
        append_jsonl(attempt.metrics_path, record)
    run.write_outcome(
        Outcome(
            kind="diverged" if diverged else "trained",
            step=NUM_STEPS // 2 if diverged else NUM_STEPS,
            attempt=1,
            training_hash="u" if other else "t",
            source_hash="s",
            numerics_class={"cpu": "AVX512" if other else "AVX2"},
            weights_digest=None if diverged else "w" * 32,
            best_step=None if diverged else NUM_STEPS,
            cost={"training_seconds": 20.0, "seconds_per_step": 0.1, "parameters": 4e5},
        )
    )
    if not diverged and (cell.arm, cell.seed) not in truth.unscored:
        _score(store, cell, final_score)


def _history(cell: Cell, final_score: float, diverged: bool) -> list[dict[str, object]]:
    images = 128 if cell.arm == "clip" else 384
    seconds_per_step = 0.04 if cell.arm == "clip" else 0.1
    records: list[dict[str, object]] = []
    for step in range(10, (NUM_STEPS // 2 if diverged else NUM_STEPS) + 1, 10):
        part = step / NUM_STEPS
        record: dict[str, object] = {
            "step": step,
            "phase": "train",
            "loss": 5 * math.exp(-2 * part),
            "images_seen": images * step,
            "samples_seen": 128 * step,
            "seconds": seconds_per_step * step,
            "loss_terms": {"contrastive": 1.0},
        }
        if "clip" in cell.arm:
            record["scale"] = 14 + 3 * part
        else:
            spread = 0 if "similarity" in cell.arm or cell.arm == "none" else 1
            for i, pair in enumerate(("ii", "it", "tt")):
                record[f"tau_{pair}"] = 0.07 * math.exp(-part * (0.5 + spread * 0.4 * (i - 1)))
                record[f"b_{pair}"] = spread * 0.2 * part * (1 - i)
        records.append(record)
        if step % 50 == 0:
            score = final_score * (1 - math.exp(-3 * part)) / (1 - math.exp(-3))
            records.append(
                {
                    "step": step,
                    "phase": "validation",
                    "score": score,
                    "best": True,
                    "seconds": seconds_per_step * step,
                }
            )
    if not diverged:
        knockout_effect = {"awareness": 0.42, "mp_nce": 0.05, "domain_similarity": 0.08}
        relative_change = {"augmentation_encoder": 0.6, "image_head": 0.8, "similarity": 0.2}
        records.append(
            {
                "step": NUM_STEPS,
                "phase": "knockout",
                "knockout_effect": knockout_effect,
                "relative_change": relative_change,
            }
        )
    return records


def _score(store: Store, cell: Cell, final_score: float) -> None:
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
        size=NUM_SAMPLES
    )
    for name, shift in shifts.items():
        is_correct = difficulty < min(0.99, max(0.01, final_score + shift))
        kind = "recall" if name.startswith("retrieval") else "accuracy"
        arrays[name] = is_correct
        report_only = name == "zeroshot.gender"
        scores.append(
            Score(
                name=name,
                value=float(is_correct.mean()),
                kind=kind,
                chance=1 / NUM_SAMPLES if kind == "recall" else 0.2,
                num_samples=40 if report_only else NUM_SAMPLES,
                report_only=report_only,
            )
        )
    scores.append(Score(name="gap", value=0.8, kind="gap", chance=None, num_samples=NUM_SAMPLES))
    calibration_error = 0.1 + final_score / 10
    scores.append(
        Score(
            name="ece", value=calibration_error, kind="error", chance=None, num_samples=NUM_SAMPLES
        )
    )
    run = store.get_run(cell.run_id)
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays, **_examples())
    write_once(run.predictions_path("openmoji", EVALUATION), stream.getvalue())
    dataset_scores = DatasetScores(
        dataset="openmoji",
        evaluation_hash=EVALUATION,
        protocol={},
        weights_digest="w" * 32,
        scores=tuple(scores),
    )
    write_once(run.scores_path("openmoji", EVALUATION), to_json_bytes(dataset_scores))


def _examples() -> dict[str, np.ndarray]:
    draws = np.random.Generator(np.random.Philox(key=rng.derive_key("examples")))
    images = np.full((12, 3, 64, 64), 255, np.uint8)
    y, x = np.mgrid[:64, :64]
    for i in range(12):
        disc = (y - 32) ** 2 + (x - 32) ** 2 < (12 + i) ** 2
        images[i][:, disc] = draws.integers(0, 220, 3, dtype=np.uint8)[:, None]
    captions = [[" ".join(draws.choice(CAPTION_WORDS, 2 + j)) for j in range(5)] for _ in range(12)]
    is_correct = np.zeros((12, 5), bool)
    is_correct[np.arange(9), draws.integers(0, 3, 9)] = True
    return {
        "examples.images": images,
        "examples.image_names": np.array([f"picture {i}" for i in range(12)]),
        "examples.captions": np.array(captions),
        "examples.is_correct": is_correct,
        "examples.similarity": np.sort(draws.uniform(0.1, 0.8, (12, 5)).astype(np.float32))[
            :, ::-1
        ],
    }
