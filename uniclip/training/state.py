"""The state of training: what a step changes, a checkpoint stores and a validation evaluates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import cast

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from uniclip import distributed, methods, numerics
from uniclip.checkpoints import tensor_file, warm_start
from uniclip.checkpoints.pretrained import PretrainedModel
from uniclip.config import RunConfig
from uniclip.data import open_split
from uniclip.data.loader import TrainingBatches
from uniclip.data.text.tokenizer import Tokenizer
from uniclip.errors import UserError
from uniclip.methods.base import Method
from uniclip.models import batch_norm
from uniclip.models.activation_checkpointing import enable_activation_checkpointing
from uniclip.models.compilation import compile_encoders
from uniclip.models.embedder import Embedder, build_embedder, fork_seeded_rng
from uniclip.models.initialization import perturb_parameters
from uniclip.store import AttemptFolder
from uniclip.store.numerics_classes import list_class_differences
from uniclip.training import checkpoint, optimizer
from uniclip.training.divergence import DivergenceLatch
from uniclip.training.gradient_reducer import GradientReducer
from uniclip.training.layer_rates import compute_layer_scales

AVERAGE_PREFIX = "average."
"""Prefix of the keys of the averaged weights in a checkpoint."""
BEST_PREFIX = "best."
"""Prefix of the keys of the best weights in a checkpoint."""
TRACKED_PARTS = ("augmentation_encoder", "image_head")
"""Parts of the embedder whose relative change is reported, as is the similarity's."""


@dataclass(frozen=True, kw_only=True)
class StepMetrics:
    """The metrics of one training step, over the whole batch."""

    loss: float
    loss_terms: dict[str, float]
    """Name of a term -> its value, unweighted."""
    grad_norm: float
    """Norm of the gradient before clipping; not finite for a step that diverged."""
    lr: float
    """Learning rate, without the scales of the parameter groups."""


@dataclass(kw_only=True)
class TrainCounters:
    """The numbers that a resume restores."""

    step: int = 0
    """Steps taken."""
    seconds: float = 0.0
    """Seconds of training that led to the current weights, over all attempts."""
    clipped_steps: int = 0
    """Steps whose gradient norm exceeded train.grad_clip_norm."""
    best_step: int | None = None
    """Step of the best validation so far."""
    best_score: float | None = None
    unreadable_samples: list[int] = field(default_factory=list)
    """Training samples whose image could not be read so far, ascending."""


class TrainState:
    """Model, method, optimizer and counters of one training.

    Raises:
        UserError: `pretrained` cannot be loaded, or the encoders do not suit
            train.grad_cache_chunks or train.activation_checkpointing.
    """

    def __init__(self, config: RunConfig, tokenizer: Tokenizer) -> None:
        self.config = config
        self.device = numerics.get_device(config.runtime.device)
        self.method = methods.build_method(config)
        self.embedder = build_embedder(config, tokenizer, self.method.head_type)
        self.loaded_parts = warm_start.load_pretrained(self.embedder, config, tokenizer)
        """The parts loaded from `config.pretrained`."""
        self.method.build_heads(self.embedder, tokenizer, config.seed)
        self.modules = tensor_file.bundle_modules(self.embedder, self.method)
        if config.train.weight_perturbation:
            with fork_seeded_rng(config.seed, "weight_perturbation"):
                perturb_parameters(self.modules, config.train.weight_perturbation)
        if distributed.get_process_group().world_size > 1:
            batch_norm.synchronize_batch_norm(self.modules, self.device)
        self.modules.to(self.device).train()
        if config.train.grad_cache_chunks > 1 and batch_norm.uses_batch_statistics(self.embedder):
            raise UserError(
                f"train.grad_cache_chunks={config.train.grad_cache_chunks} needs encoders without "
                "batch norm, whose statistics would be those of chunks; model.image.name="
                f"{config.model.image.name} has it: set train.grad_cache_chunks=1 or use more "
                "processes"
            )
        ema_decay = config.train.ema_decay
        self._average = None if ema_decay is None else ModelEmaV3(self.modules, decay=ema_decay)
        self.training_embedder = self._build_training_embedder()
        """The embedder that the method calls in training: with bf16, a proxy with autocast."""
        self.optimizer = optimizer.build_optimizer(
            self.modules,
            self.method.similarity_parameters(),
            config.train,
            layer_scales=compute_layer_scales(self.embedder, config.train.layer_decay),
            modulation_parameters=self.embedder.list_modulation_parameters(),
            modulation_lr_mult=self.method.modulation_lr_mult,
        )
        self.latch = DivergenceLatch(self.modules, self.optimizer, config, self.device)
        self.gradient_reducer = GradientReducer(list(self.modules.parameters()))
        self.pretrained = PretrainedModel(
            cast(Embedder, self.evaluated_modules["embedder"]),
            cast(Method, self.evaluated_modules["method"]),
            tokenizer,
            config,
        )
        self.counters = TrainCounters()
        self.before_update: Callable[[], None] = lambda: None
        """Called before the optimizer changes its state."""
        self.best_weights: dict[str, Tensor] | None = None
        self.attempt_seconds = 0.0
        """Seconds of training in this attempt, lost steps included."""
        self.attempt_waited_seconds = 0.0
        """Those of them for which training waited for its batches."""
        self._initial_parameters = {
            name: _copy_to_cpu(part) for name, part in self._collect_tracked_parameters().items()
        }

    def _build_training_embedder(self) -> Embedder:
        """Set up the encoders as `config.train` says; return what the method calls in training."""
        train = self.config.train
        if train.activation_checkpointing:
            enable_activation_checkpointing(self.embedder)
        if train.numerics == "fast" and numerics.is_compilation_available(self.device):
            compile_encoders(self.embedder)
        if train.precision == "bf16":
            return cast(Embedder, numerics.Autocast(self.embedder, self.device))
        return self.embedder

    # -- averaged weights --

    @property
    def evaluated_modules(self) -> nn.ModuleDict:
        """The modules that are validated and published: with train.ema_decay, averaged ones."""
        if self._average is None:
            return self.modules
        return cast(nn.ModuleDict, self._average.module)

    def update_average(self) -> None:
        """Add the weights after a step to the average; the first ones become the average."""
        if self._average is not None:
            self._average.update(self.modules, step=self.counters.step + 1)

    # -- checkpoints --

    def collect_tensors(self) -> dict[str, Tensor]:
        """Return all tensors that a resume needs, by name."""
        best_tensors = {
            f"{BEST_PREFIX}{name}": value for name, value in (self.best_weights or {}).items()
        }
        average = {} if self._average is None else self._average.module.state_dict()
        return {
            **self.modules.state_dict(),
            **tensor_file.flatten_optimizer_state(self.optimizer),
            **{f"{AVERAGE_PREFIX}{name}": value for name, value in average.items()},
            **best_tensors,
        }

    def list_constant_names(self) -> set[str]:
        """Return the names of tensors in `collect_tensors` that are replaced, never changed."""
        return {f"{BEST_PREFIX}{name}" for name in self.best_weights or {}}

    def collect_metadata(self) -> dict[str, object]:
        """Return the counters, and the numerics class in which the tensors were computed."""
        current_numerics = numerics.get_numerics_class(self.config)
        return {"counters": asdict(self.counters), "numerics": current_numerics}

    def resume(self, attempt: AttemptFolder | None) -> None:
        """Restore the newest undamaged checkpoint of the attempt's run, if there is one.

        With several processes only rank 0 has an attempt; all load the checkpoint that it finds.
        """
        latest = checkpoint.load_newest_checkpoint(attempt) if attempt is not None else None
        path = distributed.get_process_group().broadcast_object(
            None if latest is None else str(latest.path)
        )
        if path is None:
            return
        latest = latest or checkpoint.Checkpoint(Path(path), *tensor_file.decode(Path(path)))
        tensors, metadata = latest.tensors, latest.metadata
        module_keys = self.modules.state_dict().keys()
        self.modules.load_state_dict({name: tensors[name] for name in module_keys})
        if self._average is not None:
            average = {name: tensors[f"{AVERAGE_PREFIX}{name}"] for name in module_keys}
            self._average.module.load_state_dict(average)
        tensor_file.restore_optimizer(self.optimizer, tensors)
        self.counters = TrainCounters(**metadata["counters"])
        best_weights = {
            n.removeprefix(BEST_PREFIX): t for n, t in tensors.items() if n.startswith(BEST_PREFIX)
        }
        self.best_weights = best_weights or None
        if attempt is None:
            return
        current_numerics = numerics.get_numerics_class(self.config)
        numerics_changes = {
            name: [metadata["numerics"].get(name), current_numerics.get(name)]
            for name in list_class_differences(metadata["numerics"], current_numerics)
        }
        attempt.log_event("resumed", step=self.counters.step, numerics_changed=numerics_changes)

    def record_step(self, seconds: float, *, clipped: bool, waited_seconds: float = 0.0) -> None:
        """Count one more step; `waited_seconds`: for batches, in this attempt so far."""
        self.counters.step += 1
        self.counters.seconds += seconds
        self.counters.clipped_steps += clipped
        self.attempt_seconds += seconds
        self.attempt_waited_seconds = waited_seconds

    # -- evaluation --

    def validate(self, validate: Callable[[PretrainedModel], float]) -> tuple[float, bool]:
        """Return the validation score, and whether it is the best so far (then store weights)."""
        with self.no_side_effects():
            score = float(validate(self.pretrained))
        counters = self.counters
        is_best = math.isfinite(score) and (
            counters.best_score is None or score > counters.best_score
        )
        if is_best:
            counters.best_step, counters.best_score = counters.step, score
            weights = self.evaluated_modules.state_dict()
            self.best_weights = {
                name: value.detach().cpu().clone() for name, value in weights.items()
            }
        return score, is_best

    @contextmanager
    def no_side_effects(self) -> Iterator[None]:
        """Context in which the model can be used without effect on training.

        It is in evaluation mode; gradients, random generators and the mode are as before
        afterwards. Collectives are local, so other processes need not enter it.
        """
        cuda_devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda_devices), torch.no_grad(), distributed.local_only():
            self.modules.eval()
            try:
                yield
            finally:
                self.modules.train()

    def measure_knockout_effects(self) -> dict[str, float]:
        """Return the change of loss on a fixed validation batch when a component is switched off.

        Returns:
            Component -> loss without it minus loss; empty with less than two validation samples.
        """
        split = open_split(self.config.data, "validation")
        size = min(self.config.train.batch_size, len(split))
        if size < 2:
            return {}
        train_config = replace(
            self.config.train, batch_size=size, grad_cache_chunks=1, subset_size=None
        )
        batch_config = replace(self.config, train=train_config)
        batch = (
            TrainingBatches(batch_config, split, self.pretrained.tokenizer)
            .build_batch(0)
            .to(self.device)
        )
        with self.no_side_effects():
            torch.manual_seed(0)
            pretrained = self.pretrained
            return pretrained.method.compute_knockout_effects(pretrained.embedder, batch)

    def measure_relative_change(self) -> dict[str, float]:
        """Return ||theta - theta_0|| / ||theta_0|| of the parts that belong to components."""
        changes = {}
        for name, part in self._collect_tracked_parameters().items():
            initial_parameters = self._initial_parameters[name]
            initial_norm = _compute_norm(initial_parameters)
            if initial_norm > 0:
                changes[name] = (
                    _compute_norm([p.detach().cpu() - s for p, s in zip(part, initial_parameters)])
                    / initial_norm
                )
        return changes

    def _collect_tracked_parameters(self) -> dict[str, list[nn.Parameter]]:
        named_parameters = list(self.pretrained.embedder.named_parameters())
        parts = {
            m: [p for name, p in named_parameters if name.startswith(f"{m}.")]
            for m in TRACKED_PARTS
        }
        parts["similarity"] = list(self.pretrained.method.similarity_parameters())
        return parts

    # -- sizes --

    def count_parameters(self) -> int:
        """Return the number of trainable parameters."""
        return sum(p.numel() for p in self.modules.parameters() if p.requires_grad)

    def count_bytes(self) -> int:
        """Return the size of the tensors in a checkpoint, in bytes."""
        return sum(t.numel() * t.element_size() for t in self.collect_tensors().values())


def _copy_to_cpu(parameters: list[nn.Parameter]) -> list[Tensor]:
    return [p.detach().cpu().clone() for p in parameters]


def _compute_norm(tensors: list[Tensor]) -> float:
    return math.sqrt(sum(float(t.double().square().sum()) for t in tensors))
