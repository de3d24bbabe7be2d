"""The names of tensors in published checkpoints, and the tensors of our embedder they stand for.

A `KeyMapping` gives, for each tensor of an embedder with linear heads, the key under which a
checkpoint stores it, and its form. The same rules are used in both directions:
`convert_from_checkpoint` splits a checkpoint's tensors into the embedder's,
`convert_to_checkpoint` joins the embedder's tensors into the checkpoint's.

Sources: OpenAI's CLIP and open_clip (same names); UniCL's release in the three namings that its
repositories use; microsoft/Swin-Transformer's names inside UniCL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from uniclip.errors import NotFiniteError, UserError

RenameRules = Sequence[tuple[str, str]]

HEAD_DIM = 64
"""Width of the attention heads of CLIP, open_clip and UniCL."""
CLIP_LAYER_NORM_EPS = 1e-5
LOGIT_BIAS_KEY = "logit_bias"
"""SigLIP's bias of the logits in open_clip's checkpoints; without effect on the embeddings."""
NUM_BATCHES_TRACKED = "num_batches_tracked"
"""Counter of a batch norm; it has no effect, and older files lack it."""


@dataclass(frozen=True)
class TensorMapping:
    """One tensor of a checkpoint, and the tensors of the embedder that it holds."""

    checkpoint_key: str
    model_keys: tuple[str, ...]
    """One key, or those of queries, keys and values that the checkpoint stores as one tensor."""
    transposed: bool = False


@dataclass(frozen=True)
class KeyMapping:
    """The naming of a checkpoint: rules for each tower, and the keys of projections and scale."""

    name: str
    map_image_key: Callable[[str], str]
    """Maps a key of the image encoder's body to the key in the checkpoint."""
    map_text_key: Callable[[str], str]
    """Maps a key of the text encoder's body to the key in the checkpoint."""
    image_projection_key: str
    text_projection_key: str
    projection_bias_key: str | None = None
    """Key of the bias of the image projection, if it has one."""
    logit_scale_key: str = "logit_scale"
    transposed: bool = True
    """Whether the image projection is stored as (features, D)."""
    ignored_suffixes: tuple[str, ...] = ()
    """Suffixes of the keys of buffers that follow from the architecture, which are not imported."""
    is_unicl: bool = False


def build_tensor_mappings(mapping: KeyMapping, model_keys: Sequence[str]) -> list[TensorMapping]:
    """Return an entry for each tensor of a checkpoint, from the keys of the embedder's state."""
    entry_by_key: dict[str, TensorMapping] = {}
    for key in model_keys:
        entry = _map_tensor(mapping, key)
        if entry.checkpoint_key in entry_by_key:  # queries, keys and values, in this order
            entry = TensorMapping(
                entry.checkpoint_key,
                (*entry_by_key[entry.checkpoint_key].model_keys, key),
                entry.transposed,
            )
        entry_by_key[entry.checkpoint_key] = entry
    return [_sort_query_key_value(tensor_mapping) for tensor_mapping in entry_by_key.values()]


def convert_from_checkpoint(
    mapping: KeyMapping,
    checkpoint: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    checkpoint_name: str,
) -> dict[str, Tensor]:
    """Return the embedder's tensors, float32, from those of a checkpoint.

    Args:
        mapping: The naming of the checkpoint.
        checkpoint: Its tensors.
        state: The state of the embedder, for names and shapes.
        checkpoint_name: For messages.

    Raises:
        UserError: A key is missing, unexpected or of another shape, or its tensor is not a weight;
            the message names the key.
    """
    model_tensors: dict[str, Tensor] = {}
    remaining_tensors = {
        name: tensor
        for name, tensor in checkpoint.items()
        if not (mapping.ignored_suffixes and name.endswith(mapping.ignored_suffixes))
    }
    for key, value in remaining_tensors.items():
        _check_weight(key, value, checkpoint_name)
    requirement = f"a checkpoint of {mapping.name} must be complete to be imported"
    scale_key = mapping.logit_scale_key
    if scale_key not in remaining_tensors:
        raise UserError(f"{checkpoint_name}: {scale_key} is missing; {requirement}")
    for number_key in (scale_key, LOGIT_BIAS_KEY):
        number = remaining_tensors.pop(number_key, None)
        if number is not None and number.numel() != 1:
            raise UserError(
                f"{checkpoint_name}: {number_key} has shape {tuple(number.shape)}, expected one "
                "number"
            )
    for entry in build_tensor_mappings(mapping, list(state)):
        if entry.checkpoint_key in remaining_tensors:
            value = remaining_tensors.pop(entry.checkpoint_key)
            _check_shape(entry, value, state, checkpoint_name)
            model_tensors.update(_split_tensor(entry, value, state))
        elif entry.checkpoint_key.endswith(NUM_BATCHES_TRACKED):
            model_tensors[entry.model_keys[0]] = torch.zeros((), dtype=torch.int64)
        else:
            raise UserError(f"{checkpoint_name}: {entry.checkpoint_key} is missing; {requirement}")
    if remaining_tensors:
        unexpected_key = min(remaining_tensors)
        raise UserError(f"{checkpoint_name}: {unexpected_key} is unexpected; {requirement}")
    return model_tensors


def convert_to_checkpoint(mapping: KeyMapping, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the embedder's tensors as a checkpoint with this naming stores them, without scale."""
    checkpoint_tensors = {}
    for entry in build_tensor_mappings(mapping, list(state)):
        tensors = [state[key] for key in entry.model_keys]
        value = torch.cat(tensors) if len(tensors) > 1 else tensors[0]
        if entry.checkpoint_key.endswith(("class_embedding", "visual.positional_embedding")):
            value = value.reshape(value.shape[-2:] if value.shape[1] > 1 else value.shape[-1:])
        checkpoint_tensors[entry.checkpoint_key] = (
            value.T if entry.transposed else value
        ).contiguous()
    return checkpoint_tensors


# ---- rules -----------------------------------------------------------------------------------


def apply_rename_rules(rules: RenameRules, prefix: str, key: str) -> str:
    """Return `prefix` followed by `key` after every rule (pattern, replacement) in turn."""
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return prefix + key


_VIT_RULES: RenameRules = (
    (r"^cls_token$", "class_embedding"),
    (r"^pos_embed$", "positional_embedding"),
    (r"^patch_embed\.proj\.", "conv1."),
    (r"^norm_pre\.", "ln_pre."),
    (r"^norm\.", "ln_post."),
    (r"^blocks\.(\d+)\.norm(\d)\.", r"transformer.resblocks.\1.ln_\2."),
    (r"^blocks\.(\d+)\.attn\.qkv\.", r"transformer.resblocks.\1.attn.in_proj_"),
    (r"^blocks\.(\d+)\.attn\.proj\.", r"transformer.resblocks.\1.attn.out_proj."),
    (r"^blocks\.(\d+)\.mlp\.fc1\.", r"transformer.resblocks.\1.mlp.c_fc."),
    (r"^blocks\.(\d+)\.mlp\.fc2\.", r"transformer.resblocks.\1.mlp.c_proj."),
)
_CONV_PATTERN = r"conv(\d)_(?:1x1|kxk)\."
_RESNET_RULES: RenameRules = (
    (r"^stem\.conv(\d)\.conv\.", r"conv\1."),
    (r"^stem\.conv(\d)\.bn\.", r"bn\1."),
    (rf"^stages\.(\d+)\.(\d+)\.{_CONV_PATTERN}conv\.", r"stages.\1.\2.conv\3."),
    (rf"^stages\.(\d+)\.(\d+)\.{_CONV_PATTERN}bn\.", r"stages.\1.\2.bn\3."),
    (r"\.shortcut\.conv\.conv\.", ".downsample.0."),
    (r"\.shortcut\.conv\.bn\.", ".downsample.1."),
    (r"^head\.pos_embed$", "attnpool.positional_embedding"),
    (r"^head\.([qkv])\.", r"attnpool.\1_proj."),
    *((rf"^stages\.{stage}\.", f"layer{stage + 1}.") for stage in range(4)),
)
# timm has a downsampling at the start of a stage, the original at the end of the previous one.
_SWIN_RULES: RenameRules = tuple(
    (rf"^layers\.{stage + 1}\.downsample\.", f"layers.{stage}.downsample.") for stage in range(3)
)
_IGNORED_SUFFIXES = (".relative_position_index", ".attn_mask")
_TEXT_RULES: RenameRules = (
    (r"^embeddings\.token_embedding\.", "token_embedding."),
    (r"^embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^final_layer_norm\.", "ln_final."),
    (r"^encoder\.layers\.(\d+)\.", r"resblocks.\1."),
    (r"\.self_attn\.[qkv]_proj\.", ".attn.in_proj_"),
    (r"\.self_attn\.out_proj\.", ".attn.out_proj."),
    (r"\.layer_norm(\d)\.", r".ln_\1."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
)
_MASK_SUFFIXES = ("attn_mask",)  # of the text encoder, stored in archives of traced models
_CLIP_TEXT_RULES: RenameRules = (*_TEXT_RULES, (r"^resblocks\.", "transformer.resblocks."))

CLIP_VIT = KeyMapping(
    "CLIP with a vision Transformer",
    partial(apply_rename_rules, _VIT_RULES, "visual."),
    partial(apply_rename_rules, _CLIP_TEXT_RULES, ""),
    "visual.proj",
    "text_projection",
    ignored_suffixes=_MASK_SUFFIXES,
)
CLIP_RESNET = KeyMapping(
    "CLIP with a ResNet",
    partial(apply_rename_rules, _RESNET_RULES, "visual."),
    partial(apply_rename_rules, _CLIP_TEXT_RULES, ""),
    "visual.attnpool.c_proj.weight",
    "text_projection",
    projection_bias_key="visual.attnpool.c_proj.bias",
    transposed=False,
    ignored_suffixes=_MASK_SUFFIXES,
)


def _build_unicl_mapping(
    naming: str,
    image_prefix: str,
    text_prefix: str,
    image_projection_key: str,
    text_projection_key: str,
) -> KeyMapping:
    return KeyMapping(
        f"UniCL ({naming} naming)",
        partial(apply_rename_rules, _SWIN_RULES, image_prefix),
        partial(apply_rename_rules, _TEXT_RULES, text_prefix),
        image_projection_key,
        text_projection_key,
        ignored_suffixes=_IGNORED_SUFFIXES,
        is_unicl=True,
    )


UNICL = _build_unicl_mapping(
    "main", "image_encoder.", "text_encoder.", "image_projection", "text_projection"
)
UNICL_OLD = _build_unicl_mapping("old", "visual.", "text.", "vision_projection", "text_projection")
UNICL_BENCHMARK = _build_unicl_mapping(
    "benchmark", "image_encoder.", "lang_encoder.", "image_projection", "lang_projection"
)


def detect_format(keys: Collection[str], checkpoint_name: str) -> KeyMapping:
    """Return the naming of a checkpoint, detected by its towers, not by single keys.

    Raises:
        UserError: The naming is unknown.
    """
    keys = list(keys)

    def count_prefix(prefix: str) -> int:
        return sum(key.startswith(prefix) for key in keys)

    if count_prefix("visual.transformer.resblocks."):
        return CLIP_VIT
    if count_prefix("visual.layer1."):
        return CLIP_RESNET
    if count_prefix("visual.layers."):
        return UNICL_OLD
    if count_prefix("image_encoder.layers."):
        return (
            UNICL_BENCHMARK
            if count_prefix("lang_encoder.") > count_prefix("text_encoder.")
            else UNICL
        )
    example_keys = ", ".join(sorted(keys)[:3]) or "nothing"
    raise UserError(
        f"{checkpoint_name} is not a supported checkpoint of CLIP, open_clip or UniCL (it holds "
        f"{example_keys}, ...); give a state dict of one of these"
    )


# ---- one tensor ------------------------------------------------------------------------------


def _check_weight(key: str, value: Tensor, checkpoint_name: str) -> None:
    """Raise `UserError` unless the tensor has dense, real, finite numbers on the CPU.

    `NotFiniteError` if they are not finite.
    """
    if value.layout != torch.strided or value.is_nested or value.is_quantized:
        problem = "is not dense"
    elif value.device.type != "cpu":
        problem = f"is on the device {value.device.type}, and its numbers are not in the file"
    elif value.is_complex():
        problem = "is complex"
    elif not value.isfinite().all():
        raise NotFiniteError(f"{checkpoint_name}: {key} has numbers that are not finite")
    else:
        return
    raise UserError(
        f"{checkpoint_name}: {key} {problem}; save dense, real and finite weights from the CPU"
    )


def _map_tensor(mapping: KeyMapping, key: str) -> TensorMapping:
    component, _, body_key = key.partition(".")
    if key == "image_head.weight":
        return TensorMapping(mapping.image_projection_key, (key,), mapping.transposed)
    if key == "image_head.bias":
        assert mapping.projection_bias_key is not None
        return TensorMapping(mapping.projection_bias_key, (key,))
    if key == "text_head.weight":
        return TensorMapping(mapping.text_projection_key, (key,), transposed=True)
    map_key = {"image_encoder": mapping.map_image_key, "text_encoder": mapping.map_text_key}[
        component
    ]
    return TensorMapping(map_key(body_key.removeprefix("body.")), (key,))


def _sort_query_key_value(entry: TensorMapping) -> TensorMapping:
    """Return the entry with queries, keys and values in this order, whatever the state dict's."""
    order = {"q_proj": 0, "k_proj": 1, "v_proj": 2}
    model_keys = sorted(entry.model_keys, key=lambda key: order.get(key.split(".")[-2], 0))
    return TensorMapping(entry.checkpoint_key, tuple(model_keys), entry.transposed)


def _check_shape(
    entry: TensorMapping, value: Tensor, state: Mapping[str, Tensor], checkpoint_name: str
) -> None:
    """Raise `UserError` unless a tensor of a checkpoint has the shape that the embedder needs."""
    shapes = [state[key].shape for key in entry.model_keys]
    num_elements = sum(shape.numel() for shape in shapes)
    if num_elements != value.numel() or not _shapes_match(entry, value, shapes):
        checkpoint_shapes = [shape[::-1] if entry.transposed else shape for shape in shapes]
        expected = " + ".join(str(tuple(shape)) for shape in checkpoint_shapes)
        raise UserError(
            f"{checkpoint_name}: {entry.checkpoint_key} has shape {tuple(value.shape)}, "
            f"expected {expected}"
        )


def _shapes_match(entry: TensorMapping, value: Tensor, shapes: list[torch.Size]) -> bool:
    """Return whether shapes agree up to transposition and dimensions of size 1."""
    expected_shape = [sum(shape[0] for shape in shapes), *shapes[0][1:]] if shapes[0] else []
    checkpoint_shape = list(value.T.shape if entry.transposed else value.shape)
    return [dim for dim in expected_shape if dim > 1] == [
        dim for dim in checkpoint_shape if dim > 1
    ]


def _split_tensor(
    entry: TensorMapping, value: Tensor, state: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    value = value.T if entry.transposed else value
    tensors = value.chunk(len(entry.model_keys)) if len(entry.model_keys) > 1 else (value,)
    return {
        key: tensor.reshape(state[key].shape).to(state[key].dtype)
        for key, tensor in zip(entry.model_keys, tensors)
    }
