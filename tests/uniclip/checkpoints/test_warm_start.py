"""init= and lock=: where training starts, what does not learn, and what the run is called."""

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
from uniclip.checkpoints import tensor_file, warm_start
from uniclip.checkpoints.load import load
from uniclip.config import RunConfig
from uniclip.config.compose import parse_overrides, set_key
from uniclip.data.text import tokenizer
from uniclip.errors import UserError
from uniclip.io.atomic import read_jsonl
from uniclip.run import execute_run as execute
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
    place = tmp_path_factory.mktemp("published") / "clip.pt"
    torch.save(clip.state_dict(), place)
    return place


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
def words():
    return tokenizer.load_clip_tokenizer()


def vectors(encoder):
    return torch.cat([p.detach().flatten() for p in encoder.parameters()])


def taken(embedder, clip):
    """Which parts are the published model's."""
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
def test_encoders_start_from_the_checkpoint(path, clip, words, towers, expected):
    state = TrainState(config(path, pretrained_towers=towers), words)
    assert taken(state.embedder, clip) == expected


def test_heads_that_are_another_shape_start_afresh(path, clip, words):
    assert taken(TrainState(config(path, embedding=32), words).embedder, clip) == {"image", "text"}
    aware = TrainState(config(path, method="uniclip"), words).embedder
    assert taken(aware, clip) == {"image", "text", "text_head"}


def test_a_projection_that_has_no_place_is_said(words, tmp_path):
    """CLIP's ResNet-50 projects with a bias, inside its attention pooling."""
    place = tmp_path / "RN50.pt"
    theirs = published_models.clip(layers=(3, 4, 6, 3), width=64)
    torch.save(theirs.state_dict(), place)
    given = config(place, image={"name": "resnet50_clip", "image_size": 64})
    taken = TrainState(given, words).loaded_parts
    assert [part for part, why in taken.items() if why is None] == [
        "image_encoder", "text_encoder", "text_head"
    ]  # fmt: skip
    assert (
        taken["image_head"] == "bias has shape (64,) in the checkpoint and is absent in the model"
    )


def test_what_was_taken_over_is_one_line_of_the_runs_log(path, tmp_path, capsys):
    given = config(path, method="uniclip", pretrained_towers="image")
    attempt = claimed(opened(tmp_path, given))
    trainer.train_model(given, attempt=attempt)
    (event,) = [e for e in read_jsonl(attempt.events_path) if e["event"] == "initialized"]
    assert event["message"] in capsys.readouterr().out.splitlines()
    assert event["message"] == (
        f"pretrained={path}: loaded image encoder; newly initialized: augmentation encoder "
        "(layers.0.bias is absent in the checkpoint and has shape (16,) in the model), image head "
        "(blocks.0.mlp.0.bias is absent in the checkpoint and has shape (128,) in the model), "
        "text encoder (pretrained_towers=image), text head (pretrained_towers=image), "
        "the temperature (set by method.temperature)"
    )


def test_a_resumed_run_was_initialized_once(path, tmp_path):
    given = config(path)
    run = opened(tmp_path, given)
    trainer.train_model(given, attempt=claimed(run), stop=lambda: True)
    trainer.train_model(given, attempt=claimed(run))
    told = [[e["event"] for e in read_jsonl(run.get_attempt(n).events_path)] for n in (1, 2)]
    assert told == [["initialized"], ["resumed"]]


def test_an_image_encoder_alone_needs_no_clip_vocabulary(path, clip):
    small = {"width": 32, "layers": 1, "heads": 2, "context_length": 16, "vocab_size": 300}
    given = config(path, text=small, pretrained_towers="image")
    own = tokenizer.train_bpe(["a red disc"], 300)
    assert taken(TrainState(given, own).embedder, clip) == {"image", "image_head"}
    with pytest.raises(UserError, match="pretrained_towers=image"):
        TrainState(replace(given, pretrained_towers="both"), own)


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
def test_another_architecture_is_one_line_that_names_the_tensor(path, words, changes, match):
    with pytest.raises(UserError, match=match) as caught:
        TrainState(config(path, **changes), words)
    assert "\n" not in str(caught.value)


def test_an_archive_of_openais_needs_trust_and_their_activation(words, tmp_path):
    archive, theirs = tmp_path / "ViT.pt", published_models.clip(quick=True)
    published_models.scripted(theirs, archive)
    with pytest.raises(UserError, match="allow_torchscript=true"):
        TrainState(config(archive), words)
    asked = {"allow_torchscript": True, "pretrained_activation": None}
    with pytest.raises(UserError, match=r"set model\.text\.activation=quick_gelu"):
        TrainState(config(archive, **asked), words)
    with pytest.raises(UserError, match="vit_base_patch32_clip_quickgelu_224"):
        TrainState(config(archive, text=QUICK_TEXT, **asked), words)
    quick = config(archive, text=QUICK_TEXT, image=QUICK_IMAGE, **asked)
    assert {"image", "text"} <= taken(TrainState(quick, words).embedder, theirs)


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
def test_what_shapes_do_not_tell_is_stated_and_agrees(path, words, changes, match):
    with pytest.raises(UserError, match=match) as caught:
        TrainState(config(path, **changes), words)
    assert "\n" not in str(caught.value)


def test_unicls_own_activation_and_epsilon_are_known(words, tmp_path):
    place = tmp_path / "unicl.pth"
    torch.save({"model": published_models.Unicl().released()}, place)
    given = {"pretrained_towers": "text", "pretrained_activation": None}
    with pytest.raises(UserError, match=r"activation=quick_gelu"):
        TrainState(config(place, **given), words)
    with pytest.raises(UserError, match=r"layer_norm_eps=1e-12"):
        TrainState(config(place, text=QUICK_TEXT, **given), words)
    TrainState(config(place, text={**QUICK_TEXT, "layer_norm_eps": 1e-12}, **given), words)


def test_pixels_are_normalised_as_the_checkpoint_has_them(path, clip, words):
    """Mean and deviation stand in no file; timm has others for this model than for CLIP's own."""
    other = {**IMAGE, "name": "vit_large_patch14_clip_224"}
    black = {"mean": [0, 0, 0], "std": [1, 1, 1]}
    for image in (other, {**other, "options": {**VIT, "pretrained_cfg_overlay": black}}):
        with pytest.raises(UserError, match=r"not \[0(\.5)?,.*pretrained_cfg_overlay") as caught:
            TrainState(config(path, image=image), words)
        settings = [word for word in shlex.split(str(caught.value)) if word.startswith("model.")]
        mended = {"model": {"image": copy.deepcopy(image)}}
        for key, value in parse_overrides(settings).items():
            set_key(mended, key, value)
        embedder = TrainState(config(path, **mended["model"]), words).embedder
        pixels = published_models.pictures(64)
        with torch.no_grad():
            theirs = clip.encode_image(
                (pixels / 255 - published_models.MEAN) / published_models.STD, True
            )
            ours = embedder.eval().encode_image(pixels, torch.zeros(3, 1))
        assert torch.allclose(ours, theirs, atol=1e-5)
    TrainState(config(path, image=other, pretrained_towers="text"), words)


def test_an_activation_is_given_where_the_file_needs_it_and_nowhere_else(words, tmp_path):
    """It would be hashed, and the same weights trained once more under another name."""
    archive, unicl, resnet = (tmp_path / name for name in ("ViT.pt", "unicl.pth", "RN50.pt"))
    published_models.scripted(published_models.clip(quick=True), archive)
    torch.save({"model": published_models.Unicl().released()}, unicl)
    torch.save(published_models.clip(layers=(3, 4, 6, 3), width=64).state_dict(), resnet)
    for given in (
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
            TrainState(given, words)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("frozen", ["none", "image", "text", "both"])
def test_a_frozen_encoder_does_not_move_and_the_rest_does(path, frozen):
    given = config(path, lock=frozen)
    _, state = trainer.setup_training(given)
    before = {t: vectors(getattr(state.embedder, f"{t}_encoder")) for t in ("image", "text")}
    heads = state.embedder.text_head.weight.detach().clone()
    fitted = trainer.train_model(given)
    after = fitted.pretrained.embedder
    for tower, weights in before.items():
        still = torch.equal(weights, vectors(getattr(after, f"{tower}_encoder")))
        assert still == (frozen in (tower, "both"))
    assert not torch.equal(heads, after.text_head.weight)


def test_frozen_norms_keep_their_statistics():
    small = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "stem_width": 8}
    given = tiny(model={"image": {"name": "resnet18", "image_size": 32, "options": small}})
    given = replace(given, lock="image", train=replace(given.train, steps=2))
    encoder = trainer.train_model(given).pretrained.embedder.image_encoder
    counts = [int(v) for k, v in encoder.state_dict().items() if k.endswith("batches_tracked")]
    assert counts
    assert not any(counts)
    learning = trainer.train_model(replace(given, lock="none")).pretrained.embedder.image_encoder
    seen = [int(v) for k, v in learning.state_dict().items() if k.endswith("batches_tracked")]
    assert min(seen) > 0


def written(folder, given):
    """A run of ours that was trained, but for its spec."""
    fitted = trainer.train_model(given)
    tensors = tensor_file.bundle_modules(
        fitted.pretrained.embedder, fitted.pretrained.method
    ).state_dict()
    (folder / "weights.safetensors").write_bytes(tensor_file.encode(tensors, {"step": 6}))
    words = fitted.pretrained.tokenizer
    (folder / "tokenizer.json").write_text(words.to_json(), encoding="utf-8")
    return fitted


def test_a_run_of_ours_is_a_start_too(tmp_path):
    first = tiny(method={"name": "clip"})
    fitted = written(tmp_path, first)
    words = fitted.pretrained.tokenizer
    with pytest.raises(UserError, match=r"no spec\.json beside it"):
        TrainState(tiny(pretrained=str(tmp_path / "weights.safetensors")), words)
    RunFolder(tmp_path).write_spec(identity.build_spec(first, {}))
    with pytest.raises(UserError, match="pretrained_activation=quick_gelu .* leave it out"):
        TrainState(
            tiny(
                pretrained=str(tmp_path / "weights.safetensors"), pretrained_activation="quick_gelu"
            ),
            words,
        )
    second = tiny(method={"name": "clip"}, seed=1, pretrained=str(tmp_path / "weights.safetensors"))
    embedder = TrainState(second, words).embedder
    own = fitted.pretrained.embedder.state_dict()
    assert all(torch.equal(own[key], value) for key, value in embedder.state_dict().items())
    with pytest.raises(UserError, match="another vocabulary"):
        TrainState(second, tokenizer.train_bpe(["other words", "altogether"], 300))
    for text, match in (
        ({"activation": "gelu"}, r"model\.text\.activation=quick_gelu"),
        ({"layer_norm_eps": 1e-12}, r"model\.text\.layer_norm_eps=1e-05"),
    ):
        other = replace(second.model, text=replace(second.model.text, **text))
        with pytest.raises(UserError, match=match):
            TrainState(replace(second, model=other), words)
    image = second.model.image
    other = replace(image, options={**image.options, "act_layer": "relu"})
    with pytest.raises(UserError, match="act is GELU, not ReLU"):
        TrainState(replace(second, model=replace(second.model, image=other)), words)


def test_an_image_head_and_what_it_is_told_of_come_together_or_not(tmp_path):
    """A head means what its own augmentation encoder says, not what another's does."""
    first = tiny()
    fitted = written(tmp_path, first)
    RunFolder(tmp_path).write_spec(identity.build_spec(first, {}))
    place, words = str(tmp_path / "weights.safetensors"), fitted.pretrained.tokenizer
    state = TrainState(tiny(pretrained=place, seed=1), words)
    assert list(state.loaded_parts) == [
        "image_encoder", "augmentation_encoder", "image_head", "text_encoder", "text_head"
    ]  # fmt: skip
    assert (
        "loaded image encoder, augmentation encoder, image head"
        in warm_start.describe_loaded_parts(place, state.loaded_parts)
    )
    pixels, vectors = published_models.pictures(32), torch.randn(3, transform.VECTOR_DIM)
    with torch.no_grad():
        ours, theirs = state.embedder.eval(), fitted.pretrained.embedder.eval()
        assert torch.equal(ours.encode_image(pixels, vectors), theirs.encode_image(pixels, vectors))

    wider = TrainState(tiny(pretrained=place, model={"embed_dim": 24}), words).loaded_parts
    assert wider["augmentation_encoder"] == "only together with the image head"
    assert "(48,) in the model" in wider["image_head"]
    unaware = TrainState(tiny(pretrained=place, method={"name": "clip"}), words).loaded_parts
    assert "augmentation_encoder" not in unaware
    assert "absent" in unaware["image_head"]
    text = TrainState(tiny(pretrained=place, pretrained_towers="text"), words).loaded_parts
    assert text["augmentation_encoder"] == text["image_head"] == "pretrained_towers=text"


def test_a_run_starts_from_the_file_of_its_plan_or_not_at_all(tmp_path):
    fitted = written(tmp_path, tiny())
    RunFolder(tmp_path).write_spec(identity.build_spec(tiny(), {}))
    place = tmp_path / "weights.safetensors"
    given = tiny(pretrained=str(place), pretrained_towers="image", seed=1)
    planned = identity.build_spec(given, {"data": 1, **warm_start.fingerprint(given.pretrained)})
    run = Store(tmp_path / "store").get_run(identity.compute_run_id(planned))
    run.write_spec(planned)
    kept = place.read_bytes()
    tensors = tensor_file.bundle_modules(
        fitted.pretrained.embedder, fitted.pretrained.method
    ).state_dict()
    place.write_bytes(tensor_file.encode(tensors, {"step": 7}))
    attempt = claimed(run)
    with pytest.raises(
        UserError, match=f"pretrained={place} has changed since the plan; run again"
    ):
        execute(run, given, attempt, evaluations={})
    assert not list(attempt.path.iterdir())
    place.write_bytes(kept)
    assert execute(run, given, claimed(run), evaluations={}) == "trained"
    place.unlink()
    assert load(run.path).config.pretrained == planned["data"]["pretrained"], (
        "its own weights are all it needs"
    )


def test_what_the_file_holds_is_part_of_the_runs_name(tmp_path, monkeypatch):
    place = tmp_path / "x.pt"
    place.write_bytes(b"one")
    given = tiny(pretrained=str(place))

    def name():
        return identity.compute_run_id(
            identity.build_spec(given, {"data": 1, **warm_start.fingerprint(given.pretrained)})
        )

    first = name()
    assert first == name()
    (tmp_path / "elsewhere.pt").write_bytes(b"one")
    monkeypatch.chdir(tmp_path)
    for same in ("x.pt", "./x.pt", "../" + tmp_path.name + "/x.pt", "elsewhere.pt"):
        given = tiny(pretrained=same)
        assert name() == first
    given = tiny(pretrained="x.pt", allow_torchscript=True)
    assert name() == first
    place.write_bytes(b"two!")
    assert name() != first
    assert warm_start.fingerprint(None) == {}
    with pytest.raises(UserError, match="pretrained=.*no such file"):
        warm_start.fingerprint(str(tmp_path / "none.pt"))
    with pytest.raises(UserError, match="no such file"):
        warm_start.fingerprint(str(tmp_path))
