"""The audit: every arm takes a few steps, and each component must be seen to switch what it says.

A witness is data (`components.yaml`); this module interprets it:

    blind       {to: vectors}           other augmentation vectors change not a bit of the loss
    same_loss   {as: ..., unlike: ...}  the loss is, bit for bit, the one named, and not the other
    tied        {equal: [...], zero: [...]}  after two steps the reported numbers still are

Off, a witness must hold; on, it must break, or the switch is no switch. Beside the witnesses: arms
start from the reference's weights in the parts that they share, see the same samples in the same
order (the A/A arm must not) and the same crops of the views that they share, and crossed arms
differ in their components' keys alone. An arm whose bits after some steps are those of an earlier
one is one function with it, and its comparison is empty.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch
from torch import Tensor

from ablations.audit import flops
from uniclip import distributed, evaluate, methods, numerics
from uniclip.config import RunConfig, ViewsConfig
from uniclip.data.batch import Batch
from uniclip.identity import digest, to_hashable_config
from uniclip.store import Arm, AuditCheck, Component, Plan
from uniclip.training.state import TrainState
from uniclip.training.trainer import setup_training, training_step

MIN_STEPS, MAX_STEPS = 4, 30
"""Two prove, all but the first are timed: a twentieth of the run's, within these bounds."""


@dataclass(frozen=True, kw_only=True)
class AuditResult:
    """What the audit found, and how fast each arm is."""

    checks: list[AuditCheck]
    probes: list[dict[str, Any]]
    """arm, device (its kind), model (of the device), seconds_per_step, step_spread (fastest,
    slowest), fixed_seconds (opening, validations and evaluation), flops_per_step, parameters,
    checkpoint_bytes, peak_memory_bytes."""


@dataclass(kw_only=True)
class ArmProbe:
    """An arm that has taken its first steps."""

    config: RunConfig
    state: TrainState
    batches: list[Batch]
    initial_weights: dict[str, Tensor]
    """The embedder's weights before the first step."""
    report_after_two_steps: dict[str, float]
    """What the method reported after two steps."""
    step_seconds: list[float]
    """Of every step but the first."""
    step_flops: int
    """Floating-point operations of a step (`ablations.audit.flops`), of all processes."""
    setup_seconds: float
    peak_memory_bytes: int
    """While it was opened and took its steps."""

    @property
    def weights_digest(self) -> str:
        """Equal for arms whose embedder and method hold the same bits after as many steps."""
        hasher = hashlib.blake2b(str(len(self.step_seconds)).encode(), digest_size=16)
        for name, value in self.state.modules.state_dict().items():
            hasher.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            hasher.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        return hasher.hexdigest()


def run_audit(plan: Plan, configs: Mapping[str, RunConfig]) -> AuditResult:
    """Audit the arms of a plan; `configs`: the configuration of each arm, of one seed.

    Of several processes (`uniclip.distributed`) rank 0 calls this while each other calls `assist`:
    steps are taken, and timed, as a cell's are.
    """
    process_group = distributed.get_process_group()
    _warm_up_caches(configs.values())
    reference = probe_arm(configs[plan.reference])
    evaluation_seconds = _time_call(lambda: _run_evaluations(plan, reference))
    checks: list[AuditCheck] = []
    probes = []
    first_arm_by_digest: dict[str, Arm] = {}
    for arm in plan.arms:
        process_group.broadcast_object()  # where they wait, however long a check takes
        probe = reference if arm.name == plan.reference else probe_arm(configs[arm.name])
        arm_checks = check_arm(plan, arm, probe, reference)
        earlier_arm = first_arm_by_digest.setdefault(probe.weights_digest, arm)
        if earlier_arm is not arm:
            arm_checks.append(_check_duplicate_arm(plan, arm, earlier_arm, probe, arm_checks))
        checks += arm_checks
        fixed_seconds = probe.setup_seconds + evaluation_seconds
        probes.append(
            {
                "arm": arm.name,
                **_describe_device(probe.config),
                "seconds_per_step": median(probe.step_seconds),
                "step_spread": [min(probe.step_seconds), max(probe.step_seconds)],
                "fixed_seconds": fixed_seconds,
                "flops_per_step": probe.step_flops,
                "parameters": probe.state.count_parameters(),
                "checkpoint_bytes": _estimate_checkpoint_bytes(probe.state),
                "peak_memory_bytes": probe.peak_memory_bytes,
            }
        )
        del probe  # else the next arm's peak has two arms in it
    return AuditResult(checks=checks, probes=probes)


def run_nonzero_rank(plan: Plan, configs: Mapping[str, RunConfig]) -> None:
    """What every process but rank 0 does while that one is in `prove`: it takes the steps along."""
    process_group = distributed.get_process_group()
    _warm_up_caches(configs.values())
    probe_arm(configs[plan.reference])
    for arm in plan.arms:
        process_group.broadcast_object()
        if arm.name != plan.reference:
            probe_arm(configs[arm.name])


def check_arm(plan: Plan, arm: Arm, probe: ArmProbe, reference: ArmProbe) -> list[AuditCheck]:
    """Every check that applies to one arm."""
    components = {c.name: c for c in plan.components}
    checks = [
        check_manipulation(arm, components[name], probe, on=on) for name, on in arm.levels.items()
    ]
    checks += [
        *_check_initial_weights(arm, probe, reference),
        *_check_samples(arm, probe, reference),
    ]
    if arm.role == "crossed":
        checks.append(_check_declared_diff(arm, components))
    return checks


def probe_arm(config: RunConfig) -> ArmProbe:
    """Open a training and take its first steps."""
    numerics.apply(config)
    numerics.reset_peak_memory(numerics.get_device(config))
    start = time.perf_counter()
    batches, state = setup_training(config)
    setup_seconds = time.perf_counter() - start
    initial_weights = {name: value.clone() for name, value in state.embedder.state_dict().items()}
    first_batches: list[Batch] = []
    step_seconds, report_after_two_steps, flop_counter = [], {}, flops.build_flop_counter()
    for step in range(min(MAX_STEPS, max(MIN_STEPS, config.train.steps // 20))):
        step_start = time.perf_counter()
        batch = batches.build_batch(step)
        with flop_counter if step == 0 else nullcontext():
            training_step(state, batch)
        step_seconds.append(time.perf_counter() - step_start)
        state.record_step(step_seconds[-1], clipped=False)
        if step < 2:
            first_batches.append(batch)
        if step == 1:
            report_after_two_steps = state.method.get_learned_scalars()
    return ArmProbe(
        config=config,
        state=state,
        batches=first_batches,
        initial_weights=initial_weights,
        report_after_two_steps=report_after_two_steps,
        step_seconds=step_seconds[1:],
        step_flops=distributed.get_process_group().all_reduce_sum_int(
            flop_counter.get_total_flops()
        ),
        setup_seconds=setup_seconds,
        peak_memory_bytes=numerics.get_peak_memory_bytes(state.device),
    )


# ---- witnesses -----------------------------------------------------------------------------------


def check_manipulation(arm: Arm, component: Component, probe: ArmProbe, *, on: bool) -> AuditCheck:
    """Off, the component's witness must hold; on, it must break."""
    holds, detail, inert = MANIPULATION_CHECKS[component.manipulation_check["kind"]](
        component.manipulation_check, probe
    )
    level = "on" if on else "off"
    check_name = f"{component.name} is {level}"
    return AuditCheck(
        arm=arm.name, name=check_name, passed=inert or holds != on, detail=detail, inert=inert
    )


def _check_insensitive(check_spec: Mapping[str, Any], probe: ArmProbe) -> tuple[bool, str, bool]:
    name, batch = check_spec["to"], probe.batches[0]
    original_loss = _compute_loss(probe, batch)
    values = getattr(batch, name)
    # Neither a permutation nor a rescaling: a head that sees them at all must answer differently.
    changed_batch = replace(batch, **{name: values.flip(1) * 0.5 + 1.0})
    holds = torch.equal(original_loss, _compute_loss(probe, changed_batch))
    return holds, f"other {name} {'leave the loss as it is' if holds else 'change the loss'}", False


def _check_identical_loss(check_spec: Mapping[str, Any], probe: ArmProbe) -> tuple[bool, str, bool]:
    original_loss = _compute_loss(probe, probe.batches[0])
    expected_loss, other_loss = (
        _compute_named_loss(probe, check_spec[key]) for key in ("as", "unlike")
    )
    if probe.config.views.num_weak + probe.config.views.num_strong == 1:
        is_same_function = torch.equal(expected_loss, other_loss)
        return (
            is_same_function,
            f"one view: {check_spec['as']} and {check_spec['unlike']} are one function",
            is_same_function,
        )
    holds = torch.equal(original_loss, expected_loss) and not torch.equal(original_loss, other_loss)
    return (
        holds,
        f"loss {original_loss:.6f}, {check_spec['as']} {expected_loss:.6f}, {check_spec['unlike']} {other_loss:.6f}",
        False,
    )


def _check_tied_parameters(
    check_spec: Mapping[str, Any], probe: ArmProbe
) -> tuple[bool, str, bool]:
    report = probe.report_after_two_steps
    equal_values = {report[name] for name in check_spec.get("equal", ())}
    zero_values = [report[name] for name in check_spec.get("zero", ())]
    holds = len(equal_values) <= 1 and not any(zero_values)
    numbers = ", ".join(f"{k} {report[k]:.5f}" for k in [*check_spec["equal"], *check_spec["zero"]])
    return holds, f"after two steps {numbers}", False


MANIPULATION_CHECKS: dict[str, Callable[[Mapping[str, Any], ArmProbe], tuple[bool, str, bool]]] = {
    "blind": _check_insensitive,
    "same_loss": _check_identical_loss,
    "tied": _check_tied_parameters,
}
"""Kind -> (does it hold, what was seen, can the component not matter here)."""


def _compute_loss(probe: ArmProbe, batch: Batch) -> Tensor:
    with probe.state.no_side_effects():
        method = probe.state.method
        return method.sum_loss_terms(
            method.compute_loss_terms(probe.state.embedder, batch.to(probe.state.device))
        )


def _compute_named_loss(probe: ArmProbe, name: str) -> Tensor:
    """The loss on the first batch, had the method been configured with that loss."""
    method = methods.build_method(
        replace(probe.config, method=replace(probe.config.method, loss=name))
    )
    method.load_state_dict(probe.state.method.state_dict())
    method.to(probe.state.device)
    with probe.state.no_side_effects():
        batch = probe.batches[0].to(probe.state.device)
        return method.sum_loss_terms(method.compute_loss_terms(probe.state.embedder, batch))


# ---- arms that differ in nothing else ------------------------------------------------------------


def _check_initial_weights(arm: Arm, probe: ArmProbe, reference: ArmProbe) -> Iterator[AuditCheck]:
    """Parts of one shape and one name start from the same bits."""
    if probe.config.seed != reference.config.seed or probe.config.model != reference.config.model:
        return
    arm_weights, reference_weights = probe.initial_weights, reference.initial_weights
    shared_names = [
        n
        for n in arm_weights
        if n in reference_weights and arm_weights[n].shape == reference_weights[n].shape
    ]
    differing_names = [
        n for n in shared_names if not torch.equal(arm_weights[n], reference_weights[n])
    ]
    detail = f"{len(shared_names)} tensors in common" + (
        f", not equal: {differing_names[0]}" if differing_names else ""
    )
    holds = bool(shared_names) and not differing_names
    yield AuditCheck(arm=arm.name, name="same initial weights", passed=holds, detail=detail)


def _check_samples(arm: Arm, probe: ArmProbe, reference: ArmProbe) -> Iterator[AuditCheck]:
    """The same samples in order (another order in the A/A arm), the same crops of shared views."""
    config, reference_config = probe.config, reference.config
    if (
        config.data != reference_config.data
        or config.train.batch_size != reference_config.train.batch_size
    ):
        return
    pairs = list(zip(probe.batches, reference.batches))
    is_same_order = all(torch.equal(a.sample_ids, b.sample_ids) for a, b in pairs)
    if config.stream != reference_config.stream:
        detail = (
            "another order" if not is_same_order else "the same order, though the stream is another"
        )
        yield AuditCheck(
            arm=arm.name, name="its own samples", passed=not is_same_order, detail=detail
        )
        return
    detail = f"{len(pairs)} batches compared"
    yield AuditCheck(
        arm=arm.name, name="same samples in order", passed=is_same_order, detail=detail
    )
    shared_views = _map_shared_views(config.views, reference_config.views)
    if shared_views:
        is_same_crops = all(
            torch.equal(a.images[i], b.images[k]) for a, b in pairs for i, k in shared_views.items()
        )
        detail = f"{len(shared_views)} views of one kind, number and law"
        yield AuditCheck(
            arm=arm.name, name="same crops of shared views", passed=is_same_crops, detail=detail
        )


def _map_shared_views(views: ViewsConfig, reference_views: ViewsConfig) -> dict[int, int]:
    """Place of each view of ours that the other arm has too -> its place there; weak ones first."""
    if views.identity_prob != reference_views.identity_prob:
        return {}
    weak = min(views.num_weak, reference_views.num_weak)
    strong = (
        min(views.num_strong, reference_views.num_strong)
        if views.min_crop_scale == reference_views.min_crop_scale
        else 0
    )
    shared_strong = {views.num_weak + i: reference_views.num_weak + i for i in range(strong)}
    return {**{i: i for i in range(weak)}, **shared_strong}


def _check_declared_diff(arm: Arm, components: Mapping[str, Component]) -> AuditCheck:
    """A crossed arm differs from the base in the keys of its switched-off components alone."""
    declared_overrides = {
        k: v
        for c, on in arm.levels.items()
        if not on
        for k, v in components[c].off_overrides.items()
    }
    undeclared = {
        k: v
        for k, v in arm.config_diff.items()
        if k not in declared_overrides or declared_overrides[k] != v
    }
    unchanged = sorted(set(declared_overrides) - set(arm.config_diff))
    detail = (
        f"unsaid: {undeclared}, not changed: {unchanged}"
        if undeclared or unchanged
        else f"delta {arm.config_diff}"
    )
    holds = not undeclared and not unchanged
    return AuditCheck(arm=arm.name, name="differs as said", passed=holds, detail=detail)


def _check_duplicate_arm(
    plan: Plan, arm: Arm, earlier_arm: Arm, probe: ArmProbe, arm_checks: Collection[AuditCheck]
) -> AuditCheck:
    """An arm that holds the bits of an earlier one: as declared, or because its switch is none.

    own: what was found of the arm.
    """
    exactly_zero_contrasts = {e.contrast for e in plan.planted_effects if e.kind == "exactly_zero"}
    is_declared = any(
        c.name in exactly_zero_contrasts and set(c.weights) == {arm.name, earlier_arm.name}
        for c in plan.contrasts
    )
    switched_components = {c for c, on in arm.levels.items() if earlier_arm.levels.get(c) != on}
    inert_components = {
        c
        for c in switched_components
        for f in arm_checks
        if f.inert and f.name.startswith(f"{c} is ")
    }
    is_expected = is_declared or (
        bool(switched_components) and switched_components == inert_components
    )
    steps = len(probe.step_seconds) + 1
    return AuditCheck(
        arm=arm.name,
        name=f"another function than {earlier_arm.name}",
        passed=is_expected,
        detail=f"one function with {earlier_arm.name}: nothing told them apart in {steps} steps",
        inert=is_expected,
    )


# ---- what it costs -------------------------------------------------------------------------------


def _describe_device(config: RunConfig) -> dict[str, str]:
    """The device on which it was tried: seconds on another say nothing of it."""
    class_ = numerics.get_numerics_class(config)
    return {name: class_[name] for name in ("device", "model")}


def _warm_up_caches(configs: Iterable[RunConfig]) -> None:
    """Have what is done once for all runs (imports, rendered pictures) behind us: no arm's time."""
    distinct_configs = {
        digest([to_hashable_config(c.data), to_hashable_config(c.model)]): c for c in configs
    }
    for config in distinct_configs.values():
        numerics.apply(config)
        setup_training(config)


def _estimate_checkpoint_bytes(state: TrainState) -> int:
    """Of a checkpoint after a validation: the best weights are in it too, judged here or not."""
    best_weights = state.modules.state_dict().values() if state.best_weights is None else ()
    return state.count_bytes() + sum(value.numel() * value.element_size() for value in best_weights)


def _run_evaluations(plan: Plan, reference: ArmProbe) -> None:
    """What every run does beside its steps: validations and the benchmark."""
    config = reference.config
    for _ in range(-(-config.train.steps // config.train.validate_every)):
        reference.state.validate(lambda pretrained: evaluate.validate(pretrained, config))
    with reference.state.no_side_effects():
        for name in plan.evaluation_hashes[plan.reference]:
            evaluate.evaluate(name, reference.state.pretrained, config)


def _time_call(function: Callable[[], None]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
