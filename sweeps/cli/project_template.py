"""The files of a new project: an ablation, a component, a method and data of the user's own."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

ABLATION_OF_METHODS = """\
title: Does contrast help?
design: listed
reference: clip
arms:
  clip: {label: CLIP, groups: {method: clip}}
  cosine: {label: cosine without contrast, groups: {method: cosine}}
contrasts:
  contrast: {label: CLIP against cosine, plus: clip, minus: cosine, primary: true}
primary_metrics: {csv: retrieval.r1}
margins: {csv: {retrieval.r1: 0.01}}
margin_reason: a smaller gain would not change which method we use
"""
ABLATION_OF_A_COMPONENT = """\
title: Should other positives stand in the denominator?
groups: {method: uniclip}
design: crossed
components: [negatives_only]
primary_metrics: {csv: retrieval.r1}
"""
COMPONENTS = """\
# What turning a component off changes, and what the audit must then see.
negatives_only:
  label: denominator of negatives only
  reason: An easy positive (another view) should not suppress a hard one (the caption).
  off_overrides: {method.loss: sup_con}
  manipulation_check: {kind: identical_loss, as: sup_con, unlike: mp_nce}
"""
METHOD = '''\
"""A method of our own: each image gets the cosine `target` with its caption, without contrast."""

from dataclasses import dataclass
from typing import Literal

from uniclip.config import METHODS, MethodConfig
from uniclip.config.binding import config_field


@dataclass(frozen=True, kw_only=True)
class CosineMethod(MethodConfig):
    """The configuration: `method=cosine method.target=0.8`."""

    name: Literal["cosine"] = "cosine"
    target: float = config_field(0.5, low=-1, high=1)

    def count_forward_passes(self, views):
        """Return the encoder forward passes per sample."""
        return {"image": views.num_weak + views.num_strong, "text": 1}

    def count_pairs(self, views, samples):
        """Return the positives and negatives of an anchor."""
        return {"it+": 1, "ti+": views.num_weak + views.num_strong}

    def build(self, config):
        """Return the method; torch is imported here, so that `plan` and `status` start at once."""
        from uniclip.methods.base import SingleTemperatureMethod, embed_views

        class Cosine(SingleTemperatureMethod):
            loss_weights = {"cosine": 1.0}
            forward_passes = self.count_forward_passes(config.views)

            def embed(self, embedder, batch):
                images, texts = embed_views(embedder, batch), embedder.encode_text(batch.tokens)
                return {"images": images, "texts": texts}

            def compute_terms_from_embeddings(self, embeddings, batch):
                cosine = (embeddings["images"] * embeddings["texts"][:, None]).sum(-1)
                error = (cosine - config.method.target).square().flatten()
                unused = 0 * self.log_scale
                return {"cosine": self.process_group.mean_contribution(error) + unused}

        return Cosine(0.07)


METHODS["cosine"] = CosineMethod
'''
README = """\
# A project with uniclip

| file | what it is |
|---|---|
| `images.csv`, `images/` | 192 drawings with captions: put your own images here |
| `my_method.py` | a method in one file (a plug-in) |
| `conf/ablation/my_methods.yaml` | an ablation that compares it with CLIP |
| `conf/components.yaml` | a component that can be switched off |
| `conf/ablation/my_component.yaml` | an ablation of the component |

Run in this folder ({program} is the command that you know):

    {program} plan {methods}
    {program} {methods}
    {program} {component}

The sweeps are trained with one seed in seconds (`budget=smoke`); leave that word out for more.
"""
DATA_WORDS = "data=csv data.path=images.csv conf_dir=conf budget=smoke"
METHODS_WORDS = f"ablation=my_methods plugins=my_method {DATA_WORDS}"
COMPONENT_WORDS = f"ablation=my_component {DATA_WORDS}"
GITIGNORE = "/store/\n__pycache__/\n"

SHAPES = ("circle", "square", "triangle")
COLORS = ("red", "green", "blue", "yellow", "purple", "orange", "black", "brown")
SIZES = {"small": 6, "large": 12}
"""Name -> half the width, in pixels."""
CORNERS = {"top left": (14, 14), "top right": (34, 14), "bottom left": (14, 34)}
CORNERS |= {"bottom right": (34, 34)}
IMAGE_SIZE = 48


def list_texts(program: str) -> dict[str, str]:
    """Return the text files of a project: path -> content."""
    readme = README.format(program=program, methods=METHODS_WORDS, component=COMPONENT_WORDS)
    return {
        "README.md": readme,
        ".gitignore": GITIGNORE,
        "my_method.py": METHOD,
        "conf/components.yaml": COMPONENTS,
        "conf/ablation/my_methods.yaml": ABLATION_OF_METHODS,
        "conf/ablation/my_component.yaml": ABLATION_OF_A_COMPONENT,
    }


def write_project(folder: Path, program: str) -> list[str]:
    """Write a project into a new folder, and return the paths of its files but for the images.

    Args:
        folder: it does not exist, or is empty.
        program: how the user starts uniclip, for the README.
    """
    texts = list_texts(program)
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / "images").mkdir()
    with open(folder / "images.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("picture", "caption"))
        for number, (caption, image) in enumerate(_draw_images()):
            image.save(folder / "images" / f"{number:03d}.png")
            writer.writerow((f"images/{number:03d}.png", caption))
    return [*texts, "images.csv"]


def _draw_images() -> Iterator[tuple[str, Image]]:
    """Yield a caption and its drawing for each combination of shape, color, size and corner."""
    from PIL import Image, ImageDraw  # here: only a new project needs it

    for shape, color, size, corner in product(SHAPES, COLORS, SIZES, CORNERS):
        (x, y), half = CORNERS[corner], SIZES[size]
        image = Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), "white")
        draw, box = ImageDraw.Draw(image), (x - half, y - half, x + half, y + half)
        if shape == "circle":
            draw.ellipse(box, fill=color)
        elif shape == "square":
            draw.rectangle(box, fill=color)
        else:
            draw.polygon([(x, y - half), (x - half, y + half), (x + half, y + half)], fill=color)
        yield f"a {size} {color} {shape} at the {corner}", image
