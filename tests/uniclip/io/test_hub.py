"""Names of the hub: found in its cache, or one line on how to get them."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from uniclip.errors import UserError
from uniclip.io import hub


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty cache of the hub; there is no network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def write_snapshot(cache: Path, repository: str, file_name: str) -> Path:
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs/main").write_text("0" * 40)
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / file_name).write_text("{}")
    return snapshot


def test_a_folder_is_found_in_the_cache(cache: Path) -> None:
    snapshot = write_snapshot(cache, "org/model", "config.json")
    for name in ("hf-hub:org/model", "hf:org/model", f"local-dir:{snapshot}", str(snapshot)):
        assert hub.find_folder(name, "pretrained").resolve() == snapshot


def test_what_is_nowhere_says_how_to_get_it(cache: Path) -> None:
    with pytest.raises(UserError, match="run `hf download org/absent`") as raised:
        hub.find_folder("hf-hub:org/absent", "pretrained")
    assert "\n" not in str(raised.value)
    with pytest.raises(UserError, match=r"hf download timm/x model\.safetensors"):
        hub.find_file("timm/x", ("model.safetensors",), "model.image.pretrained=true")
    with pytest.raises(UserError, match="pretrained=./nowhere: no such folder$"):
        hub.find_folder("./nowhere", "pretrained")
    with pytest.raises(UserError, match="no such folder; .* write pretrained=hf-hub:org/absent$"):
        hub.find_folder("org/absent", "pretrained")
    assert hub.suggest_hub_name("weights/image.safetensors", "pretrained") == ""


def test_a_hub_that_is_out_of_reach_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library repeats a download for half a minute, with a message each time."""
    from huggingface_hub import constants

    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_error(503)

        do_HEAD = do_GET

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(UserError, match=r"cannot be downloaded \(HfHubHTTPError\)"):
        hub.find_file("timm/x", ("model.safetensors", "pytorch_model.bin"), "pretrained")
    with pytest.raises(UserError, match=r"cannot be downloaded \(HfHubHTTPError\)"):
        hub.find_folder("hf-hub:org/x", "pretrained")
    server.shutdown()
    server.server_close()
    assert requests == ["/api/models/timm/x", "/api/models/org/x"]
