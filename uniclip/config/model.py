"""The configuration of the model: the two encoders and the joint embedding space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Union

from uniclip.config.binding import config_field
from uniclip.config.derived import CLIP_VOCAB_SIZE
from uniclip.errors import UserError


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
    pretrained: Union[Literal["true", "false"], str, None] = config_field(
        None, run_only=True, is_path=True
    )
    """Weights from which the encoder starts: true = those that timm has for `name`, from the cache
    of the Hugging Face hub or downloaded; or a file or folder of timm's. The hash of the content,
    not the path, is part of the run id."""
    crop_pct: float = config_field(1.0, above=0, high=1, value_if_missing=1.0)
    """Share of an image's side that the evaluation transform keeps, about its centre; null = that
    of timm's model with `pretrained`, else 1."""
    interpolation: Literal["bicubic", "bilinear"] = config_field(
        "bicubic", value_if_missing="bicubic"
    )
    """How images given to a trained model are resized; null = as timm's model with `pretrained`,
    else bicubic. Views and protocols have a resampling of their own."""

    @property
    def weights_source(self) -> str | None:
        """`pretrained`, or None if the encoder starts from random weights or a whole model's."""
        return None if self.pretrained in (None, "false") else self.pretrained


Pooling = Literal["eos", "first", "last", "mean", "pooler"]
CLIP_TEXT_MODEL = "clip"
"""`model.text.name` of the default text encoder."""
MAX_CONTEXT_LENGTH = 512
"""Largest `model.text.context_length`."""


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """The text encoder f_T: the causal Transformer of CLIP, or any encoder of transformers."""

    name: str = config_field(CLIP_TEXT_MODEL, value_if_missing=CLIP_TEXT_MODEL)
    """clip, or another model type of transformers, such as bert, roberta, modernbert, t5 or
    siglip_text_model; null = that of `folder`."""
    folder: str | None = config_field(None, run_only=True, is_path=True)
    """A local folder of transformers, or `hf-hub:<name>`: architecture and tokenizer are read from
    it. The content, not the path, is part of the run id."""
    pretrained: bool = config_field(False, value_if_missing=False)
    """Start from the weights in `folder`; else they are random."""
    options: dict[str, Any] = config_field(dict, value_if_missing={})
    """Keyword arguments of the model's configuration in transformers, for a `name` other than
    clip."""
    pooling: Union[Pooling, None] = config_field(None, value_if_missing=None)
    """State that stands for the text: at the end token, the first or the last token, the mean, or
    the model's own pooling layer. null = eos for clip, pooler for SigLIP, mean for T5, else
    first."""
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
    tokenizer: Literal["bpe", "clip", "folder"] = config_field("bpe", value_if_missing="bpe")
    """A BPE trained on the captions, CLIP's published BPE of 49,408 tokens, or that of `folder`;
    null = folder if there is one, else bpe."""
    activation: Literal["quick_gelu", "gelu"] = config_field(
        "quick_gelu", value_if_missing="quick_gelu"
    )
    """Activation of clip's MLPs: x * sigmoid(1.702 x), as in OpenAI's CLIP and UniCL, or the
    GELU."""
    layer_norm_eps: float = config_field(1e-5, above=0, value_if_missing=1e-5)
    """Epsilon of clip's layer norms: 1e-5 in CLIP, 1e-12 in UniCL."""

    def __post_init__(self) -> None:
        if self.tokenizer == "clip" and self.vocab_size != CLIP_VOCAB_SIZE:
            raise UserError(
                f"model.text.tokenizer=clip has {CLIP_VOCAB_SIZE} tokens: set "
                f"model.text.vocab_size={CLIP_VOCAB_SIZE} too, not {self.vocab_size}"
            )
        for key in ("tokenizer", "pretrained") if self.folder is None else ():
            if (value := getattr(self, key)) in ("folder", True):
                raise UserError(
                    f"model.text.{key}={str(value).lower()} needs model.text.folder=<folder>"
                )
        if self.pretrained and self.tokenizer != "folder":
            raise UserError(
                f"model.text.pretrained=true needs the vocabulary of its weights: leave out "
                f"model.text.tokenizer={self.tokenizer}"
            )
        if self.is_clip and (self.options or self.pooling not in (None, "eos")):
            raise UserError(
                "model.text.options and model.text.pooling are for a model.text.name other than "
                "clip: leave them out, or set model.text.name=clip_text_model"
            )
        if self.is_clip and self.width % self.heads:
            raise UserError(
                f"model.text.width={self.width} must be a multiple of model.text.heads={self.heads}"
            )

    @property
    def is_clip(self) -> bool:
        """Whether it is the default encoder, with CLIP's settings as keys of their own."""
        return self.name == CLIP_TEXT_MODEL


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
