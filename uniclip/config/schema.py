"""The configuration of one run: frozen dataclasses, bound from a plain dictionary (`binding.py`).

Fields named in `RUN_ONLY` state how a run is executed; all others define the run and are hashed
into its id.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union

from uniclip.config.binding import (
    TAGGED_UNIONS,
    bind,
    config_field,
    list_run_only_fields,
    to_builtins,
)
from uniclip.config.data import DATA, DataConfig
from uniclip.config.derived import fill_derived_values, get_value, open_derived_values
from uniclip.config.methods import METHODS, MethodConfig, ViewsConfig
from uniclip.config.model import ImageConfig, ModelConfig
from uniclip.errors import UserError

RUN_ONLY = (
    *("runtime", "benchmark", "pretrained", "allow_torchscript"),
    *("model.image.pretrained", "model.text.folder"),
)
"""Fields that state how a run is executed and evaluated; not hashed.

Paths of weights are among them: the content of the files is hashed with the fingerprint of the data
(`uniclip.checkpoints.weight_files`). Fields of a data section that are declared `run_only`,
such as the path of a table, are not hashed either: the fingerprint holds the content."""
PRETRAINED_ONLY = ("pretrained_towers", "pretrained_activation", "allow_torchscript")
"""Fields that have no effect without `pretrained`."""


DEFAULT_OPTIMIZER = "adamw"
ADAMW_KEYS = {"betas": "adam_betas", "eps": "adam_eps"}
"""Argument of AdamW -> the key of `TrainConfig` that sets it."""


# ---- training ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Schedule and optimizer (AdamW or another one, linear warm-up, cosine decay)."""

    steps: int = config_field(200, low=1)
    """Optimizer steps."""
    batch_size: int = config_field(128, low=1)
    """Samples per step, over all processes."""
    subset_size: int | None = config_field(None, low=1, value_if_missing=None)
    """Training samples that are used: a random subset of so many, another one for each seed. null =
    all. It makes data sets of equal size, or of several sizes, from one."""
    grad_cache_chunks: int = config_field(1, low=1, value_if_missing=1)
    """Chunks in which a process embeds its share of the batch (GradCache, Gao et al., 2021):
    less memory, the same loss and gradient."""
    optimizer: str = config_field(DEFAULT_OPTIMIZER, value_if_missing=DEFAULT_OPTIMIZER)
    """adamw, or an optimizer of timm's factory by its name there, such as lamb, lion or nadamw."""
    optimizer_options: dict[str, Any] = config_field(dict, value_if_missing={})
    """Keyword arguments of the optimizer, such as {betas: [0.9, 0.99]}. What is left out has the
    default of timm, with adamw that of the keys below."""
    learning_rate: float = config_field(1e-3, above=0)
    """Peak learning rate."""
    warmup_start_lr: float = config_field(0.0, low=0, value_if_missing=0.0)
    """Learning rate at which the warm-up starts."""
    min_lr: float = config_field(0.0, low=0, value_if_missing=0.0)
    """Learning rate at which the cosine ends, one step after the last."""
    lr_base_batch_size: int | None = config_field(None, low=1, value_if_missing=None)
    """Batch size for which the learning rates are stated: at other sizes they are scaled in
    proportion. null = no scaling."""
    weight_decay: float = config_field(0.1, low=0)
    """Weight decay, decoupled with adamw; none on norms, biases, scales of embeddings and
    temperatures."""
    warmup_ratio: float = config_field(0.1, low=0, high=1)
    """Fraction of the steps in which the learning rate rises linearly."""
    adam_betas: tuple[float, float] = (0.9, 0.98)
    """Decay rates of AdamW's moment estimates; others have optimizer_options."""
    adam_eps: float = config_field(1e-8, above=0, value_if_missing=1e-8)
    """Added to the denominator of AdamW's update; others have optimizer_options."""
    layer_decay: float = config_field(1.0, above=0, high=1, value_if_missing=1.0)
    """Factor of the learning rate from each layer of an encoder to the one below it (Bao et al.,
    BEiT, 2022); 1 = all layers have the same. Heads have the full rate."""
    ema_decay: float | None = config_field(None, above=0, value_if_missing=None)
    """Decay rate, a step, of an exponential moving average of weights and running statistics. The
    averaged weights are those that are validated, evaluated and exported; training continues with
    its own. null = no average."""
    patch_drop_rate: float = config_field(0.0, low=0, value_if_missing=0.0)
    """Share of the patches of each view that a vision Transformer does not see in training (FLIP,
    Li et al., CVPR 2023); at evaluation it sees all."""
    grad_clip_norm: float = config_field(1.0, above=0)
    """Largest gradient norm; larger gradients are scaled down to it."""
    similarity_lr_mult: float = config_field(10.0, above=0)
    """Learning rate of temperatures and offsets, as a multiple of the model's (our reconstruction:
    at the model's own rate they hardly move in a short run)."""
    weight_perturbation: float = config_field(0.0, low=0, high=0.1, value_if_missing=0.0)
    """Relative standard deviation by which initial weights are perturbed. An A/A arm with 1e-6
    shows how far training amplifies differences as small as those of rounding."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of encoders and heads. With bf16 they compute in bfloat16 (autocast) from float32
    weights; similarities and losses are computed and summed in float32."""
    numerics: Literal["exact", "fast"] = config_field("exact", value_if_missing="exact")
    """exact: full float32 and deterministic kernels, so that equal configurations give equal bits.
    fast: TF32 products in encoders and heads, kernels chosen by timing, no deterministic kernels,
    and with CUDA encoders compiled by torch.compile; two runs may differ in rounding."""
    activation_checkpointing: bool = config_field(False, value_if_missing=False)
    """Whether the encoders keep only the inputs of their blocks for the backward pass, and compute
    the rest again (Chen et al., 2016): less memory, the same loss and gradient."""
    num_threads: int = config_field(1, low=1, high=256)
    """Compute threads. Part of the run: another number may give other bits."""
    validate_every: int = config_field(50, low=1)
    """Steps between validations; there is always one after the last step."""
    divergence_threshold: float = config_field(1e4, above=0)
    """A loss above this value, or not finite, ends the run as diverged."""

    def __post_init__(self) -> None:
        if self.grad_cache_chunks > self.batch_size:
            raise UserError(
                f"train.grad_cache_chunks={self.grad_cache_chunks} must be at most "
                f"train.batch_size={self.batch_size}: each chunk needs a sample"
            )
        if self.subset_size is not None and self.subset_size < self.batch_size:
            raise UserError(
                f"train.subset_size={self.subset_size} must be at least "
                f"train.batch_size={self.batch_size}"
            )
        if not all(0 <= beta < 1 for beta in self.adam_betas):
            raise UserError(
                f"train.adam_betas must be at least 0 and below 1, got {list(self.adam_betas)}"
            )
        for name in ("ema_decay", "patch_drop_rate"):
            if (value := getattr(self, name)) is not None and value >= 1:
                raise UserError(f"train.{name} must be below 1, got {value:g}")
        self._check_optimizer()
        for name in ("warmup_start_lr", "min_lr"):
            if getattr(self, name) > self.learning_rate:
                raise UserError(
                    f"train.{name}={getattr(self, name):g} must be at most "
                    f"train.learning_rate={self.learning_rate:g}"
                )

    def _check_optimizer(self) -> None:
        """Raise `UserError` if two keys name the same setting, or one of them has no effect."""
        is_default = self.optimizer == DEFAULT_OPTIMIZER
        reserved = {"lr": "learning_rate", "weight_decay": "weight_decay"}
        reserved |= ADAMW_KEYS if is_default else {}
        for option in self.optimizer_options.keys() & reserved.keys():
            raise UserError(
                f"train.optimizer_options.{option} is set by train.{reserved[option]}: remove it"
            )
        for option, key in ADAMW_KEYS.items() if not is_default else ():
            if getattr(self, key) != getattr(TrainConfig, key):
                raise UserError(
                    f"train.{key} is of train.optimizer={DEFAULT_OPTIMIZER}: with "
                    f"train.optimizer={self.optimizer} set train.optimizer_options.{option}, and "
                    f"leave train.{key} at {_format_default(key)}"
                )

    @property
    def lr_scale(self) -> float:
        """The factor by which learning rates are multiplied at this batch size."""
        return self.batch_size / self.lr_base_batch_size if self.lr_base_batch_size else 1.0


def _format_default(key: str) -> str:
    default = getattr(TrainConfig, key)
    return str(list(default) if isinstance(default, tuple) else default)


# ---- how it is executed (never hashed) -----------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """How a run is executed. Within a numerics class it does not change the result."""

    device: str = "auto"
    """A torch device, such as cpu or cuda; auto = cuda where there is a GPU, else cpu. `plan` and
    the numerics class of a run say what it came to."""
    num_workers: int | None = config_field(None, low=0, high=64)
    """Processes that load batches; 0 = the training process loads them. null = with a GPU one for
    each core of the process but those of train.num_threads, at most 16; else 0."""
    checkpoint_seconds: float = config_field(30.0, low=0, high=600)
    """Seconds between checkpoints, which are written while training continues; 0 = a checkpoint
    after every step, for which training waits."""
    log_every: int = config_field(10, low=1)
    """Steps between records in metrics.jsonl."""
    data_root: str = config_field("data", is_path=True)
    """Folder of the published evaluation data sets."""
    protocol: Union[Literal["clip2021", "slip2021", "laion_cb"], dict[str, Any]] = "clip2021"
    """Evaluation protocol of the published data sets: the name of a published one, or a custom one
    (`uniclip.evaluate.protocols.custom`). Scores are stored under a hash of it."""
    evaluation_split: Literal["test", "validation"] = "test"
    """Split on which `benchmark` openmoji and scenes are scored. validation is for choices between
    arms, which would make scores on the test split too good; scores are stored under a hash of
    it. openmoji then has no linear probe, which is fit on that split too."""
    evaluation_precision: Literal["fp32", "bf16"] = "fp32"
    """Precision in which a model embeds what is evaluated, part of every evaluation protocol: with
    bf16 encoders and heads compute in bfloat16 (autocast), and embeddings are normalized in
    float32. Scores and cached embeddings of bf16 are stored beside those of fp32."""
    embedding_cache_max_gb: float = config_field(0.25, low=0)
    """Embeddings of a split of a published data set are cached for later scoring if their file is
    at most this large, in GB; 0 = no cache. At 768 features CIFAR's training images take 0.14 GB,
    ImageNet's 3.5 GB."""
    pretraining_data: str = ""
    """Name of the pre-training data set, such as YFCC15M: of the images of data=csv,
    webdataset or huggingface, or of those that `pretrained` was trained on. The report compares
    with values published for this name."""
    plugins: tuple[str, ...] = ()
    """Your modules, imported before names such as that of `method=` are looked up."""
    stop_fraction: float | None = config_field(None, above=0, high=1)
    """Fraction of the steps after which training pauses; without this key it is continued."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One run: everything that determines its weights, and how it is executed."""

    data: DataConfig
    """An instance of a class in `DATA`, selected by data.name."""
    views: ViewsConfig = config_field(ViewsConfig)
    model: ModelConfig = config_field(ModelConfig)
    method: MethodConfig
    """An instance of a class in `METHODS`, selected by method.name."""
    train: TrainConfig = config_field(TrainConfig)
    seed: int = config_field(0, low=0)
    """Seed of initialization, of the order of samples and of augmentations."""
    stream: int = config_field(0, low=0, value_if_missing=0)
    """Number of the random stream: samples and augmentations are drawn anew, with the same initial
    weights. An A/A arm differs in it alone."""
    pretrained: str | None = config_field(None, is_path=True)
    """Checkpoint from which both encoders start: a file of CLIP, open_clip or UniCL, or of a run; a
    folder of transformers (CLIP, SigLIP) or, as local-dir:<folder>, of open_clip; or hf-hub:<name>.
    The hash of its content, not its path, is part of the run id."""
    pretrained_towers: Literal["both", "image", "text"] = config_field(
        "both", value_if_missing="both"
    )
    """Encoders that start from `pretrained`; the other one is initialized at random."""
    pretrained_activation: Literal["quick_gelu", "gelu"] | None = config_field(
        None, value_if_missing=None
    )
    """Activation with which the Transformers of an open_clip checkpoint were trained: its file does
    not state it. null for checkpoints that state it (OpenAI's, UniCL's, a run's)."""
    allow_torchscript: bool = False
    """Allow `pretrained` to be a TorchScript archive, which can execute code when it is loaded."""
    lock: Literal["none", "image", "text", "both"] = config_field("none", value_if_missing="none")
    """Encoders that are not trained; "image" is locked-image tuning (Zhai et al., CVPR 2022)."""
    runtime: RuntimeConfig = config_field(RuntimeConfig)
    benchmark: tuple[str, ...] = ()
    """Names of the data sets on which the trained model is evaluated."""

    def __post_init__(self) -> None:
        self.method.check_views(self.views)
        min_batch_size = self.method.min_batch_size
        if self.train.batch_size < min_batch_size:
            raise UserError(
                f"train.batch_size={self.train.batch_size} must be at least {min_batch_size} for "
                f"method={self.method.name}: a single sample is compared with nothing"
            )
        if self.train.patch_drop_rate > 0 and self.lock in ("image", "both"):
            raise UserError(
                f"train.patch_drop_rate={self.train.patch_drop_rate:g} does nothing with "
                f"lock={self.lock}, whose image encoder is not trained: leave it out"
            )
        self._check_weight_sources()
        for name in PRETRAINED_ONLY if self.pretrained is None else ():
            if (value := getattr(self, name)) != getattr(RunConfig, name):
                raise UserError(
                    f"{name}={str(value).lower()} does nothing without pretrained=: leave it out"
                )

    def _check_weight_sources(self) -> None:
        """Raise `UserError` if two keys name weights for the same encoder."""
        sources = {
            "image": ("model.image.pretrained", self.model.image.weights_source is not None),
            "text": ("model.text.pretrained", self.model.text.pretrained),
        }
        for tower, (key, is_set) in sources.items():
            if is_set and self.pretrained is not None and self.pretrained_towers in (tower, "both"):
                other = "text" if tower == "image" else "image"
                raise UserError(
                    f"pretrained= and {key} both name weights of the {tower} encoder: set "
                    f"pretrained_towers={other}, or leave one out"
                )

    @property
    def last_step(self) -> int:
        """The step after which training ends: the last one, or the first validation at or after
        `runtime.stop_fraction` of the steps."""
        train, stop_fraction = self.train, self.runtime.stop_fraction
        if stop_fraction is None:
            return train.steps
        validations = math.ceil(round(stop_fraction * train.steps / train.validate_every, 6))
        return min(train.steps, validations * train.validate_every)


TAGGED_UNIONS[RunConfig, "data"] = DATA
TAGGED_UNIONS[RunConfig, "method"] = METHODS


def select_run_only(
    base_values: Mapping[str, Any], changed_values: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the configuration of a run says that its spec does not contain.

    Args:
        base_values: A configuration as plain values.
        changed_values: Key -> value that replaces it; the keys of sections are dotted.

    Returns:
        The sections and dotted keys of `RUN_ONLY` and, under "data", the fields of the data section
        that are declared `run_only`.
    """
    values = copy.deepcopy(dict(base_values))
    for key, value in changed_values.items():
        *sections, name = key.split(".")
        section = values
        for section_name in sections:
            if not isinstance(section.get(section_name), dict):
                section[section_name] = {}  # such as a name that a custom section replaces
            section = section[section_name]
        section[name] = value
    run_only = {name: values[name] for name in RUN_ONLY if name in values}
    for key in RUN_ONLY:
        if "." in key and get_value(values, key) is not None:
            run_only[key] = get_value(values, key)
    data_values = values.get("data", {})
    data_class = DATA.get(data_values.get("name", ""))
    names = () if data_class is None else list_run_only_fields(data_class)
    data_run_only = {name: data_values[name] for name in names if name in data_values}
    return {**run_only, **({"data": data_run_only} if data_run_only else {})}


def complete_run_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain values with every key of a run; null where a value follows from others.

    Raises:
        UserError: As `build_run_config`.
    """
    return open_derived_values(to_builtins(build_run_config(values)), values)


def build_run_config(values: Mapping[str, Any]) -> RunConfig:
    """Return the typed configuration of one run.

    Keys that are null or missing and follow from others are filled in (`uniclip.config.derived`).

    Raises:
        UserError: A key is unknown or missing, or a value has the wrong type or is out of range.
    """
    config: RunConfig = bind(RunConfig, fill_derived_values(values, ImageConfig().image_size))
    # Not checked by RunConfig itself: a validation batch, for which the batch size is replaced, is
    # not divided between the sources of the data.
    config.data.check_batch_size(config.train.batch_size)
    if config.train.subset_size is not None and not config.data.has_one_order:
        raise UserError(
            f"train.subset_size={config.train.subset_size} needs data of one source that are "
            "shuffled as a whole (data.order=full, no data.weights, no labelled images)"
        )
    return config
