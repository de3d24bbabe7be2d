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
from uniclip.config.derived import CLIP_VOCAB_SIZE, fill_derived_values, open_derived_values
from uniclip.config.methods import METHODS, MethodConfig, ViewsConfig
from uniclip.errors import UserError

RUN_ONLY = ("runtime", "benchmark", "pretrained", "allow_torchscript")
"""Fields that state how a run is executed and evaluated; not hashed.

The path of `pretrained` is one of them: the content of the file is hashed with the fingerprint of
the data (`uniclip.checkpoints.warm_start`). Fields of a data section that are declared `run_only`,
such as the path of a table, are not hashed either: the fingerprint holds the content."""
PRETRAINED_ONLY = ("pretrained_towers", "pretrained_activation", "allow_torchscript")
"""Fields that have no effect without `pretrained`."""


# ---- model ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """The image encoder f_I: any timm model."""

    name: str = "convnext_atto"
    """A timm model name."""
    image_size: int = config_field(32, low=16, high=1024)
    """Side of the encoder's input, in pixels; null = the size for which timm's model was made, also
    the default with a `name` other than the preset's."""
    options: dict[str, Any] = config_field(dict)
    """Keyword arguments of `timm.create_model`."""


MAX_CONTEXT_LENGTH = 512
"""Largest `model.text.context_length`."""


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """The text encoder f_T: a causal Transformer (transformers' CLIP text model)."""

    width: int = config_field(128, low=8)
    """Width of the residual stream; a multiple of `heads`."""
    layers: int = config_field(1, low=1, high=64)
    """Transformer blocks."""
    heads: int = config_field(4, low=1)
    """Attention heads."""
    context_length: int = config_field(32, low=4, high=MAX_CONTEXT_LENGTH)
    """Longest caption in tokens, start and end tokens included."""
    vocab_size: int = config_field(2_000, low=300)
    """Largest size of the byte-level BPE vocabulary that is trained on the captions; null = 49,408
    with tokenizer=clip, else the default."""
    tokenizer: Literal["bpe", "clip"] = config_field("bpe", value_if_missing="bpe")
    """A BPE trained on the captions, or CLIP's published BPE of 49,408 tokens."""
    activation: Literal["quick_gelu", "gelu"] = config_field(
        "quick_gelu", value_if_missing="quick_gelu"
    )
    """Activation of the MLPs: x * sigmoid(1.702 x), as in OpenAI's CLIP and UniCL, or the GELU."""
    layer_norm_eps: float = config_field(1e-5, above=0, value_if_missing=1e-5)
    """Epsilon of the layer norms: 1e-5 in CLIP, 1e-12 in UniCL."""

    def __post_init__(self) -> None:
        if self.tokenizer == "clip" and self.vocab_size != CLIP_VOCAB_SIZE:
            raise UserError(
                f"model.text.tokenizer=clip has {CLIP_VOCAB_SIZE} tokens: set "
                f"model.text.vocab_size={CLIP_VOCAB_SIZE} too, not {self.vocab_size}"
            )
        if self.width % self.heads:
            raise UserError(
                f"model.text.width={self.width} must be a multiple of model.text.heads={self.heads}"
            )


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The two encoders, and the width of the joint embedding space."""

    image: ImageConfig = config_field(ImageConfig)
    text: TextConfig = config_field(TextConfig)
    embed_dim: int = config_field(128, low=2)
    """Width D of the joint embedding space."""
    num_head_blocks: int = config_field(1, low=1, high=8)
    """Residual blocks of the augmentation-aware image head g_I. One is our reconstruction, chosen
    for small models; three are recalled from the paper, not verified in it."""
    augmentation_width: int = config_field(64, low=4)
    """Width of the augmentation encoder f_A (our reconstruction: the published size is unknown to
    us)."""
    augmentation_layers: int = config_field(2, low=1, high=12, value_if_missing=2)
    """Layers of the augmentation encoder f_A (our reconstruction). CASSLE has 6 of width 64
    (Przewiezlikowski et al., 2023)."""
    initialization: Literal["library", "clip", "unicl"] = config_field(
        "library", value_if_missing="library"
    )
    """Initialization of the text encoder and of linear projections: that of transformers and torch
    ("library"), or as published by CLIP or UniCL (`uniclip.models.initialization`)."""


# ---- training ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Schedule and optimizer (AdamW, linear warm-up, cosine decay)."""

    steps: int = config_field(200, low=1)
    """Optimizer steps."""
    batch_size: int = config_field(128, low=1)
    """Samples per step, over all processes."""
    grad_cache_chunks: int = config_field(1, low=1, value_if_missing=1)
    """Chunks in which a process embeds its share of the batch (GradCache, Gao et al., 2021):
    less memory, the same loss and gradient."""
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
    """Decoupled weight decay; none on norms, biases, scales of embeddings and temperatures."""
    warmup_ratio: float = config_field(0.1, low=0, high=1)
    """Fraction of the steps in which the learning rate rises linearly."""
    adam_betas: tuple[float, float] = (0.9, 0.98)
    """Decay rates of AdamW's moment estimates."""
    adam_eps: float = config_field(1e-8, above=0, value_if_missing=1e-8)
    """Added to the denominator of AdamW's update."""
    grad_clip_norm: float = config_field(1.0, above=0)
    """Largest gradient norm; larger gradients are scaled down to it."""
    similarity_lr_mult: float = config_field(10.0, above=0)
    """Learning rate of temperatures and offsets, as a multiple of the model's (our reconstruction:
    at the model's own rate they hardly move in a short run)."""
    weight_perturbation: float = config_field(0.0, low=0, high=0.1, value_if_missing=0.0)
    """Relative standard deviation by which initial weights are perturbed. An A/A arm with 1e-6
    shows how far training amplifies differences as small as those of rounding."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the encoders; losses are always computed in float32."""
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
        if not all(0 <= beta < 1 for beta in self.adam_betas):
            raise UserError(
                f"train.adam_betas must be at least 0 and below 1, got {list(self.adam_betas)}"
            )
        for name in ("warmup_start_lr", "min_lr"):
            if getattr(self, name) > self.learning_rate:
                raise UserError(
                    f"train.{name}={getattr(self, name):g} must be at most "
                    f"train.learning_rate={self.learning_rate:g}"
                )

    @property
    def lr_scale(self) -> float:
        """The factor by which learning rates are multiplied at this batch size."""
        return self.batch_size / self.lr_base_batch_size if self.lr_base_batch_size else 1.0


# ---- how it is executed (never hashed) -----------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """How a run is executed. Within a numerics class it does not change the result."""

    device: str = "cpu"
    """A torch device, such as cpu or cuda."""
    num_workers: int | None = config_field(None, low=0, high=64)
    """Processes that load batches; 0 = the training process loads them. null = with a GPU one for
    each core of the process but those of train.num_threads, at most 16; else 0."""
    checkpoint_seconds: float = config_field(30.0, low=0)
    """Seconds between checkpoints; 0 = a checkpoint after every step."""
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
    embedding_cache_max_gb: float = config_field(0.25, low=0)
    """Embeddings of a split of a published data set are cached for later scoring if their file is
    at most this large, in GB; 0 = no cache. At 768 features CIFAR's training images take 0.14 GB,
    ImageNet's 3.5 GB."""
    pretraining_data: str = ""
    """Name of the pre-training data set, such as YFCC15M: of the images of data=csv or
    webdataset, or of those that `pretrained` was trained on. The report compares with values
    published for this name."""
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
    """Checkpoint from which the encoders start: of CLIP, open_clip, UniCL, or of a run. The hash of
    its content, not its path, is part of the run id."""
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
        for name in PRETRAINED_ONLY if self.pretrained is None else ():
            if (value := getattr(self, name)) != getattr(RunConfig, name):
                raise UserError(
                    f"{name}={str(value).lower()} does nothing without pretrained=: leave it out"
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
        The sections of `RUN_ONLY` and, under "data", the fields of the data section that are
        declared `run_only`.
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
    return config
