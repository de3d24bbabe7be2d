"""Text encoders of transformers other than the default one: built from a configuration.

Letters: B texts, F features, L tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PretrainedConfig, Siglip2TextModel, SiglipTextModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_TEXT_ENCODING_MAPPING,
    MODEL_MAPPING,
)

from uniclip.config import TextConfig
from uniclip.config.model import MAX_CONTEXT_LENGTH, Pooling
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.models.vocabulary import Vocabulary

FULL_LENGTH_MODELS = ("siglip_text_model", "siglip2_text_model")
"""Models that attend to padding, which always fills the context, as they were trained."""
POOLING_BY_NAME: dict[str, Pooling] = {
    "clip_text_model": "eos",
    "siglip_text_model": "pooler",
    "siglip2_text_model": "pooler",
    "t5": "mean",
    "mt5": "mean",
    "umt5": "mean",
}
MODEL_BY_NAME = {"siglip_text_model": SiglipTextModel, "siglip2_text_model": Siglip2TextModel}
"""Encoders that are in no table of transformers."""
MLP_RATIO = 4
MODELS_COUNTING_FROM_PAD = ("roberta", "xlm-roberta", "camembert")
"""Models whose first position is the one after the id of the padding token."""


class LibraryTextEncoder(nn.Module):
    """f_T: an encoder of transformers; tokens (B, L) int64 -> one pooled state (B, F).

    Padding, which is everything after the first end token, is masked, except for SigLIP's model,
    whose texts are padded to the context length and not masked.

    Args:
        config: name, options or sizes, and pooling.
        vocabulary: the tokenizer whose ids the tokens are.

    Raises:
        UserError: transformers has no such encoder, or the options do not suit it.
    """

    def __init__(self, config: TextConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.eos, self.pad = vocabulary.eos, vocabulary.pad
        self.pooling: Pooling = config.pooling or POOLING_BY_NAME.get(config.name, "first")
        body_config = build_library_config(config, vocabulary)
        _check_context_length(config, count_positions(body_config, config.name))
        self.body = build_body(body_config, config.name)
        self._fixed_length = config.context_length if config.name in FULL_LENGTH_MODELS else None
        self.num_features = int(body_config.hidden_size)
        self._prepare_pooler(config)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.pool(self.compute_hidden_states(tokens), tokens)

    def compute_hidden_states(self, tokens: Tensor) -> Tensor:
        """Return the hidden state at each of the tokens (B, L) int64.

        Returns:
            (B, L, F); (B, context length, F) of a model that attends to padding.
        """
        if self._fixed_length is not None:
            padding = (0, self._fixed_length - tokens.shape[1])
            tokens = F.pad(tokens, padding, value=self.pad)
            hidden_states: Tensor = self.body(input_ids=tokens).last_hidden_state
        else:
            mask = self._mask_padding(tokens)
            hidden_states = self.body(input_ids=tokens, attention_mask=mask).last_hidden_state
        return hidden_states

    def pool(self, hidden_states: Tensor, tokens: Tensor) -> Tensor:
        """Return the rows (B, F) that stand for tokens (B, L) with hidden states (B, L', F)."""
        if self.pooling == "first":
            return hidden_states[:, 0]
        if self.pooling == "pooler":
            return self._apply_pooler(hidden_states)
        if self.pooling == "last" and self._fixed_length is not None:
            return hidden_states[:, -1]
        if self.pooling == "mean":
            mask = self._mask_padding(tokens)[..., None].to(hidden_states.dtype)
            total = (hidden_states[:, : tokens.shape[1]] * mask).sum(1)
            return total / mask.sum(1)
        eos_position = (tokens == self.eos).int().argmax(1)
        return hidden_states[torch.arange(len(tokens), device=tokens.device), eos_position]

    def _mask_padding(self, tokens: Tensor) -> Tensor:
        """Return (B, L) int64: 1 up to the first end token, 0 after it."""
        eos_position = (tokens == self.eos).int().argmax(1, keepdim=True)
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        return (positions <= eos_position).long()

    def _prepare_pooler(self, config: TextConfig) -> None:
        """Remove a pooling layer that is not used: it would have no gradient."""
        has_layer = [name for name in ("pooler", "head") if getattr(self.body, name, None)]
        if self.pooling == "pooler":
            if not has_layer:
                raise UserError(
                    f"model.text.pooling=pooler: {config.name} has no pooling layer; choose eos, "
                    "first, last or mean"
                )
            return
        for name in has_layer:
            setattr(self.body, name, None if name == "pooler" else nn.Identity())

    def _apply_pooler(self, hidden_states: Tensor) -> Tensor:
        """Return the rows of the library's own pooling layer: of the first or the last token."""
        body: Any = self.body  # torch types a submodule as Tensor | Module
        if getattr(body, "pooler", None) is not None:
            rows: Tensor = body.pooler(hidden_states)
            return rows
        rows = body.head(hidden_states[:, -1])
        return rows


def build_library_config(config: TextConfig, vocabulary: Vocabulary) -> PretrainedConfig:
    """Return transformers' configuration: the options, else sizes and ids of our configuration."""
    if config.name not in CONFIG_MAPPING:
        raise make_unknown_name_error("model.text.name", config.name, ["clip", *CONFIG_MAPPING])
    config_class = CONFIG_MAPPING[config.name]
    options = dict(config.options)
    num_unused = _count_unused_positions(config.name, vocabulary.pad)
    sizes: dict[str, Any] = {
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": MLP_RATIO * config.width,
        "d_ff": MLP_RATIO * config.width,
        "d_kv": config.width // config.heads,
        "projection_size": config.width,
        "max_position_embeddings": config.context_length + num_unused,
    }
    ids: dict[str, Any] = {
        "vocab_size": vocabulary.vocab_size,
        "bos_token_id": vocabulary.bos,
        "eos_token_id": vocabulary.eos,
        "pad_token_id": vocabulary.pad,
        "cls_token_id": vocabulary.bos,
        "sep_token_id": vocabulary.eos,
    }
    aliases: dict[str, str] = getattr(config_class, "attribute_map", {})
    known = config_class().to_dict()
    defaults = {
        name: value
        for key, value in {**sizes, **ids}.items()
        if (name := aliases.get(key, key)) in known
    }
    if config.tokenizer != "folder":  # the rows of the embedding are those of another vocabulary
        options = {k: v for k, v in options.items() if k not in ids}
    try:
        library_config: PretrainedConfig = config_class(**{**defaults, **options})
    except Exception as error:  # configurations check what they are given in many ways
        raise _make_options_error(config.name, error) from error
    return library_config


def build_body(library_config: PretrainedConfig, name: str) -> nn.Module:
    """Return the encoder of a configuration with random weights.

    Of an encoder-decoder it is the encoder alone.

    Raises:
        UserError: transformers has no encoder of texts for it, or the values do not suit it.
    """
    model_class = find_model_class(library_config, name)
    try:
        try:
            model = model_class._from_config(library_config, attn_implementation="sdpa")
        except ValueError as error:
            if "scaled_dot_product_attention" not in str(error):
                raise
            model = model_class._from_config(library_config, attn_implementation="eager")
    except Exception as error:
        raise _make_options_error(name, error) from error
    return extract_encoder(model)


def extract_encoder(model: nn.Module) -> nn.Module:
    """Return the stack of encoder layers of an encoder-decoder, else the model itself."""
    if type(model).__name__.endswith("EncoderModel"):
        encoder: nn.Module = model.encoder  # type: ignore[assignment]
        return encoder
    return model


def count_positions(library_config: PretrainedConfig, name: str) -> int:
    """Return the tokens that a model can take, those of `MAX_CONTEXT_LENGTH` if it has no limit."""
    positions = getattr(library_config, "max_position_embeddings", None)
    if positions is None:
        return MAX_CONTEXT_LENGTH
    return int(positions) - _count_unused_positions(name, library_config.pad_token_id or 0)


def _count_unused_positions(name: str, pad: int) -> int:
    return pad + 1 if name in MODELS_COUNTING_FROM_PAD else 0


def _check_context_length(config: TextConfig, num_positions: int) -> None:
    if config.context_length > num_positions:
        raise UserError(
            f"model.text.context_length={config.context_length} is more than the {num_positions} "
            f"tokens of model.text.name={config.name}"
        )


def find_model_class(library_config: PretrainedConfig, name: str) -> Any:
    """Return the class of transformers that encodes texts with a configuration."""
    if name in MODEL_BY_NAME:
        return MODEL_BY_NAME[name]
    config_type = type(library_config)
    if config_type in MODEL_FOR_TEXT_ENCODING_MAPPING:
        return MODEL_FOR_TEXT_ENCODING_MAPPING[config_type]
    is_encoder = hasattr(library_config, "vocab_size") and not library_config.is_encoder_decoder
    if config_type in MODEL_MAPPING and is_encoder:
        return MODEL_MAPPING[config_type]
    raise UserError(
        f"model.text.name={name} is no encoder of texts in transformers: choose one such as bert, "
        "roberta, modernbert, t5, clip_text_model or siglip_text_model"
    )


def _make_options_error(name: str, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return UserError(f"model.text.options or sizes do not suit model.text.name={name}: {reason}")
