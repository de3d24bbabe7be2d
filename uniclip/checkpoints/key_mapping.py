"""How published checkpoints name their tensors, and which tensors of our embedder those are.

A layout says, for each tensor of an embedder with linear heads, under which key a checkpoint keeps
it and in which form. The same rules read and write: `gather` takes a checkpoint's tensors apart
into ours, `scatter` puts ours together as the checkpoint has them.

Sources: OpenAI's CLIP and open_clip (one naming); UniCL's release in the three namings that its
repositories use; microsoft/Swin-Transformer's names inside UniCL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from uniclip.errors import UserError

Rules = Sequence[tuple[str, str]]

BATCHES_SEEN = "num_batches_tracked"
"""Of a batch norm: a counter that does not act, and that older files lack."""


@dataclass(frozen=True)
class Entry:
    """One tensor of a checkpoint, and the tensors of ours that it is."""

    theirs: str
    ours: tuple[str, ...]
    """One, or queries, keys and values that the checkpoint keeps in one."""
    transposed: bool = False


@dataclass(frozen=True)
class Layout:
    """A naming: the rules for each tower, and the keys of projections and scale."""

    name: str
    image: Callable[[str], str]
    """Key of the image encoder's body -> key in the checkpoint."""
    text: Callable[[str], str]
    image_projection: str
    text_projection: str
    projection_bias: str | None = None
    """Key of the image projection's bias, where it has one."""
    scale: str = "logit_scale"
    transposed: bool = True
    """Whether the image projection is kept as (features, D)."""
    derived: tuple[str, ...] = ()
    """Ends of keys of buffers that follow from the architecture; our encoder makes its own."""
    is_unicl: bool = False


def entries(layout: Layout, ours: Sequence[str]) -> list[Entry]:
    """An entry for each tensor of a checkpoint, given the keys of our embedder's state."""
    found: dict[str, Entry] = {}
    for key in ours:
        entry = _entry(layout, key)
        if entry.theirs in found:  # queries, keys and values, in this order
            entry = Entry(entry.theirs, (*found[entry.theirs].ours, key), entry.transposed)
        found[entry.theirs] = entry
    return [_in_order(e) for e in found.values()]


def gather(
    layout: Layout, checkpoint: Mapping[str, Tensor], state: Mapping[str, Tensor], where: str
) -> dict[str, Tensor]:
    """The tensors of `state`, float32, out of those of `checkpoint`.

    state: our embedder's, for names and shapes.

    Raises:
        UserError: a key is missing, unexpected or of another shape, or holds what is no weight; it
            is named.
    """
    filled: dict[str, Tensor] = {}
    left = {
        k: v for k, v in checkpoint.items() if not (layout.derived and k.endswith(layout.derived))
    }
    for key, value in left.items():
        _refuse_what_is_no_weight(key, value, where)
    scale = left.pop(layout.scale, None)
    if scale is None:
        raise UserError(f"{where}: {layout.scale} is missing; {_whole(layout)}")
    if scale.numel() != 1:
        raise UserError(
            f"{where}: {layout.scale} has shape {tuple(scale.shape)}, expected one number"
        )
    for entry in entries(layout, list(state)):
        if entry.theirs not in left:
            if entry.theirs.endswith(BATCHES_SEEN):
                filled[entry.ours[0]] = torch.zeros((), dtype=torch.int64)
                continue
            raise UserError(f"{where}: {entry.theirs} is missing; {_whole(layout)}")
        value = left.pop(entry.theirs)
        shapes = [state[key].shape for key in entry.ours]
        if sum(s.numel() for s in shapes) != value.numel() or not _alike(entry, value, shapes):
            theirs = [s[::-1] if entry.transposed else s for s in shapes]
            expected = " + ".join(str(tuple(s)) for s in theirs)
            raise UserError(
                f"{where}: {entry.theirs} has shape {tuple(value.shape)}, expected {expected}"
            )
        filled.update(_apart(entry, value, state))
    if left:
        raise UserError(f"{where}: {sorted(left)[0]} is unexpected; {_whole(layout)}")
    return filled


def scatter(layout: Layout, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of our embedder as a checkpoint of `layout` keeps them, without the scale."""
    written = {}
    for entry in entries(layout, list(state)):
        parts = [state[key] for key in entry.ours]
        value = torch.cat(parts) if len(parts) > 1 else parts[0]
        if entry.theirs.endswith(("class_embedding", "visual.positional_embedding")):
            value = value.reshape(value.shape[-2:] if value.shape[1] > 1 else value.shape[-1:])
        written[entry.theirs] = (value.T if entry.transposed else value).contiguous()
    return written


# ---- rules -----------------------------------------------------------------------------------


def renamed(rules: Rules, prefix: str, key: str) -> str:
    """`key` with every rule (pattern, replacement) applied in turn, behind `prefix`."""
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return prefix + key


_VIT: Rules = (
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
_CONV = r"conv(\d)_(?:1x1|kxk)\."
_RESNET: Rules = (
    (r"^stem\.conv(\d)\.conv\.", r"conv\1."),
    (r"^stem\.conv(\d)\.bn\.", r"bn\1."),
    (rf"^stages\.(\d+)\.(\d+)\.{_CONV}conv\.", r"stages.\1.\2.conv\3."),
    (rf"^stages\.(\d+)\.(\d+)\.{_CONV}bn\.", r"stages.\1.\2.bn\3."),
    (r"\.shortcut\.conv\.conv\.", ".downsample.0."),
    (r"\.shortcut\.conv\.bn\.", ".downsample.1."),
    (r"^head\.pos_embed$", "attnpool.positional_embedding"),
    (r"^head\.([qkv])\.", r"attnpool.\1_proj."),
    *((rf"^stages\.{stage}\.", f"layer{stage + 1}.") for stage in range(4)),
)
# timm keeps a downsampling at the start of a stage, the original at the end of the one before
_SWIN: Rules = tuple(
    (rf"^layers\.{stage + 1}\.downsample\.", f"layers.{stage}.downsample.") for stage in range(3)
)
_DERIVED = (".relative_position_index", ".attn_mask")
_TEXT: Rules = (
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
_MASK = ("attn_mask",)  # of the text, kept in archives of traced models
_CLIP_TEXT: Rules = (*_TEXT, (r"^resblocks\.", "transformer.resblocks."))

CLIP_VIT = Layout(
    "CLIP with a vision Transformer",
    partial(renamed, _VIT, "visual."),
    partial(renamed, _CLIP_TEXT, ""),
    "visual.proj",
    "text_projection",
    derived=_MASK,
)
CLIP_RESNET = Layout(
    "CLIP with a ResNet",
    partial(renamed, _RESNET, "visual."),
    partial(renamed, _CLIP_TEXT, ""),
    "visual.attnpool.c_proj.weight",
    "text_projection",
    projection_bias="visual.attnpool.c_proj.bias",
    transposed=False,
    derived=_MASK,
)


def _unicl(about: str, image: str, text: str, of_image: str, of_text: str) -> Layout:
    return Layout(
        f"UniCL ({about} naming)",
        partial(renamed, _SWIN, image),
        partial(renamed, _TEXT, text),
        of_image,
        of_text,
        derived=_DERIVED,
        is_unicl=True,
    )


UNICL = _unicl("main", "image_encoder.", "text_encoder.", "image_projection", "text_projection")
UNICL_OLD = _unicl("old", "visual.", "text.", "vision_projection", "text_projection")
UNICL_BENCHMARK = _unicl(
    "benchmark", "image_encoder.", "lang_encoder.", "image_projection", "lang_projection"
)


def recognised(keys: Collection[str], where: str) -> Layout:
    """The layout of a checkpoint with these keys, told by towers, not by single keys.

    Raises:
        UserError: it is none that we know.
    """
    keys = list(keys)

    def many(prefix: str) -> int:
        return sum(key.startswith(prefix) for key in keys)

    if many("visual.transformer.resblocks."):
        return CLIP_VIT
    if many("visual.layer1."):
        return CLIP_RESNET
    if many("visual.layers."):
        return UNICL_OLD
    if many("image_encoder.layers."):
        return UNICL_BENCHMARK if many("lang_encoder.") > many("text_encoder.") else UNICL
    first = ", ".join(sorted(keys)[:3]) or "nothing"
    raise UserError(
        f"{where} is no checkpoint of CLIP, open_clip or UniCL that we know (it holds {first}, "
        "...); give a state dict of one of these"
    )


# ---- one entry -------------------------------------------------------------------------------


def _refuse_what_is_no_weight(key: str, value: Tensor, where: str) -> None:
    """`UserError` for a tensor that is not plain finite numbers on the CPU."""
    if value.layout != torch.strided or value.is_nested or value.is_quantized:
        wrong = "is not dense"
    elif value.device.type != "cpu":
        wrong = f"lies on the device {value.device.type}, and so has no numbers here"
    elif value.is_complex():
        wrong = "is complex"
    elif not value.isfinite().all():
        wrong = "holds numbers that are not finite"
    else:
        return
    raise UserError(f"{where}: {key} {wrong}; save dense, real and finite weights from the CPU")


def _entry(layout: Layout, key: str) -> Entry:
    part, _, rest = key.partition(".")
    if key == "image_head.weight":
        return Entry(layout.image_projection, (key,), layout.transposed)
    if key == "image_head.bias":
        assert layout.projection_bias is not None
        return Entry(layout.projection_bias, (key,))
    if key == "text_head.weight":
        return Entry(layout.text_projection, (key,), transposed=True)
    tower = {"image_encoder": layout.image, "text_encoder": layout.text}[part]
    return Entry(tower(rest.removeprefix("body.")), (key,))


def _in_order(entry: Entry) -> Entry:
    """Queries, keys, values: a state dict may list them in another order."""
    order = {"q_proj": 0, "k_proj": 1, "v_proj": 2}
    ours = sorted(entry.ours, key=lambda key: order.get(key.split(".")[-2], 0))
    return Entry(entry.theirs, tuple(ours), entry.transposed)


def _alike(entry: Entry, value: Tensor, shapes: list[torch.Size]) -> bool:
    """Whether shapes agree up to the order of a matrix and sides of one."""
    whole = [sum(s[0] for s in shapes), *shapes[0][1:]] if shapes[0] else []
    given = list(value.T.shape if entry.transposed else value.shape)
    return [side for side in whole if side > 1] == [side for side in given if side > 1]


def _apart(entry: Entry, value: Tensor, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    value = value.T if entry.transposed else value
    parts = value.chunk(len(entry.ours)) if len(entry.ours) > 1 else (value,)
    return {
        key: part.reshape(state[key].shape).to(state[key].dtype)
        for key, part in zip(entry.ours, parts)
    }


def _whole(layout: Layout) -> str:
    return f"a checkpoint of {layout.name} is imported whole or not at all"
