"""Answers what a text encoder of transformers is, for processes that do not import torch.

    python -m uniclip.models.text_query '{"folder_config": {"model_type": "bert"}}'

prints the keys of a `TextConfig` that follow from a folder's `config.json`, as JSON;
`{"text": {...}, "user_options": [...]}` prints the error, if an encoder of these values cannot be
built or has no such options, or null.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from uniclip.config import TextConfig
from uniclip.config.binding import bind
from uniclip.config.model import CLIP_TEXT_MODEL, MAX_CONTEXT_LENGTH
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.models.text_encoder import MLP_RATIO, LibraryTextEncoder, count_positions

NOT_ARCHITECTURE = (
    *("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version"),
    *("model_type", "use_cache", "auto_map", "_attn_implementation_autoset"),
    *("gradient_checkpointing",),
    *("return_dict", "output_hidden_states", "output_attentions", "label2id", "id2label"),
    *("problem_type", "_commit_hash"),
)  # fmt: skip
"""Entries of a `config.json` that do not change what the encoder computes."""
TEXT_SECTIONS = {"clip": "clip_text_model", "siglip": "siglip_text_model",
                 "siglip2": "siglip2_text_model"}  # fmt: skip
"""Model of two towers -> the type of its text tower."""
KEY_BY_OPTION = {
    "hidden_size": "model.text.width",
    "num_hidden_layers": "model.text.layers",
    "num_attention_heads": "model.text.heads",
    "max_position_embeddings": "model.text.context_length",
    "vocab_size": "model.text.vocab_size",
    **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), "model.text.tokenizer"),
}
"""Option of transformers -> the key that sets it."""
CLIP_ACTIVATIONS = ("quick_gelu", "gelu")


@dataclass(frozen=True)
class _Ids:
    """Special ids that any vocabulary of this size may have."""

    vocab_size: int
    bos: int = 1
    eos: int = 2
    pad: int = 0


def describe_folder(folder_config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a `TextConfig` that follow from a `config.json`.

    Raises:
        UserError: It is of no encoder of texts.
    """
    values = dict(folder_config)
    name = str(values.get("model_type", ""))
    if name in TEXT_SECTIONS:
        name, values = TEXT_SECTIONS[name], dict(values.get("text_config") or {})
    if name not in CONFIG_MAPPING:
        raise UserError(
            f"config.json is of the model type {name!r}, which transformers does not define"
        )
    options = {k: v for k, v in values.items() if k not in NOT_ARCHITECTURE and v is not None}
    library_config = CONFIG_MAPPING[name](**options)
    if not hasattr(library_config, "vocab_size"):
        raise UserError(f"its model type, {name}, is no encoder of texts")
    sizes = _describe_sizes(library_config, name)
    if name == "clip_text_model" and _is_default_encoder(library_config):
        return {
            **sizes,
            "name": CLIP_TEXT_MODEL,
            "options": {},
            "activation": library_config.hidden_act,
            "layer_norm_eps": library_config.layer_norm_eps,
        }
    facts = {**sizes, "name": name, "options": options}
    _build({**facts, "tokenizer": "folder", "folder": "here"})
    return facts


def _describe_sizes(library_config: PretrainedConfig, name: str) -> dict[str, Any]:
    return {
        "width": library_config.hidden_size,
        "layers": library_config.num_hidden_layers,
        "heads": library_config.num_attention_heads,
        "context_length": min(count_positions(library_config, name), MAX_CONTEXT_LENGTH),
        "vocab_size": library_config.vocab_size,
    }


def _is_default_encoder(library_config: Any) -> bool:
    """Return whether the keys of the default text encoder describe a CLIP text model."""
    return (
        library_config.hidden_act in CLIP_ACTIVATIONS
        and library_config.intermediate_size == MLP_RATIO * library_config.hidden_size
        and library_config.attention_dropout == 0
    )


def _build(text_values: Mapping[str, Any]) -> None:
    """Build the encoder without weights."""
    config: TextConfig = bind(TextConfig, text_values, "model.text.")
    with torch.device("meta"):
        LibraryTextEncoder(config, _Ids(config.vocab_size))


def check_options(name: str, options: Collection[str]) -> None:
    """Check the names of options that a user has set; transformers accepts any.

    Raises:
        UserError: The model type has no such option, or a key of ours sets it.
    """
    if name not in CONFIG_MAPPING:
        return
    config_class = CONFIG_MAPPING[name]
    aliases: dict[str, str] = getattr(config_class, "attribute_map", {})
    known = ({*config_class().to_dict(), *aliases}) - {*NOT_ARCHITECTURE}
    key_by_option = {aliases.get(o, o): key for o, key in KEY_BY_OPTION.items()}
    for option in options:
        if option not in known:
            raise make_unknown_name_error(f"option of {name} in model.text.options", option, known)
        if (key := key_by_option.get(aliases.get(option, option))) is not None:
            raise UserError(f"model.text.options.{option} is set by {key}; remove it")


def main() -> None:
    """Answer the question in the first argument."""
    question = json.loads(sys.argv[1])
    try:
        if "folder_config" in question:
            answer = describe_folder(question["folder_config"])
        else:
            check_options(question["text"]["name"], question["user_options"])
            _build({**question["text"], "folder": "here"})
            answer = {"error": None}
    except UserError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
