from __future__ import annotations

import json

import pytest

from uniclip.errors import UserError
from uniclip.evaluate import prompts
from uniclip.evaluate.protocols import published

COUNTS = {
    "food101": 1, "cifar10": 18, "cifar100": 18, "sun397": 2, "stanford_cars": 8,
    "fgvc_aircraft": 2, "dtd": 8, "oxford_pets": 1, "caltech101": 34, "flowers102": 1,
    "voc2007": 1, "mnist": 1, "stl10": 2, "eurosat": 3, "gtsrb": 3, "country211": 5,
    "fer2013": 6, "rendered_sst2": 1, "pcam": 1, "imagenet80": 80, "imagenet7": 7,
    "imagenet81": 81,
}  # fmt: skip
"""Templates that Radford et al.'s lists have (ImageNet: the three ensembles)."""

CLASSES = {
    "oxford_pets": 37, "caltech101": 102, "flowers102": 102, "eurosat": 10, "gtsrb": 43,
    "mnist": 10, "pcam": 2, "country211": 211, "fer2013": 7, "imagenet": 1000,
    "fashion_mnist": 10, "digits": 10,
}  # fmt: skip


@pytest.mark.parametrize("dataset", COUNTS)
def test_as_many_templates_as_published_each_with_one_placeholder(dataset):
    names = prompts.get_templates(dataset)
    assert len(names) == len(set(names)) == COUNTS[dataset]
    assert prompts.validate_templates(names, dataset) == names
    assert all("{c}" not in template for template in names)


def test_the_seven_are_among_the_eighty():
    every, seven = set(prompts.get_templates("imagenet80")), set(prompts.get_templates("imagenet7"))
    assert seven - every == set()
    assert set(prompts.get_templates("imagenet81")) - every == {"{}."}


@pytest.mark.parametrize("dataset", CLASSES)
def test_every_class_has_distinct_names(dataset):
    listed = json.loads((prompts.DATA_FOLDER / "names.json").read_text())["datasets"][dataset][
        "names"
    ]
    assert len(listed) == CLASSES[dataset]
    names = prompts.get_class_names(dataset, list(listed))
    assert all(name for templates_given in names.values() for name in templates_given)
    flat = [name for templates_given in names.values() for name in templates_given]
    # Two pairs of classes of ImageNet share a name in the published list.
    assert len(flat) - len(set(flat)) <= (2 if dataset == "imagenet" else 0)


def test_every_list_states_its_source():
    file = json.loads((prompts.DATA_FOLDER / "names.json").read_text())
    lists = [file["datasets"], *file["variants"].values()]
    assert all(entry["source"] for entries in lists for entry in entries.values())
    assert set(file["variants"]) <= set(published.PROTOCOLS)
    assert json.loads((prompts.DATA_FOLDER / "templates.json").read_text())["source"]


@pytest.mark.parametrize(
    ("dataset", "key", "name"),
    [
        ("food101", "apple_pie", "apple pie"),
        ("cifar100", "maple_tree", "maple tree"),
        ("sun397", "apse/indoor", "apse indoor"),
        ("stanford_cars", "Ram C/V Cargo Van Minivan 2012", "Ram C/V Cargo Van Minivan 2012"),
        ("fgvc_aircraft", "F-16A/B", "F-16A/B"),
        ("dtd", "polka-dotted", "polka-dotted"),
        ("oxford_pets", "american_bulldog", "american bulldog"),
        ("oxford_pets", "Egyptian_Mau", "Egyptian Mau"),
        ("caltech101", "Faces_easy", "centered face"),
        ("caltech101", "BACKGROUND_Google", "background"),
        ("flowers102", "1", "pink primrose"),
        ("flowers102", "102", "blackberry lily"),
        ("imagenet", "n01440764", "tench"),
        ("imagenet", "n15075141", "toilet paper"),
        ("voc2007", "diningtable", "diningtable"),
        ("eurosat", "AnnualCrop", "annual crop land"),
        ("eurosat", "SeaLake", "lake or sea"),
        ("gtsrb", "00014", "stop"),
        ("country211", "ZW", "Zimbabwe"),
        ("country211", "CD", "DR Congo"),
        ("rendered_sst2", "1", "positive"),
        ("mnist", "7 - seven", "7"),
        ("fashion_mnist", "Ankle boot", "ankle boot"),
    ],
)
def test_names_are_bound_to_the_keys_of_the_data_set(dataset, key, name):
    assert prompts.get_class_names(dataset, [key]) == {key: (name,)}


def test_the_order_of_classes_does_not_matter():
    keys = ["River", "AnnualCrop", "Forest"]
    one, other = (prompts.get_class_names("eurosat", order) for order in (keys, keys[::-1]))
    assert one == other
    assert list(one) == keys


def test_several_names_a_class_and_label_ids():
    assert prompts.get_class_names("fer2013", ["happy"])["happy"] == ("happy", "smiling")
    assert prompts.get_class_names("fer2013", ["3"])["3"] == ("happy", "smiling")
    # The labels of the CSV put neutral last, folders put it before sad.
    assert prompts.get_class_names("fer2013", ["6"], "laion_cb")["6"] == ("neutral",)


def test_protocols_differ_where_their_sources_do():
    assert prompts.get_class_names("oxford_pets", ["pug"], "clip2021")["pug"] == ("pug",)
    assert prompts.get_class_names("oxford_pets", ["pug"], "laion_cb")["pug"] == ("Pug",)
    assert prompts.get_class_names("cifar100", ["maple_tree"], "laion_cb")["maple_tree"] == (
        "maple_tree",
    )
    assert prompts.get_templates("pcam", "laion_cb") != prompts.get_templates("pcam", "clip2021")


def test_a_class_that_is_not_listed_is_refused():
    with pytest.raises(UserError, match="class of caltech101 'Face': did you mean Faces"):
        prompts.get_class_names("caltech101", ["Face"])


def test_a_data_set_without_published_prompts():
    assert prompts.get_class_names("my birds", ["blue_tit"]) == {"blue_tit": ("blue tit",)}
    assert prompts.get_templates("my birds") == prompts.DEFAULT_TEMPLATES


def test_user_defined_templates():
    assert prompts.validate_templates(["a {}!"], "mine.yaml") == ("a {}!",)
    for bad in ("a photo", "{} and {}", 3):
        with pytest.raises(UserError, match="mine.yaml.*exactly one {}"):
            prompts.validate_templates([bad], "mine.yaml")
