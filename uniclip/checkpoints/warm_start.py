"""Where training starts when it does not start from scratch: `init` names a checkpoint.

Both encoders take over the checkpoint's weights, or one of them (`init_towers`); heads come along
where they are of the same shapes. What shapes don't tell (activations, attention heads, epsilons,
normalisation) must agree, or is asked for. The file's sum is part of a run's name, its place is
not. Nothing here imports torch before training starts: a plan asks for sums. What was taken over
and what was not is said (`Taken`); a temperature never is, method.temperature says it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from uniclip.config import CLIP_VOCABULARY, ModelConfig, RunConfig
from uniclip.errors import UserError
from uniclip.io import atomic

if TYPE_CHECKING:
    from torch import Tensor, nn

    from uniclip.data.text.tokenizer import Tokenizer
    from uniclip.models.embedder import Embedder

    Given = tuple[dict[str, Tensor], ModelConfig]
    """Weights by the embedder's keys, and the model that they are of."""

Taken = dict[str, Union[str, None]]
"""Part of the embedder -> why it was not taken over from `init`; None for one that was."""

OWN = "embedder."
"""Prefix of every key of a run's weights (`uniclip.training.checkpoint`)."""
UNTOLD = ("heads", "activation", "norm_epsilon")
"""Of a text encoder's configuration: what its weights' shapes don't tell."""
HEADS = {"image": ("augmentation_encoder", "image_head"), "text": ("text_head",)}
"""Of each tower: parts that were trained with one another, and come along together or not."""


def fingerprint(config: RunConfig) -> dict[str, Any]:
    """What `init` adds to the fingerprint of the data: the sum of the file, or nothing.

    Raises:
        UserError: there is no such file.
    """
    if config.init is None:
        return {}
    path = Path(config.init)
    try:
        facts = path.stat()
        if not path.is_file():
            raise OSError
    except OSError:
        raise UserError(f"init={config.init}: no such file") from None
    known = blake2b(f"{path.resolve()} {facts.st_size} {facts.st_mtime_ns}".encode()).hexdigest()
    return {"init": atomic.remembered("sums", known, lambda: atomic.sum_of(path))}


def check(config: RunConfig, planned: Mapping[str, Any]) -> None:
    """`UserError` if the file at `init` is no more the one of the plan, whose run this is.

    planned: the fingerprint in the run's spec.
    """
    if fingerprint(config).get("init") != planned.get("init"):
        raise UserError(f"init={config.init} has changed since the plan; run again")


def begin(embedder: Embedder, config: RunConfig, words: Tokenizer) -> Taken:
    """Give the embedder's encoders the weights that `config.init` names; empty without one.

    Raises:
        UserError: the file cannot be imported, an encoder of it is not the configuration's, or
            nothing says with which activation it was trained.
    """
    if config.init is None:
        return {}
    state, theirs = _own(Path(config.init), words, config) or _published(config, words)
    _check_untold(embedder, config, theirs)
    taken: Taken = {}
    for tower, parts in HEADS.items():
        encoder = f"{tower}_encoder"
        heads = {p: m for p in parts if (m := getattr(embedder, p)) is not None}
        if config.init_towers in (tower, "both"):
            _fill(getattr(embedder, encoder), encoder, state, config)
            taken |= {encoder: None, **_fill_heads(heads, parts, state)}
        else:
            taken |= dict.fromkeys((encoder, *heads), f"init_towers={config.init_towers}")
    return taken


def spoken(init: str, taken: Taken) -> str:
    """One line of what was taken over from `init`, and what starts as it is drawn, and why."""
    kept = ", ".join(_words(part) for part, why in taken.items() if why is None)
    anew = [f"{_words(part)} ({why})" for part, why in taken.items() if why is not None]
    return f"init={init}: took over {kept}; started anew: " + ", ".join(
        [*anew, "the temperature (method.temperature says it)"]
    )


def _words(part: str) -> str:
    return part.replace("_", " ")


def _published(config: RunConfig, words: Tokenizer) -> Given:
    from uniclip.checkpoints import importing
    from uniclip.data.text import tokenizer

    assert config.init is not None
    text = config.init_towers != "image"
    if text and not words.is_clip:
        raise UserError(
            "init= brings a text encoder for CLIP's vocabulary: set model.text.tokenizer=clip and "
            f"model.text.vocabulary={CLIP_VOCABULARY}, or init_towers=image"
        )
    clip = words if words.is_clip else tokenizer.clip()
    told = config.init_activation
    quick = None if told is None else told == "quick_gelu"
    weights = importing.read(Path(config.init), clip, trust=config.trust, quick_gelu=quick)
    transformer = text or weights.model.image.name.startswith("vit_")
    needed = transformer and not weights.activation_known
    if needed and told is None:
        raise UserError(
            f"init={config.init} does not say with which activation it was trained: set "
            "init_activation=gelu (open_clip's default) or init_activation=quick_gelu (OpenAI's)"
        )
    if not needed:
        _refuse_activation(config)
    return weights.state, weights.model


def _refuse_activation(config: RunConfig) -> None:
    if config.init_activation is not None:
        raise UserError(
            f"init_activation={config.init_activation} is for files that don't say it and need it, "
            f"and init={config.init} is none: leave it out"
        )


def _check_untold(embedder: Embedder, config: RunConfig, theirs: ModelConfig) -> None:
    """Refuse encoders that take the checkpoint's weights, but would compute something else."""
    import torch

    from uniclip.models.encoders import ImageEncoder, normalisation

    for field in UNTOLD if config.init_towers != "image" else ():
        there, here = getattr(theirs.text, field), getattr(config.model.text, field)
        if there != here:
            raise UserError(
                f"init={config.init}: its text encoder has {field}={there}: set "
                f"model.text.{field}={there}, not {here}"
            )
    if config.init_towers == "text":
        return
    with torch.device("meta"):
        encoder = ImageEncoder(theirs.image)
    _check_normalisation(normalisation(encoder.body), embedder, config)
    there, here = _untold(encoder), _untold(embedder.image_encoder)
    for key in there.keys() & here.keys():
        if there[key] != here[key]:
            raise UserError(
                f"init={config.init}: its image encoder's {key} is {there[key]}, not {here[key]}: "
                f"choose a timm model and options of it, such as model.image.name="
                f"{theirs.image.name} with model.image.options={theirs.image.options}"
            )


def _check_normalisation(
    there: Mapping[str, Sequence[float]], embedder: Embedder, config: RunConfig
) -> None:
    """Refuse an image encoder that sees pixels by another mean and deviation."""
    from uniclip.models.encoders import normalisation

    here = normalisation(embedder.image_encoder.body)
    if here == there:
        return
    overlay = "pretrained_cfg_overlay"
    key, asked = f"model.image.options.{overlay}", {k: _list(v) for k, v in there.items()}
    if config.model.image.options.get(overlay):  # a section has its keys set one by one
        settings = [f"{key}.{name}={values}" for name, values in asked.items()]
    else:
        settings = [f"{key}={{{','.join(f'{name}:{values}' for name, values in asked.items())}}}"]
    raise UserError(
        f"init={config.init}: the pixels of its image encoder have mean {asked['mean']} and "
        f"deviation {asked['std']}, not {_list(here['mean'])} and {_list(here['std'])}: set "
        + " ".join(map(repr, settings))
    )


def _list(values: Sequence[float]) -> str:
    """As the command line takes it."""
    return f"[{','.join(map(str, values))}]"


def _untold(encoder: nn.Module) -> dict[str, Any]:
    """What of an image encoder shows in no shape: activations, heads, epsilons."""
    found: dict[str, Any] = {}
    for name, module in encoder.named_modules():
        if name.rpartition(".")[2].startswith("act"):
            found[name] = type(module).__name__
        for field in ("num_heads", "eps"):
            if hasattr(module, field):
                found[f"{name}.{field}"] = getattr(module, field)
    return found


def _own(path: Path, words: Tokenizer, config: RunConfig) -> Given | None:
    """The weights of a run of ours by the embedder's keys; None if the file is not one's."""
    from uniclip import identity
    from uniclip.store import RunFolder
    from uniclip.training import checkpoint

    if path.suffix != ".safetensors":
        return None
    try:
        tensors, _ = checkpoint.decode(path)
    except (checkpoint.Damaged, FileNotFoundError):
        return None
    run = RunFolder(path.parent)
    if not run.has_spec():
        raise UserError(
            f"init={config.init}: there is no spec.json beside it, which says what these weights "
            "are of; name the file in its run's folder"
        )
    tokenizer = run.tokenizer
    known = tokenizer.read_text(encoding="utf-8") if tokenizer.exists() else ""
    if config.init_towers != "image" and known != words.to_json():
        raise UserError(
            f"init={config.init}: its text encoder was trained with another vocabulary; "
            "set init_towers=image, or train on the same captions"
        )
    _refuse_activation(config)
    state = {k.removeprefix(OWN): v for k, v in tensors.items() if k.startswith(OWN)}
    return state, identity.config_of(run.spec()).model


def _fill(module: nn.Module, part: str, state: dict[str, Tensor], config: RunConfig) -> None:
    given = _of_part(part, state)
    apart = _difference(module, given)
    if apart is not None:
        raise UserError(
            f"init={config.init}: {_words(part)}'s {apart}; choose the model that the checkpoint "
            "is of"
        )
    module.load_state_dict(given)


def _fill_heads(
    heads: Mapping[str, nn.Module], parts: Sequence[str], state: dict[str, Tensor]
) -> Taken:
    """All heads, where all of `parts` have the same keys and shapes; else why each starts anew."""
    given = {part: _of_part(part, state) for part in parts}
    apart = {part: _difference(heads.get(part), given[part]) for part in parts}
    unfit = next((part for part in parts if apart[part] is not None), None)
    if unfit is not None:
        together = f"only together with the {_words(unfit)}"
        return {part: apart[part] or together for part in heads}
    for part, module in heads.items():
        module.load_state_dict(given[part])
    return dict.fromkeys(heads)


def _of_part(part: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix = f"{part}."
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _difference(module: nn.Module | None, given: dict[str, Tensor]) -> str | None:
    """The first tensor that is not in both with one shape, as a phrase."""
    own = {} if module is None else module.state_dict()
    for key in sorted({*own, *given}):
        there, here = (tuple(d[key].shape) if key in d else "absent" for d in (given, own))
        if there != here:
            return f"{key} is {there} there and {here} in model="
    return None
