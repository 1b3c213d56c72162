"""The live page in a real browser: it draws, it follows, it survives what comes, and it says nothing in the console."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By

from service.observe.live import LiveFeed, LiveServer
from tests.service.browser import FINGERPRINT, LAPTOP, PAINTED, PHONE, Page
from tests.service.live_events import HOSTILE_NAME, predictions

pytestmark = pytest.mark.browser


@pytest.fixture
def feed() -> LiveFeed:
    feed = LiveFeed()
    feed.worker({"state": "running", "pid": 4711, "restarts": 0, "since": time.time()})
    return feed


@pytest.fixture
def server(feed: LiveFeed) -> Iterator[LiveServer]:
    server = LiveServer("127.0.0.1", 0, feed)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def stream(feed: LiveFeed) -> Iterator[None]:
    """Six series that come by themselves, some hundred rows at once and then sixty events a second."""
    stopped = threading.Event()
    names = [f"series {letter}" for letter in "abcdef"]
    messages = predictions(names, 2000)
    for _ in range(6 * 200):
        feed.prediction(next(messages))

    def go_on() -> None:
        while not stopped.wait(0.1):
            for _ in range(6):
                feed.prediction(next(messages))

    thread = threading.Thread(target=go_on)
    thread.start()
    yield
    stopped.set()
    thread.join()


@pytest.mark.usefixtures("stream")
def test_it_draws_and_follows_and_the_console_stays_empty(
    page: Page, server: LiveServer, tmp_path: Path
) -> None:
    """Goal: the page works. Method: painted pixels in every chart, changing pictures, rising counts; no message."""
    page.open(server.url)
    page.wait(lambda: page.number("#events") >= 1200, "the events so far")
    assert page.text("#series") == "6"
    assert len(page.driver.find_elements(By.CSS_SELECTOR, ".card")) == 6
    page.wait(lambda: page.driver.find_element(By.ID, "detail").is_displayed(), "the chosen series")
    painted = page.run(PAINTED, "")
    assert len(painted) == 6 + 5
    assert min(painted) > 0.01, painted
    before, first = page.run(FINGERPRINT, ".card"), page.number("#events")
    page.wait(lambda: page.number("#events") > first + 30, "more events")
    page.wait(lambda: page.number("#rate") > 0, "a rate")
    assert page.run(FINGERPRINT, ".card") != before
    assert page.text(".badge").endswith(("less error", "more error", "error as naive"))
    assert "on average" in page.text("#detail-sentence")
    for name, size, dark in (("light", LAPTOP, False), ("dark", LAPTOP, True), ("phone", PHONE, False)):
        page.show(size, dark=dark)
        time.sleep(0.6)  # Charts are made anew 150 ms after the size has changed.
        assert min(page.run(PAINTED, "")) > 0.01
        assert page.run("return document.documentElement.scrollWidth <= innerWidth"), f"{name} overflows"
        page.save(tmp_path / f"{name}.png")
    assert page.console() == []


@pytest.mark.usefixtures("stream")
def test_another_series_can_be_chosen_by_mouse_and_keyboard(page: Page, server: LiveServer) -> None:
    """Goal: the panel of the chosen series. Method: click one, then press the button of another."""
    page.open(server.url)
    page.wait(lambda: page.text("#detail-name") == "series a", "the first is chosen")
    buttons = page.driver.find_elements(By.CSS_SELECTOR, ".card button")
    page.driver.find_elements(By.CSS_SELECTOR, ".card")[2].click()
    page.wait(lambda: page.text("#detail-name") == "series c", "the third is chosen")
    buttons[1].send_keys("\n")
    page.wait(lambda: page.text("#detail-name") == "series b", "the second is chosen")
    assert [button.get_attribute("aria-pressed") for button in buttons] == ["false", "true"] + ["false"] * 4
    assert min(page.run(PAINTED, "#detail")) > 0.01
    assert page.console() == []


def test_it_says_that_it_waits_until_the_first_prediction_comes(
    page: Page, server: LiveServer, feed: LiveFeed
) -> None:
    """Goal: the empty state. Method: nothing, then one event."""
    page.open(server.url)
    page.wait(lambda: "process 4711" in page.text("#worker-state"), "the worker's state")
    assert page.driver.find_element(By.ID, "empty").is_displayed()
    assert not page.driver.find_element(By.ID, "detail").is_displayed()
    feed.prediction(next(predictions(["a"], 1)))
    page.wait(lambda: page.number("#events") == 1, "the first event")
    page.wait(lambda: not page.driver.find_element(By.ID, "empty").is_displayed(), "the empty state is gone")
    assert page.text(".badge") == "warming up"
    assert page.console() == []


@pytest.mark.usefixtures("stream")
def test_the_worker_s_death_and_return_are_shown(page: Page, server: LiveServer, feed: LiveFeed) -> None:
    """Goal: the heart of the demo. Method: running with the command to kill it, down, back from its checkpoint."""
    page.open(server.url)
    page.wait(lambda: page.text("#kill-command") == "kill -9 4711", "the command")
    feed.worker({"state": "down", "pid": 4711, "restarts": 0, "since": time.time()})
    page.wait(lambda: page.text("#worker-state").startswith("Worker down"), "down")
    assert not page.driver.find_element(By.ID, "kill").is_displayed()
    feed.worker(
        {"state": "running", "pid": 4790, "restarts": 1, "since": time.time(), "recovered_offset": 12345}
    )
    page.wait(lambda: page.text("#kill-command") == "kill -9 4790", "the new process")
    assert "from its checkpoint at offset 12,345" in page.text("#worker-history")
    assert page.console() == []


def test_a_hostile_series_name_is_shown_as_text(page: Page, server: LiveServer, feed: LiveFeed) -> None:
    """Goal: names are not trusted. Method: a name that is an image with a script; no element, no dialog."""
    for message in predictions([HOSTILE_NAME, "x" * 200], 30):
        feed.prediction(message | {"time": "<b onclick=alert(2)>"})
    page.open(server.url)
    page.wait(lambda: page.number("#events") == 60, "the events")
    page.wait(lambda: page.text("#detail-name") == HOSTILE_NAME, "the chosen series")
    assert page.text(".card button") == HOSTILE_NAME
    assert page.run("return document.querySelectorAll('main img, main script, main b').length") == 0
    assert page.run("return document.documentElement.scrollWidth <= innerWidth")
    assert page.console() == []  # A dialog would have failed every command since.


def test_it_finds_a_demo_that_was_started_again(page: Page) -> None:
    """Goal: it reconnects by itself and forgets the old run. Method: stop, start on the same port with other series."""
    first, second = LiveFeed(), LiveFeed()
    for message in predictions(["old"], 20):
        first.prediction(message)
    for message in predictions(["new", "newer"], 30):
        second.prediction(message)
    server = LiveServer("127.0.0.1", 0, first)
    server.start()
    page.open(server.url)
    page.wait(lambda: page.number("#events") == 20, "the first run")
    server.stop()
    page.wait(lambda: "does not answer" in page.text("#worker-state"), "the loss is shown")
    again = LiveServer("127.0.0.1", server.port, second)
    again.start()
    page.wait(lambda: page.number("#events") == 60, "the second run")
    names = [element.text for element in page.driver.find_elements(By.CSS_SELECTOR, ".card button")]
    assert names == ["new", "newer"]
    again.stop()
    # The browser itself reports a refused connection; nothing else may be there.
    assert [entry for entry in page.console() if "ERR_CONNECTION" not in entry["message"]] == []
