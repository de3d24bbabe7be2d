"""Whole models in folders of transformers: CLIPModel and SiglipModel, as our two encoders.

The image encoder becomes timm's vision Transformer of the same function, the text encoder stays
transformers'. SigLIP has no projections behind its poolers: here they are identity matrices. Its
bias of the logits is kept for the imported model; training starts from `method.bias`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPConfig, SiglipConfig

from uniclip.checkpoints import weight_files
from uniclip.checkpoints.importing import CheckpointWeights, build_embedder, list_normalization
from uniclip.checkpoints.key_mapping import CLIP_LAYER_NORM_EPS, LOGIT_BIAS_KEY
from uniclip.checkpoints.read import read_checkpoint
from uniclip.config import CLIP_VOCAB_SIZE, ImageConfig, ModelConfig, TextConfig
from uniclip.config.binding import bind
from uniclip.data.text.build import build_tokenizer
from uniclip.data.text.tokenizer import Tokenizer
from uniclip.errors import UserError
from uniclip.io.atomic import JSON_ERRORS, parse_json
from uniclip.models.text_query import describe_folder

VISION_RULES = (
    (r"^embeddings\.class_embedding$", "cls_token"),
    (r"^embeddings\.position_embedding\.weight$", "pos_embed"),
    (r"^embeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"^pre_layrnorm\.", "norm_pre."),  # spelled so in transformers
    (r"^post_layernorm\.", "norm."),
    (r"^encoder\.layers\.(\d+)\.layer_norm(\d)\.", r"blocks.\1.norm\2."),
    (r"^encoder\.layers\.(\d+)\.mlp\.", r"blocks.\1.mlp."),
    (r"^encoder\.layers\.(\d+)\.self_attn\.out_proj\.", r"blocks.\1.attn.proj."),
    (r"^head\.probe$", "attn_pool.latent"),
    (r"^head\.attention\.out_proj\.", "attn_pool.proj."),
    (r"^head\.layernorm\.", "attn_pool.norm."),
    (r"^head\.mlp\.", "attn_pool.mlp."),
)
QUERY_KEY = re.compile(r"^encoder\.layers\.(\d+)\.self_attn\.q_proj\.(weight|bias)$")
POOL_KEY = re.compile(r"^head\.attention\.in_proj_(weight|bias)$")
CLIP_IMAGE_NAMES = {
    "quick_gelu": "vit_base_patch32_clip_quickgelu_224",
    "gelu": "vit_base_patch32_clip_224",
}
"""Activation -> timm's CLIP vision Transformer."""
SIGLIP_IMAGE_NAME = "vit_base_patch16_siglip_224"
SIGLIP_ACTIVATIONS = {"gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}
"""Activation in transformers -> in timm."""
SIGLIP_LAYER_NORM_EPS = 1e-6
PROJECTIONS = {
    "visual_projection.weight": "image_head.weight",
    "text_projection.weight": "text_head.weight",
}
IGNORED_KEYS = re.compile(r".*position_ids$|logit_scale$|logit_bias$")


def is_model_folder(folder: Path) -> bool:
    """Return whether a folder holds a model that `read_folder` reads."""
    return (folder / "config.json").is_file() and _read_json(folder / "config.json").get(
        "model_type"
    ) in ("clip", "siglip")


def read_folder(folder: Path) -> tuple[CheckpointWeights, Tokenizer]:
    """Return the weights of a folder, all of them or none, and its tokenizer.

    Raises:
        UserError: The folder is incomplete, or an encoder of it has no equal here.
    """
    library_config = _read_library_config(folder)
    is_siglip = isinstance(library_config, SiglipConfig)
    text = read_text_config(folder)
    text_tokenizer = build_tokenizer(text, ())
    model = ModelConfig(
        image=read_image_config(folder),
        text=text,
        embed_dim=text.width if is_siglip else library_config.projection_dim,
    )
    embedder = build_embedder(model, text_tokenizer, projection_bias=False)
    tensors = _read_tensors(folder)
    state = _convert(tensors, folder)
    if is_siglip:
        state |= dict.fromkeys(PROJECTIONS.values(), torch.eye(model.embed_dim))
    _check_keys(state, embedder.state_dict(), folder)
    embedder.load_state_dict(state)
    weights = CheckpointWeights(
        model=model,
        state_dict=state,
        embedder=embedder,
        log_scale=tensors["logit_scale"].item(),
        bias=tensors[LOGIT_BIAS_KEY].item() if LOGIT_BIAS_KEY in tensors else None,
        resize_size=model.image.image_size,
        activation_is_known=True,
    )
    return weights, text_tokenizer


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
    except (OSError, *JSON_ERRORS):
        pass
    raise UserError(f"{path} is missing or damaged")


def _read_library_config(folder: Path) -> Any:
    """Return the CLIPConfig or SiglipConfig of a folder."""
    values = _read_json(folder / "config.json")
    return (SiglipConfig if values["model_type"] == "siglip" else CLIPConfig)(**values)


def read_text_config(folder: Path) -> TextConfig:
    """Return the text encoder of a folder."""
    facts = describe_folder(_read_json(folder / "config.json"))
    has_tokenizer = (folder / "tokenizer.json").is_file()
    uses_clip = not has_tokenizer and facts["vocab_size"] == CLIP_VOCAB_SIZE
    tokenizer_values = {"tokenizer": "clip" if uses_clip else "folder", "folder": str(folder)}
    config: TextConfig = bind(TextConfig, {**facts, **tokenizer_values}, "model.text.")
    return config


def read_image_config(folder: Path) -> ImageConfig:
    """Return timm's model of a folder's vision Transformer.

    Raises:
        UserError: It has another activation or epsilon than timm's.
    """
    library_config = _read_library_config(folder)
    vision, is_siglip = library_config.vision_config, isinstance(library_config, SiglipConfig)
    eps = SIGLIP_LAYER_NORM_EPS if is_siglip else CLIP_LAYER_NORM_EPS
    activations = SIGLIP_ACTIVATIONS if is_siglip else CLIP_IMAGE_NAMES
    if vision.hidden_act not in activations or vision.layer_norm_eps != eps:
        raise UserError(
            f"{folder}: timm has no vision Transformer with hidden_act={vision.hidden_act} and "
            f"layer_norm_eps={vision.layer_norm_eps}"
        )
    options: dict[str, Any] = {
        "patch_size": vision.patch_size,
        "embed_dim": vision.hidden_size,
        "depth": vision.num_hidden_layers,
        "num_heads": vision.num_attention_heads,
        "mlp_ratio": vision.intermediate_size / vision.hidden_size,
    }
    if is_siglip:
        name = SIGLIP_IMAGE_NAME
        options["act_layer"] = SIGLIP_ACTIVATIONS[vision.hidden_act]
    else:
        name = CLIP_IMAGE_NAMES[vision.hidden_act]
    if overlay := _read_normalization(folder, name):
        options["pretrained_cfg_overlay"] = overlay
    return ImageConfig(name=name, image_size=vision.image_size, options=options)


def _read_normalization(folder: Path, name: str) -> dict[str, list[float]]:
    """Return mean and deviation of the folder's preprocessing where they differ from timm's."""
    path = folder / "preprocessor_config.json"
    values = _read_json(path) if path.is_file() else {}
    stated = {"mean": values.get("image_mean"), "std": values.get("image_std")}
    return list_normalization(name, stated)


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for path in weight_files.find_weight_files(folder, "pretrained"):
        tensors |= read_checkpoint(path).tensors
    return tensors


def _convert(tensors: Mapping[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """Return the tensors by the keys of the embedder."""
    state: dict[str, Tensor] = {}
    for key, value in tensors.items():
        if IGNORED_KEYS.fullmatch(key):
            continue
        if key in PROJECTIONS:
            state[PROJECTIONS[key]] = value
        elif key.startswith("text_model."):
            state[f"text_encoder.body.{key.removeprefix('text_model.')}"] = value
        elif key.startswith("vision_model."):
            part = key.removeprefix("vision_model.")
            vision_state = _convert_vision(part, value, tensors)
            state |= {f"image_encoder.body.{k}": v for k, v in vision_state.items()}
        else:
            raise UserError(f"{folder}: {key} is unexpected in a model of two encoders")
    return state


def _convert_vision(key: str, value: Tensor, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of timm's model that one of transformers' holds."""
    if match := QUERY_KEY.match(key):
        parts = [
            tensors[f"vision_model.{key.replace('q_proj', f'{letter}_proj')}"] for letter in "qkv"
        ]
        return {f"blocks.{match[1]}.attn.qkv.{match[2]}": torch.cat(parts)}
    if ".k_proj." in key or ".v_proj." in key:
        return {}
    if match := POOL_KEY.match(key):
        width = len(value) // 3
        return {
            f"attn_pool.q.{match[1]}": value[:width],
            f"attn_pool.kv.{match[1]}": value[width:],
        }
    for pattern, replacement in VISION_RULES:
        key = re.sub(pattern, replacement, key)
    if key in ("cls_token", "pos_embed"):
        value = value.reshape(1, -1, value.shape[-1])
    return {key: value}


def _check_keys(
    state: Mapping[str, Tensor], expected_state: Mapping[str, Tensor], folder: Path
) -> None:
    for key in sorted({*state, *expected_state}):
        shapes = [tuple(s[key].shape) if key in s else None for s in (state, expected_state)]
        if shapes[0] != shapes[1]:
            problem = "is missing" if shapes[0] is None else f"has shape {shapes[0]}"
            raise UserError(f"{folder}: {key} {problem}, the model has {shapes[1]}")
