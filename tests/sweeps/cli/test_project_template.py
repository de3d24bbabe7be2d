"""The files of a new project: plain, and the same each time."""

from __future__ import annotations

from pathlib import Path

from sweeps.cli.project_template import list_texts, write_project
from tests.helpers.command_line import read_files


def test_equal_projects_have_equal_bytes(tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        names = write_project(tmp_path / name, "uniclip-sweep")
        assert all((tmp_path / name / file).is_file() for file in names)
        files = read_files(tmp_path / name)
        contents.append({str(Path(p).relative_to(tmp_path / name)): d for p, d in files.items()})
    assert contents[0] == contents[1]
    captions = contents[0]["images.csv"].decode().splitlines()[1:]
    assert len(set(captions)) == len(captions) == 192


def test_the_readme_names_the_files_and_the_program() -> None:
    texts = list_texts("uniclip-sweep")
    for name in set(texts) - {"README.md", ".gitignore"}:
        assert f"`{name}`" in texts["README.md"]
    assert texts["README.md"].count("    uniclip-sweep ") == 3
