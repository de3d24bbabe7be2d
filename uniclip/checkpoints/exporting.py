"""A trained model in other libraries' layouts: open_clip's, and transformers' CLIPModel.

Both know one architecture of ours: a vision Transformer as CLIP's (timm's `vit_*_clip_*`), our text
encoder, and a linear projection of each. What they cannot hold is refused with its reason, never
left out. The numbers are the same; only names and packing change.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
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

from uniclip.checkpoints import key_mapping
from uniclip.checkpoints.pretrained import Pretrained
from uniclip.errors import UserError, unknown
from uniclip.io import atomic

CLIP_EPSILON = 1e-5
HEAD = 64
"""Width of open_clip's vision heads."""
PREFIXES = {"image_encoder.body.": "vision_model.", "text_encoder.body.": "text_model."}
VISION = (
    (r"^vision_model\.cls_token$", "vision_model.embeddings.class_embedding"),
    (r"^vision_model\.pos_embed$", "vision_model.embeddings.position_embedding.weight"),
    (r"^vision_model\.patch_embed\.proj\.", "vision_model.embeddings.patch_embedding."),
    (r"^vision_model\.norm_pre\.", "vision_model.pre_layrnorm."),  # their spelling
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


def export(pretrained: Pretrained, folder: str | Path, layout: str) -> Path:
    """Write a model into a new `folder`; the folder.

    layout: "open_clip", for `open_clip.create_model("local-dir:<folder>")`, or "transformers", for
        `CLIPModel.from_pretrained(folder)`.

    Raises:
        UserError: the layout cannot hold this model, or the folder is there already.
    """
    if layout not in LAYOUTS:
        raise unknown("layout", layout, LAYOUTS)
    reason = obstacle(pretrained, layout)
    if reason is not None:
        raise UserError(f"this model has no {layout} layout: {reason}")
    path = Path(folder)
    if path.exists():
        raise UserError(f"{path} is there already; name a new folder")
    path.mkdir(parents=True)
    LAYOUTS[layout](pretrained, path)
    return path


def obstacle(pretrained: Pretrained, layout: str) -> str | None:
    """Why `layout` cannot hold a model; None if it can."""
    embedder, body = pretrained.embedder, _body(pretrained)
    if not isinstance(embedder.image_head, nn.Linear):
        return "its image head is not a linear projection (train method=clip)"
    if embedder.image_head.bias is not None:
        return "its image projection has a bias"
    if not (_is_vit(body) and _is_clip_vit(body)):
        return "its image encoder is not a vision Transformer as CLIP's (timm's vit_*_clip_*)"
    act = body.blocks[0].mlp.act
    if not isinstance(act, (nn.GELU, QuickGELU)):
        return f"its image encoder's activation, {type(act).__name__}, is not GELU or QuickGELU"
    unlike = _unlike_clip(pretrained)
    if unlike is not None:
        return f"its tensors are not those of a CLIP of its sizes, {unlike} for one"
    return _obstacle_of_open_clip(pretrained) if layout == "open_clip" else None


def _unlike_clip(pretrained: Pretrained) -> str | None:
    """A tensor that CLIP of these sizes and the model do not share, shape included."""
    with torch.device("meta"):
        clip = {k: v.shape for k, v in CLIPModel(_clip_config(pretrained)).state_dict().items()}
    ours = {k: v.shape for k, v in _clip_state(pretrained).items()}
    return min((k for k in {*clip, *ours} if clip.get(k) != ours.get(k)), default=None)


def _obstacle_of_open_clip(pretrained: Pretrained) -> str | None:
    """What open_clip takes for granted and transformers' configuration states."""
    text, body = pretrained.config.model.text, _body(pretrained)
    if not pretrained.tokenizer.is_clip:
        return "its vocabulary is not CLIP's (train with model.text.tokenizer=clip)"
    if text.norm_epsilon != CLIP_EPSILON:
        return f"its text encoder's norm_epsilon is not {CLIP_EPSILON}"
    if _is_quick(body) != (text.activation == "quick_gelu"):
        return "its two encoders have different activations"
    if body.embed_dim != HEAD * body.blocks[0].attn.num_heads:
        return f"its image encoder's heads are not {HEAD} wide"
    return None


# ---- open_clip --------------------------------------------------------------------------------


def _open_clip(pretrained: Pretrained, folder: Path) -> None:
    model, body = pretrained.config.model, _body(pretrained)
    tensors = key_mapping.scatter(key_mapping.CLIP_VIT, _state(pretrained))
    tensors[key_mapping.CLIP_VIT.scale] = _log_scale(pretrained)
    text = model.text
    described = {
        "embed_dim": model.embedding,
        "quick_gelu": _is_quick(body),
        "vision_cfg": {
            "image_size": model.image.pixels,
            "layers": len(body.blocks),
            "width": body.embed_dim,
            "patch_size": body.patch_embed.patch_size[0],
            "mlp_ratio": body.blocks[0].mlp.fc1.out_features / body.embed_dim,
        },
        "text_cfg": {
            "context_length": text.context,
            "vocab_size": text.vocabulary,
            "width": text.width,
            "heads": text.heads,
            "layers": text.layers,
        },
    }
    preprocess = {**_normalisation(pretrained), "size": model.image.pixels}
    config = {"model_cfg": described, "preprocess_cfg": preprocess}
    _write_json(folder / "open_clip_config.json", config)
    _write_tensors(folder / "open_clip_model.safetensors", tensors)


# ---- transformers -----------------------------------------------------------------------------


def _transformers(pretrained: Pretrained, folder: Path) -> None:
    with torch.random.fork_rng(devices=[]):  # what is drawn here is overwritten
        model = CLIPModel(_clip_config(pretrained))
    model.load_state_dict(_clip_state(pretrained), strict=True)
    model.save_pretrained(folder)
    _tokenizer(pretrained).save_pretrained(folder)
    side = pretrained.config.model.image.pixels
    numbers = _normalisation(pretrained)
    described = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": side},
        "crop_size": {"height": side, "width": side},
        "resample": 3,
        "image_mean": numbers["mean"],
        "image_std": numbers["std"],
    }
    _write_json(folder / "preprocessor_config.json", described)


def _clip_state(pretrained: Pretrained) -> dict[str, Tensor]:
    filled = {"logit_scale": _log_scale(pretrained)}
    for key, value in _state(pretrained).items():
        filled.update(_as_transformers(key, value))
    return filled


def _clip_config(pretrained: Pretrained) -> CLIPConfig:
    model, body = pretrained.config.model, _body(pretrained)
    text = pretrained.embedder.text_encoder.body.config.to_dict()
    vision = {
        "hidden_size": body.embed_dim,
        "intermediate_size": body.blocks[0].mlp.fc1.out_features,
        "num_hidden_layers": len(body.blocks),
        "num_attention_heads": body.blocks[0].attn.num_heads,
        "image_size": model.image.pixels,
        "patch_size": body.patch_embed.patch_size[0],
        "hidden_act": "quick_gelu" if _is_quick(body) else "gelu",
        "layer_norm_eps": body.norm.eps,
    }
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=model.embedding)


def _tokenizer(pretrained: Pretrained) -> PreTrainedTokenizerFast:
    """Ours, with both ends put on by itself; CLIP's cleans as far as the library can (no ftfy)."""
    words = pretrained.tokenizer
    bpe = tokenizers.Tokenizer.from_str(words.to_json())
    if words.is_clip:
        single = normalizers.Replace(tokenizers.Regex(r"\s+"), " ")
        steps = [normalizers.NFC(), single, normalizers.Lowercase()]
        bpe.normalizer = normalizers.Sequence(steps)
    bos, eos = (bpe.id_to_token(i) for i in (words.bos, words.eos))
    ends = [(bos, words.bos), (eos, words.eos)]
    bpe.post_processor = processors.TemplateProcessing(f"{bos} $A {eos}", special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=bos,
        eos_token=eos,
        pad_token=eos if words.is_clip else bpe.id_to_token(words.pad),
        model_max_length=pretrained.config.model.text.context,
    )


def _as_transformers(key: str, value: Tensor) -> dict[str, Tensor]:
    if key in ("image_head.weight", "text_head.weight"):
        name = "visual_projection" if key.startswith("image") else "text_projection"
        return {f"{name}.weight": value}
    for ours, theirs in PREFIXES.items():
        if key.startswith(ours):
            key = theirs + key.removeprefix(ours)
    name = key_mapping.renamed(VISION, "", key)
    if "{}" in name:
        return {name.format(letter): part for letter, part in zip("qkv", value.chunk(3))}
    if name.endswith(("class_embedding", "vision_model.embeddings.position_embedding.weight")):
        value = value.reshape(value.shape[1:] if value.shape[1] > 1 else value.shape[-1:])
    return {name: value}


# ---- both -------------------------------------------------------------------------------------

LAYOUTS: dict[str, Callable[[Pretrained, Path], None]] = {
    "open_clip": _open_clip,
    "transformers": _transformers,
}


def _body(pretrained: Pretrained) -> Any:
    """timm's model, whose attributes it does not type."""
    return pretrained.embedder.image_encoder.body


def _is_vit(body: Any) -> bool:
    return isinstance(body, VisionTransformer)


def _is_clip_vit(body: Any) -> bool:
    """Read off at the class token, CLIP's norms before and after; its tensors say the rest."""
    norms = (body.norm_pre, body.norm, body.blocks[0].norm1)
    normal = all(isinstance(n, nn.LayerNorm) and n.eps == CLIP_EPSILON for n in norms)
    return body.global_pool == "token" and normal


def _is_quick(body: Any) -> bool:
    return isinstance(body.blocks[0].mlp.act, QuickGELU)


def _state(pretrained: Pretrained) -> dict[str, Tensor]:
    return {k: v.detach().cpu() for k, v in pretrained.embedder.state_dict().items()}


def _log_scale(pretrained: Pretrained) -> Tensor:
    return torch.tensor(pretrained.image_text_scale()).log()


def _normalisation(pretrained: Pretrained) -> dict[str, list[float]]:
    encoder = pretrained.embedder.image_encoder
    return {"mean": encoder.mean.flatten().tolist(), "std": encoder.std.flatten().tolist()}


def _write_json(path: Path, value: Any) -> None:
    atomic.replace(path, json.dumps(value, indent=2).encode())


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    whole = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    atomic.replace(path, safetensors.torch.save(whole, {"format": "pt"}))


def main(arguments: list[str]) -> None:
    """`python -m uniclip.checkpoints.exporting <run folder> <new folder> open_clip|transformers`."""
    from uniclip.run import load

    if len(arguments) != 3:
        raise UserError("give a run's folder, a new folder, and open_clip or transformers")
    run, folder, layout = arguments
    print(export(load(run), folder, layout))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(f"uniclip.checkpoints.exporting: {error}", file=sys.stderr)
        sys.exit(2)
