"""The pages of the examples in a real browser: what visitors do works, at two widths, light and dark, without a mouse."""

from __future__ import annotations

import httpx
import pytest

from .browser import WIDTHS, browsing, faint, overflows, page_of, unlabelled
from .runtime import EXAMPLES, serving

pytestmark = pytest.mark.system

LONG = "A rather long answer that somebody has written because nobody told them that short ones are better to read"


def looks_right(browser, url: str, ready: str, shots: str) -> None:
    """At both widths and in both schemes: nothing sticks out, everything can be read and named."""
    for size, width in WIDTHS.items():
        for scheme in ("light", "dark"):
            with page_of(browser, url, width=width, scheme=scheme) as page:
                page.wait_for_selector(ready)
                page.screenshot(path=f"{shots}-{size}-{scheme}.png", full_page=True)
                assert not overflows(page), (size, scheme)
                assert unlabelled(page) == []
                assert faint(page) == [], (size, scheme)


def test_poll(tmp_path) -> None:
    with serving(f"{EXAMPLES}/poll", str(tmp_path / "data")) as runtime, browsing() as browser:
        with page_of(browser, runtime.url) as ann, page_of(browser, runtime.url) as ben:
            ann.get_by_label("Question").fill("Tea or coffee?")
            ann.get_by_label("Answers").fill(f"Tea\nCoffee\n{LONG}")
            ann.get_by_label("Answers").press("Tab")
            ann.keyboard.press("Enter")  # the button has the focus
            ann.wait_for_selector("#options button")
            ben.goto(ann.url)
            ben.get_by_role("button", name="Coffee").click()
            ben.get_by_text("You have voted").wait_for()
            ann.get_by_text("1 vote. Choose one answer").wait_for()  # without a reload: streamed
            assert ann.get_by_role("button", name="Coffee").inner_text().split() == ["Coffee", "1", "·", "100", "%"]
            ann.get_by_role("button", name="Tea").press("Enter")
            ann.get_by_text("2 votes. You have voted").wait_for()
            assert ann.get_by_role("button", pressed=True).inner_text().startswith("✓ Tea")
            ben.reload()
            ben.get_by_text("2 votes. You have voted").wait_for()
            assert ben.get_by_role("button", pressed=True).inner_text().startswith("✓ Coffee")
            looks_right(browser, ann.url, "#options button", str(tmp_path / "poll"))
        looks_right(browser, runtime.url, "form", str(tmp_path / "poll-new"))


def test_leaderboard(tmp_path) -> None:
    with serving(f"{EXAMPLES}/leaderboard", str(tmp_path / "data")) as runtime, browsing() as browser:
        url = f"{runtime.url}/board/Spring"
        with page_of(browser, url) as page:
            page.get_by_text("Nobody has a score yet").wait_for()
            page.get_by_label("Player").fill("ann")
            page.get_by_label("Score").fill("120")
            page.get_by_label("Score").press("Enter")
            page.get_by_text("ann: best 120, rank 1 of 1").wait_for()
            for number, player in enumerate(["ben", "Wilhelmina of the long name indeed", "dora", "ann"]):
                httpx.post(f"{url}/score", params={"player": player, "score": 90 + 20 * number})
            page.get_by_role("row").nth(4).wait_for()  # it looks again by itself
            rows = [row.inner_text().split("\t") for row in page.get_by_role("row").all()[1:]]
            assert rows == [
                ["1", "ann", "150"],
                ["2", "dora", "130"],
                ["3", "Wilhelmina of the long name indeed", "110"],
                ["4", "ben", "90"],
            ]
        looks_right(browser, url, "tbody tr", str(tmp_path / "leaderboard"))


def test_sharded_counter(tmp_path) -> None:
    with (
        serving(f"{EXAMPLES}/sharded-counter", str(tmp_path / "data"), "--shards", "2") as runtime,
        browsing() as browser,
    ):
        with page_of(browser, runtime.url) as page:
            page.get_by_role("button", name="Count 100 keys").click()
            page.get_by_text("100 of 100 counted").wait_for()
            page.get_by_role("button", name="Twice as many shards").press("Enter")
            page.get_by_text("there will be 4 shards").wait_for()
            page.get_by_role("cell", name="counts:3").wait_for()  # it looks again by itself
            page.get_by_text("map 3").wait_for()
            assert page.locator("#total").inner_text() == "100"
            rows = [row.inner_text().split("\t") for row in page.get_by_role("row").all()[1:]]
            assert [row[0].strip() for row in rows] == ["counts:0", "counts:2", "counts:1", "counts:3"]
            assert sum(int(row[2]) for row in rows) == 100
        looks_right(browser, runtime.url, "tbody tr", str(tmp_path / "sharded-counter"))


def test_sharded_chat(tmp_path) -> None:
    with serving(f"{EXAMPLES}/sharded-chat", str(tmp_path / "data"), "--shards", "2") as runtime, browsing() as browser:
        url = f"{runtime.url}/room/Lobby"
        with page_of(browser, url) as ann, page_of(browser, url) as ben:
            ann.get_by_text("Nothing was said here").wait_for()
            ann.get_by_text("live", exact=True).wait_for()
            ben.get_by_text("live", exact=True).wait_for()
            for page, name in ((ann, "Ann"), (ben, "Ben")):
                page.get_by_label("Your name").fill(name)
                page.get_by_label("Message", exact=True).fill(f"hello from {name}")
                page.get_by_label("Message", exact=True).press("Enter")
                for other in (ann, ben):
                    other.locator("li", has_text=f"hello from {name}").wait_for()
            ann.get_by_label("Message", exact=True).fill(LONG * 3)
            ann.get_by_role("button", name="Say").click()
            ben.locator("li", has_text=LONG).wait_for()
            ben.reload()
            assert ben.locator("li").count() in (0, 3)
            ben.locator("li", has_text="hello from Ann").wait_for()
            assert ben.locator("li").count() == 3
        looks_right(browser, url, "li", str(tmp_path / "sharded-chat"))
