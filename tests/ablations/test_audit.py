"""The audit passes arms that are what they say, and catches switches broken on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from ablations import audit, definition, plan
from sweeps import settings
from uniclip.config import RunConfig
from uniclip.data.loader import Batches
from uniclip.model import embedder, heads
from uniclip.objectives.methods import uniclip as method
from uniclip.objectives.similarity import DomainSimilarity, SharedSimilarity
from uniclip.store import Plan

TINY = [
    "ablation=components",
    "data=scenes",
    "data.train=128",
    "data.test=64",
    "train.batch_size=16",
    "train.steps=4",
    "model.image.options.depths=[1,1,1,1]",
    "model.image.options.dims=[8,8,16,16]",
    "model.text.width=32",
    "model.embedding=16",
    "seeds=1",
    "benchmark=[]",
]
FOUR = "arms=[full,no-awareness,no-mp_nce,no-domain_similarity,clip,full-again]"


@pytest.fixture(scope="module")
def made() -> plan.Planned:
    return plan.make(settings.asked([*TINY, FOUR]).request)


def prove(made: plan.Planned, *names: str, **configs: RunConfig) -> dict[tuple[str, str], bool]:
    """(arm, check) -> does it hold, for the reference and these arms."""
    kept = (made.plan.reference, *names)
    arms = tuple(a for a in made.plan.arms if a.name in kept)
    smaller: Plan = replace(made.plan, arms=arms)
    known = {**made.configs, **{k.replace("_", "-"): c for k, c in configs.items()}}
    found = audit.prove(smaller, {n: known[n] for n in kept})
    return {(f.arm, f.check): f.holds for f in found.findings}


def test_every_check_of_every_arm_holds(made: plan.Planned) -> None:
    found = audit.prove(made.plan, made.configs)
    assert all(f.holds for f in found.findings), [f for f in found.findings if not f.holds]
    checks = {f.check for f in found.findings}
    said = {
        f"{c} is {s}" for c in ("awareness", "mp_nce", "domain_similarity") for s in ("on", "off")
    }
    assert said | {"same initial weights", "same samples in order", "its own samples"} <= checks
    assert {p["arm"] for p in found.probes} == {a.name for a in made.plan.arms}
    assert all(p["seconds_per_step"] > 0 for p in found.probes)


@pytest.mark.parametrize("ablation", definition.names([definition.CONF]))
def test_every_arm_of_every_shipped_ablation_is_what_it_says(ablation: str) -> None:
    tiny = [word for word in TINY[1:] if not word.startswith("train.steps")]  # arms set it
    made = plan.make(settings.asked([f"ablation={ablation}", "budget=study", *tiny]).request)
    assert not made.plan.left_out
    configs = {
        name: replace(c, train=replace(c.train, steps=2, validate_every=2))
        for name, c in made.configs.items()
    }
    found = audit.prove(made.plan, configs).findings
    assert {f.arm for f in found} == {a.name for a in made.plan.arms}
    assert [f for f in found if not f.holds] == []


def test_one_view_makes_the_loss_component_inert() -> None:
    made = plan.make(settings.asked([*TINY, "arms=[full,no-mp_nce]", "views.strong=0"]).request)
    found = audit.prove(made.plan, made.configs).findings
    inert = {f.check for f in found if f.inert}
    assert inert == {"mp_nce is on", "mp_nce is off"}


# Each breaks one switch on purpose, and names the arm and the check that must notice.


def _identity_still_sees_vectors(patch: pytest.MonkeyPatch) -> None:
    def leaky(self: embedder.Embedder, vectors: torch.Tensor) -> torch.Tensor:
        assert self.augmentation_encoder is not None
        encoded: torch.Tensor = self.augmentation_encoder(vectors)
        return encoded

    patch.setattr(embedder.Embedder, "_augmentation", leaky)


def _head_forgets_the_augmentation(patch: pytest.MonkeyPatch) -> None:
    def deaf(
        self: heads.ImageHead, features: torch.Tensor, augmentation: torch.Tensor
    ) -> torch.Tensor:
        hidden = self.project(features)
        for block in self.blocks:
            hidden = block(hidden, torch.zeros_like(augmentation))
        return hidden

    patch.setattr(heads.ImageHead, "forward", deaf)


def _sup_con_is_mp_nce(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(method.SWITCHES, "sup_con", method.SWITCHES["mp_nce"])


def _mp_nce_is_sup_con(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(method.SWITCHES, "mp_nce", method.SWITCHES["sup_con"])


def _off_runs_the_third_loss(patch: pytest.MonkeyPatch) -> None:
    """Configured as sup_con, an arm that quietly computes mil_nce when it trains."""
    true = method.Uniclip._contrast

    def wrong(self: method.Uniclip, z: torch.Tensor, batch: object, **kept: object) -> torch.Tensor:
        trained = self.config.loss == "sup_con" and getattr(self, "drawn", False)
        self.drawn = True
        return true(self, z, batch, **{**kept, **({"loss": "mil_nce"} if trained else {})})  # type: ignore[arg-type]

    patch.setattr(method.Uniclip, "_contrast", wrong)


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

    patch.setattr("uniclip.state.build_embedder", own)


def _an_arm_sees_other_samples(patch: pytest.MonkeyPatch) -> None:
    true = Batches.batch
    patch.setattr(
        Batches, "batch", lambda self, s: true(self, s + (self.config.method.name == "clip"))
    )


def _an_arm_sees_other_crops(patch: pytest.MonkeyPatch) -> None:
    true = Batches._key

    def own(self: Batches, purpose: str, epoch: int, *names: str) -> int:
        extra = ("clip",) if purpose == "view" and self.config.method.name == "clip" else ()
        return true(self, purpose, epoch, *names, *extra)

    patch.setattr(Batches, "_key", own)


def _the_noise_arm_makes_no_noise(patch: pytest.MonkeyPatch) -> None:
    true = Batches._key

    def deaf(self: Batches, purpose: str, epoch: int, *names: str) -> int:
        other = Batches.__new__(Batches)
        other.config = replace(self.config, stream=0)
        return true(other, purpose, epoch, *names)

    patch.setattr(Batches, "_key", deaf)


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
    (_the_noise_arm_makes_no_noise, "full-again", "its own samples"),
]


@pytest.mark.parametrize(
    ("break_it", "arm", "check"), BROKEN, ids=[b[0].__name__.strip("_") for b in BROKEN]
)
def test_a_broken_switch_is_caught(
    made: plan.Planned,
    monkeypatch: pytest.MonkeyPatch,
    break_it: Callable[[pytest.MonkeyPatch], None],
    arm: str,
    check: str,
) -> None:
    break_it(monkeypatch)
    assert prove(made, arm)[arm, check] is False


def test_an_arm_that_changes_more_than_it_says_is_caught(made: plan.Planned) -> None:
    arm = made.plan.arm("no-awareness")
    more = replace(arm, delta={**arm.delta, "train.learning_rate": 0.1})
    reference = audit.trial(made.configs["full"])
    findings = audit.audit(made.plan, more, reference, reference)
    assert [f.check for f in findings if not f.holds and "said" in f.check] == ["differs as said"]
