"""Binding: types, ranges and names are checked; every mistake is one line that names the key."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import re
from typing import Any

import pytest

from uniclip import identity
from uniclip.config import (
    DATA,
    METHODS,
    ModelConfig,
    RunConfig,
    TrainConfig,
    UniclipMethod,
    ViewsConfig,
    build_run_config,
)
from uniclip.config.binding import bind, to_builtins
from uniclip.errors import UserError


def values(**sections: Any) -> dict[str, Any]:
    """The least that makes a run, and what a test adds to it."""
    return {"data": {"name": "openmoji"}, "method": {"name": "uniclip"}, **sections}


def refused(match: str, **sections: Any) -> str:
    """The one line with which these values are refused."""
    with pytest.raises(UserError, match=match) as caught:
        build_run_config(values(**sections))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_defaults_fill_what_is_not_said() -> None:
    config = build_run_config(values())
    assert config.train == TrainConfig()
    assert config.views == ViewsConfig()
    assert isinstance(config.method, UniclipMethod)
    assert config.data.image_size == 64


@pytest.mark.parametrize("data", sorted(DATA))
@pytest.mark.parametrize("method", sorted(METHODS))
def test_plain_and_bind_are_inverse(data: str, method: str) -> None:
    views = (
        {"num_weak": 0, "num_strong": 2} if method == "declip" else {"num_weak": 1, "num_strong": 2}
    )
    config = build_run_config({"data": {"name": data}, "method": {"name": method}, "views": views})
    kept = to_builtins(config)
    assert build_run_config(kept) == config
    assert build_run_config(json.loads(json.dumps(kept))) == config
    assert to_builtins(build_run_config(kept)) == kept


def test_a_frozen_configuration_cannot_be_changed() -> None:
    config = build_run_config(values())
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.train.steps = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("sections", "match"),
    [
        ({"train": {"steps": 1.5}}, r"train\.steps must be a whole number, got 1\.5"),
        ({"train": {"steps": "many"}}, r"train\.steps must be a whole number, got 'many'"),
        ({"train": {"steps": True}}, r"train\.steps must be a whole number, got True"),
        ({"train": {"steps": None}}, r"train\.steps must be a whole number"),
        ({"train": {"learning_rate": "fast"}}, r"train\.learning_rate must be a number"),
        ({"train": {"learning_rate": True}}, r"train\.learning_rate must be a number"),
        ({"runtime": {"device": 0}}, r"runtime\.device must be text, got 0"),
        ({"train": 3}, r"train\.? must be a mapping, got 3"),
        ({"data": "openmoji"}, r"data must be a mapping with a name"),
        ({"data": {}}, r"data must be a mapping with a name"),
        ({"runtime": {"checkpoint_seconds": "5m"}}, "got '5m': write the number of seconds"),
        ({"benchmark": "openmoji"}, r"benchmark must be a list, got 'openmoji': write \[openm"),
        ({"benchmark": [1]}, r"benchmark\[0\] must be text, got 1: in a YAML file, write '1'"),
        ({"train": {"adam_betas": [0.9]}}, r"train\.adam_betas must have 2 entries, got 1"),
        ({"train": {"adam_betas": [0.9, "x"]}}, r"train\.adam_betas\[1\] must be a number"),
        ({"model": {"image": {"options": [1]}}}, r"model\.image\.options must be a mapping"),
    ],
)
def test_wrong_types_are_refused_by_name(sections: dict[str, Any], match: str) -> None:
    refused(match, **sections)


@pytest.mark.parametrize(
    ("sections", "match"),
    [
        ({"train": {"steps": 0}}, r"train\.steps must be at least 1, got 0"),
        ({"train": {"warmup_ratio": 1.01}}, r"train\.warmup_ratio must be at most 1, got 1\.01"),
        ({"train": {"adam_eps": 0}}, r"train\.adam_eps must be above 0"),
        (
            {"train": {"warmup_start_lr": 0.1}},
            r"train\.warmup_start_lr=0\.1 must be at most train\.learning_",
        ),
        (
            {"train": {"min_lr": 0.1}},
            r"train\.min_lr=0\.1 must be at most train\.learning_",
        ),
        ({"train": {"learning_rate": 0}}, r"train\.learning_rate must be above 0"),
        ({"train": {"learning_rate": -1e-3}}, r"train\.learning_rate must be above 0"),
        (
            {"train": {"adam_betas": [0.9, 1.0]}},
            r"train\.adam_betas must be at least 0 and below 1",
        ),
        (
            {"train": {"adam_betas": [-0.1, 0.9]}},
            r"train\.adam_betas must be at least 0 and below 1",
        ),
        ({"seed": -1}, r"seed must be at least 0"),
        (
            {"views": {"num_weak": 0, "num_strong": 0}},
            r"views\.num_weak \+ views\.num_strong .* at least 1",
        ),
        ({"model": {"text": {"width": 130}}}, r"model\.text\.width=130 must be a multiple of"),
        ({"method": {"name": "uniclip", "temperature": 2}}, r"method\.temperature .* at most 1"),
        (
            {"method": {"name": "uniclip", "positive_weights": [1, -1, 0]}},
            r"method\.positive_weights .* at least 0",
        ),
        (
            {"method": {"name": "uniclip", "positive_weights": [0, 0, 0]}},
            r"method\.positive_weights .* not all 0",
        ),
        (
            {"data": {"name": "scenes", "redraw_prob": {"side": 1.5}}},
            r"data\.redraw_prob\.side .* at most 1",
        ),
    ],
)
def test_values_out_of_range_are_refused_by_name(sections: dict[str, Any], match: str) -> None:
    refused(match, **sections)


@pytest.mark.parametrize(
    "bad", [float("nan"), float("inf"), -float("inf"), 10**400], ids=["nan", "inf", "-inf", "huge"]
)
@pytest.mark.parametrize(
    "where",
    [
        "train.learning_rate",
        "train.adam_betas",
        "method.positive_weights",
        "model.image.options.x.y",
    ],
)
def test_what_is_not_a_finite_number_is_refused_everywhere(bad: float, where: str) -> None:
    sections: dict[str, Any] = {
        "train.learning_rate": {"train": {"learning_rate": bad}},
        "train.adam_betas": {"train": {"adam_betas": [0.9, bad]}},
        "method.positive_weights": {"method": {"name": "uniclip", "positive_weights": [1, bad, 1]}},
        "model.image.options.x.y": {"model": {"image": {"options": {"x": {"y": bad}}}}},
    }[where]
    if where == "model.image.options.x.y" and isinstance(bad, int):
        build_run_config(values(**sections))  # a whole number, however large, is one
        return
    message = refused("must be a finite number", **sections)
    assert message.startswith(where)


def every_range() -> list[tuple[str, float]]:
    """(dotted key, a value just outside) for every range that any class declares."""
    found = []
    tops = {"data": DATA.values(), "method": METHODS.values()}
    for f in dataclasses.fields(RunConfig):
        for cls in tops.get(f.name, [f.default_factory]):
            if dataclasses.is_dataclass(cls):
                found += [(f"{f.name}:{cls.__name__}.{k}", v) for k, v in _outside(cls)]
    return found


def _outside(cls: Any) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for f in dataclasses.fields(cls):
        if dataclasses.is_dataclass(f.default_factory):
            found += [(f"{f.name}.{k}", v) for k, v in _outside(f.default_factory)]
        step = 1 if f.type == "int" else 1e-6
        for bound, sign in (("low", -1), ("high", 1), ("above", 0)):
            if bound in f.metadata:
                found.append((f.name, f.metadata[bound] + sign * step))
    return found


@pytest.mark.parametrize(("where", "value"), every_range())
def test_every_declared_range_is_enforced(where: str, value: float) -> None:
    section, key = where.split(":")
    name, *path = key.split(".")
    classes = {c.__name__: n for family in (DATA, METHODS) for n, c in family.items()}
    inner: dict[str, Any] = {path[-1]: value}
    for part in reversed(path[:-1]):
        inner = {part: inner}
    if name in classes:
        inner = {"name": classes[name], **inner}
    refused(re.escape(f"{section}.{'.'.join(path)} must be"), **{section: inner})


@pytest.mark.parametrize(
    ("sections", "match"),
    [
        ({"trian": {}}, r"unknown key 'trian': did you mean train\?"),
        ({"train": {"step": 3}}, r"unknown key 'train\.step': did you mean train\.steps"),
        ({"method": {"name": "clp"}}, r"unknown method 'clp': did you mean clip"),
        ({"method": {"name": "simclr9"}}, r"unknown method 'simclr9': "),
        ({"data": {"name": "openmojis"}}, r"unknown data 'openmojis': did you mean openmoji\?"),
        (
            {"method": {"name": "clip", "augmentation_input": "none"}},
            r"unknown key 'method\.augmentation_input'",
        ),
        ({"method": {"name": "uniclip", "loss": "mpnce"}}, r"unknown method\.loss .* mp_nce"),
        ({"train": {"precision": "fp64"}}, r"unknown train\.precision .*fp32"),
        (
            {"data": {"name": "scenes", "redraw_prob": {"sid": 1}}},
            r"'data\.redraw_prob\.sid': .*redraw_prob\.side",
        ),
    ],
)  # fmt: skip
def test_unknown_names_are_answered_with_the_nearest(sections: dict[str, Any], match: str) -> None:
    refused(match, **sections)


def test_a_required_section_cannot_be_left_out() -> None:
    with pytest.raises(UserError, match="method is missing"):
        build_run_config({"data": {"name": "openmoji"}})
    with pytest.raises(UserError, match="must be a mapping"):
        bind(RunConfig, [1])  # type: ignore[arg-type]


@pytest.mark.parametrize("weights", ["balanced", "uniform", [1, 1, 1], (0.0, 1.0, 1.0)])
def test_weights_are_a_word_or_three_numbers(weights: Any) -> None:
    bound = build_run_config(
        values(method={"name": "uniclip", "positive_weights": weights})
    ).method.positive_weights
    if isinstance(weights, str):
        assert bound == weights
    else:
        assert bound == tuple(float(w) for w in weights)
        assert all(isinstance(w, float) for w in bound)


@pytest.mark.parametrize(
    ("weights", "match"),
    [
        ("best", r"unknown method\.positive_weights 'best': choose from balanced, uniform"),
        ([1, 2], r"method\.positive_weights must have 3 entries, got 2"),
        ([1, 2, "x"], r"method\.positive_weights\[2\] must be a number"),
        (3, r"unknown method\.positive_weights '3'"),
        (None, r"unknown method\.positive_weights"),
    ],
)
def test_other_weights_are_refused_for_the_right_reason(weights: Any, match: str) -> None:
    refused(match, method={"name": "uniclip", "positive_weights": weights})


def test_the_word_true_is_a_word_where_words_are_asked_for() -> None:
    """YAML and the command line read `method.augmentation_input=true` as a truth value."""
    assert (
        build_run_config(
            values(method={"name": "uniclip", "augmentation_input": True})
        ).method.augmentation_input
        == "true"
    )
    refused(
        "unknown method.augmentation_input", method={"name": "uniclip", "augmentation_input": False}
    )


def test_the_class_of_data_and_method_is_chosen_by_name() -> None:
    scenes = build_run_config(values(data={"name": "scenes", "redraw_prob": {"side": 0.5}}))
    assert type(scenes.data) is DATA["scenes"]
    assert scenes.data.redraw_prob.side == 0.5
    assert type(build_run_config(values(method={"name": "clip"})).method) is METHODS["clip"]


def test_optional_text_may_be_null() -> None:
    assert (
        build_run_config(values(data={"name": "csv", "label_column": None})).data.label_column
        is None
    )
    assert (
        build_run_config(values(data={"name": "csv", "label_column": "kind"})).data.label_column
        == "kind"
    )


@pytest.mark.parametrize(
    ("sections", "match"),
    [
        (
            {"method": {"augmentation_input": "none", "visible_transforms": ["flip"]}},
            "leave out visible_transforms",
        ),
        ({"method": {"augmentation_input": "none", "fusion": "concat"}}, "leave out fusion=concat"),
        (
            {"method": {"augmentation_input": "none", "modulation_init_gain": 2}},
            "leave out modulation_init_gain=2",
        ),
        (
            {"method": {"visible_transforms": []}},
            "shows nothing: that is method.augmentation_input=identity",
        ),
        (
            {"pretrained_towers": "image"},
            "pretrained_towers=image does nothing without pretrained=: leave it out",
        ),
        ({"pretrained_activation": "gelu"}, "pretrained_activation=gelu .* leave it out"),
        ({"allow_torchscript": True}, "allow_torchscript=true .* leave it out"),
    ],
)
def test_what_would_do_nothing_is_refused(sections: dict[str, Any], match: str) -> None:
    """It would be hashed, and the same weights trained once more under another name."""
    method = {"name": "uniclip", **sections.get("method", {})}
    refused(match, **{**sections, "method": method})


ONE_VIEW = {"num_weak": 1, "num_strong": 0}


@pytest.mark.parametrize(
    ("weights", "views"),
    [([0, 0, 1], {}), ([0, 0, 1], ONE_VIEW), ([1, 0, 0], ONE_VIEW), ([1, 0, 5], ONE_VIEW)],
)
@pytest.mark.parametrize("loss", ["mp_nce", "multi_view_info_nce"])
def test_weights_that_leave_no_positives_are_refused(weights: Any, views: Any, loss: str) -> None:
    method = {"name": "uniclip", "positive_weights": weights, "loss": loss}
    said = (
        r"method\.positive_weights=\[[\d., ]+\] leaves no positives with [13] views "
        ".*give image-text"
    )
    refused(said, method=method, views=views)


@pytest.mark.parametrize(
    ("weights", "views"),
    [([1, 0, 0], {}), ([0, 1, 0], ONE_VIEW), ("balanced", ONE_VIEW), ("uniform", ONE_VIEW)],
)
def test_weights_that_leave_some_positives_are_taken(weights: Any, views: Any) -> None:
    build_run_config(values(method={"name": "uniclip", "positive_weights": weights}, views=views))


@pytest.mark.parametrize(
    ("method", "views"),
    [
        *((name, {}) for name in ("uniclip", "clip", "unicl")),
        ("slip", {"num_weak": 1, "num_strong": 2}),
        ("declip", {"num_weak": 0, "num_strong": 2}),
    ],
)
def test_a_contrast_needs_two_samples(method: str, views: dict[str, int]) -> None:
    sections = {"method": {"name": method}, "views": views}
    match = rf"train\.batch_size=1 must be at least 2 for method={method}"
    refused(match, train={"batch_size": 1}, **sections)
    build_run_config(values(train={"batch_size": 2}, **sections))


def test_each_chunk_needs_a_sample() -> None:
    refused(
        r"train\.grad_cache_chunks=200 must be at most train\.batch_size=16",
        train={"batch_size": 16, "grad_cache_chunks": 200},
    )
    build_run_config(values(train={"batch_size": 16, "grad_cache_chunks": 16}))


@pytest.mark.parametrize("told", [{"visible_transforms": ["flip"]}, {"fusion": "concat"}], ids=str)
def test_awareness_is_switched_off_whatever_it_was_told(told: dict[str, Any]) -> None:
    build_run_config(values(method={"name": "uniclip", "augmentation_input": "identity", **told}))


@pytest.mark.parametrize(
    ("told", "same"),
    [
        (["flip", "crop"], ["crop", "flip"]),
        (["flip", "flip"], ["flip"]),
        (["blur", "grey", "crop", "flip", "jitter"], None),
    ],
)
def test_what_it_is_told_of_is_one_run_however_it_is_written(told: Any, same: Any) -> None:
    one, other = (
        identity.build_spec(
            build_run_config(values(method={"name": "uniclip", "visible_transforms": t})), {}
        )
        for t in (told, same)
    )
    assert one == other


RECONSTRUCTIONS = {
    UniclipMethod: (
        "positive_weights",
        "negatives",
        "fusion",
        "modulation_init_gain",
        "modulation_lr_mult",
        "temperature",
    ),
    ModelConfig: ("num_head_blocks", "augmentation_width", "augmentation_layers"),
    TrainConfig: ("similarity_lr_mult",),
    ViewsConfig: ("num_weak", "num_strong", "identity_prob"),
}


@pytest.mark.parametrize("cls", RECONSTRUCTIONS)
def test_what_no_source_states_is_marked_as_ours(cls: type) -> None:
    (tree,) = ast.parse(inspect.getsource(cls)).body
    assert isinstance(tree, ast.ClassDef)
    said = {
        ast.unparse(field.target): " ".join(ast.unparse(words).replace("\\n", " ").split())
        for field, words in itertools.pairwise(tree.body)
        if isinstance(field, ast.AnnAssign)
    }
    assert [n for n in RECONSTRUCTIONS[cls] if "our reconstruction" not in said[n]] == []


@pytest.mark.parametrize("method", sorted(METHODS))
def test_forwards_count_every_view_once(method: str) -> None:
    views = bind(ViewsConfig, {"num_weak": 2, "num_strong": 3})
    texts = 2 if method == "declip" else 1
    assert bind(METHODS[method], {}).count_forward_passes(views) == {"image": 5, "text": texts}


@pytest.mark.parametrize("cls", [c for c in (*DATA.values(), *METHODS.values(), TrainConfig)])
def test_defaults_lie_within_their_own_ranges(cls: type) -> None:
    assert bind(cls, to_builtins(cls())) == cls()
