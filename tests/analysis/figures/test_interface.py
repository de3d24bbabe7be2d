"""Figures as functions of results: the user's axes, settings and styles, and the files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib
import pytest
from cycler import cycler
from matplotlib.figure import Figure

import analysis
from analysis.collect.predictions import load_examples
from analysis.figures import interface
from analysis.figures.build import build_figures
from analysis.frames.sweep import tabulate_disagreements
from analysis.results.results import Results
from tests.helpers.analyzed_sweeps import analyze_listed_sweep
from tests.helpers.fake_sweep import Truth
from uniclip.errors import UserError
from uniclip.frames.store_frames import StoreFrames, open_store

FIGURES = {
    "effects": (interface.draw_effects, 1),
    "interactions": (interface.draw_interactions, 3),
    "curves": (interface.draw_learning_curves, 3),
    "losses": (interface.draw_loss_curves, 1),
    "temperatures": (interface.draw_temperatures, 2),
}
"""Name -> function and number of panels."""


@pytest.fixture(scope="module")
def store(complete_root: Path, complete_results: Results) -> StoreFrames:
    """Return the frames of the complete synthetic sweep."""
    return open_store(complete_root)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_drawn_in_the_axes_of_the_user(name: str, complete_results: Results) -> None:
    draw, num_panels = FIGURES[name]
    figure = Figure()
    axes = figure.subplots(1, num_panels, squeeze=False)[0]
    assert draw(complete_results, ax=list(axes)) is figure
    assert all(a.lines or a.collections or a.texts for a in axes)
    single = Figure()
    left, right = single.subplots(1, 2)
    right.plot([0, 1])
    assert draw(complete_results, ax=left) is single
    assert len(single.axes) == 2 + num_panels * (num_panels > 1)
    if num_panels > 1:
        with pytest.raises(UserError, match=f"has {num_panels} panels"):
            draw(complete_results, ax=list(Figure().subplots(1, num_panels + 2)))


@pytest.mark.parametrize("draw", [draw for draw, _ in FIGURES.values()])
def test_a_figure_obeys_the_settings_of_the_user(
    draw: Callable[..., Figure], complete_results: Results
) -> None:
    own_settings = {"axes.facecolor": "#123456", "figure.figsize": (3.0, 2.5)}
    with matplotlib.rc_context(own_settings):
        figure = draw(complete_results)
    assert matplotlib.colors.to_hex(figure.axes[0].get_facecolor()) == "#123456"
    assert tuple(figure.get_size_inches()) == (3.0, 2.5)
    styled = draw(complete_results, mplstyle="dark_background")
    assert matplotlib.colors.to_hex(styled.get_facecolor()) == "#000000"
    assert styled.axes[0].xaxis.label.get_color() == "white"
    assert matplotlib.rcParams["axes.facecolor"] != "#123456"


def test_arms_have_the_colours_of_the_users_cycle(complete_results: Results) -> None:
    with matplotlib.rc_context({"axes.prop_cycle": cycler(color=["#ff0000", "#00ff00"])}):
        axes = interface.draw_loss_curves(complete_results).axes[0]
    assert [line.get_color() for line in axes.lines[:2]] == ["#ff0000", "#00ff00"]


def test_in_the_style_of_the_report_a_figure_is_that_of_the_report(
    store: StoreFrames, complete_results: Results, tmp_path: Path
) -> None:
    (tmp_path / "report").mkdir()
    build_figures(complete_results, load_examples(store.store, complete_results.plan), tmp_path)
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **analysis.FIGURE_STYLE}):
        figure = interface.draw_loss_curves(complete_results)
        paths = interface.save_figure(figure, tmp_path / "report" / "losses")
        assert [path.suffix for path in paths] == [".png", ".svg", ".pdf"]
        for path in paths:
            assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.suffix
        figure.axes[0].set_title("Mine")
        interface.save_figure(figure, tmp_path / "report" / "edited")
    for suffix in ("png", "svg", "pdf"):
        edited = (tmp_path / "report" / f"edited.{suffix}").read_bytes()
        assert edited != (tmp_path / f"losses.{suffix}").read_bytes()
    with pytest.raises(UserError, match="there is no folder"):
        interface.save_figure(figure, tmp_path / "nowhere" / "losses")


def test_without_input_the_figure_says_why(
    store: StoreFrames, complete_results: Results, tmp_path: Path
) -> None:
    listed = analyze_listed_sweep(tmp_path, Truth(seeds=(0,)))
    (axes,) = interface.draw_interactions(listed).axes
    assert axes.texts[0].get_text() == "No figure: fewer than two components are crossed."
    outcomes = tabulate_disagreements(store, complete_results, "full", "clip")
    (axes,) = interface.draw_disagreements(store, complete_results, outcomes).axes
    assert "No figure: pictures" in axes.texts[0].get_text()
    assert len(interface.draw_retrieval_examples(store, complete_results).axes) == 24
