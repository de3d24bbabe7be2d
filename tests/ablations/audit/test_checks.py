"""Each check fails if the switch that it checks is broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ablations.audit import arm_probe, audit, checks
from ablations.plan.plan import ResolvedPlan
from tests.ablations.plan.test_equal_sizes import write_filtered
from tests.helpers.plans import TINY_COMPONENTS, plan_from_words
from uniclip.config import RunConfig
from uniclip.config.losses import MULTI_POSITIVE_LOSSES
from uniclip.data.batch import Batch
from uniclip.data.loader import TrainingBatches
from uniclip.losses.similarity import DomainSimilarity, SharedSimilarity
from uniclip.methods import uniclip as method
from uniclip.models import embedder, heads
from uniclip.store import Component, Plan
from uniclip.training import state

ARMS = "arms=[full,no-awareness,no-mp-nce,no-domain-similarity,clip,full-again]"


@pytest.fixture(scope="module")
def resolved_plan() -> ResolvedPlan:
    return plan_from_words(*TINY_COMPONENTS, ARMS)


def run_audit_of(resolved_plan: ResolvedPlan, *arm_names: str) -> dict[tuple[str, str], bool]:
    """Return (arm, check) -> whether it passed, for the reference and these arms."""
    names = (resolved_plan.plan.reference, *arm_names)
    arms = tuple(a for a in resolved_plan.plan.arms if a.name in names)
    reduced_plan: Plan = replace(resolved_plan.plan, arms=arms)
    result = audit.run_audit(reduced_plan, {n: resolved_plan.configs[n] for n in names})
    return {(f.arm, f.name): f.passed for f in result.checks}


def _identity_input_is_not_masked(patch: pytest.MonkeyPatch) -> None:
    def unmasked(self: embedder.Embedder, vectors: torch.Tensor) -> torch.Tensor:
        assert self.augmentation_encoder is not None
        encoded: torch.Tensor = self.augmentation_encoder(vectors)
        return encoded

    patch.setattr(embedder.Embedder, "_encode_augmentation", unmasked)


def _head_ignores_the_augmentation(patch: pytest.MonkeyPatch) -> None:
    def ignoring(
        self: heads.ImageHead, features: torch.Tensor, augmentation: torch.Tensor
    ) -> torch.Tensor:
        hidden = self.projection(features)
        for block in self.blocks:
            hidden = block(hidden, torch.zeros_like(augmentation))
        return hidden

    patch.setattr(heads.ImageHead, "forward", ignoring)


def _sup_con_is_mp_nce(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(MULTI_POSITIVE_LOSSES, "sup_con", MULTI_POSITIVE_LOSSES["mp_nce"])


def _mp_nce_is_sup_con(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(MULTI_POSITIVE_LOSSES, "mp_nce", MULTI_POSITIVE_LOSSES["sup_con"])


def _off_computes_a_third_loss(patch: pytest.MonkeyPatch) -> None:
    """Compute mil_nce in training steps of an arm that is configured as sup_con."""
    original = method.Uniclip._compute_contrastive_loss

    def replaced(
        self: method.Uniclip, z: torch.Tensor, batch: object, **names: object
    ) -> torch.Tensor:
        trained = self.config.loss == "sup_con" and getattr(self, "drawn", False)
        self.drawn = True
        return original(self, z, batch, **{**names, **({"loss": "mil_nce"} if trained else {})})  # type: ignore[arg-type]

    patch.setattr(method.Uniclip, "_compute_contrastive_loss", replaced)


def _shared_similarity_is_not_shared(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(method.SIMILARITIES, "shared", DomainSimilarity)


def _domain_similarity_is_shared(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(method.SIMILARITIES, "domain", SharedSimilarity)


def _domain_similarity_does_not_learn(patch: pytest.MonkeyPatch) -> None:
    original = DomainSimilarity.__init__

    def frozen(self: DomainSimilarity, temperature: float = 0.07) -> None:
        original(self, temperature)
        self.log_scale.requires_grad_(False)
        self.offset.requires_grad_(False)

    patch.setattr(DomainSimilarity, "__init__", frozen)


def _arms_start_from_different_weights(patch: pytest.MonkeyPatch) -> None:
    original = embedder.build_embedder

    def different(config: RunConfig, vocabulary: object, head: object) -> embedder.Embedder:
        seed = config.seed + (config.method.name == "clip")
        return original(replace(config, seed=seed), vocabulary, head)  # type: ignore[arg-type]

    patch.setattr("uniclip.training.state.build_embedder", different)


def _arm_sees_other_samples(patch: pytest.MonkeyPatch) -> None:
    original = TrainingBatches.build_batch
    patch.setattr(
        TrainingBatches,
        "build_batch",
        lambda self, s: original(self, s + (self.config.method.name == "clip")),
    )


def _arm_sees_other_crops(patch: pytest.MonkeyPatch) -> None:
    original = TrainingBatches._derive_key

    def different(self: TrainingBatches, purpose: str, epoch: int, *names: str) -> int:
        extra = ("clip",) if purpose == "view" and self.config.method.name == "clip" else ()
        return original(self, purpose, epoch, *names, *extra)

    patch.setattr(TrainingBatches, "_derive_key", different)


def _noise_arm_uses_the_same_stream(patch: pytest.MonkeyPatch) -> None:
    original = TrainingBatches._derive_key

    def same_stream(self: TrainingBatches, purpose: str, epoch: int, *names: str) -> int:
        other = TrainingBatches.__new__(TrainingBatches)
        other.config = replace(self.config, stream=0)
        return original(other, purpose, epoch, *names)

    patch.setattr(TrainingBatches, "_derive_key", same_stream)


BROKEN_SWITCHES: list[tuple[Callable[[pytest.MonkeyPatch], None], str, str]] = [
    (_identity_input_is_not_masked, "no-awareness", "awareness is off"),
    (_head_ignores_the_augmentation, "full", "awareness is on"),
    (_sup_con_is_mp_nce, "no-mp-nce", "mp_nce is off"),
    (_mp_nce_is_sup_con, "no-mp-nce", "mp_nce is off"),
    (_off_computes_a_third_loss, "no-mp-nce", "mp_nce is off"),
    (_shared_similarity_is_not_shared, "no-domain-similarity", "domain_similarity is off"),
    (_domain_similarity_is_shared, "full", "domain_similarity is on"),
    (_domain_similarity_does_not_learn, "full", "domain_similarity is on"),
    (_arms_start_from_different_weights, "clip", "same initial weights"),
    (_arm_sees_other_samples, "clip", "same samples in order"),
    (_arm_sees_other_crops, "clip", "same crops of shared views"),
    (_noise_arm_uses_the_same_stream, "full-again", "different sample order (A/A)"),
]


@pytest.mark.parametrize(
    ("break_switch", "arm", "check"),
    BROKEN_SWITCHES,
    ids=[b[0].__name__.strip("_") for b in BROKEN_SWITCHES],
)
def test_broken_switch_fails_its_check(
    resolved_plan: ResolvedPlan,
    monkeypatch: pytest.MonkeyPatch,
    break_switch: Callable[[pytest.MonkeyPatch], None],
    arm: str,
    check: str,
) -> None:
    break_switch(monkeypatch)
    assert run_audit_of(resolved_plan, arm)[arm, check] is False


@pytest.mark.parametrize("breaks", [False, True])
def test_crops_that_the_device_makes_are_compared(
    monkeypatch: pytest.MonkeyPatch, breaks: bool
) -> None:
    if breaks:
        _arm_sees_other_crops(monkeypatch)
    found = run_audit_of(plan_from_words(*TINY_COMPONENTS, ARMS, "views.made_on=device"), "clip")
    assert found["clip", "same crops of shared views"] is not breaks


def test_undeclared_difference_fails_the_check(resolved_plan: ResolvedPlan) -> None:
    arm = resolved_plan.plan.get_arm("no-awareness")
    more = replace(arm, config_diff={**arm.config_diff, "train.learning_rate": 0.1})
    reference = arm_probe.probe_arm(resolved_plan.configs["full"])
    findings = checks.check_arm(resolved_plan.plan, more, reference, reference)
    assert [f.name for f in findings if not f.passed and "declared" in f.name] == [
        "declared differences only"
    ]


@pytest.mark.parametrize(("factor", "passes"), [(1.0, True), (0.0, False), (1e3, False)])
def test_a_perturbation_is_as_small_as_stated(
    monkeypatch: pytest.MonkeyPatch, factor: float, passes: bool
) -> None:
    original = state.perturb_parameters
    monkeypatch.setattr(state, "perturb_parameters", lambda m, std: original(m, factor * std))
    perturbed_plan = plan_from_words("ablation=variance", *TINY_COMPONENTS[1:])
    found = run_audit_of(perturbed_plan, "perturbed")
    assert found["perturbed", "slightly different initial weights (A/A)"] is passes
    assert found["perturbed", "same samples in order"]


@pytest.mark.parametrize("breaks", [False, True])
def test_heads_share_all_but_the_scale_of_their_modulation(
    monkeypatch: pytest.MonkeyPatch, breaks: bool
) -> None:
    if breaks:
        original = heads._build_blocks

        def shifted(fusion: heads.Fusion, *sizes: int) -> torch.nn.ModuleList:
            if fusion == "product":
                torch.randn(1)
            return original(fusion, *sizes)  # type: ignore[arg-type]

        monkeypatch.setattr(heads, "_build_blocks", shifted)
    words = ["ablation=heads", "arms=[full,product-1]", *TINY_COMPONENTS[1:]]
    found = run_audit_of(plan_from_words(*words), "product-1")
    assert found["product-1", "same initial weights"] is not breaks


@pytest.mark.parametrize("breaks", [False, True])
def test_an_arm_with_another_vocabulary_shares_all_but_the_text_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaks: bool
) -> None:
    if breaks:
        original = embedder.build_embedder

        def different(config: RunConfig, vocabulary: object, head: object) -> embedder.Embedder:
            seed = config.seed + config.data.path.endswith("all.csv")  # type: ignore[attr-defined]
            return original(replace(config, seed=seed), vocabulary, head)  # type: ignore[arg-type]

        monkeypatch.setattr("uniclip.training.state.build_embedder", different)
    model = [w for w in TINY_COMPONENTS if w.startswith("model.")]
    words = (*write_filtered(tmp_path, size=27), *model, "train.steps=4", "benchmark=[]")
    plan = plan_from_words(*words)
    (check,) = [
        check
        for check in audit.run_audit(plan.plan, plan.configs).checks
        if (check.arm, check.name) == ("no-caption-filter", "same initial weights")
    ]
    assert check.passed is not breaks
    assert check.detail.endswith(", not the text encoder: its vocabulary has another size")


def test_losses_are_compared_with_exact_numerics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of arms that are trained with fast ones."""
    precisions, compute = [], checks._compute_loss

    def record(probe: arm_probe.ArmProbe, batch: Batch) -> torch.Tensor:
        precisions.append(torch.get_float32_matmul_precision())
        return compute(probe, batch)

    monkeypatch.setattr(checks, "_compute_loss", record)
    fast_plan = plan_from_words(*TINY_COMPONENTS, "arms=[full]", "train.numerics=fast")
    assert all(run_audit_of(fast_plan).values())
    assert set(precisions) == {"highest"}


class _Probe:
    """A probe of which only the configuration is read."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config


def test_settings_are_compared_with_those_of_the_switch(resolved_plan: ResolvedPlan) -> None:
    component = Component(
        name="decay",
        label="weight decay",
        reason="r",
        off_overrides={"train.weight_decay": 0.0},
        manipulation_check={"kind": "settings"},
    )
    config = resolved_plan.configs["full"]
    off_config = replace(config, train=replace(config.train, weight_decay=0.0))
    for probed, on, passed in (
        (config, True, True),
        (off_config, False, True),
        (config, False, False),
        (off_config, True, False),
    ):
        check = checks.check_manipulation("x", component, _Probe(probed), on=on)  # type: ignore[arg-type]
        assert check.passed is passed, (on, check.detail)
        assert "train.weight_decay=" in check.detail
