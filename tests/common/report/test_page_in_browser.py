"""report.html as a reader has it: in a browser, with its script."""

import json
from collections.abc import Iterator
from pathlib import Path

from common.report.page import Curve, write_report

import pytest
from browser import Page, browser, needs_browser

pytestmark = needs_browser

CURVES = [Curve("Error rate", {"held out": "held_out:error_rate"}, percent=True), Curve("Reward", {"reward": "reward"})]
ATTACK = """</script><script>window.attacked = 1</script><img src=x onerror="window.attacked = 1"> <!-- ' " ]]>"""
KEY = "<img src=x onerror=window.attacked=1>"
PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
RATES = {0: 3.54, 10: 0.2, 20: 0.15, 30: 0.1}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("browser")) as page:
        yield page


def write(folder: Path, name: str, rows: list[dict]) -> None:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def report(folder: Path, **more) -> Path:
    settings = {"title": f"Run {ATTACK}", "summary": "Tiny.", "curves": CURVES, "facts": {ATTACK: ATTACK}}
    return write_report(folder, **settings, **{"state": "interrupted"} | more)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    rows = [{"step": step, "seconds": step, "reward": step / 40, "grad_norm": 1.0 + step} for step in range(1, 31)]
    rows[-1] |= {"speed/tokens": 1.0, KEY: 1.0}
    rows[-2] |= {"speed/tokens": 2.0, KEY: 2.0}
    for step, rate in RATES.items():
        metric = {"value": rate, "low": 0.9 * rate, "high": 1.1 * rate}
        rows.append({"step": step, "seconds": step, "split": "held_out", "count": 9, "metrics": {"error_rate": metric}})
    write(tmp_path, "metrics.jsonl", rows)
    # Of four problems one is right from the beginning, one is mended, one is spoiled, one stays wrong.
    right = {"kept": (1, 1, 1, 1), "mended": (0, 0, 1, 1), "spoiled": (1, 1, 0, 0), f"wrong {ATTACK}": (0, 0, 0, 0)}
    samples = [
        {"step": step, "split": "held_out", "question": name, "answer": "שלום", "completion": f"{name} at {step} {ATTACK}"}
        | {"correct": bool(row[number]), "image": PICTURE, "marked": [["equal", f"{name} at {step}"], ["wrong", ATTACK]]}
        for number, step in enumerate(RATES)
        for name, row in right.items()
    ]
    write(tmp_path, "samples.jsonl", samples)
    said = [{"text": f"{ATTACK} {n}", "rewards": {"right": n, "form": 1.0}, "reward": n, "advantage": n - 0.5} for n in (0, 1)]
    write(tmp_path, "rollouts.jsonl", [{"step": step, "prompt": ATTACK, "completions": said} for step in (1, 2)])
    return tmp_path


def shown(page: Page) -> list[str]:
    return page.value("[...document.querySelectorAll('#problems .list bdi')].map((one) => one.textContent.split(' ')[0])")


@pytest.mark.parametrize("width", [390, 1280])
def test_whatever_a_text_holds_nothing_of_it_runs_and_all_of_it_is_seen(page: Page, run: Path, width: int):
    page.open(report(run), width=width)
    assert page.complaints == []
    assert page.value("window.attacked") is None
    assert page.value("document.querySelector('h1').textContent") == f"Run {ATTACK}"
    assert ATTACK in page.value("document.querySelector('#groups .completion').textContent")
    assert page.value("document.documentElement.scrollWidth") <= width


def test_the_policy_lets_nothing_else_run(page: Page, run: Path):
    file = report(run)
    file.write_text(
        file.read_text().replace("<main>", "<main><script>window.attacked = 1</script><p onclick='1' style='color:red'>")
    )
    page.open(file)
    assert page.value("window.attacked") is None
    assert len(page.complaints) >= 2
    page.complaints.clear()


def test_problems_are_filtered_searched_and_stepped_through(page: Page, run: Path):
    page.open(report(run))
    assert shown(page) == ["kept", "mended", "spoiled", "wrong"]
    buttons = page.value("[...document.querySelectorAll('#problems > .between > .tools button')].map((one) => one.textContent)")
    assert buttons == ["all 4", "wrong 2", "mended 1", "spoiled 1", "longest first"]
    for number, names in {
        2: ["spoiled", "wrong"],
        3: ["mended"],
        4: ["spoiled"],
        1: ["kept", "mended", "spoiled", "wrong"],
    }.items():
        page.click(f"#problems > .between > .tools button:nth-child({number})")
        assert shown(page) == names
    page.value("document.querySelector('input[type=search]').focus()")
    page.send("Input.insertText", text="MENDED AT 20")
    assert shown(page) == ["mended"]
    answers = "[...document.querySelectorAll('.detail .answer .when')].map((one) => one.textContent)"
    assert page.value(answers) == ["step 0✗ wrong", "step 30✓ right"]
    page.click(".detail [aria-label='Earlier answer']")
    page.click(".detail [aria-label='Earlier answer']")
    assert page.value(answers) == ["step 0✗ wrong", "step 10✗ wrong"]
    assert page.value("document.querySelector('.detail mark').textContent") == ATTACK
    assert page.value("getComputedStyle(document.querySelector('.expected bdi')).direction") == "rtl"


def test_a_picture_is_shown_large(page: Page, run: Path):
    page.open(report(run))
    page.click(".picture")
    assert page.value("document.querySelector('dialog').open && document.querySelector('dialog img').src") == PICTURE
    page.click("dialog img")
    assert page.value("document.querySelector('dialog').open") is False


def test_an_axis_is_not_ruled_by_the_first_point_and_values_are_shown_where_the_pointer_is(page: Page, run: Path):
    page.open(report(run))
    ticks = "document.querySelector('.curve').querySelectorAll('.tick[text-anchor=end]')"
    ticks = f"[...{ticks}].map((one) => parseFloat(one.textContent))"
    assert max(page.value(ticks)) <= 50
    assert page.value("document.querySelector('.beyond').textContent") == "↑ 354 %"
    page.click(".curve .tools button[title^=Show]")
    assert max(page.value(ticks)) >= 300
    page.value("document.querySelector('.curve svg').scrollIntoView()")
    area = "Object.values(document.querySelector('.curve svg').getBoundingClientRect().toJSON())"
    left, top, width, height = page.value(area)[:4]
    page.move(left + 0.7 * width, top + height / 2)
    assert page.value("document.querySelector('.values').textContent") == "step 20held out 15 % [13.5 %, 16.5 %]"
    page.click(".curve .tools button[title^=Log]")
    assert 10 in page.value(ticks)


def test_all_that_was_logged_is_drawn(page: Page, run: Path):
    page.open(report(run))
    titles = page.value("[...document.querySelectorAll('.curve figcaption')].map((one) => one.firstChild.textContent)")
    assert titles == ["Error rate", "Reward", "Gradient norm, before clipping", "Speed, tokens", KEY]


def test_a_page_of_a_run_that_trains_keeps_up_and_keeps_what_the_reader_chose(page: Page, run: Path):
    page.open(report(run, state="training", every=0.0))
    assert "Training; written" in page.value("document.getElementById('state').textContent")
    page.click("#problems > .between > .tools button:nth-child(3)")
    page.click("#more-curves summary")
    page.value("window.before = true, scrollTo(0, 700)")
    with open(run / "metrics.jsonl", "a") as file:
        row = {"step": 40, "seconds": 40, "split": "held_out", "count": 9, "metrics": {"error_rate": {"value": 0.05}}}
        file.write(json.dumps(row) + "\n")
    with open(run / "samples.jsonl", "a") as file:
        row = {"step": 40, "split": "held_out", "question": "mended", "answer": "4", "completion": "newest", "correct": True}
        file.write(json.dumps(row) + "\n")
    report(run, state="training", every=0.0)
    page.wait_for("window.before === undefined && document.readyState === 'complete'")
    assert "step 40" in page.value("document.querySelector('.headline').textContent")
    assert shown(page) == ["mended"]
    assert page.value("[...document.querySelectorAll('.detail .completion')].at(-1).textContent") == "newest"
    assert page.value("document.getElementById('more-curves').open")
    assert abs(page.value("scrollY") - 700) < 5
    report(run, state="interrupted")
    page.wait_for("document.getElementById('state')?.textContent.startsWith('Interrupted')")


def test_without_a_script_the_numbers_and_the_last_answers_are_there(page: Page, run: Path):
    page.open(report(run), scripts=False)
    text = page.value("document.body.innerText")
    assert "354.0%" in text
    assert "mended at 30" in text
    assert "All kept answers" not in text


def test_dark_figures_in_the_dark(page: Page, run: Path):
    colors = {}
    for dark in (False, True):
        page.open(report(run), dark=dark)
        colors[dark] = page.value("getComputedStyle(document.querySelector('.curve')).backgroundColor")
    assert colors == {False: "rgb(255, 255, 255)", True: "rgb(29, 32, 36)"}
