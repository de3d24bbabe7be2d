"""Export of a trained model in the formats of open_clip and of transformers' CLIPModel.

Both support one architecture: CLIP's vision Transformer (timm's `vit_*_clip_*`), our text encoder,
and a linear projection of each. A model that a format cannot represent is refused with the reason;
nothing is left out silently. Only the names and the packing of tensors change, not their values.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import tokenizers
import torch
from timm.layers import QuickGELU
from timm.models.vision_transformer import VisionTransformer
from tokenizers import normalizers, processors
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

from uniclip.checkpoints import encoder_export, key_mapping, load
from uniclip.checkpoints.key_mapping import CLIP_LAYER_NORM_EPS, HEAD_DIM
from uniclip.checkpoints.pretrained import PretrainedModel
from uniclip.data.text.library_tokenizer import LibraryTokenizer
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.io import atomic
from uniclip.methods.siglip import Siglip

TRANSFORMERS_PREFIXES = {
    "image_encoder.body.": "vision_model.",
    "text_encoder.body.": "text_model.",
}
TRANSFORMERS_VISION_RULES = (
    (r"^vision_model\.cls_token$", "vision_model.embeddings.class_embedding"),
    (r"^vision_model\.pos_embed$", "vision_model.embeddings.position_embedding.weight"),
    (r"^vision_model\.patch_embed\.proj\.", "vision_model.embeddings.patch_embedding."),
    (r"^vision_model\.norm_pre\.", "vision_model.pre_layrnorm."),  # spelled so in transformers
    (r"^vision_model\.norm\.", "vision_model.post_layernorm."),
    (r"^vision_model\.blocks\.(\d+)\.norm(\d)\.", r"vision_model.encoder.layers.\1.layer_norm\2."),
    (r"^vision_model\.blocks\.(\d+)\.mlp\.", r"vision_model.encoder.layers.\1.mlp."),
    (
        r"^vision_model\.blocks\.(\d+)\.attn\.proj\.",
        r"vision_model.encoder.layers.\1.self_attn.out_proj.",
    ),
    (
        r"^vision_model\.blocks\.(\d+)\.attn\.qkv\.",
        r"vision_model.encoder.layers.\1.self_attn.{}_proj.",
    ),
)


def export(pretrained: PretrainedModel, folder: str | Path, target_format: str) -> Path:
    """Write a model into a new folder and return the folder.

    Args:
        pretrained: The model.
        folder: Must not exist.
        target_format: "open_clip", for `open_clip.create_model("local-dir:<folder>")`, or
            "transformers", for `CLIPModel.from_pretrained(folder)`; "encoders", for each encoder
            in its own library (`uniclip.checkpoints.encoder_export`).

    Raises:
        UserError: The format cannot represent this model, or the folder exists.
    """
    if target_format not in EXPORTERS:
        raise make_unknown_name_error("format", target_format, EXPORTERS)
    reason = find_export_obstacle(pretrained, target_format)
    if reason is not None:
        raise UserError(f"this model cannot be exported as {target_format}: {reason}")
    path = Path(folder)
    if path.exists():
        raise UserError(f"{path} exists; name a new folder")
    path.mkdir(parents=True)
    EXPORTERS[target_format](pretrained, path)
    return path


def find_export_obstacle(pretrained: PretrainedModel, target_format: str) -> str | None:
    """Return why `target_format` cannot represent a model, or None if it can."""
    if target_format == "encoders":
        return None
    embedder, body = pretrained.embedder, _get_image_body(pretrained)
    if not isinstance(embedder.image_head, nn.Linear):
        return "its image head is not a linear projection (train method=clip)"
    if embedder.image_head.bias is not None:
        return "its image projection has a bias"
    if not (_is_vit(body) and _is_clip_vit(body)):
        return "its image encoder is not CLIP's vision Transformer (timm's vit_*_clip_*)"
    if not pretrained.config.model.text.is_clip:
        return f"its text encoder is {pretrained.config.model.text.name}, not CLIP's"
    activation = body.blocks[0].mlp.act
    if not isinstance(activation, (nn.GELU, QuickGELU)):
        return (
            f"its image encoder's activation, {type(activation).__name__}, is not GELU or QuickGELU"
        )
    if target_format == "transformers" and _has_bias(pretrained):
        return "CLIPModel has no bias of the logits, which method=siglip has (export as open_clip)"
    mismatched_key = _find_mismatched_tensor(pretrained)
    if mismatched_key is not None:
        return f"its tensors are not those of a CLIP of its sizes, such as {mismatched_key}"
    return _find_open_clip_obstacle(pretrained) if target_format == "open_clip" else None


def _find_mismatched_tensor(pretrained: PretrainedModel) -> str | None:
    """Return the first key whose tensor a CLIP of these sizes lacks or has in another shape."""
    with torch.device("meta"):
        clip_shapes = {
            k: v.shape for k, v in CLIPModel(_build_clip_config(pretrained)).state_dict().items()
        }
    model_shapes = {k: v.shape for k, v in _build_clip_state(pretrained).items()}
    return min(
        (k for k in {*clip_shapes, *model_shapes} if clip_shapes.get(k) != model_shapes.get(k)),
        default=None,
    )


def _find_open_clip_obstacle(pretrained: PretrainedModel) -> str | None:
    """Return a setting that open_clip fixes and the model has otherwise, or None."""
    text, body = pretrained.config.model.text, _get_image_body(pretrained)
    if not pretrained.tokenizer.is_clip:
        return "its vocabulary is not CLIP's (train with model.text.tokenizer=clip)"
    if text.layer_norm_eps != CLIP_LAYER_NORM_EPS:
        return f"its text encoder's layer_norm_eps is not {CLIP_LAYER_NORM_EPS}"
    if _uses_quick_gelu(body) != (text.activation == "quick_gelu"):
        return "its two encoders have different activations"
    if body.embed_dim != HEAD_DIM * body.blocks[0].attn.num_heads:
        return f"its image encoder's heads are not {HEAD_DIM} wide"
    return None


# ---- open_clip --------------------------------------------------------------------------------


def _export_open_clip(pretrained: PretrainedModel, folder: Path) -> None:
    model, body = pretrained.config.model, _get_image_body(pretrained)
    tensors = key_mapping.convert_to_checkpoint(key_mapping.CLIP_VIT, _get_state_dict(pretrained))
    tensors[key_mapping.CLIP_VIT.logit_scale_key] = _compute_log_scale(pretrained)
    if _has_bias(pretrained):
        tensors[key_mapping.LOGIT_BIAS_KEY] = torch.tensor(pretrained.image_text_bias())
    text = model.text
    model_cfg = {
        "embed_dim": model.embed_dim,
        "quick_gelu": _uses_quick_gelu(body),
        "vision_cfg": {
            "image_size": model.image.image_size,
            "layers": len(body.blocks),
            "width": body.embed_dim,
            "patch_size": body.patch_embed.patch_size[0],
            "mlp_ratio": body.blocks[0].mlp.fc1.out_features / body.embed_dim,
        },
        "text_cfg": {
            "context_length": text.context_length,
            "vocab_size": text.vocab_size,
            "width": text.width,
            "heads": text.heads,
            "layers": text.layers,
        },
    }
    if _has_bias(pretrained):
        model_cfg["init_logit_bias"] = pretrained.image_text_bias()
    preprocess_cfg = {**_get_normalization(pretrained), "size": model.image.image_size}
    config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg}
    _write_json(folder / "open_clip_config.json", config)
    _write_tensors(folder / "open_clip_model.safetensors", tensors)


# ---- transformers -----------------------------------------------------------------------------


def _export_transformers(pretrained: PretrainedModel, folder: Path) -> None:
    with torch.random.fork_rng(devices=[]):  # the initial weights are overwritten
        model = CLIPModel(_build_clip_config(pretrained))
    model.load_state_dict(_build_clip_state(pretrained), strict=True)
    model.save_pretrained(folder)
    _build_tokenizer(pretrained).save_pretrained(folder)
    image_size = pretrained.config.model.image.image_size
    normalization = _get_normalization(pretrained)
    processor_config = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": image_size},
        "crop_size": {"height": image_size, "width": image_size},
        "resample": 3,
        "image_mean": normalization["mean"],
        "image_std": normalization["std"],
    }
    _write_json(folder / "preprocessor_config.json", processor_config)


def _build_clip_state(pretrained: PretrainedModel) -> dict[str, Tensor]:
    clip_tensors = {"logit_scale": _compute_log_scale(pretrained)}
    for key, value in _get_state_dict(pretrained).items():
        clip_tensors.update(_convert_to_transformers(key, value))
    return clip_tensors


def _build_clip_config(pretrained: PretrainedModel) -> CLIPConfig:
    model, body = pretrained.config.model, _get_image_body(pretrained)
    text_body: Any = pretrained.embedder.text_encoder.body
    text_config = text_body.config.to_dict()
    vision_config = {
        "hidden_size": body.embed_dim,
        "intermediate_size": body.blocks[0].mlp.fc1.out_features,
        "num_hidden_layers": len(body.blocks),
        "num_attention_heads": body.blocks[0].attn.num_heads,
        "image_size": model.image.image_size,
        "patch_size": body.patch_embed.patch_size[0],
        "hidden_act": "quick_gelu" if _uses_quick_gelu(body) else "gelu",
        "layer_norm_eps": body.norm.eps,
    }
    return CLIPConfig(
        text_config=text_config, vision_config=vision_config, projection_dim=model.embed_dim
    )


def _build_tokenizer(pretrained: PretrainedModel) -> PreTrainedTokenizerFast:
    """Return the tokenizer, which adds both end tokens; CLIP's cleans texts without ftfy."""
    source_tokenizer = pretrained.tokenizer
    bpe = tokenizers.Tokenizer.from_str(source_tokenizer.to_json())
    if isinstance(source_tokenizer, LibraryTokenizer):  # adds its special tokens itself
        bpe.no_padding()
        names = {"eos_token": source_tokenizer.eos, "pad_token": source_tokenizer.pad}
        return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
            tokenizer_object=bpe,
            model_max_length=pretrained.config.model.text.context_length,
            **{name: bpe.id_to_token(i) for name, i in names.items()},
        )
    if source_tokenizer.is_clip:
        collapse_whitespace = normalizers.Replace(tokenizers.Regex(r"\s+"), " ")
        steps = [normalizers.NFC(), collapse_whitespace, normalizers.Lowercase()]
        bpe.normalizer = normalizers.Sequence(steps)
    bos, eos = (bpe.id_to_token(i) for i in (source_tokenizer.bos, source_tokenizer.eos))
    special_tokens = [(bos, source_tokenizer.bos), (eos, source_tokenizer.eos)]
    bpe.post_processor = processors.TemplateProcessing(
        f"{bos} $A {eos}", special_tokens=special_tokens
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=bpe,
        bos_token=bos,
        eos_token=eos,
        pad_token=eos if source_tokenizer.is_clip else bpe.id_to_token(source_tokenizer.pad),
        model_max_length=pretrained.config.model.text.context_length,
    )


def _convert_to_transformers(key: str, value: Tensor) -> dict[str, Tensor]:
    if key in ("image_head.weight", "text_head.weight"):
        name = "visual_projection" if key.startswith("image") else "text_projection"
        return {f"{name}.weight": value}
    for model_prefix, transformers_prefix in TRANSFORMERS_PREFIXES.items():
        if key.startswith(model_prefix):
            key = transformers_prefix + key.removeprefix(model_prefix)
    name = key_mapping.apply_rename_rules(TRANSFORMERS_VISION_RULES, "", key)
    if "{}" in name:
        return {name.format(letter): chunk for letter, chunk in zip("qkv", value.chunk(3))}
    if name.endswith(("class_embedding", "vision_model.embeddings.position_embedding.weight")):
        value = value.reshape(value.shape[1:] if value.shape[1] > 1 else value.shape[-1:])
    return {name: value}


# ---- both formats -----------------------------------------------------------------------------


def _export_encoders(pretrained: PretrainedModel, folder: Path) -> None:
    encoder_export.export_encoders(pretrained, folder)
    _build_tokenizer(pretrained).save_pretrained(folder / "text")


EXPORTERS: dict[str, Callable[[PretrainedModel, Path], None]] = {
    "encoders": _export_encoders,
    "open_clip": _export_open_clip,
    "transformers": _export_transformers,
}


def _get_image_body(pretrained: PretrainedModel) -> Any:
    """Return timm's model; `Any` because timm does not type its attributes."""
    return pretrained.embedder.image_encoder.body


def _is_vit(body: Any) -> bool:
    return isinstance(body, VisionTransformer)


def _is_clip_vit(body: Any) -> bool:
    """Return whether it pools the class token and has CLIP's norms; its tensors show the rest."""
    norms = (body.norm_pre, body.norm, body.blocks[0].norm1)
    norms_match = all(
        isinstance(norm, nn.LayerNorm) and norm.eps == CLIP_LAYER_NORM_EPS for norm in norms
    )
    return body.global_pool == "token" and norms_match


def _uses_quick_gelu(body: Any) -> bool:
    return isinstance(body.blocks[0].mlp.act, QuickGELU)


def _get_state_dict(pretrained: PretrainedModel) -> dict[str, Tensor]:
    return {k: v.detach().cpu() for k, v in pretrained.embedder.state_dict().items()}


def _has_bias(pretrained: PretrainedModel) -> bool:
    """Return whether a bias is added to the logits."""
    return isinstance(pretrained.method, Siglip)


def _compute_log_scale(pretrained: PretrainedModel) -> Tensor:
    return torch.tensor(pretrained.image_text_scale()).log()


def _get_normalization(pretrained: PretrainedModel) -> dict[str, list[float]]:
    encoder = pretrained.embedder.image_encoder
    return {"mean": encoder.mean.flatten().tolist(), "std": encoder.std.flatten().tolist()}


def _write_json(path: Path, value: object) -> None:
    atomic.atomic_write(path, json.dumps(value, indent=2).encode())


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    contiguous_tensors = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    atomic.atomic_write(path, safetensors.torch.save(contiguous_tensors, {"format": "pt"}))


def main(argv: Sequence[str] | None = None) -> int:
    """Export the model of a run, and return the exit status (2 for user errors).

    argv: the command-line arguments; default: those of the process.
    """
    parser = argparse.ArgumentParser(
        prog="uniclip-export", description="Export the model of a run to another library's format."
    )
    parser.add_argument("run", help="the folder of a run")
    parser.add_argument("target", help="the folder to create")
    parser.add_argument("format", choices=EXPORTERS, help="the format of the exported model")
    arguments = parser.parse_args(argv)
    try:
        print(export(load.load(arguments.run), arguments.target, arguments.format))
    except UserError as error:
        print(f"uniclip-export: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
