"""The report in a real browser, opened from the disk: it draws, it can be chosen from and zoomed, the console stays empty."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from service.settings import Settings
from service.tools.report import recorder
from service.tools.score import Share
from service.tools.tables import Wanted
from tests.service.browser import FINGERPRINT, LAPTOP, PAINTED, PHONE, Page
from tests.service.reports import make, table, wave

pytestmark = pytest.mark.browser

ROWS = 400
FIGURES, NETWORK_FIGURES = 6, 2
LOADED = "return performance.getEntriesByType('resource').map((one) => one.name)"
HOSTILE = ["</script><img src=x onerror=alert(1)>", "\"'&<b>", "x" * 200]


def show(page: Page, folder: Path, *files: Path, **options: Any) -> None:
    """Make a report and open it."""
    page.open(make(folder, *files, **options).path.as_uri())
    page.wait(lambda: page.text("#name"), "a series")


def waves(folder: Path, rows: int = ROWS) -> Path:
    columns = {"a": wave(rows, jump=rows // 2), "b": wave(rows, period=7.0), "c": wave(rows, period=24.0)}
    return table(folder / "t.csv", rows, **columns)


def choose(page: Page, selector: str, text: str) -> None:
    Select(page.driver.find_element(By.CSS_SELECTOR, selector)).select_by_visible_text(text)


def test_it_draws_everything_from_the_disk_and_the_console_stays_empty(page: Page, tmp_path: Path) -> None:
    """Goal: the page works alone. Method: painted pixels in every chart, nothing loaded, no message, no overflow."""
    show(page, tmp_path, waves(tmp_path), profile="balanced", horizons=(1, 6), warmup=Share(100))
    assert page.text("#name") == "t/a"
    painted = page.run(PAINTED, "")
    assert len(painted) == 1 + FIGURES + NETWORK_FIGURES
    assert min(painted) > 0.003, painted
    assert "400 rows learned, none skipped" in page.text("#about")
    assert "2024-01-01 00:00:00 to 2024-01-17 15:00:00" in page.text("#about")
    assert len(page.driver.find_elements(By.CSS_SELECTOR, "#overview tbody tr")) == 3
    assert len(page.driver.find_elements(By.CSS_SELECTOR, "#scores tbody tr")) == 2
    assert "recurrent (RTRL)" in page.text("#methods")
    assert page.driver.find_element(By.ID, "scored-key").is_displayed()
    assert "came" in page.text("#reading")
    for name, size, dark in (("light", LAPTOP, False), ("dark", LAPTOP, True), ("phone", PHONE, False)):
        page.show(size, dark=dark)
        time.sleep(0.6)  # Charts are made anew 150 ms after the size has changed.
        painted = page.run(PAINTED, "")
        assert len(painted) == 1 + FIGURES + NETWORK_FIGURES
        assert min(painted) > 0.003, (name, painted)
        assert page.run("return document.documentElement.scrollWidth <= innerWidth"), f"{name} overflows"
        page.save(tmp_path / f"{name}.png")
    assert page.run(LOADED) == []
    assert page.console() == []


def test_series_horizon_and_window_can_be_chosen(page: Page, tmp_path: Path) -> None:
    """Goal: the selectors. Method: another series by list and by table, horizon, window; text and pictures change."""
    made = make(tmp_path, waves(tmp_path), horizons=(1, 6))
    page.open(made.path.as_uri())
    before = page.run(FINGERPRINT, "#values")
    choose(page, "#series", "t/b")
    assert page.text("#name") == "t/b"
    assert page.run(FINGERPRINT, "#values") != before
    page.driver.find_elements(By.CSS_SELECTOR, "#overview button")[2].send_keys("\n")
    assert page.text("#name") == "t/c"
    assert Select(page.driver.find_element(By.ID, "series")).first_selected_option.text == "t/c"
    before = page.run(FINGERPRINT, "#values")
    choose(page, "#horizon", "6 rows")
    assert page.text("#forecast-key") == "what was forecast for it 6 rows before"
    assert page.run(FINGERPRINT, "#values") != before
    cells = page.driver.find_elements(By.CSS_SELECTOR, "#scores tr.chosen td")
    one = made.summary["series"]["t/c"]["horizons"]["6"]
    assert [cell.text for cell in cells[:2]] == ["6", str(one["n"])]
    assert float(cells[2].text) == pytest.approx(one["mse"], rel=1e-3)
    before = page.run(FINGERPRINT, "#figure-error")
    choose(page, "#span", "50 rows")
    assert page.run(FINGERPRINT, "#figure-error") != before
    before = page.run(FINGERPRINT, "#figure-error")
    key = page.driver.find_element(By.CSS_SELECTOR, "#figure-error .key button")
    key.click()
    assert key.get_attribute("aria-pressed") == "false"
    assert page.run(FINGERPRINT, "#figure-error") != before
    assert page.console() == []


def test_it_zooms_by_pointer_button_and_keyboard(page: Page, tmp_path: Path) -> None:
    """Goal: a closer look. Method: draw out a part, double-click; buttons; keys; the rows that are said to be seen."""
    show(page, tmp_path, table(tmp_path / "a.csv", ROWS, value=wave(ROWS)))
    assert page.text("#seen") == "all 400 rows"
    assert not page.driver.find_element(By.ID, "series").is_displayed()
    whole = [page.run(FINGERPRINT, part) for part in ("#values", "#figure-error", "#figure-drift")]
    over = page.driver.find_element(By.CSS_SELECTOR, "#values .u-over")
    page.run("arguments[0].scrollIntoView({ block: 'center' })", over)
    ActionChains(page.driver, duration=50).move_to_element_with_offset(
        over, -200, 0
    ).click_and_hold().move_by_offset(100, 0).release().perform()
    page.wait(lambda: page.text("#seen").startswith("rows "), "a part")
    low, high = (int(word) for word in page.text("#seen").split() if word.isdigit() and word != "400")
    assert 0 < low < high < 200
    assert 20 <= high - low <= 50
    part = [page.run(FINGERPRINT, name) for name in ("#values", "#figure-error", "#figure-drift")]
    assert all(one != other for one, other in zip(whole, part, strict=True))
    ActionChains(page.driver).double_click(over).perform()
    page.wait(lambda: page.text("#seen") == "all 400 rows", "all again")
    assert page.run(FINGERPRINT, "#figure-error") == whole[1]
    page.driver.find_element(By.ID, "in").click()
    assert page.text("#seen") == "rows 100 to 299 of 400"
    page.driver.find_element(By.ID, "on").click()
    assert page.text("#seen") == "rows 150 to 349 of 400"
    values = page.driver.find_element(By.ID, "values")
    values.send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert page.text("#seen").startswith("rows 0 to ")
    assert not page.driver.find_element(By.ID, "back").is_enabled()
    values.send_keys("++++++++")
    low, high = (int(word) for word in page.text("#seen").split() if word.isdigit() and word != "400")
    assert high - low in {19, 20, 21}
    values.send_keys("-")
    values.send_keys("0")
    assert page.text("#seen") == "all 400 rows"
    page.driver.find_element(By.CSS_SELECTOR, "#moments button").click()
    assert page.text("#seen").startswith("rows ")
    assert page.console() == []


def test_a_challenger_has_its_figures_and_its_promotion_is_marked_and_told(
    page: Page, tmp_path: Path
) -> None:
    settings = Settings.model_validate(
        {
            "model": {"profile": "fast", "experts": ["last_value"]},
            "challenger": {"experts": ["last_value", "linear"]},
        }
    )
    show(page, tmp_path, table(tmp_path / "a.csv", ROWS, value=wave(ROWS)), settings=settings)
    assert re.match(r"The challenger answers from row \d+ on", page.text("#duel"))
    assert page.driver.find_element(By.ID, "promoted-key").is_displayed()
    assert not page.driver.find_element(By.ID, "guard-key").is_displayed()
    assert "with experts repeat the last value, linear (RLS); promoted where it saves 5.0%" in page.text(
        "#about"
    )
    assert min(page.run(PAINTED, "")) > 0.01
    for name in ("makes", "evidence"):
        assert page.driver.find_element(By.ID, f"figure-{name}").is_displayed()
    assert "the challenger, had it always answered" in page.text("#methods")
    assert page.console() == []


def test_a_thinned_series_says_so_and_still_draws(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "POINT_CELLS", 1)
    monkeypatch.setattr(recorder, "FIGURE_CELLS", 1)
    show(page, tmp_path, table(tmp_path / "a.csv", ROWS, value=wave(ROWS)), warmup=Share(50))
    assert "8 rows are drawn as their lowest and highest value" in page.text("#thinned")
    assert len(page.run(PAINTED, "")) == 1 + FIGURES
    assert page.console() == []


@pytest.mark.parametrize("values", [[1.0], [1.0, 2.0, 3.0], [4.0] * 60, [0.0, 1e15] * 40], ids=len)
def test_an_odd_series_is_drawn_without_a_message(page: Page, tmp_path: Path, values: list[float]) -> None:
    show(page, tmp_path, table(tmp_path / "a.csv", len(values), value=values), horizons=(1, 9))
    choose(page, "#horizon", "9 rows")
    page.driver.find_element(By.ID, "values").send_keys("+0")
    assert page.text("#seen") == f"all {len(values)} rows"
    assert "NaN" not in page.text("main")
    assert "undefined" not in page.text("main")
    assert page.console() == []


def test_hostile_names_are_shown_as_text(page: Page, tmp_path: Path) -> None:
    """Goal: names are not trusted. Method: names that would be elements; no element, no dialog, no overflow."""
    names = [HOSTILE[i % 3] for i in range(90)]
    show(
        page,
        tmp_path,
        table(tmp_path / "a.csv", 90, id=names, value=wave(90)),
        wanted=Wanted(series="id"),
        command=HOSTILE[0],
    )
    assert page.text("#name") == HOSTILE[0]
    assert HOSTILE[0] in page.text("#about")
    choose(page, "#series", HOSTILE[2])
    assert page.run("return document.querySelectorAll('main img, main script, main b').length") == 0
    assert page.run("return document.documentElement.scrollWidth <= innerWidth")
    assert page.console() == []  # A dialog would have failed every command since.
