"""Where training starts when it does not start from scratch: `init` names a checkpoint.

Both encoders take over the checkpoint's weights, or one of them (`init_towers`); a projection comes
along where it is linear and of the same shape. The file's sum is part of a run's name, its place
is not enough. Nothing here imports torch before training starts: a plan asks for sums.
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniclip import files
from uniclip.config import CLIP_VOCABULARY, ModelConfig, RunConfig
from uniclip.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from uniclip.data.tokenizer import Tokenizer
    from uniclip.model.embedder import Embedder

OWN = "embedder."
"""Prefix of every key of a run's weights (`uniclip.checkpoint`)."""
QUICK = "quickgelu"
"""In timm's names, the activation."""
TOWERS = {"image": ("image_encoder", "image_head"), "text": ("text_encoder", "text_head")}


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
    return {"init": files.remembered("sums", known, lambda: _sum(path))}


def begin(embedder: Embedder, config: RunConfig, words: Tokenizer) -> None:
    """Give the embedder's encoders the weights that `config.init` names.

    Raises:
        UserError: the file cannot be imported, or an encoder of it is not the configuration's.
    """
    if config.init is None:
        return
    state = _own(Path(config.init), words, config) or _published(config, words)
    for tower, (encoder, head) in TOWERS.items():
        if config.init_towers in (tower, "both"):
            _fill(getattr(embedder, encoder), encoder, state, config)
            _fill_head(getattr(embedder, head), head, state)


def _sum(path: Path) -> str:
    summed = blake2b(digest_size=16)
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            summed.update(block)
    return summed.hexdigest()


def _published(config: RunConfig, words: Tokenizer) -> dict[str, Tensor]:
    from uniclip.data import tokenizer
    from uniclip.model import imported

    assert config.init is not None
    text = config.init_towers != "image"
    if text and not words.is_clip:
        raise UserError(
            "init= brings a text encoder for CLIP's vocabulary: set model.text.tokenizer=clip and "
            f"model.text.vocabulary={CLIP_VOCABULARY}, or init_towers=image"
        )
    clip = words if words.is_clip else tokenizer.clip()
    weights = imported.read(Path(config.init), clip, trust=config.trust)
    if weights.openai:
        _check_activations(config, weights.model)
    return weights.state


def _check_activations(config: RunConfig, theirs: ModelConfig) -> None:
    """Shapes don't tell them; of OpenAI's own files they are known."""
    text, image = config.model.text, config.model.image
    if config.init_towers != "image" and text.activation != theirs.text.activation:
        raise UserError(
            f"init={config.init} is OpenAI's: set model.text.activation={theirs.text.activation}"
        )
    quick = QUICK in theirs.image.name
    if config.init_towers != "text" and quick and QUICK not in image.name:
        raise UserError(
            f"init={config.init} is OpenAI's, of quick_gelu: choose a timm model of it, such as "
            f"model.image.name={theirs.image.name}, not {image.name}"
        )


def _own(path: Path, words: Tokenizer, config: RunConfig) -> dict[str, Tensor] | None:
    """The weights of a run of ours by the embedder's keys; None if the file is not one's."""
    from uniclip import checkpoint

    if path.suffix != ".safetensors":
        return None
    try:
        tensors, _ = checkpoint.decode(path)
    except (checkpoint.Damaged, FileNotFoundError):
        return None
    tokenizer = path.with_name("tokenizer.json")
    known = tokenizer.read_text(encoding="utf-8") if tokenizer.exists() else ""
    if config.init_towers != "image" and known != words.to_json():
        raise UserError(
            f"init={config.init}: its text encoder was trained with another vocabulary; "
            "set init_towers=image, or train on the same captions"
        )
    return {k.removeprefix(OWN): v for k, v in tensors.items() if k.startswith(OWN)}


def _fill(module: nn.Module, part: str, state: dict[str, Tensor], config: RunConfig) -> None:
    prefix = f"{part}."
    given = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    own = module.state_dict()
    for key in sorted({*own, *given}):
        shapes = [tuple(d[key].shape) if key in d else "absent" for d in (given, own)]
        if shapes[0] != shapes[1]:
            raise UserError(
                f"init={config.init}: {part.replace('_', ' ')}'s {key} is {shapes[0]} there and "
                f"{shapes[1]} in model=; choose the model that the checkpoint is of"
            )
    module.load_state_dict(given)


def _fill_head(module: nn.Module, part: str, state: dict[str, Tensor]) -> None:
    """A projection of the same keys and shapes; any other head starts as it is."""
    prefix = f"{part}."
    given = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    own = {key: value.shape for key, value in module.state_dict().items()}
    if own == {key: value.shape for key, value in given.items()}:
        module.load_state_dict(given)
