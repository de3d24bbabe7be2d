"""The encoders: any timm image model, and transformers' CLIP text model, with random weights.

Letters: B images or texts, F features, L tokens.
"""

from __future__ import annotations

from typing import Any, cast

import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from uniclip.config import ImageConfig, TextConfig
from uniclip.config.image_model import describe_missing_patches
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.models.convolution import replace_convolutions
from uniclip.models.patch_dropout import (
    PatchDropout,
    has_patch_tokens,
    insert_patch_dropout,
)
from uniclip.models.vocabulary import Vocabulary


class ImageEncoder(nn.Module):
    """f_I: a timm model without its classifier; (B, 3, H, W) uint8 -> pooled features (B, F).

    Pixels are cast and normalized here, on the device, by the mean and standard deviation of the
    model's configuration in timm, in the channels-last layout (5 to 40 % faster on a CPU). With the
    option global_pool='' the feature map of a convolutional model is flattened, so that it keeps
    the positions of objects.

    Args:
        config: name, image size and options; the size is passed as img_size to models that take it.

    Raises:
        UserError: timm has no such model, or the options or the size do not suit it.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: ImageConfig) -> None:
        super().__init__()
        self.body = create_timm_model(config)
        replace_convolutions(self.body)
        for name, values in get_normalization(self.body).items():
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
        self._name = config.name
        self._patch_dropout: PatchDropout | None = None
        self.num_features = self._count_features(config)
        """F."""

    def enable_patch_dropout(self) -> int:
        """Let training pass the patches that each image keeps; return the patches of an image.

        Raises:
            UserError: The model has no patches that can be left out.
        """
        if not has_patch_tokens(self.body):
            raise UserError(describe_missing_patches(self._name))
        self._patch_dropout = insert_patch_dropout(self.body)
        num_patches: int = cast(Any, self.body).patch_embed.num_patches
        return num_patches

    def forward(self, pixels: Tensor, kept_patches: Tensor | None = None) -> Tensor:
        """Return features (B, F); kept_patches: (B, K) int64, with patch dropout in training."""
        if self._patch_dropout is not None:
            if self.training and kept_patches is None:
                raise UserError(
                    "train.patch_drop_rate: this method does not pass Batch.kept_patches to the "
                    "image encoder; leave it out"
                )
            self._patch_dropout.kept_patches = kept_patches
        unit_pixels = pixels.to(self.mean.dtype, memory_format=torch.channels_last) / 255
        features: Tensor = self.body((unit_pixels - self.mean) / self.std)
        return features.flatten(1) if features.ndim == 4 else features

    @torch.no_grad()
    def _count_features(self, config: ImageConfig) -> int:
        """Return the number of features, F, found by encoding one black image."""
        image_size = config.image_size
        self.eval()
        try:
            features = self(torch.zeros(1, 3, image_size, image_size, dtype=torch.uint8))
        except (RuntimeError, AssertionError, ValueError) as error:
            raise UserError(
                f"model.image.name={config.name} cannot encode {image_size} x {image_size} pixels "
                f"({_format_error(error)}); change model.image.image_size or model.image.options"
            ) from error
        finally:
            self.train()
        if features.ndim != 2:
            raise UserError(
                f"model.image.name={config.name} gives features of shape "
                f"{tuple(features.shape)}, not one vector per image; change model.image.options"
            )
        return int(features.shape[1])


def get_normalization(body: nn.Module) -> dict[str, tuple[float, ...]]:
    """Return "mean" and "std" of pixels in [0, 1] from a timm model's configuration, each (3,)."""
    cfg = getattr(body, "pretrained_cfg", None) or {}
    defaults = {"mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD}
    return {name: tuple(cfg.get(name) or default) for name, default in defaults.items()}


class TextEncoder(nn.Module):
    """f_T: a causal Transformer; tokens (B, L) int64 -> the state at the end token (B, F).

    The attention is causal, so tokens after the end token have no effect and need no mask.

    Args:
        config: width, layers, heads and context length.
        vocabulary: the tokenizer whose ids the tokens are.
    """

    def __init__(self, config: TextConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        special_ids = (vocabulary.bos, vocabulary.eos, vocabulary.pad)
        assert vocabulary.bos != vocabulary.eos, special_ids
        assert max(special_ids) < vocabulary.vocab_size, (special_ids, vocabulary.vocab_size)
        self.eos = vocabulary.eos
        self.num_features = config.width
        self.body = CLIPTextModel(_build_text_config(config, vocabulary))
        # At least as fast as "eager" at these sizes, and deterministic on a CPU.
        self.body.set_attn_implementation("sdpa")
        body_config = self.body.config
        assert (
            body_config.bos_token_id,
            body_config.eos_token_id,
            body_config.pad_token_id,
        ) == special_ids
        assert self.body.embeddings.token_embedding.num_embeddings >= vocabulary.vocab_size

    def forward(self, tokens: Tensor) -> Tensor:
        return self.pool(self.compute_hidden_states(tokens), tokens)

    def compute_hidden_states(self, tokens: Tensor) -> Tensor:
        """Return the hidden state at each of the tokens (B, L) int64, (B, L, F)."""
        hidden_states: Tensor = self.body(input_ids=tokens).last_hidden_state
        return hidden_states

    def pool(self, hidden_states: Tensor, tokens: Tensor) -> Tensor:
        """Return the hidden states (B, L, F) at the end tokens of tokens (B, L), (B, F)."""
        # Not the pooler of transformers: for an eos id of 2 it takes the largest id instead.
        eos_position = (tokens == self.eos).int().argmax(1)
        return hidden_states[torch.arange(len(tokens), device=tokens.device), eos_position]


def _build_text_config(config: TextConfig, vocabulary: Vocabulary) -> CLIPTextConfig:
    """Return the configuration of transformers' text model."""
    return CLIPTextConfig(
        # A published model may have more rows than its tokenizer has tokens.
        vocab_size=config.vocab_size if config.tokenizer == "folder" else vocabulary.vocab_size,
        bos_token_id=vocabulary.bos,
        eos_token_id=vocabulary.eos,
        pad_token_id=vocabulary.pad,
        hidden_size=config.width,
        intermediate_size=4 * config.width,
        projection_dim=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        max_position_embeddings=config.context_length,
        attention_dropout=0.0,
        hidden_act=config.activation,
        layer_norm_eps=config.layer_norm_eps,
    )


def require_timm_model(name: str) -> None:
    """Raise `UserError` with the nearest names if timm defines no model of that name."""
    source, colon, _ = name.partition(":")
    if colon:
        raise UserError(
            f"model.image.name={name} names a file or a model of a hub ({source}:): name timm's "
            "architecture, such as resnet50, and the weights with "
            f"model.image.pretrained={name if source == 'hf-hub' else '<file>'}"
        )
    if not timm.is_model(name):
        raise make_unknown_name_error(
            "model.image.name", name, [m.split(".")[0] for m in timm.list_models()]
        )


def create_timm_model(config: ImageConfig, *, pretrained: bool = False) -> nn.Module:
    """Return the timm model, with img_size if it takes it.

    Raises:
        UserError: timm has no such model, or the options or the size do not suit it.
        RuntimeError: The weights of a pretrained model do not fit.
    """
    require_timm_model(config.name)
    if "img_size" in config.options:
        raise UserError("model.image.options.img_size is set by model.image.image_size; remove it")
    rng_state = torch.random.get_rng_state()
    try:
        options = {**config.options, "img_size": config.image_size}
        return _create_model(config.name, options, pretrained=pretrained)
    except Exception as error:  # timm's models check what they are given in many ways
        if pretrained and isinstance(error, RuntimeError):
            raise
        if not (isinstance(error, TypeError) and "img_size" in str(error)):
            raise _make_options_error(config, error) from error
    torch.random.set_rng_state(rng_state)
    try:
        return _create_model(config.name, config.options, pretrained=pretrained)
    except Exception as error:
        if pretrained and isinstance(error, RuntimeError):
            raise
        raise _make_options_error(config, error) from error


# Any: options of a timm model have any type.
def _create_model(name: str, options: dict[str, Any], *, pretrained: bool) -> nn.Module:
    options = {**options, "num_classes": 0}
    body: nn.Module = timm.create_model(name, pretrained=pretrained, **options)
    return body


def _make_options_error(config: ImageConfig, error: Exception) -> UserError:
    problem = (
        "model.image.options do not suit"
        if config.options
        else f"model.image.image_size={config.image_size} does not suit"
    )
    return UserError(f"{problem} model.image.name={config.name}: {_format_error(error)}")


def _format_error(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
