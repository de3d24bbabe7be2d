"""Checks of an arm: each component switches what it declares, and nothing else differs.

A manipulation check is declared with its component (`components.yaml`); these kinds exist:

    insensitive_to   {to: augmentation_vectors}     the loss does not depend on a batch field
    identical_loss   {as: sup_con, unlike: mp_nce}  the loss equals one loss bit by bit, and does
                                                    not equal the other
    tied_parameters  {equal: [...], zero: [...]}    after two steps, learned scalars are still
                                                    equal, or still 0
    settings         {}                             the configuration has the values of
                                                    `off_overrides`; it shows no effect of them

With the component off the condition must hold; with the component on it must not, otherwise the
switch has no effect. Beside the manipulation checks: arms start from the reference's weights in the
parts that they share, but for a modulation of another initial scale and a text encoder with another
vocabulary (an A/A arm with perturbed weights starts close to them); they see the same samples in
the same order (the A/A arm with other draws must not) and the same crops of the views that they
share; crossed arms differ in the keys of their components alone.
An arm whose weights after some steps equal those of an earlier arm computes the same function, and
a comparison of the two is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ablations.audit.arm_probe import ArmProbe
from uniclip import methods, numerics
from uniclip.config import ViewsConfig
from uniclip.config.binding import to_builtins
from uniclip.config.compose import flatten
from uniclip.data.batch import Batch
from uniclip.store import Arm, AuditCheck, Component, Plan


@dataclass(frozen=True, kw_only=True)
class ManipulationResult:
    """The condition of a manipulation check, evaluated on one arm."""

    holds: bool
    detail: str
    inert: bool = False
    """Whether the component cannot have an effect in this configuration, on or off."""


def check_arm(plan: Plan, arm: Arm, probe: ArmProbe, reference: ArmProbe) -> list[AuditCheck]:
    """Return the results of every check that applies to one arm, duplicates aside."""
    components = {c.name: c for c in plan.components}
    checks = [
        check_manipulation(arm.name, components[name], probe, on=on)
        for name, on in arm.levels.items()
    ]
    checks += [
        *_check_initial_weights(arm.name, probe, reference),
        *_check_samples(arm.name, probe, reference),
    ]
    if arm.role == "crossed":
        checks.append(_check_declared_diff(arm, components))
    return checks


def check_manipulation(
    arm_name: str, component: Component, probe: ArmProbe, *, on: bool
) -> AuditCheck:
    """Return the manipulation check of a component: its condition must hold if and only if off."""
    numerics.apply(probe.config.train.num_threads)  # fast numerics may differ in the last bits
    check_spec = {**component.manipulation_check, "off_overrides": component.off_overrides}
    result = MANIPULATION_CHECKS[check_spec["kind"]](check_spec, probe)
    return AuditCheck(
        arm=arm_name,
        name=f"{component.name} is {'on' if on else 'off'}",
        passed=result.inert or result.holds != on,
        detail=result.detail,
        inert=result.inert,
        component=component.name,
    )


def check_duplicate(
    plan: Plan, arm: Arm, earlier_arm: Arm, probe: ArmProbe, arm_checks: Collection[AuditCheck]
) -> AuditCheck:
    """Return the check of an arm that has the weights of an earlier arm.

    It passes if a contrast of the two is declared to be exactly 0, or if they differ in components
    alone that are inert, by the other checks of the arm (`arm_checks`).
    """
    exactly_zero_contrasts = {e.contrast for e in plan.planted_effects if e.kind == "exactly_zero"}
    is_declared = any(
        c.name in exactly_zero_contrasts and set(c.weights) == {arm.name, earlier_arm.name}
        for c in plan.contrasts
    )
    switched_components = {c for c, on in arm.levels.items() if earlier_arm.levels.get(c) != on}
    inert_components = {check.component for check in arm_checks if check.inert}
    is_expected = is_declared or (
        bool(switched_components) and switched_components <= inert_components
    )
    return AuditCheck(
        arm=arm.name,
        name=f"not a duplicate of {earlier_arm.name}",
        passed=is_expected,
        detail=f"same weights as {earlier_arm.name} after {probe.num_steps} steps",
        inert=is_expected,
    )


# ---- manipulation checks -------------------------------------------------------------------------


def _check_insensitive(check_spec: Mapping[str, Any], probe: ArmProbe) -> ManipulationResult:
    name, batch = check_spec["to"], probe.batches[0]
    original_loss = _compute_loss(probe, batch)
    values = getattr(batch, name)
    # Neither a permutation nor a rescaling: a head that uses the values at all changes its output.
    changed_batch = replace(batch, **{name: values.flip(1) * 0.5 + 1.0})
    holds = torch.equal(original_loss, _compute_loss(probe, changed_batch))
    effect = "do not change the loss" if holds else "change the loss"
    return ManipulationResult(holds=holds, detail=f"other {name} {effect}")


def _check_identical_loss(check_spec: Mapping[str, Any], probe: ArmProbe) -> ManipulationResult:
    expected_name, other_name = check_spec["as"], check_spec["unlike"]
    loss = _compute_loss(probe, probe.batches[0])
    expected_loss = _compute_named_loss(probe, expected_name)
    other_loss = _compute_named_loss(probe, other_name)
    if probe.config.views.num_weak + probe.config.views.num_strong == 1:
        are_equal = torch.equal(expected_loss, other_loss)
        return ManipulationResult(
            holds=are_equal,
            detail=f"one view: {expected_name} and {other_name} are the same function",
            inert=are_equal,
        )
    return ManipulationResult(
        holds=torch.equal(loss, expected_loss) and not torch.equal(loss, other_loss),
        detail=(
            f"loss {loss:.6f}, {expected_name} {expected_loss:.6f}, {other_name} {other_loss:.6f}"
        ),
    )


def _check_tied_parameters(check_spec: Mapping[str, Any], probe: ArmProbe) -> ManipulationResult:
    report = probe.report_after_two_steps
    equal_names, zero_names = check_spec.get("equal", ()), check_spec.get("zero", ())
    are_equal = len({report[name] for name in equal_names}) <= 1
    are_zero = not any(report[name] for name in zero_names)
    values = ", ".join(f"{name} {report[name]:.5f}" for name in [*equal_names, *zero_names])
    return ManipulationResult(holds=are_equal and are_zero, detail=f"after two steps {values}")


def _check_settings(check_spec: Mapping[str, Any], probe: ArmProbe) -> ManipulationResult:
    values = flatten(to_builtins(probe.config))
    expected = check_spec["off_overrides"]
    differing = {k: values.get(k) for k, v in expected.items() if values.get(k) != v}
    text = ", ".join(f"{k}={v}" for k, v in (differing or expected).items())
    return ManipulationResult(holds=not differing, detail=f"the run has {text}")


MANIPULATION_CHECKS: dict[str, Callable[[Mapping[str, Any], ArmProbe], ManipulationResult]] = {
    "insensitive_to": _check_insensitive,
    "identical_loss": _check_identical_loss,
    "tied_parameters": _check_tied_parameters,
    "settings": _check_settings,
}
"""Kind -> function of the declared check and the probe of an arm."""


def _compute_loss(probe: ArmProbe, batch: Batch) -> Tensor:
    with probe.state.no_side_effects():
        method = probe.state.method
        return method.sum_loss_terms(
            method.compute_loss_terms(probe.state.embedder, batch.to(probe.state.device))
        )


def _compute_named_loss(probe: ArmProbe, name: str) -> Tensor:
    """Return the loss on the first batch if `method.loss` were `name`."""
    method = methods.build_method(
        replace(probe.config, method=replace(probe.config.method, loss=name))
    )
    method.load_state_dict(probe.state.method.state_dict())
    method.to(probe.state.device)
    with probe.state.no_side_effects():
        batch = probe.batches[0].to(probe.state.device)
        return method.sum_loss_terms(method.compute_loss_terms(probe.state.embedder, batch))


# ---- what arms share -----------------------------------------------------------------------------


def _check_initial_weights(
    arm_name: str, probe: ArmProbe, reference: ArmProbe
) -> Iterator[AuditCheck]:
    """Yield the check that tensors of the same name and shape start from the same values.

    Those of the text encoder need not where other captions gave a vocabulary of another size: they
    are drawn one after the other, after the vectors of the tokens.
    """
    if probe.config.seed != reference.config.seed or probe.config.model != reference.config.model:
        return
    arm_weights, reference_weights = probe.initial_weights, reference.initial_weights
    shared_names = [
        n
        for n in arm_weights
        if n in reference_weights and arm_weights[n].shape == reference_weights[n].shape
    ]
    has_other_vocabulary = probe.config.data != reference.config.data and any(
        n.startswith("text_encoder.") and arm_weights[n].shape != reference_weights[n].shape
        for n in arm_weights.keys() & reference_weights.keys()
    )
    if has_other_vocabulary:
        shared_names = [n for n in shared_names if not n.startswith("text_encoder.")]
    perturbation = probe.config.train.weight_perturbation
    if perturbation != reference.config.train.weight_perturbation:
        shared_weights = {n: (arm_weights[n], reference_weights[n]) for n in shared_names}
        yield _check_perturbation(arm_name, shared_weights, perturbation)
        return
    rescaled_names = _list_rescaled_names(probe, reference)
    differing_names = [
        n
        for n in shared_names
        if n not in rescaled_names and not torch.equal(arm_weights[n], reference_weights[n])
    ]
    difference = f", not equal: {differing_names[0]}" if differing_names else ""
    if has_other_vocabulary:
        difference += ", not the text encoder: its vocabulary has another size"
    yield AuditCheck(
        arm=arm_name,
        name="same initial weights",
        passed=bool(shared_names) and not differing_names,
        detail=f"{len(shared_names)} tensors in common{difference}",
    )


def _list_rescaled_names(probe: ArmProbe, reference: ArmProbe) -> set[str]:
    """Return the weights of the image head's modulation if the arm draws it in another way."""
    keys = ("fusion", "modulation_init_gain")
    settings = [[getattr(p.config.method, k, None) for k in keys] for p in (probe, reference)]
    if settings[0] == settings[1]:
        return set()
    embedder = probe.state.embedder
    modulation_ids = {id(p) for p in embedder.list_modulation_parameters()}
    return {n for n, p in embedder.named_parameters() if id(p) in modulation_ids}


def _check_perturbation(
    arm_name: str, weights: Mapping[str, tuple[Tensor, Tensor]], relative_std: float
) -> AuditCheck:
    """Return the check that pairs of weights differ, by at most ten times `relative_std`."""
    differing_names = [n for n, pair in weights.items() if not torch.equal(*pair)]
    far_names = [
        n
        for n in differing_names
        if not torch.allclose(*weights[n], rtol=10 * relative_std, atol=0)
    ]
    difference = f", too far: {far_names[0]}" if far_names else ""
    return AuditCheck(
        arm=arm_name,
        name="slightly different initial weights (A/A)",
        passed=bool(differing_names) and not far_names,
        detail=f"{len(differing_names)} of {len(weights)} tensors differ{difference}",
    )


def _check_samples(arm_name: str, probe: ArmProbe, reference: ArmProbe) -> Iterator[AuditCheck]:
    """Yield the checks of the order of samples, and of the crops of shared views.

    The order is the reference's; another one in an arm with another random stream (A/A).
    """
    config, reference_config = probe.config, reference.config
    if (
        config.data != reference_config.data
        or config.train.batch_size != reference_config.train.batch_size
    ):
        return
    pairs = list(zip(probe.batches, reference.batches))
    is_same_order = all(torch.equal(a.sample_ids, b.sample_ids) for a, b in pairs)
    if config.stream != reference_config.stream:
        yield AuditCheck(
            arm=arm_name,
            name="different sample order (A/A)",
            passed=not is_same_order,
            detail="the same order despite another stream" if is_same_order else "another order",
        )
        return
    yield AuditCheck(
        arm=arm_name,
        name="same samples in order",
        passed=is_same_order,
        detail=f"{len(pairs)} batches compared",
    )
    shared_views = _map_shared_views(config.views, reference_config.views)
    if shared_views:
        yield AuditCheck(
            arm=arm_name,
            name="same crops of shared views",
            passed=all(
                torch.equal(a.images[i], b.images[k])
                for a, b in pairs
                for i, k in shared_views.items()
            ),
            detail=f"{len(shared_views)} views of the same kind, index and augmentation policy",
        )


def _map_shared_views(views: ViewsConfig, reference_views: ViewsConfig) -> dict[int, int]:
    """Return index of a view -> index of the same view of the reference (weak views come first)."""
    if views.identity_prob != reference_views.identity_prob:
        return {}
    if views.made_on != reference_views.made_on:  # pixels may differ by a level
        return {}
    num_weak = min(views.num_weak, reference_views.num_weak)
    num_strong = 0
    if views.min_crop_scale == reference_views.min_crop_scale:
        num_strong = min(views.num_strong, reference_views.num_strong)
    shared_strong = {views.num_weak + i: reference_views.num_weak + i for i in range(num_strong)}
    return {**{i: i for i in range(num_weak)}, **shared_strong}


def _check_declared_diff(arm: Arm, components: Mapping[str, Component]) -> AuditCheck:
    """Return the check that a crossed arm differs in the keys of its components alone."""
    declared_overrides = {
        k: v
        for c, on in arm.levels.items()
        if not on
        for k, v in components[c].off_overrides.items()
    }
    for c, dose in arm.doses.items():
        declared_overrides |= components[c].doses[f"{dose:g}"]
    undeclared = {
        k: v
        for k, v in arm.config_diff.items()
        if k not in declared_overrides or declared_overrides[k] != v
    }
    unchanged = sorted(set(declared_overrides) - set(arm.config_diff))
    passed = not undeclared and not unchanged
    return AuditCheck(
        arm=arm.name,
        name="declared differences only",
        passed=passed,
        detail=(
            f"differences {arm.config_diff}"
            if passed
            else f"not declared: {undeclared}, not changed: {unchanged}"
        ),
    )
