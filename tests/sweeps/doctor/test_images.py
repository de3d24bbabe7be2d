"""Before a sweep: every image that is evaluated is decoded, and all broken ones are listed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from ablations.plan.plan import build_plan
from sweeps.config import request
from sweeps.doctor import images
from sweeps.doctor.context import DoctorContext
from sweeps.doctor.diagnostic import Diagnostic
from sweeps.doctor.images import check_user_images
from tests.helpers.command_line import execute
from tests.helpers.csv_data import break_images, write_image_set
from tests.helpers.embedded_data import make_rows, make_table, save_to_disk
from tests.helpers.shards import write_shards as write_pairs
from uniclip import data
from uniclip.config import CsvData
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets.readers.webdataset import write_shards

SMALL = (
    *("ablation=methods", "arms=[clip]", "budget=smoke", "seeds=1", "train.batch_size=8"),
    *("train.steps=2", "data=csv"),
)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_image_set(tmp_path / "images", 40)


def check(table: Path, *words: str) -> list[Diagnostic]:
    store = table.parent.parent / "store"
    keys = {word.partition("=")[0] for word in words}
    small = [word for word in SMALL if word.partition("=")[0] not in keys]
    overrides = [*small, f"data.path={table}", f"store={store}", *words]
    sweep_request = request.parse_request(overrides)
    resolved_plan = build_plan(sweep_request.plan_request)
    context = DoctorContext(
        settings=sweep_request.settings,
        config=resolved_plan.configs[resolved_plan.plan.reference],
        store=sweep_request.store,
        resolved_plan=resolved_plan,
    )
    return list(check_user_images(context))


def list_held_out(table: Path) -> list[str]:
    config = CsvData(path=str(table))
    splits = [data.open_split(config, name) for name in ("validation", "test")]
    return [path for split in splits for path in split.image_paths]


def test_whole_images_are_in_order(table: Path) -> None:
    (diagnostic,) = check(table)
    assert diagnostic.level == "ok"
    assert f"{len(list_held_out(table))} images" in diagnostic.message


def test_shards_are_indexed_and_their_held_out_images_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path / "cache"))
    write_pairs(tmp_path / "data" / "shards", 60, 3)
    words = ("data=webdataset", "data.validation_fraction=0.2", "data.test_fraction=0.2")
    (diagnostic,) = check(tmp_path / "data" / "shards", *words)
    assert (diagnostic.level, diagnostic.message) == ("ok", "60 samples of 3 shards are indexed")
    assert len(list(tmp_path.glob("cache/shards/*/index.json"))) == 1


def test_all_broken_images_are_listed_at_once(table: Path) -> None:
    broken = list_held_out(table)[:3]
    break_images(broken)
    (diagnostic,) = check(table)
    assert diagnostic.level == "problem"
    assert diagnostic.message.startswith("3 of ")
    assert all(f"image {path} cannot be read (" in diagnostic.message for path in broken)
    assert "\n" not in diagnostic.message
    assert "repair these files" in diagnostic.fix


def test_broken_training_images_and_those_of_one_color_are_warnings(table: Path) -> None:
    split = data.open_split(CsvData(path=str(table)), "train")
    break_images(split.image_paths[:1])
    Image.new("I;16", (9, 9), 65535).save(split.image_paths[1])
    diagnostics = check(table)
    assert [d.level for d in diagnostics] == ["warning", "warning", "ok"]
    assert split.image_paths[0] in diagnostics[0].message
    assert "data.max_broken=0.01" in diagnostics[0].fix
    assert split.image_paths[1] in diagnostics[1].message


@pytest.mark.parametrize("kind", ["csv", "folder", "wds"])
def test_images_of_user_defined_evaluation_sets_are_decoded_too(kind: str, table: Path) -> None:
    evaluated = table.parent.parent / "evaluated"
    if kind == "csv":
        shutil.copytree(table.parent, evaluated)
        name = f"csv:{evaluated / 'data.csv'}"
        names = ["image 0.png", "image 9.png"]
    else:
        for i in range(4):
            folder = evaluated / "test" / "ab"[i % 2]
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(table.parent / f"{i}.png", folder / f"{i}.png")
        name, names = f"folder:{evaluated}", ["image a/0.png", "image b/1.png"]
    if kind == "wds":
        shards = evaluated.with_name("shards")
        folder_set = datasets.get(name).open(evaluated, "test")
        write_shards(folder_set, shards)
        name, names = f"wds:{shards}", ["image s0000000"]
        tar = shards / "test/0.tar"
        content = tar.read_bytes()
        start = content.index(b"RIFF")
        tar.write_bytes(content[:start] + b"\0" * 40 + content[start + 40 :])
    else:
        files = [n.removeprefix("image ") for n in names]
        break_images((evaluated if kind == "csv" else evaluated / "test") / file for file in files)
    diagnostics = check(table, f"benchmark=[csv,{name}]")
    (problem,) = [d for d in diagnostics if d.level == "problem"]
    assert problem.message.startswith(f"{len(names)} of ")
    assert all(f"{name}: {image} cannot be read (" in problem.message for image in names)


def test_long_lists_are_cut(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_LISTED", 2)
    break_images(list_held_out(table)[:5])
    (diagnostic,) = check(table)
    assert diagnostic.message.count("cannot be read") == 2
    assert "and 3 more" in diagnostic.message


def test_no_cell_starts_before_the_images_are_repaired(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = {path: Path(path).read_bytes() for path in list_held_out(table)[:3]}
    break_images(whole)
    words = [*SMALL, f"data.path={table}", f"store={tmp_path / 'store'}"]
    assert execute("run", *words) == 2
    text = capsys.readouterr().err
    assert all(path in text for path in whole)
    assert not list(tmp_path.glob("store/*"))

    def plan_cell() -> str:
        assert execute("plan", *words) == 0
        (line,) = [line for line in capsys.readouterr().out.splitlines() if "clip/0" in line]
        return line

    before = plan_cell()
    for path, content in whole.items():
        Path(path).write_bytes(content)
    assert plan_cell() == before, "a repair renames no run"


def test_good_images_are_remembered_unless_a_small_check_found_a_problem(table: Path) -> None:
    memory = table.parent.parent / "store/cache/checked_images"
    broken = list_held_out(table)[0]
    content = Path(broken).read_bytes()
    break_images([broken])
    check(table)
    assert not memory.exists()
    Path(broken).write_bytes(content)
    check(table)
    assert len(list(memory.iterdir())) == 2, "of held-out and of training images"


def test_data_sets_with_embedded_images_are_indexed_and_decoded(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path / "cache"))
    folder = save_to_disk(tmp_path / "a" / "pairs", make_table(make_rows(range(60))))
    changes = ("data=huggingface", "data.validation_fraction=0.2", "data.test_fraction=0.2")
    (diagnostic,) = check(Path(folder), *changes)
    assert diagnostic.message == "60 samples of 1 file are indexed"
