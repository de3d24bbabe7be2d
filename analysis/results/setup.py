"""What was trained: model, optimization, data, code and machines of a sweep, as names and values.

The report shows it beside the tables and not in them, because it contains dates, hosts and paths.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from analysis.collect.frame import SweepData
from analysis.collect.provenance import RunProvenance
from uniclip.config.compose import flatten
from uniclip.store import Plan
from uniclip.store.numerics_classes import drop_unknown_keys

ROLE_DESCRIPTIONS = {
    "crossed": "design",
    "outside": "baseline",
    "setting": "setting",
    "noise": "A/A",
}
REFERENCE_ROLE, LISTED_ROLE = "reference", "listed"
"""Roles of the reference arm, and of the arms of a design that has no components."""
UNKNOWN = "not recorded"


@dataclass(frozen=True)
class FactGroup:
    """Facts under one heading."""

    title: str
    facts: tuple[tuple[str, str], ...]
    """(name, value)."""


@dataclass(frozen=True, kw_only=True)
class ArmSetup:
    """What distinguishes an arm."""

    name: str
    label: str
    role: str
    differences: str
    """Configuration keys that differ from the reference arm's."""
    parameters: str
    unreadable_images: int
    """Largest number of training images that a run replaced since they cannot be read."""


def describe_setup(sweep_data: SweepData) -> list[FactGroup]:
    """Return the facts of a sweep; what an old store does not state is left out."""
    plan = sweep_data.plan
    config = build_arm_config(sweep_data, plan.reference)
    groups = {
        "Model": _describe_model(config, sweep_data),
        "Training": _describe_training(config, plan),
        "Data": _describe_data(config, sweep_data),
        "Code": _describe_code(sweep_data),
        "Machines": _describe_machines(sweep_data),
    }
    return [FactGroup(title, tuple(facts.items())) for title, facts in groups.items() if facts]


def list_arm_setups(sweep_data: SweepData) -> list[ArmSetup]:
    """Return what distinguishes each arm, in the plan's order."""
    plan = sweep_data.plan
    runs_by_arm: dict[str, list[str]] = {}
    for cell in plan.cells:
        runs_by_arm.setdefault(cell.arm, []).append(cell.run_id)
    reference_config = build_arm_config(sweep_data, plan.reference)
    is_listed = all(a.role != "crossed" for a in plan.arms)
    setups = []
    for arm in plan.arms:
        is_plain = is_listed and arm.role == "outside"
        role = LISTED_ROLE if is_plain else ROLE_DESCRIPTIONS[arm.role]
        provenances = [
            sweep_data.provenance[run]
            for run in runs_by_arm.get(arm.name, [])
            if run in sweep_data.provenance
        ]
        setups.append(
            ArmSetup(
                name=arm.name,
                label=arm.label,
                role=REFERENCE_ROLE if arm.name == plan.reference else role,
                differences=_describe_differences(
                    reference_config, build_arm_config(sweep_data, arm.name)
                ),
                parameters=_format_counts(_collect_parameters(sweep_data, arm.name)),
                unreadable_images=max((p.unreadable_images for p in provenances), default=0),
            )
        )
    return setups


def list_all_settings(sweep_data: SweepData) -> dict[str, str]:
    """Return every key of the reference arm's configuration, with its value."""
    config = build_arm_config(sweep_data, sweep_data.plan.reference)
    return {key: _format(value) for key, value in config.items() if key != "seed"}


def build_arm_config(sweep_data: SweepData, arm: str) -> dict[str, Any]:
    """Return key -> value of an arm: what its runs state, or else what the plan says of them."""
    plan = sweep_data.plan
    changes = plan.get_arm(arm).config_diff
    replaced_groups = {key.removesuffix("name") for key in changes if key.endswith(".name")}
    config = {
        key: value
        for key, value in flatten(plan.base_config).items()
        if not key.startswith(tuple(replaced_groups))
    }
    run_ids = [cell.run_id for cell in plan.cells if cell.arm == arm]
    stated = next((sweep_data.provenance[r] for r in run_ids if r in sweep_data.provenance), None)
    return {**config, **changes, **(flatten(stated.config) if stated else {})}


def _describe_differences(reference: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Return the keys of an arm that have another value in the reference arm, or none.

    Keys that another choice of a group (such as another method) does not have are left out.
    """
    changed = [
        f"{key}={_format(value)}"
        for key, value in config.items()
        if key != "seed" and (key not in reference or reference[key] != value)
    ]
    dropped = [
        key
        for key in reference
        if key not in config
        and config.get(group := f"{key.partition('.')[0]}.name") == reference.get(group)
    ]
    return ", ".join([*changed, *(f"no {key}" for key in dropped)])


UNSHOWN_TEXT_KEYS = ("folder", "options", "pretrained")
UNSHOWN_PAIRS = (("name", "clip"), ("pooling", None))
"""Default values of a text encoder that are not shown."""


def _describe_model(config: Mapping[str, Any], sweep_data: SweepData) -> dict[str, str]:
    parameters = _collect_parameters(sweep_data, sweep_data.plan.reference)
    text = _select(config, "model.text.")
    text = {
        k: v for k, v in text.items() if k not in UNSHOWN_TEXT_KEYS and (k, v) not in UNSHOWN_PAIRS
    }
    image_size = config.get("model.image.image_size")
    image_encoder = _format(config.get("model.image.name", ""))
    if image_size and image_encoder:
        image_encoder += f", images of {image_size} pixels"
    facts = {
        "method": _format(config.get("method.name", "")),
        "image encoder": image_encoder,
        "text encoder": ", ".join(f"{k.replace('_', ' ')} {_format(v)}" for k, v in text.items()),
        "embedding": _suffix(config.get("model.embed_dim"), " dimensions"),
        "parameters": _format_counts(parameters),
        "started from": _describe_weights(config),
    }
    return _drop_empty(facts) if any(k.startswith("model.") for k in config) else {}


def _describe_weights(config: Mapping[str, Any]) -> str:
    """Return where the initial weights come from: of both encoders, or of each."""
    image, folder = config.get("model.image.pretrained"), config.get("model.text.folder")
    sources = {
        "": config.get("pretrained"),
        "image encoder: ": {"true": "timm's weights", "false": None}.get(str(image), image),
        "text encoder: ": folder if config.get("model.text.pretrained") else None,
    }
    described = [f"{tower}{_format(source)}" for tower, source in sources.items() if source]
    return ", ".join(described) or "random weights"


def _describe_training(config: Mapping[str, Any], plan: Plan) -> dict[str, str]:
    train = _select(config, "train.")
    steps, batch_size = train.get("steps"), train.get("batch_size")
    views = _select(config, "views.")
    facts = {
        "steps": _format_count(steps),
        "batch size": _format_count(batch_size),
        "samples seen": _format_count(steps * batch_size) if steps and batch_size else "",
        "views of an image": ", ".join(
            f"{k.replace('_', ' ')} {_format(v)}" for k, v in views.items()
        ),
        "optimizer": _describe_optimizer(train),
        "learning rate": _format(train.get("learning_rate")),
        "schedule": _describe_schedule(train),
        "gradient norm": _prefix("at most ", train.get("grad_clip_norm")),
        "precision": _format(train.get("precision")),
        "recipe": plan.recipe,
        "seeds": ", ".join(str(s) for s in plan.seeds),
        "budget": plan.budget,
    }
    return _drop_empty(facts)


def _describe_optimizer(train: Mapping[str, Any]) -> str:
    if "adam_betas" not in train:
        return ""
    name = train.get("optimizer", "adamw")
    options = "".join(f", {k} {_format(v)}" for k, v in train.get("optimizer_options", {}).items())
    if name != "adamw":
        return f"{name} of timm{options}, weight decay {_format(train.get('weight_decay'))}"
    return (
        f"AdamW{options}, betas {_format(train['adam_betas'])}, "
        f"epsilon {_format(train.get('adam_eps'))}, "
        f"weight decay {_format(train.get('weight_decay'))}"
    )


def _describe_schedule(train: Mapping[str, Any]) -> str:
    if "warmup_ratio" not in train:
        return ""
    base_batch = train.get("lr_base_batch_size")
    scaling = f", stated for batches of {base_batch} and scaled in proportion" if base_batch else ""
    return (
        f"linear warm-up over {100 * train['warmup_ratio']:g} % of the steps from "
        f"{_format(train.get('warmup_start_lr', 0.0))}, then a cosine to "
        f"{_format(train.get('min_lr', 0.0))}{scaling}"
    )


def _describe_data(config: Mapping[str, Any], sweep_data: SweepData) -> dict[str, str]:
    data = _select(config, "data.")
    fingerprints = {
        json.dumps(p.data_fingerprint, sort_keys=True)
        for p in sweep_data.provenance.values()
        if p.data_fingerprint
    }
    digests = sorted(blake2b(text.encode(), digest_size=8).hexdigest() for text in fingerprints)
    facts = {
        "source": ", ".join(f"{key}={_format(value)}" for key, value in data.items()),
        "fingerprint": ", ".join(digests),
        "benchmark": _format(config.get("benchmark")),
        "protocol": _format(config.get("runtime.protocol")),
        "notes": "; ".join(note.rstrip(".") for note in sweep_data.plan.data_notes),
    }
    return _drop_empty(facts)


def _describe_code(sweep_data: SweepData) -> dict[str, str]:
    claims = [p.claim for p in sweep_data.provenance.values()]
    if not claims:
        return {}
    plan = sweep_data.plan
    versions = {f"{name} {version}" for c in claims for name, version in c.versions.items()}
    if not versions:
        versions = {
            f"torch {c.numerics_class['torch']}" for c in claims if "torch" in c.numerics_class
        }
    seeds = ",".join(str(s) for s in plan.seeds)
    words = [*plan.overrides, f"seeds=[{seeds}]"]
    return _drop_empty(
        {
            "command": " ".join(["python sweep.py", *_drop_repeated(words)])
            if plan.overrides
            else "",
            "commit": _join(c.commit for c in claims) or UNKNOWN,
            "source hash": _join(c.source_hash for c in claims),
            "training hash": _join(c.training_hash for c in claims),
            "versions": ", ".join(sorted(versions)),
            "plug-ins": ", ".join(plan.plugins),
        }
    )


def _describe_machines(sweep_data: SweepData) -> dict[str, str]:
    provenances = list(sweep_data.provenance.values())
    if not provenances:
        return {}
    known_classes = drop_unknown_keys(sweep_data.numerics_classes.values())
    classes = {_describe_numerics(c) for c in known_classes}
    return _drop_empty(
        {
            "hosts": _join(p.claim.host for p in provenances),
            "numerics class": "; ".join(sorted(classes)),
            "time": _describe_period(provenances),
        }
    )


def _describe_numerics(numerics_class: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in numerics_class.items())


def _describe_period(provenances: Iterable[RunProvenance]) -> str:
    """Return the first start and the last end of the runs, in UTC."""
    starts = [p.claim.time for p in provenances]
    ends = [p.end_time for p in provenances if p.end_time is not None]
    texts = [
        datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M")
        for time in (min(starts), *([max(ends)] if ends else []))
    ]
    return " to ".join(texts) + " UTC"


def _collect_parameters(sweep_data: SweepData, arm: str) -> list[float]:
    """Return the numbers of parameters of an arm's runs."""
    costs = sweep_data.costs
    if "parameters" not in costs:
        return []
    values = costs.loc[costs["arm"] == arm, "parameters"].dropna()
    return sorted({float(v) for v in values})


def _select(config: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {
        key.removeprefix(prefix): value
        for key, value in config.items()
        if key.startswith(prefix) and value not in (None, "")
    }


def _drop_empty(facts: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in facts.items() if value}


def _drop_repeated(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))


def _join(values: Iterable[str]) -> str:
    return ", ".join(sorted({v for v in values if v}))


def _suffix(value: Any, text: str) -> str:
    return "" if value is None else f"{_format(value)}{text}"


def _prefix(text: str, value: Any) -> str:
    return "" if value is None else f"{text}{_format(value)}"


def _format_count(value: Any) -> str:
    return "" if value is None else f"{value:,}"


def _format_counts(values: Iterable[float]) -> str:
    return " or ".join(f"{v:,.0f}" for v in values)


def _format(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(_format(v) for v in value)
    return str(value)
