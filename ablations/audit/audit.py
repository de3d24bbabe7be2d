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
from uniclip.identity import digest, hashed
from uniclip.store import Arm, Component, Finding, Plan
from uniclip.training.state import State
from uniclip.training.trainer import advance, open_training

STEPS, MOST_STEPS = 4, 30
"""Two prove, all but the first are timed: a twentieth of the run's, within these bounds."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What the audit found, and how fast each arm is."""

    findings: list[Finding]
    probes: list[dict[str, Any]]
    """arm, device (its kind), model (of the device), seconds_per_step, step_spread (fastest,
    slowest), fixed_seconds (opening, validations and evaluation), flops_per_step, parameters,
    checkpoint_bytes, peak_memory_bytes."""


@dataclass(kw_only=True)
class Trial:
    """An arm that has taken its first steps."""

    config: RunConfig
    state: State
    batches: list[Batch]
    initial: dict[str, Tensor]
    """The embedder's weights before the first step."""
    after_two: dict[str, float]
    """What the method reported after two steps."""
    step_seconds: list[float]
    """Of every step but the first."""
    step_flops: int
    """Floating-point operations of a step (`ablations.audit.flops`), of all processes."""
    open_seconds: float
    peak_memory_bytes: int
    """While it was opened and took its steps."""

    @property
    def bits(self) -> str:
        """Equal for arms whose embedder and method hold the same bits after as many steps."""
        said = hashlib.blake2b(str(len(self.step_seconds)).encode(), digest_size=16)
        for name, value in self.state.modules.state_dict().items():
            said.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            said.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        return said.hexdigest()


def prove(plan: Plan, configs: Mapping[str, RunConfig]) -> Proof:
    """Audit the arms of a plan; `configs`: the configuration of each arm, of one seed.

    Of several processes (`uniclip.distributed`) rank 0 calls this while each other calls `assist`:
    steps are taken, and timed, as a cell's are.
    """
    others = distributed.current()
    _open_once(configs.values())
    reference = trial(configs[plan.reference])
    evaluating = _seconds(lambda: _evaluate_all(plan, reference))
    findings: list[Finding] = []
    probes = []
    first: dict[str, Arm] = {}
    for arm in plan.arms:
        others.share()  # where they wait, however long a check takes
        tried = reference if arm.name == plan.reference else trial(configs[arm.name])
        own = audit(plan, arm, tried, reference)
        twin = first.setdefault(tried.bits, arm)
        if twin is not arm:
            own.append(_one_function(plan, arm, twin, tried, own))
        findings += own
        fixed = tried.open_seconds + evaluating
        probes.append(
            {
                "arm": arm.name,
                **_where(tried.config),
                "seconds_per_step": median(tried.step_seconds),
                "step_spread": [min(tried.step_seconds), max(tried.step_seconds)],
                "fixed_seconds": fixed,
                "flops_per_step": tried.step_flops,
                "parameters": tried.state.parameters(),
                "checkpoint_bytes": _checkpoint_bytes(tried.state),
                "peak_memory_bytes": tried.peak_memory_bytes,
            }
        )
        del tried  # else the next arm's peak has two arms in it
    return Proof(findings=findings, probes=probes)


def assist(plan: Plan, configs: Mapping[str, RunConfig]) -> None:
    """What every process but rank 0 does while that one is in `prove`: it takes the steps along."""
    others = distributed.current()
    _open_once(configs.values())
    trial(configs[plan.reference])
    for arm in plan.arms:
        others.share()
        if arm.name != plan.reference:
            trial(configs[arm.name])


def audit(plan: Plan, arm: Arm, tried: Trial, reference: Trial) -> list[Finding]:
    """Every check that applies to one arm."""
    components = {c.name: c for c in plan.components}
    findings = [witness(arm, components[name], tried, on=on) for name, on in arm.levels.items()]
    findings += [*_shared_start(arm, tried, reference), *_same_samples(arm, tried, reference)]
    if arm.role == "crossed":
        findings.append(_differs_as_said(arm, components))
    return findings


def trial(config: RunConfig) -> Trial:
    """Open a training and take its first steps."""
    numerics.apply(config)
    numerics.forget_peak_memory(numerics.device(config))
    begun = time.perf_counter()
    batches, state = open_training(config)
    opening = time.perf_counter() - begun
    initial = {name: value.clone() for name, value in state.embedder.state_dict().items()}
    seen: list[Batch] = []
    seconds, after_two, counter = [], {}, flops.counter()
    for step in range(min(MOST_STEPS, max(STEPS, config.train.steps // 20))):
        lap = time.perf_counter()
        batch = batches.batch(step)
        with counter if step == 0 else nullcontext():
            advance(state, batch)
        seconds.append(time.perf_counter() - lap)
        state.count(seconds[-1], clipped=False)
        if step < 2:
            seen.append(batch)
        if step == 1:
            after_two = state.method.report()
    return Trial(
        config=config,
        state=state,
        batches=seen,
        initial=initial,
        after_two=after_two,
        step_seconds=seconds[1:],
        step_flops=distributed.current().total(counter.get_total_flops()),
        open_seconds=opening,
        peak_memory_bytes=numerics.peak_memory_bytes(state.device),
    )


# ---- witnesses -----------------------------------------------------------------------------------


def witness(arm: Arm, component: Component, tried: Trial, *, on: bool) -> Finding:
    """Off, the component's witness must hold; on, it must break."""
    held, detail, inert = WITNESSES[component.witness["kind"]](component.witness, tried)
    said = "on" if on else "off"
    check = f"{component.name} is {said}"
    return Finding(arm=arm.name, check=check, holds=inert or held != on, detail=detail, inert=inert)


def _blind(said: Mapping[str, Any], tried: Trial) -> tuple[bool, str, bool]:
    name, batch = said["to"], tried.batches[0]
    as_is = _loss(tried, batch)
    values = getattr(batch, name)
    # Neither a permutation nor a rescaling: a head that sees them at all must answer differently.
    other = replace(batch, **{name: values.flip(1) * 0.5 + 1.0})
    held = torch.equal(as_is, _loss(tried, other))
    return held, f"other {name} {'leave the loss as it is' if held else 'change the loss'}", False


def _same_loss(said: Mapping[str, Any], tried: Trial) -> tuple[bool, str, bool]:
    as_is = _loss(tried, tried.batches[0])
    like, unlike = (_loss_named(tried, said[key]) for key in ("as", "unlike"))
    if tried.config.views.weak + tried.config.views.strong == 1:
        same = torch.equal(like, unlike)
        return same, f"one view: {said['as']} and {said['unlike']} are one function", same
    held = torch.equal(as_is, like) and not torch.equal(as_is, unlike)
    return held, f"loss {as_is:.6f}, {said['as']} {like:.6f}, {said['unlike']} {unlike:.6f}", False


def _tied(said: Mapping[str, Any], tried: Trial) -> tuple[bool, str, bool]:
    report = tried.after_two
    equal = {report[name] for name in said.get("equal", ())}
    zero = [report[name] for name in said.get("zero", ())]
    held = len(equal) <= 1 and not any(zero)
    numbers = ", ".join(f"{k} {report[k]:.5f}" for k in [*said["equal"], *said["zero"]])
    return held, f"after two steps {numbers}", False


WITNESSES: dict[str, Callable[[Mapping[str, Any], Trial], tuple[bool, str, bool]]] = {
    "blind": _blind,
    "same_loss": _same_loss,
    "tied": _tied,
}
"""Kind -> (does it hold, what was seen, can the component not matter here)."""


def _loss(tried: Trial, batch: Batch) -> Tensor:
    with tried.state.aside():
        method = tried.state.method
        return method.loss(method.parts(tried.state.embedder, batch.to(tried.state.device)))


def _loss_named(tried: Trial, name: str) -> Tensor:
    """The loss on the first batch, had the method been configured with that loss."""
    other = methods.build(replace(tried.config, method=replace(tried.config.method, loss=name)))
    other.load_state_dict(tried.state.method.state_dict())
    other.to(tried.state.device)
    with tried.state.aside():
        batch = tried.batches[0].to(tried.state.device)
        return other.loss(other.parts(tried.state.embedder, batch))


# ---- arms that differ in nothing else ------------------------------------------------------------


def _shared_start(arm: Arm, tried: Trial, reference: Trial) -> Iterator[Finding]:
    """Parts of one shape and one name start from the same bits."""
    if tried.config.seed != reference.config.seed or tried.config.model != reference.config.model:
        return
    ours, theirs = tried.initial, reference.initial
    shared = [n for n in ours if n in theirs and ours[n].shape == theirs[n].shape]
    others = [n for n in shared if not torch.equal(ours[n], theirs[n])]
    detail = f"{len(shared)} tensors in common" + (f", not equal: {others[0]}" if others else "")
    holds = bool(shared) and not others
    yield Finding(arm=arm.name, check="same initial weights", holds=holds, detail=detail)


def _same_samples(arm: Arm, tried: Trial, reference: Trial) -> Iterator[Finding]:
    """The same samples in order (another order in the A/A arm), the same crops of shared views."""
    mine, theirs = tried.config, reference.config
    if mine.data != theirs.data or mine.train.batch_size != theirs.train.batch_size:
        return
    pairs = list(zip(tried.batches, reference.batches))
    same = all(torch.equal(a.sample, b.sample) for a, b in pairs)
    if mine.stream != theirs.stream:
        detail = "another order" if not same else "the same order, though the stream is another"
        yield Finding(arm=arm.name, check="its own samples", holds=not same, detail=detail)
        return
    detail = f"{len(pairs)} batches compared"
    yield Finding(arm=arm.name, check="same samples in order", holds=same, detail=detail)
    shared = _shared_views(mine.views, theirs.views)
    if shared:
        crops = all(
            torch.equal(a.pixels[i], b.pixels[k]) for a, b in pairs for i, k in shared.items()
        )
        detail = f"{len(shared)} views of one kind, number and law"
        yield Finding(arm=arm.name, check="same crops of shared views", holds=crops, detail=detail)


def _shared_views(mine: ViewsConfig, theirs: ViewsConfig) -> dict[int, int]:
    """Place of each view of ours that the other arm has too -> its place there; weak ones first."""
    if mine.identity != theirs.identity:
        return {}
    weak = min(mine.weak, theirs.weak)
    strong = min(mine.strong, theirs.strong) if mine.crop == theirs.crop else 0
    both = {mine.weak + i: theirs.weak + i for i in range(strong)}
    return {**{i: i for i in range(weak)}, **both}


def _differs_as_said(arm: Arm, components: Mapping[str, Component]) -> Finding:
    """A crossed arm differs from the base in the keys of its switched-off components alone."""
    off = {k: v for c, on in arm.levels.items() if not on for k, v in components[c].off.items()}
    unsaid = {k: v for k, v in arm.delta.items() if k not in off or off[k] != v}
    lost = sorted(set(off) - set(arm.delta))
    detail = f"unsaid: {unsaid}, not changed: {lost}" if unsaid or lost else f"delta {arm.delta}"
    holds = not unsaid and not lost
    return Finding(arm=arm.name, check="differs as said", holds=holds, detail=detail)


def _one_function(
    plan: Plan, arm: Arm, twin: Arm, tried: Trial, own: Collection[Finding]
) -> Finding:
    """An arm that holds the bits of an earlier one: as declared, or because its switch is none.

    own: what was found of the arm.
    """
    exact = {e.contrast for e in plan.expectations if e.kind == "exactly_zero"}
    declared = any(
        c.name in exact and set(c.weights) == {arm.name, twin.name} for c in plan.contrasts
    )
    switched = {c for c, on in arm.levels.items() if twin.levels.get(c) != on}
    inert = {c for c in switched for f in own if f.inert and f.check.startswith(f"{c} is ")}
    expected = declared or (bool(switched) and switched == inert)
    steps = len(tried.step_seconds) + 1
    return Finding(
        arm=arm.name,
        check=f"another function than {twin.name}",
        holds=expected,
        detail=f"one function with {twin.name}: nothing told them apart in {steps} steps",
        inert=expected,
    )


# ---- what it costs -------------------------------------------------------------------------------


def _where(config: RunConfig) -> dict[str, str]:
    """The device on which it was tried: seconds on another say nothing of it."""
    class_ = numerics.numerics_class(config)
    return {name: class_[name] for name in ("device", "model")}


def _open_once(configs: Iterable[RunConfig]) -> None:
    """Have what is done once for all runs (imports, rendered pictures) behind us: no arm's time."""
    each = {digest([hashed(c.data), hashed(c.model)]): c for c in configs}
    for config in each.values():
        numerics.apply(config)
        open_training(config)


def _checkpoint_bytes(state: State) -> int:
    """Of a checkpoint after a validation: the best weights are in it too, judged here or not."""
    best = state.modules.state_dict().values() if state.best is None else ()
    return state.bytes() + sum(value.numel() * value.element_size() for value in best)


def _evaluate_all(plan: Plan, reference: Trial) -> None:
    """What every run does beside its steps: validations and the benchmark."""
    config = reference.config
    for _ in range(-(-config.train.steps // config.train.validate_every)):
        reference.state.judge(lambda pretrained: evaluate.validate(pretrained, config))
    with reference.state.aside():
        for name in plan.evaluations[plan.reference]:
            evaluate.evaluate(name, reference.state.pretrained, config)


def _seconds(act: Callable[[], None]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun
