"""The training loop of fine-tuning: every learning rate in turn, the best validated weights stay.

An interrupted loop resumes from its last checkpoint, to the bit: a batch is a function of the step,
and dropout is seeded anew in each step.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from uniclip import rng
from uniclip.augmentation import transform
from uniclip.checkpoints import tensor_file
from uniclip.config import TrainConfig
from uniclip.errors import StopRequested, UserError
from uniclip.evaluate.features.decoding import LoadImages, decode_ahead
from uniclip.evaluate.progress import EvaluationProgress, ReportProgress, ignore_progress
from uniclip.evaluate.protocols.fine_tuning import FineTuningConfig
from uniclip.evaluate.scoring.image_classifier import ImageClassifier, take_step
from uniclip.evaluate.scoring.training_views import PURPOSE, TrainingViews
from uniclip.io.atomic import atomic_write
from uniclip.training.optimizer import build_optimizer, compute_learning_rate, set_learning_rate

CLASSIFIER_PREFIX, BEST_PREFIX = "classifier.", "best."
"""Prefixes of the keys of the current and the best weights in a checkpoint."""
FIRST_REPORT_STEPS = 5
"""Steps after which the time of the whole is first estimated."""
MAX_CHECKPOINT_SHARE = 0.05
"""Largest part of the time that is spent on writing checkpoints, unless one is asked for after
every step."""

Validate = Callable[[ImageClassifier], float]
"""Returns the metric on validation images; -inf if the weights have diverged."""


@dataclass(kw_only=True)
class FineTunerCounters:
    """The numbers that a resume restores."""

    rate: int = 0
    """Number of the learning rate, from 0."""
    step: int = 0
    """Steps taken at this rate."""
    validated_step: int = 0
    """Step of the last validation at this rate."""
    best_score: float | None = None
    best_rate: int = 0
    best_step: int = 0


@dataclass(frozen=True)
class Checkpointing:
    """Where and how often the state is stored."""

    path: Path | None = None
    """File; None: nothing is stored."""
    seconds: float = 30.0
    """Time between checkpoints; 0 = after every step."""


class FineTuner:
    """Trains an image classifier at each learning rate of a recipe.

    Args:
        classifier: With its initial weights; `run` changes it.
        views: The training images.
        labels: (n,) int64 classes of the training images.
        validate: Scores the classifier.
        config: The recipe.
        checkpointing: Where the state is stored.
        should_stop: Called before each step; once it returns True, `run` stores the state and
            raises `StopRequested`.
        report_progress: Called after some steps, and whenever the state was stored.
        num_workers: Processes that make views.
    """

    def __init__(
        self,
        classifier: ImageClassifier,
        views: TrainingViews,
        labels: NDArray[np.int64],
        validate: Validate,
        config: FineTuningConfig,
        checkpointing: Checkpointing = Checkpointing(),  # noqa: B008  it is frozen
        *,
        should_stop: Callable[[], bool] = lambda: False,
        report_progress: ReportProgress = ignore_progress,
        num_workers: int = 0,
    ) -> None:
        self.classifier, self.config = classifier, config
        self.counters = FineTunerCounters()
        self.num_steps = config.count_steps(len(views.images))
        self._views, self._labels, self._validate = views, labels, validate
        self._checkpointing, self._should_stop = checkpointing, should_stop
        self._report_progress, self._num_workers = report_progress, num_workers
        self._validation_steps = set(config.list_validation_steps(self.num_steps))
        self._initial_state = classifier.copy_image_state()
        self._best_state: dict[str, Tensor] | None = None
        self._device = next(classifier.parameters()).device
        self._start_rate(0)
        self._start_time = self._last_save_time = time.monotonic()
        self._save_seconds, self._steps_here = 0.0, 0

    def run(self) -> None:
        """Train at the rates that are left; the classifier then has the best weights.

        Raises:
            StopRequested: `should_stop` returned True; the state is stored.
            UserError: The weights diverged at every rate before the first validation.
        """
        self._resume()
        cuda_devices = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda_devices), torch.enable_grad():
            try:
                for rate in range(self.counters.rate, len(self.config.learning_rates)):
                    if rate != self.counters.rate:
                        self._start_rate(rate)
                    self._train_at_rate()
            except StopRequested:
                self._save()
                raise
        self._save()
        if self._best_state is None:
            raise UserError(
                f"fine-tuning on {self._views.dataset_name} diverged at every learning rate; "
                "choose lower ones: fine_tuning.learning_rates of a protocol"
            )
        self.classifier.load_image_state(self._best_state)

    # -- training --

    def _start_rate(self, rate: int) -> None:
        """Set the initial weights and a new optimizer."""
        self.counters.rate, self.counters.step, self.counters.validated_step = rate, 0, 0
        self.classifier.load_image_state(self._initial_state)
        config = self.config
        self._train_config = TrainConfig(
            steps=self.num_steps,
            batch_size=config.batch_size,
            learning_rate=config.learning_rates[rate],
            weight_decay=config.weight_decay,
            adam_betas=config.adam_betas,
            warmup_ratio=config.warmup_ratio,
            grad_clip_norm=config.grad_clip_norm,
        )
        self._optimizer = build_optimizer(
            nn.ModuleDict({"classifier": self.classifier}), (), self._train_config
        )

    def _train_at_rate(self) -> None:
        counters, num_positions = self.counters, self.num_steps * self.config.batch_size
        with decode_ahead(self._views.load, num_positions, self._num_workers) as load:
            while True:
                is_validated = counters.validated_step == counters.step
                if counters.step in self._validation_steps and not is_validated:
                    self._validate_weights()
                if counters.step == self.num_steps:
                    return
                if self._should_stop():
                    raise StopRequested
                if self._take_step(load):
                    counters.step += 1
                else:  # this rate has diverged
                    counters.step = counters.validated_step = self.num_steps
                self._steps_here += 1
                self._save_and_report()

    def _take_step(self, load: LoadImages) -> bool:
        """Take the next step; return whether its loss and gradient are finite."""
        counters, batch_size = self.counters, self.config.batch_size
        positions = counters.step * batch_size + np.arange(batch_size)
        vectors = transform.encode_as_vector(self._views.draw_params(positions))
        labels = self._labels[self._views.find_images(positions)]
        set_learning_rate(self._optimizer, compute_learning_rate(counters.step, self._train_config))
        torch.manual_seed(
            rng.derive_key(PURPOSE, self._views.dataset_name, "step", counters.rate, counters.step)
        )
        self.classifier.train()
        pixels, vector_rows, classes = (
            torch.from_numpy(array).to(self._device) for array in (load(positions), vectors, labels)
        )
        return take_step(
            self.classifier, self._optimizer, pixels, vector_rows, classes, self.config
        )

    def _validate_weights(self) -> None:
        """Score the weights; store a copy of them if they are the best so far."""
        counters = self.counters
        score = self._validate(self.classifier)
        counters.validated_step = counters.step
        if np.isfinite(score) and (counters.best_score is None or score > counters.best_score):
            counters.best_score = score
            counters.best_rate, counters.best_step = counters.rate, counters.step
            state = self.classifier.copy_image_state()
            self._best_state = {name: value.cpu() for name, value in state.items()}

    # -- checkpoints --

    def _save_and_report(self) -> None:
        seconds, now = self._checkpointing.seconds, time.monotonic()
        interval = max(seconds, self._save_seconds / MAX_CHECKPOINT_SHARE) if seconds else 0.0
        if now - self._last_save_time >= interval:
            is_saved = self._save()
            self._report(is_saved)
        elif self._steps_here == FIRST_REPORT_STEPS:
            self._report(False)

    def _report(self, is_saved: bool) -> None:
        num_rates = len(self.config.learning_rates)
        num_done = self.counters.rate * self.num_steps + self.counters.step
        seconds_per_step = (time.monotonic() - self._start_time) / max(1, self._steps_here)
        num_left = num_rates * self.num_steps - num_done
        self._report_progress(
            EvaluationProgress(
                done=num_done / (num_rates * self.num_steps),
                seconds_left=num_left * seconds_per_step,
                is_saved=is_saved,
            )
        )

    def _save(self) -> bool:
        """Write a checkpoint; return whether there is one."""
        path, start_time = self._checkpointing.path, time.monotonic()
        is_saved = False
        if path is not None:
            tensors = {
                **_add_prefix(CLASSIFIER_PREFIX, self.classifier.copy_image_state()),
                **_add_prefix(BEST_PREFIX, self._best_state or {}),
                **tensor_file.flatten_optimizer_state(self._optimizer),
            }
            cpu_tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
            metadata = asdict(self.counters)
            with suppress(OSError):  # such as a full disk
                atomic_write(
                    path, lambda stream: tensor_file.write_tensors(stream, cpu_tensors, metadata)
                )
                is_saved = True
        self._last_save_time = time.monotonic()
        self._save_seconds = self._last_save_time - start_time
        return is_saved

    def _resume(self) -> None:
        """Restore the stored state, if there is one and it is whole."""
        if self._checkpointing.path is None:
            return
        try:
            tensors, metadata = tensor_file.decode(self._checkpointing.path)
        except (FileNotFoundError, tensor_file.CorruptFileError):
            return
        self._start_rate(metadata["rate"])
        self.counters = FineTunerCounters(**metadata)
        self.classifier.load_image_state(_select_prefix(CLASSIFIER_PREFIX, tensors))
        tensor_file.restore_optimizer(self._optimizer, tensors)
        self._best_state = _select_prefix(BEST_PREFIX, tensors) or None


def _add_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def _select_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
