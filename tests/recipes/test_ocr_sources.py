"""Pictures however a row names them, of several pages or damaged: the right one is opened, or refused."""

import base64
import functools
import http.server
import threading
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import recipe_modules
from ocr_files import COUNT, EXPECTED, TEXTS, as_data_uri, load, png, save_pictures, shown, write_jsonl
from PIL import Image

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def recipe() -> Iterator[dict]:
    with recipe_modules("ocr_vision_language", ["data", "images", "metrics"]) as modules:
        yield modules


PLACES: dict[str, Callable[[Path, int], object]] = {
    "relative path": lambda folder, number: f"{number}.png",
    "absolute path": lambda folder, number: str(folder / f"{number}.png"),
    "file://": lambda folder, number: f"file://{folder}/{number}.png",
    "file://localhost": lambda folder, number: f"file://localhost{folder}/{number}.png",
    "data URI": lambda folder, number: as_data_uri(png(number)),
    "base64": lambda folder, number: base64.b64encode(png(number)).decode(),
    "struct of a path": lambda folder, number: {"path": f"{number}.png", "bytes": None},
    "struct of base64": lambda folder, number: {"path": None, "bytes": base64.b64encode(png(number)).decode()},
    "url object": lambda folder, number: {"url": as_data_uri(png(number))},
    "list of one": lambda folder, number: [f"{number}.png"],
    "backslashes": lambda folder, number: f".\\{number}.png",
}


@pytest.mark.parametrize("kind", PLACES)
def test_a_picture_is_found_however_it_is_named(recipe, tmp_path: Path, kind: str):
    save_pictures(tmp_path)
    rows = [{"image": PLACES[kind](tmp_path, number), "text": text} for number, text in enumerate(TEXTS)]
    assert shown(recipe, load(recipe, write_jsonl(tmp_path / "data.jsonl", rows))) == EXPECTED


def test_pictures_on_the_web_are_fetched_once(recipe, tmp_path: Path, capsys: pytest.CaptureFixture):
    save_pictures(tmp_path / "web")
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_) -> None:
            asked.append(self.path)

    handler = functools.partial(Handler, directory=tmp_path / "web")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        rows = [{"image_url": f"{url}/{number}.png", "text": text} for number, text in enumerate(TEXTS)]
        path = write_jsonl(tmp_path / "data.jsonl", rows)
        assert shown(recipe, load(recipe, path)) == shown(recipe, load(recipe, path)) == EXPECTED
        assert len(asked) == COUNT
        write_jsonl(path, [*rows, {"image": f"{url}/none.png", "text": "a"}])
        with pytest.raises(SystemExit):
            load(recipe, path)
        server.shutdown()
    assert f"error: {path}, line 7: {url}/none.png cannot be fetched (404" in capsys.readouterr().err


@pytest.mark.parametrize("written", ["NFC", "NFD"])
@pytest.mark.parametrize("named", ["NFC", "NFD"])
def test_accents_in_file_names_have_two_forms(recipe, tmp_path: Path, written: str, named: str):
    names = [f"Beléß é{number}.png" for number in range(COUNT)]
    save_pictures(tmp_path / "data", [unicodedata.normalize(written, name) for name in names])
    rows = [{"file_name": unicodedata.normalize(named, name), "text": text} for name, text in zip(names, TEXTS, strict=True)]
    write_jsonl(tmp_path / "data" / "metadata.jsonl", rows)
    assert shown(recipe, load(recipe, tmp_path / "data")) == EXPECTED


def test_all_pages_of_a_tiff_are_read(recipe, tmp_path: Path):
    pages = [Image.new("RGB", (60 + number, 30), "white") for number in range(3)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    save_pictures(tmp_path)
    rows = [{"image": f"{number}.png", "text": text} for number, text in enumerate(TEXTS)]
    path = write_jsonl(tmp_path / "data.jsonl", [*rows, {"image": "pages.tif", "text": "three pages"}])
    assert ([0, 1, 2], "three pages") in shown(recipe, load(recipe, path))


def test_a_picture_damaged_in_its_middle_is_found_before_training(recipe, tmp_path: Path, capsys: pytest.CaptureFixture):
    save_pictures(tmp_path)
    noise = Image.effect_noise((200, 200), 50)
    for name in ("2.png", "4.png"):
        noise.save(tmp_path / name)
        content = bytearray((tmp_path / name).read_bytes())
        content[len(content) // 2] ^= 0xFF
        (tmp_path / name).write_bytes(content)
    path = write_jsonl(tmp_path / "data.jsonl", [{"image": f"{n}.png", "text": text} for n, text in enumerate(TEXTS)])
    with pytest.raises(SystemExit):
        load(recipe, path)
    assert f"error: {path}, line 3: {tmp_path}/2.png is damaged" in capsys.readouterr().err
    assert len(load(recipe, path, skip_bad_rows=True)) == 4
    assert "Left out 2 of 6 rows" in capsys.readouterr().out
