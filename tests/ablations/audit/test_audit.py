"""The audit passes arms that are what they say, and catches switches broken on purpose."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from io import StringIO

import pytest
import torch
from rich.console import Console

from ablations import schema
from ablations.audit import arm_probe, audit, checks
from ablations.plan.plan import ResolvedPlan, build_plan
from sweeps.config import request
from sweeps.monitor.display import Display
from uniclip.config import RunConfig
from uniclip.config.losses import MULTI_POSITIVE_LOSSES
from uniclip.data.loader import TrainingBatches
from uniclip.losses.similarity import DomainSimilarity, SharedSimilarity
from uniclip.methods import uniclip as method
from uniclip.models import embedder, heads
from uniclip.store import Plan
from uniclip.training.trainer import setup_training, training_step

TINY = [
    "ablation=components",
    "data=scenes",
    "data.num_train=128",
    "data.num_test=64",
    "train.batch_size=16",
    "train.steps=4",
    "model.image.options.depths=[1,1,1,1]",
    "model.image.options.dims=[8,8,16,16]",
    "model.text.width=32",
    "model.embed_dim=16",
    "seeds=1",
    "benchmark=[]",
]
FOUR = "arms=[full,no-awareness,no-mp_nce,no-domain_similarity,clip,full-again]"


@pytest.fixture(scope="module")
def made() -> ResolvedPlan:
    return build_plan(request.parse_request([*TINY, FOUR]).plan_request)


def shortened(made: ResolvedPlan) -> dict[str, RunConfig]:
    """The configurations with two steps for the base's, and in proportion."""
    base = made.plan.base_config["train"]["steps"]
    steps = {name: max(1, 2 * c.train.steps // base) for name, c in made.configs.items()}
    return {
        name: replace(c, train=replace(c.train, steps=steps[name], validate_every=steps[name]))
        for name, c in made.configs.items()
    }


def prove(made: ResolvedPlan, *names: str, **configs: RunConfig) -> dict[tuple[str, str], bool]:
    """(arm, check) -> does it hold, for the reference and these arms."""
    kept = (made.plan.reference, *names)
    arms = tuple(a for a in made.plan.arms if a.name in kept)
    smaller: Plan = replace(made.plan, arms=arms)
    known = {**made.configs, **{k.replace("_", "-"): c for k, c in configs.items()}}
    found = audit.run_audit(smaller, {n: known[n] for n in kept})
    return {(f.arm, f.name): f.passed for f in found.checks}


def test_every_check_of_every_arm_holds(made: ResolvedPlan) -> None:
    found = audit.run_audit(made.plan, made.configs)
    assert all(f.passed for f in found.checks), [f for f in found.checks if not f.passed]
    names = {f.name for f in found.checks}
    said = {
        f"{c} is {s}" for c in ("awareness", "mp_nce", "domain_similarity") for s in ("on", "off")
    }
    assert (
        said | {"same initial weights", "same samples in order", "different sample order (A/A)"}
        <= names
    )
    assert {p.arm for p in found.probes} == {a.name for a in made.plan.arms}
    assert all(p.seconds_per_step > 0 for p in found.probes)
    assert {p.device for p in found.probes} == {"cpu"}
    assert all(p.device_name for p in found.probes)


def test_a_probed_checkpoint_is_as_large_as_one_that_is_written(made: ResolvedPlan) -> None:
    found = audit.run_audit(made.plan, made.configs)
    foretold = {p.arm: p.checkpoint_bytes for p in found.probes}
    for name, config in made.configs.items():
        batches, state = setup_training(config)
        training_step(state, batches.build_batch(0))
        state.validate(lambda pretrained: 0.5)
        assert foretold[name] == state.count_bytes(), name


def test_what_is_done_once_for_all_runs_is_no_arms_time(
    made: ResolvedPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first to open some data takes a day, as if it rendered them."""
    days = 0.0
    clock, opened, opens = time.perf_counter, set(), arm_probe.setup_training

    def slow(config: RunConfig) -> object:
        nonlocal days
        days += 0 if config.data in opened else 86_400
        opened.add(config.data)
        return opens(config)

    monkeypatch.setattr(arm_probe, "setup_training", slow)
    monkeypatch.setattr("time.perf_counter", lambda: clock() + days)
    found = audit.run_audit(made.plan, made.configs)
    assert days == 86_400
    assert max(p.setup_and_eval_seconds for p in found.probes) < 43_200


@pytest.mark.parametrize("ablation", schema.list_ablations([schema.CONF]))
def test_every_arm_of_every_shipped_ablation_is_what_it_says(ablation: str) -> None:
    tiny = [word for word in TINY[1:] if not word.startswith("train.steps")]  # arms set it
    made = build_plan(
        request.parse_request([f"ablation={ablation}", "budget=study", *tiny]).plan_request
    )
    assert not made.plan.skipped
    found = audit.run_audit(made.plan, shortened(made)).checks
    assert {f.arm for f in found} == {a.name for a in made.plan.arms}
    assert [f for f in found if not f.passed] == []


def test_one_view_makes_the_loss_component_inert() -> None:
    made = build_plan(
        request.parse_request([*TINY, "arms=[full,no-mp_nce]", "views.num_strong=0"]).plan_request
    )
    found = audit.run_audit(made.plan, made.configs).checks
    inert = {f.name for f in found if f.inert}
    assert inert == {"mp_nce is on", "mp_nce is off", "not a duplicate of full"}
    assert all(f.passed for f in found)


def test_arms_that_nothing_tells_apart_are_one_function() -> None:
    """Scenes as they are by default flip nothing, so that being told of the flip tells nothing."""
    undone = [
        f"data.redraw_prob.{dial}=0" for dial in ("side", "hue", "grey", "zoom", "crop", "blur")
    ]
    words = ["ablation=awareness", "arms=[film,identity,only-flip]", *TINY[1:]]
    made = build_plan(request.parse_request([*words, *undone]).plan_request)
    (broken,) = (f for f in audit.run_audit(made.plan, made.configs).checks if not f.passed)
    assert broken.arm == "only-flip"
    assert "same weights as identity after 4 steps" in broken.failure_message
    damaged = build_plan(request.parse_request(words).plan_request)
    assert all(f.passed for f in audit.run_audit(damaged.plan, damaged.configs).checks)


def test_arms_that_are_declared_one_function_are_told_and_hold() -> None:
    arms = "arms=[aware-0.9,one-view-mp_nce,one-view-sup_con]"
    tiny = [word for word in TINY[1:] if not word.startswith("train.steps")]
    made = build_plan(request.parse_request(["ablation=truth", arms, *tiny]).plan_request)
    found = audit.run_audit(made.plan, shortened(made)).checks
    (one,) = (f for f in found if f.inert)
    assert (one.arm, one.passed) == ("one-view-sup_con", True)
    seen = StringIO()
    Display(Console(file=seen, width=200)).print_audit(found)
    said = seen.getvalue().splitlines()
    assert said[0] == f"audit: {len(found)} of {len(found)} checks passed"
    assert said[1:] == ["audit: one-view-sup_con: same weights as one-view-mp_nce after 4 steps"]
    undeclared = replace(made.plan, planted_effects=())
    broken = [f for f in audit.run_audit(undeclared, shortened(made)).checks if not f.passed]
    assert [f.arm for f in broken] == ["one-view-sup_con"]


def test_strong_views_of_one_law_have_the_same_crops() -> None:
    words = [
        "ablation=methods",
        "arms=[uniclip,slip,declip]",
        *TINY[1:],
        "data.damaged_views=strong",
    ]
    made = build_plan(request.parse_request([*words, "data.redraw_prob.side=0.5"]).plan_request)
    found = audit.run_audit(made.plan, made.configs).checks
    crops = {f.arm: f for f in found if "crops" in f.name}
    assert all(f.passed for f in crops.values())
    # SLIP's strong crops are its own; DeCLIP has no weak view.
    assert {n: f.detail[0] for n, f in crops.items()} == {
        "uniclip": "3",
        "slip": "1",
        "declip": "2",
    }


# Each breaks one switch on purpose, and names the arm and the check that must notice.


def _identity_still_sees_vectors(patch: pytest.MonkeyPatch) -> None:
    def leaky(self: embedder.Embedder, vectors: torch.Tensor) -> torch.Tensor:
        assert self.augmentation_encoder is not None
        encoded: torch.Tensor = self.augmentation_encoder(vectors)
        return encoded

    patch.setattr(embedder.Embedder, "_encode_augmentation", leaky)


def _head_forgets_the_augmentation(patch: pytest.MonkeyPatch) -> None:
    def deaf(
        self: heads.ImageHead, features: torch.Tensor, augmentation: torch.Tensor
    ) -> torch.Tensor:
        hidden = self.projection(features)
        for block in self.blocks:
            hidden = block(hidden, torch.zeros_like(augmentation))
        return hidden

    patch.setattr(heads.ImageHead, "forward", deaf)


def _sup_con_is_mp_nce(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(MULTI_POSITIVE_LOSSES, "sup_con", MULTI_POSITIVE_LOSSES["mp_nce"])


def _mp_nce_is_sup_con(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(MULTI_POSITIVE_LOSSES, "mp_nce", MULTI_POSITIVE_LOSSES["sup_con"])


def _off_runs_the_third_loss(patch: pytest.MonkeyPatch) -> None:
    """Configured as sup_con, an arm that quietly computes mil_nce when it trains."""
    true = method.Uniclip._compute_contrastive_loss

    def wrong(self: method.Uniclip, z: torch.Tensor, batch: object, **kept: object) -> torch.Tensor:
        trained = self.config.loss == "sup_con" and getattr(self, "drawn", False)
        self.drawn = True
        return true(self, z, batch, **{**kept, **({"loss": "mil_nce"} if trained else {})})  # type: ignore[arg-type]

    patch.setattr(method.Uniclip, "_compute_contrastive_loss", wrong)


def _shared_similarity_is_not_shared(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(method.SIMILARITIES, "shared", DomainSimilarity)


def _domain_similarity_is_shared(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(method.SIMILARITIES, "domain", SharedSimilarity)


def _domain_similarity_does_not_learn(patch: pytest.MonkeyPatch) -> None:
    true = DomainSimilarity.__init__

    def frozen(self: DomainSimilarity, temperature: float = 0.07) -> None:
        true(self, temperature)
        self.log_scale.requires_grad_(False)
        self.offset.requires_grad_(False)

    patch.setattr(DomainSimilarity, "__init__", frozen)


def _arms_start_from_other_weights(patch: pytest.MonkeyPatch) -> None:
    true = embedder.build_embedder

    def own(config: RunConfig, vocabulary: object, head: object) -> embedder.Embedder:
        seed = config.seed + (config.method.name == "clip")
        return true(replace(config, seed=seed), vocabulary, head)  # type: ignore[arg-type]

    patch.setattr("uniclip.training.state.build_embedder", own)


def _an_arm_sees_other_samples(patch: pytest.MonkeyPatch) -> None:
    true = TrainingBatches.build_batch
    patch.setattr(
        TrainingBatches,
        "build_batch",
        lambda self, s: true(self, s + (self.config.method.name == "clip")),
    )


def _an_arm_sees_other_crops(patch: pytest.MonkeyPatch) -> None:
    true = TrainingBatches._derive_key

    def own(self: TrainingBatches, purpose: str, epoch: int, *names: str) -> int:
        extra = ("clip",) if purpose == "view" and self.config.method.name == "clip" else ()
        return true(self, purpose, epoch, *names, *extra)

    patch.setattr(TrainingBatches, "_derive_key", own)


def _the_noise_arm_makes_no_noise(patch: pytest.MonkeyPatch) -> None:
    true = TrainingBatches._derive_key

    def deaf(self: TrainingBatches, purpose: str, epoch: int, *names: str) -> int:
        other = TrainingBatches.__new__(TrainingBatches)
        other.config = replace(self.config, stream=0)
        return true(other, purpose, epoch, *names)

    patch.setattr(TrainingBatches, "_derive_key", deaf)


BROKEN: list[tuple[Callable[[pytest.MonkeyPatch], None], str, str]] = [
    (_identity_still_sees_vectors, "no-awareness", "awareness is off"),
    (_head_forgets_the_augmentation, "full", "awareness is on"),
    (_sup_con_is_mp_nce, "no-mp_nce", "mp_nce is off"),
    (_mp_nce_is_sup_con, "no-mp_nce", "mp_nce is off"),
    (_off_runs_the_third_loss, "no-mp_nce", "mp_nce is off"),
    (_shared_similarity_is_not_shared, "no-domain_similarity", "domain_similarity is off"),
    (_domain_similarity_is_shared, "full", "domain_similarity is on"),
    (_domain_similarity_does_not_learn, "full", "domain_similarity is on"),
    (_arms_start_from_other_weights, "clip", "same initial weights"),
    (_an_arm_sees_other_samples, "clip", "same samples in order"),
    (_an_arm_sees_other_crops, "clip", "same crops of shared views"),
    (_the_noise_arm_makes_no_noise, "full-again", "different sample order (A/A)"),
]


@pytest.mark.parametrize(
    ("break_it", "arm", "check"), BROKEN, ids=[b[0].__name__.strip("_") for b in BROKEN]
)
def test_a_broken_switch_is_caught(
    made: ResolvedPlan,
    monkeypatch: pytest.MonkeyPatch,
    break_it: Callable[[pytest.MonkeyPatch], None],
    arm: str,
    check: str,
) -> None:
    break_it(monkeypatch)
    assert prove(made, arm)[arm, check] is False


def test_an_arm_that_changes_more_than_it_says_is_caught(made: ResolvedPlan) -> None:
    arm = made.plan.get_arm("no-awareness")
    more = replace(arm, config_diff={**arm.config_diff, "train.learning_rate": 0.1})
    reference = arm_probe.probe_arm(made.configs["full"])
    findings = checks.check_arm(made.plan, more, reference, reference)
    assert [f.name for f in findings if not f.passed and "declared" in f.name] == [
        "declared differences only"
    ]
