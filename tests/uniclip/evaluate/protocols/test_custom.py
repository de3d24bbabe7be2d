"""A protocol of the user's own, from its file to its hash."""

from __future__ import annotations

import json

import pytest

from tests.helpers import stub_models
from uniclip import evaluate
from uniclip.errors import UserError
from uniclip.evaluate.protocols import custom, published

MINE = """\
base: slip2021
templates:
  pets: ["a picture of a {}.", "{}, an animal"]
  "*": ["my {}"]
  coco: ["caption: {}"]
names:
  fashion_mnist: {T-shirt/top: [t-shirt, top], Bag: handbag}
metrics:
  oxford_pets: accuracy
"""
CLASSES = ("T-shirt/top", "Trouser", "Bag")


def write(folder, text=MINE, name="mine"):
    (folder / "protocol").mkdir(exist_ok=True)
    (folder / "protocol" / f"{name}.yaml").write_text(text)


def test_a_custom_protocol_overrides_its_base(tmp_path):
    write(tmp_path)
    definition = custom.resolve_protocol("mine", [tmp_path])
    assert json.loads(json.dumps(definition)) == definition
    custom_protocol, slip = (
        custom.build_protocol(definition),
        published.get_published_protocol("slip2021"),
    )
    assert (custom_protocol.name, custom_protocol.base) == ("mine", "slip2021")
    assert custom_protocol.get_templates("oxford_pets") == ("a picture of a {}.", "{}, an animal")
    assert custom_protocol.get_templates("imagenet") == ("my {}",)
    assert custom_protocol.get_templates("coco") == ("caption: {}",)
    assert custom_protocol.get_templates("flickr30k") == slip.get_templates("flickr30k")
    assert custom_protocol.get_metric("oxford_pets") == "accuracy"
    assert custom_protocol.get_metric("flowers102") == "mean_per_class"
    assert custom_protocol.preprocessing == slip.preprocessing
    names = dict(custom_protocol.for_dataset("fashion_mnist", CLASSES).class_names)
    published_names = dict(slip.for_dataset("fashion_mnist", CLASSES).class_names)
    assert names["T-shirt/top"] == ("t-shirt", "top")
    assert names["Bag"] == ("handbag",)
    assert names["Trouser"] == published_names["Trouser"]


def test_a_published_protocol_needs_no_file(tmp_path):
    assert custom.resolve_protocol("laion_cb", [tmp_path]) == "laion_cb"
    assert custom.build_protocol("laion_cb") is published.get_published_protocol("laion_cb")


def test_every_part_of_a_custom_protocol_is_hashed(tmp_path):
    texts = [
        "{}",
        "base: slip2021",
        'templates: {fashion_mnist: ["a {}"]}',
        'templates: {fashion_mnist: ["the {}"]}',
        "names: {fashion_mnist: {Bag: handbag}}",
        "names: {fashion_mnist: {Bag: purse}}",
        "metrics: {fashion_mnist: mean_per_class}",
    ]
    hashes = {evaluate.evaluation_hash("fashion_mnist", stub_models.config({"name": "scenes"}))}
    for text in texts:
        write(tmp_path, text)
        definition = custom.resolve_protocol("mine", [tmp_path])
        config = stub_models.config({"name": "scenes"}, runtime={"protocol": definition})
        hashes.add(evaluate.evaluation_hash("fashion_mnist", config))
    assert len(hashes) == 1 + len(texts)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("- dtd", "is not a protocol"),
        ("templates: {dtd: [a {}]", "is broken"),
        ("templats: {}", "did you mean .*templates"),
        ("base: clip2020", "did you mean clip2021"),
        ('templates: {dtd: ["a photo"]}', "needs exactly one {}"),
        ('templates: {dtd: ["{} and {}"]}', "needs exactly one {}"),
        ("templates: {dtd: []}", "dtd has no template"),
        ('templates: {coco: ["{}", "a {}"]}', "coco takes one template"),
        ('templates: {dtt: ["{}"]}', "did you mean dtd"),
        ("metrics: {dtd: map}", "the metric of dtd is accuracy or mean_per_class, not map"),
        ("metrics: {coco: accuracy}", "the metric of coco is recall"),
        ("names: {dtd: {bumpy: 3}}", "must be"),
    ],
)
def test_faulty_protocols_are_one_error_line(tmp_path, text, match):
    write(tmp_path, text)
    with pytest.raises(UserError, match=match) as caught:
        custom.resolve_protocol("mine", [tmp_path])
    assert "\n" not in str(caught.value)


def test_an_unknown_class_and_a_reserved_name(tmp_path):
    write(tmp_path, "names: {fashion_mnist: {Bags: handbag}}")
    custom_protocol = custom.build_protocol(custom.resolve_protocol("mine", [tmp_path]))
    with pytest.raises(UserError, match="protocol mine 'Bags': did you mean Bag"):
        custom_protocol.for_dataset("fashion_mnist", CLASSES)
    with pytest.raises(UserError, match="did you mean mine"):
        custom.resolve_protocol("mine2", [tmp_path])
    write(tmp_path, "{}", "clip2021")
    with pytest.raises(UserError, match="clip2021 is a published protocol"):
        custom.resolve_protocol("clip2021", [tmp_path])
