"""`pretrained` and `lock`: initial weights, locked encoders, and the id of the run."""

from __future__ import annotations

import copy
import shlex
from dataclasses import replace

import pytest
import torch

from tests.helpers import published_models
from tests.helpers.small_runs import claimed, opened, tiny
from uniclip import identity
from uniclip.augmentation import transform
from uniclip.checkpoints import tensor_file, warm_start, weight_files
from uniclip.checkpoints.load import load
from uniclip.config import RunConfig
from uniclip.config.compose import set_key
from uniclip.config.overrides import parse_overrides
from uniclip.data.text import tokenizer
from uniclip.errors import UserError
from uniclip.io.atomic import read_jsonl
from uniclip.run import execute_run
from uniclip.store import RunFolder, Store
from uniclip.training import trainer
from uniclip.training.state import TrainState

TEXT = {
    "width": 128, "layers": 2, "heads": 2, "context_length": 77, "vocab_size": 49408,
    "tokenizer": "clip", "activation": "gelu",
}  # fmt: skip
VIT = {"patch_size": 16, "embed_dim": 128, "depth": 2, "num_heads": 2}
IMAGE = {"name": "vit_base_patch32_clip_224", "image_size": 64, "options": VIT}
QUICK_TEXT = {**TEXT, "activation": "quick_gelu"}
QUICK_IMAGE = {**IMAGE, "name": "vit_base_patch32_clip_quickgelu_224"}


@pytest.fixture(scope="module")
def clip():
    """A small published CLIP."""
    return published_models.clip()


@pytest.fixture(scope="module")
def path(clip, tmp_path_factory):
    checkpoint_path = tmp_path_factory.mktemp("published") / "clip.pt"
    torch.save(clip.state_dict(), checkpoint_path)
    return checkpoint_path


def config(path, method="clip", embedding=64, image=IMAGE, text=TEXT, **sections) -> RunConfig:
    sections = {"pretrained_activation": "gelu", **sections}
    return tiny(
        model={"image": image, "text": text, "embed_dim": embedding},
        method={"name": method},
        pretrained=None if path is None else str(path),
        train={"steps": 2, "batch_size": 4},
        **sections,
    )


@pytest.fixture(scope="module")
def clip_tokenizer():
    return tokenizer.load_clip_tokenizer()


def vectors(encoder):
    return torch.cat([p.detach().flatten() for p in encoder.parameters()])


def find_loaded_parts(embedder, clip):
    """Return the parts whose weights are the published model's."""
    state = clip.state_dict()
    pairs = {
        "image": (embedder.image_encoder.body.blocks[1].mlp.fc1.weight,
                  state["visual.transformer.resblocks.1.mlp.c_fc.weight"]),
        "text": (embedder.text_encoder.body.embeddings.token_embedding.weight,
                 state["token_embedding.weight"]),
        "text_head": (embedder.text_head.weight, state["text_projection"].T),
    }  # fmt: skip
    if isinstance(embedder.image_head, torch.nn.Linear):
        pairs["image_head"] = (embedder.image_head.weight, state["visual.proj"].T)
    same = {n for n, (a, b) in pairs.items() if a.shape == b.shape and torch.equal(a, b)}
    return same


@pytest.mark.parametrize(
    ("towers", "expected"),
    [
        ("both", {"image", "text", "image_head", "text_head"}),
        ("image", {"image", "image_head"}),
        ("text", {"text", "text_head"}),
    ],
)
def test_encoders_are_loaded_from_the_checkpoint(path, clip, clip_tokenizer, towers, expected):
    state = TrainState(config(path, pretrained_towers=towers), clip_tokenizer)
    assert find_loaded_parts(state.embedder, clip) == expected


def test_heads_of_another_shape_are_initialized(path, clip, clip_tokenizer):
    assert find_loaded_parts(
        TrainState(config(path, embedding=32), clip_tokenizer).embedder, clip
    ) == {"image", "text"}
    aware = TrainState(config(path, method="uniclip"), clip_tokenizer).embedder
    assert find_loaded_parts(aware, clip) == {"image", "text", "text_head"}


def test_a_projection_that_does_not_fit_is_reported(clip_tokenizer, tmp_path):
    """CLIP's ResNet-50 projects with a bias, inside its attention pooling."""
    checkpoint_path = tmp_path / "RN50.pt"
    original = published_models.clip(layers=(3, 4, 6, 3), width=64)
    torch.save(original.state_dict(), checkpoint_path)
    run_config = config(checkpoint_path, image={"name": "resnet50_clip", "image_size": 64})
    loaded_parts = TrainState(run_config, clip_tokenizer).loaded_parts
    assert [part for part, reason in loaded_parts.items() if reason is None] == [
        "image_encoder", "text_encoder", "text_head"
    ]  # fmt: skip
    assert (
        loaded_parts["image_head"]
        == "bias has shape (64,) in the checkpoint and is absent in the model"
    )


def test_loaded_parts_are_one_line_of_the_log(path, tmp_path, capsys):
    run_config = config(path, method="uniclip", pretrained_towers="image")
    attempt = claimed(opened(tmp_path, run_config))
    trainer.train_model(run_config, attempt=attempt)
    (event,) = [e for e in read_jsonl(attempt.events_path) if e["event"] == "initialized"]
    assert event["message"] in capsys.readouterr().out.splitlines()
    assert event["message"] == (
        f"pretrained={path}: loaded image encoder; newly initialized: augmentation encoder "
        "(layers.0.bias is absent in the checkpoint and has shape (16,) in the model), image head "
        "(blocks.0.fusion_mlp.0.bias is absent in the checkpoint and has shape (114,) in the "
        "model), text encoder (pretrained_towers=image), text head (pretrained_towers=image), "
        "the temperature (set by method.temperature)"
    )


def test_a_resumed_run_is_initialized_once(path, tmp_path):
    run_config = config(path)
    run = opened(tmp_path, run_config)
    trainer.train_model(run_config, attempt=claimed(run), stop=lambda: True)
    trainer.train_model(run_config, attempt=claimed(run))
    event_names = [[e["event"] for e in read_jsonl(run.get_attempt(n).events_path)] for n in (1, 2)]
    assert event_names == [["initialized"], ["resumed"]]


def test_an_image_encoder_needs_no_clip_vocabulary(path, clip):
    small = {"width": 32, "layers": 1, "heads": 2, "context_length": 16, "vocab_size": 300}
    run_config = config(path, text=small, pretrained_towers="image")
    bpe = tokenizer.train_bpe(["a red disc"], 300)
    assert find_loaded_parts(TrainState(run_config, bpe).embedder, clip) == {
        "image",
        "image_head",
    }
    with pytest.raises(UserError, match="pretrained_towers=image"):
        TrainState(replace(run_config, pretrained_towers="both"), bpe)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"image": {**IMAGE, "options": {**VIT, "depth": 3}}},
            r"blocks\.2\..* is absent in the checkpoint",
        ),
        (
            {"image": {**IMAGE, "image_size": 32}},
            r"pos_embed has shape \(1, 17, 128\) in the checkpoint",
        ),
        ({"text": {**TEXT, "layers": 1}}, r"layers\.1\..* is absent in the model"),
    ],
)
def test_another_architecture_names_the_tensor(path, clip_tokenizer, changes, match):
    with pytest.raises(UserError, match=match) as caught:
        TrainState(config(path, **changes), clip_tokenizer)
    assert "\n" not in str(caught.value)


def test_an_archive_of_openai_must_be_allowed_and_determines_the_activation(
    clip_tokenizer, tmp_path
):
    archive, original = tmp_path / "ViT.pt", published_models.clip(quick=True)
    published_models.scripted(original, archive)
    with pytest.raises(UserError, match="allow_torchscript=true"):
        TrainState(config(archive), clip_tokenizer)
    settings_of_archive = {"allow_torchscript": True, "pretrained_activation": None}
    with pytest.raises(UserError, match=r"set model\.text\.activation=quick_gelu"):
        TrainState(config(archive, **settings_of_archive), clip_tokenizer)
    with pytest.raises(UserError, match="vit_base_patch32_clip_quickgelu_224"):
        TrainState(config(archive, text=QUICK_TEXT, **settings_of_archive), clip_tokenizer)
    quick = config(archive, text=QUICK_TEXT, image=QUICK_IMAGE, **settings_of_archive)
    assert {"image", "text"} <= find_loaded_parts(
        TrainState(quick, clip_tokenizer).embedder, original
    )


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"pretrained_activation": None}, "set pretrained_activation=gelu"),
        (
            {"pretrained_activation": None, "pretrained_towers": "image"},
            "set pretrained_activation=gelu",
        ),
        ({"text": QUICK_TEXT}, r"set model\.text\.activation=gelu, not quick_gelu"),
        ({"image": QUICK_IMAGE}, r"mlp\.act is GELU, not QuickGELU"),
        ({"pretrained_activation": "quick_gelu"}, r"set model\.text\.activation=quick_gelu"),
        ({"text": {**TEXT, "layer_norm_eps": 1e-12}}, r"set model\.text\.layer_norm_eps=1e-05"),
        ({"text": {**TEXT, "heads": 4}}, r"set model\.text\.heads=2"),
        ({"image": {**IMAGE, "options": {**VIT, "num_heads": 4}}}, "num_heads is 2, not 4"),
    ],
)
def test_settings_that_shapes_do_not_determine_must_agree(path, clip_tokenizer, changes, match):
    with pytest.raises(UserError, match=match) as caught:
        TrainState(config(path, **changes), clip_tokenizer)
    assert "\n" not in str(caught.value)


def test_activation_and_epsilon_of_unicl_are_known(clip_tokenizer, tmp_path):
    checkpoint_path = tmp_path / "unicl.pth"
    torch.save({"model": published_models.Unicl().released()}, checkpoint_path)
    settings = {"pretrained_towers": "text", "pretrained_activation": None}
    with pytest.raises(UserError, match=r"activation=quick_gelu"):
        TrainState(config(checkpoint_path, **settings), clip_tokenizer)
    with pytest.raises(UserError, match=r"layer_norm_eps=1e-12"):
        TrainState(config(checkpoint_path, text=QUICK_TEXT, **settings), clip_tokenizer)
    TrainState(
        config(checkpoint_path, text={**QUICK_TEXT, "layer_norm_eps": 1e-12}, **settings),
        clip_tokenizer,
    )


def test_pixels_are_normalized_as_in_the_checkpoint(path, clip, clip_tokenizer):
    """No file states mean and deviation; timm has other values for this model than for CLIP."""
    other = {**IMAGE, "name": "vit_large_patch14_clip_224"}
    black = {"mean": [0, 0, 0], "std": [1, 1, 1]}
    for image in (other, {**other, "options": {**VIT, "pretrained_cfg_overlay": black}}):
        with pytest.raises(UserError, match="timm model, .*pretrained_cfg_overlay") as caught:
            TrainState(config(path, image=image), clip_tokenizer)
        settings = [word for word in shlex.split(str(caught.value)) if word.startswith("model.")]
        sections = {"model": {"image": copy.deepcopy(image)}}
        for key, value in parse_overrides(settings).items():
            set_key(sections, key, value)
        embedder = TrainState(config(path, **sections["model"]), clip_tokenizer).embedder
        pixels = published_models.pictures(64)
        with torch.no_grad():
            original = clip.encode_image(
                (pixels / 255 - published_models.MEAN) / published_models.STD, True
            )
            embeddings = embedder.eval().encode_image(pixels, torch.zeros(3, 1))
        assert torch.allclose(embeddings, original, atol=1e-5)
    TrainState(config(path, image=other, pretrained_towers="text"), clip_tokenizer)


def test_an_activation_is_set_only_if_the_file_needs_it(clip_tokenizer, tmp_path):
    """It would be hashed, and equal weights would be trained again under another id."""
    archive, unicl, resnet = (tmp_path / name for name in ("ViT.pt", "unicl.pth", "RN50.pt"))
    published_models.scripted(published_models.clip(quick=True), archive)
    torch.save({"model": published_models.Unicl().released()}, unicl)
    torch.save(published_models.clip(layers=(3, 4, 6, 3), width=64).state_dict(), resnet)
    for run_config in (
        config(
            archive,
            text=QUICK_TEXT,
            image=QUICK_IMAGE,
            allow_torchscript=True,
            pretrained_activation="gelu",
        ),
        config(
            archive,
            text=QUICK_TEXT,
            image=QUICK_IMAGE,
            allow_torchscript=True,
            pretrained_activation="quick_gelu",
        ),
        config(unicl, text={**QUICK_TEXT, "layer_norm_eps": 1e-12}, pretrained_towers="text"),
        config(
            resnet, image={"name": "resnet50_clip", "image_size": 64}, pretrained_towers="image"
        ),
    ):
        with pytest.raises(UserError, match=r"pretrained_activation=.*: leave it out") as caught:
            TrainState(run_config, clip_tokenizer)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("lock", ["none", "image", "text", "both"])
def test_a_locked_encoder_does_not_change(path, lock):
    run_config = config(path, lock=lock)
    _, state = trainer.setup_training(run_config)
    before = {t: vectors(getattr(state.embedder, f"{t}_encoder")) for t in ("image", "text")}
    heads = state.embedder.text_head.weight.detach().clone()
    result = trainer.train_model(run_config)
    after = result.pretrained.embedder
    for tower, weights in before.items():
        still = torch.equal(weights, vectors(getattr(after, f"{tower}_encoder")))
        assert still == (lock in (tower, "both"))
    assert not torch.equal(heads, after.text_head.weight)


def test_locked_batch_norms_keep_their_statistics():
    small = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "stem_width": 8}
    run_config = tiny(model={"image": {"name": "resnet18", "image_size": 32, "options": small}})
    run_config = replace(run_config, lock="image", train=replace(run_config.train, steps=2))
    encoder = trainer.train_model(run_config).pretrained.embedder.image_encoder
    counts = [int(v) for k, v in encoder.state_dict().items() if k.endswith("batches_tracked")]
    assert counts
    assert not any(counts)
    learning = trainer.train_model(
        replace(run_config, lock="none")
    ).pretrained.embedder.image_encoder
    batch_counts = [
        int(v) for k, v in learning.state_dict().items() if k.endswith("batches_tracked")
    ]
    assert min(batch_counts) > 0


def train_and_write(folder, run_config):
    """Train a run and write its files, except for the spec."""
    result = trainer.train_model(run_config)
    tensors = tensor_file.bundle_modules(
        result.pretrained.embedder, result.pretrained.method
    ).state_dict()
    (folder / "weights.safetensors").write_bytes(tensor_file.encode(tensors, {"step": 6}))
    bpe = result.pretrained.tokenizer
    (folder / "tokenizer.json").write_text(bpe.to_json(), encoding="utf-8")
    return result


def test_the_weights_of_a_run_can_be_loaded(tmp_path):
    first = tiny(method={"name": "clip"})
    result = train_and_write(tmp_path, first)
    bpe = result.pretrained.tokenizer
    with pytest.raises(UserError, match=r"no spec\.json beside it"):
        TrainState(tiny(pretrained=str(tmp_path / "weights.safetensors")), bpe)
    RunFolder(tmp_path).write_spec(identity.build_spec(first, {}))
    with pytest.raises(UserError, match="pretrained_activation=quick_gelu .* leave it out"):
        TrainState(
            tiny(
                pretrained=str(tmp_path / "weights.safetensors"), pretrained_activation="quick_gelu"
            ),
            bpe,
        )
    second = tiny(method={"name": "clip"}, seed=1, pretrained=str(tmp_path / "weights.safetensors"))
    embedder = TrainState(second, bpe).embedder
    expected_state = result.pretrained.embedder.state_dict()
    assert all(
        torch.equal(expected_state[key], value) for key, value in embedder.state_dict().items()
    )
    with pytest.raises(UserError, match="another vocabulary"):
        TrainState(second, tokenizer.train_bpe(["other words", "altogether"], 300))
    for text, match in (
        ({"activation": "gelu"}, r"model\.text\.activation=quick_gelu"),
        ({"layer_norm_eps": 1e-12}, r"model\.text\.layer_norm_eps=1e-05"),
    ):
        other = replace(second.model, text=replace(second.model.text, **text))
        with pytest.raises(UserError, match=match):
            TrainState(replace(second, model=other), bpe)
    image = second.model.image
    other = replace(image, options={**image.options, "act_layer": "relu"})
    with pytest.raises(UserError, match="act is GELU, not ReLU"):
        TrainState(replace(second, model=replace(second.model, image=other)), bpe)


def test_image_head_and_augmentation_encoder_are_loaded_together(tmp_path):
    """A head fits the augmentation encoder that it was trained with, and no other."""
    first = tiny()
    result = train_and_write(tmp_path, first)
    RunFolder(tmp_path).write_spec(identity.build_spec(first, {}))
    checkpoint_path, bpe = (
        str(tmp_path / "weights.safetensors"),
        result.pretrained.tokenizer,
    )
    state = TrainState(tiny(pretrained=checkpoint_path, seed=1), bpe)
    assert list(state.loaded_parts) == [
        "image_encoder", "augmentation_encoder", "image_head", "text_encoder", "text_head"
    ]  # fmt: skip
    assert (
        "loaded image encoder, augmentation encoder, image head"
        in warm_start.describe_loaded_parts(state.config, state.loaded_parts)
    )
    pixels, vectors = published_models.pictures(32), torch.randn(3, transform.VECTOR_DIM)
    with torch.no_grad():
        embedder, expected = state.embedder.eval(), result.pretrained.embedder.eval()
        assert torch.equal(
            embedder.encode_image(pixels, vectors), expected.encode_image(pixels, vectors)
        )

    wider = TrainState(tiny(pretrained=checkpoint_path, model={"embed_dim": 24}), bpe).loaded_parts
    assert wider["augmentation_encoder"] == "only together with the image head"
    assert "(36,) in the model" in wider["image_head"]
    unaware = TrainState(
        tiny(pretrained=checkpoint_path, method={"name": "clip"}), bpe
    ).loaded_parts
    assert "augmentation_encoder" not in unaware
    assert "absent" in unaware["image_head"]
    text = TrainState(tiny(pretrained=checkpoint_path, pretrained_towers="text"), bpe).loaded_parts
    assert text["augmentation_encoder"] == text["image_head"] == "pretrained_towers=text"


def test_a_file_that_changed_since_the_plan_is_refused(tmp_path):
    result = train_and_write(tmp_path, tiny())
    RunFolder(tmp_path).write_spec(identity.build_spec(tiny(), {}))
    checkpoint_path = tmp_path / "weights.safetensors"
    run_config = tiny(pretrained=str(checkpoint_path), pretrained_towers="image", seed=1)
    planned = identity.build_spec(run_config, {"data": 1, **weight_files.fingerprint(run_config)})
    run = Store(tmp_path / "store").get_run(identity.compute_run_id(planned))
    run.write_spec(planned)
    original_bytes = checkpoint_path.read_bytes()
    tensors = tensor_file.bundle_modules(
        result.pretrained.embedder, result.pretrained.method
    ).state_dict()
    checkpoint_path.write_bytes(tensor_file.encode(tensors, {"step": 7}))
    attempt = claimed(run)
    with pytest.raises(
        UserError, match=f"pretrained={checkpoint_path} has changed since the plan; run again"
    ):
        execute_run(run, run_config, attempt, evaluations={})
    assert [path.name for path in attempt.path.iterdir()] == ["heartbeat"]
    checkpoint_path.write_bytes(original_bytes)
    assert execute_run(run, run_config, claimed(run), evaluations={}) == "trained"
    checkpoint_path.unlink()
    assert load(run.path).config.pretrained == planned["data"]["pretrained"], (
        "its own weights are all it needs"
    )


def test_the_content_of_the_file_is_part_of_the_run_id(tmp_path, monkeypatch):
    checkpoint_path = tmp_path / "x.pt"
    checkpoint_path.write_bytes(b"one")
    run_config = tiny(pretrained=str(checkpoint_path))

    def run_id():
        return identity.compute_run_id(
            identity.build_spec(run_config, {"data": 1, **weight_files.fingerprint(run_config)})
        )

    first = run_id()
    assert first == run_id()
    (tmp_path / "elsewhere.pt").write_bytes(b"one")
    monkeypatch.chdir(tmp_path)
    for same in ("x.pt", "./x.pt", "../" + tmp_path.name + "/x.pt", "elsewhere.pt"):
        run_config = tiny(pretrained=same)
        assert run_id() == first
    run_config = tiny(pretrained="x.pt", allow_torchscript=True)
    assert run_id() == first
    checkpoint_path.write_bytes(b"two!")
    assert run_id() != first
    assert weight_files.fingerprint(tiny()) == {}
    with pytest.raises(UserError, match="pretrained=.*no such file"):
        weight_files.fingerprint(tiny(pretrained=str(tmp_path / "none.pt")))
    with pytest.raises(UserError, match="has no weights"):
        weight_files.fingerprint(tiny(pretrained=str(tmp_path)))
