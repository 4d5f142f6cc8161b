"""The examples on WebSockets in real browsers, and with bots, while processes are killed."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import threading
from contextlib import ExitStack
from types import ModuleType

import httpx
import pytest

from ..examples.vendored import vendored
from .browser import WIDTHS, browsing, faint, overflows, page_of, unlabelled
from .runtime import EXAMPLES, serving

pytestmark = pytest.mark.system


def looks_right(browser, url: str, ready: str, shots: str) -> None:
    for size, width in WIDTHS.items():
        for scheme in ("light", "dark"):
            with page_of(browser, url, width=width, scheme=scheme) as page:
                page.wait_for_selector(ready)
                page.screenshot(path=f"{shots}-{size}-{scheme}.png")
                assert not overflows(page), (size, scheme)
                assert unlabelled(page) == []
                assert faint(page) == [], (size, scheme)


def kill_shards(runtime) -> None:
    for pid in runtime.pids("shard"):
        os.kill(pid, signal.SIGKILL)


def test_sync_two_browsers_converge(tmp_path) -> None:
    program, data = vendored("sync"), str(tmp_path / "data")
    with serving(program, data) as runtime, browsing() as browser:
        url = f"{runtime.url}/#market"
        with page_of(browser, url) as ann, page_of(browser, url) as ben:
            for page in (ann, ben):
                page.get_by_text("in step with everybody").wait_for()
            for text in ("Oat milk", "Bread"):
                ann.get_by_label("New item").fill(text)
                ann.get_by_label("New item").press("Enter")
                ben.get_by_label(f"Item: {text}").wait_for()
            ben.get_by_role("button", name="Go offline").click()
            ben.get_by_text("changes wait here").wait_for()
            ben.get_by_label("Bread: done").check()  # one cell here, another there
            ann.get_by_label("Item: Bread").fill("Rye bread")
            ben.get_by_label("New item").fill("Figs")
            ben.get_by_label("New item").press("Enter")
            kill_shards(runtime)
            ben.get_by_role("button", name="Go online").click()
            for page in (ann, ben):
                page.get_by_label("Item: Figs").wait_for()
                page.get_by_label("Rye bread: done").wait_for()
                assert page.get_by_label("Rye bread: done").is_checked()
            ann.get_by_role("button", name="One more").first.click()
            ben.get_by_text("× 2").wait_for()
        with page_of(browser, url) as alone:  # nobody else is there: from the object
            alone.get_by_label("Item: Figs").wait_for()
            assert alone.locator("li").count() == 3
        looks_right(browser, url, "li", str(tmp_path / "sync"))
        assert runtime.stop() == 0
    with serving(program, data) as runtime, browsing() as browser, page_of(browser, f"{runtime.url}/#market") as later:
        later.get_by_label("Item: Rye bread").wait_for()
        assert later.locator("li").count() == 3


def test_document_two_browsers_write_at_once(tmp_path) -> None:
    with serving(vendored("document"), str(tmp_path / "data")) as runtime, browsing() as browser:
        url = f"{runtime.url}/#letter"
        with page_of(browser, url) as ann, page_of(browser, url) as ben:
            areas = [page.get_by_label("The text") for page in (ann, ben)]
            for page in (ann, ben):
                page.get_by_text("saved as you type").wait_for()
            areas[0].press_sequentially("Dear all, come on Thursday.")
            ben.wait_for_function("document.getElementById('text').value.endsWith('Thursday.')")
            kill_shards(runtime)  # both write at the same place meanwhile
            areas[1].press("End")
            for at in range(6):
                areas[0].press_sequentially("ABCDEF"[at])
                areas[1].press_sequentially("uvwxyz"[at])
            for page in (ann, ben):
                page.wait_for_function(
                    "[...'ABCDEFuvwxyz'].every((char) => document.getElementById('text').value.includes(char))"
                )
            texts = [area.input_value() for area in areas]
            assert texts[0] == texts[1]
            assert sorted(texts[0]) == sorted("Dear all, come on Thursday.ABCDEFuvwxyz")
            assert httpx.get(f"{runtime.url}/document/letter.txt").text == texts[0]
            assert ann.locator("#mirror b").count() == 1  # ben's cursor
            assert ann.locator("#people li").count() == 2
            looks_right(browser, url, "#mirror b", str(tmp_path / "document"))
            ann.screenshot(path=str(tmp_path / "document-two.png"))


# ---------------------------------------------------------------- doom
def until(page, key: str, condition: str) -> None:
    """Hold a key until the player is where `condition` says."""
    page.keyboard.down(key)
    page.wait_for_function(condition)
    page.keyboard.up(key)


def test_doom_two_players_see_each_other_move_and_be_hit(tmp_path) -> None:
    with serving(f"{EXAMPLES}/doom", str(tmp_path / "data")) as runtime, browsing() as browser:
        url = f"{runtime.url}/#foundry"
        looks_right(browser, url, "dialog[open]", str(tmp_path / "doom-lobby"))
        with page_of(browser, url) as ann, page_of(browser, url, width=WIDTHS["phone"]) as ben:
            for page, name in ((ann, "Ann"), (ben, "Ben")):
                page.get_by_label("Your name").fill(name)
                page.get_by_label("Your name").press("Enter")
                page.wait_for_function("arena.here && arena.health === 100")
                page.evaluate("arena.facing.angle = 0")
            assert not overflows(ben)
            until(ann, "KeyS", "arena.here.x < 1.6")
            until(ann, "KeyD", "arena.here.y > 10.3")
            until(ann, "KeyW", "arena.here.x > 3.3")
            until(ann, "KeyD", "arena.here.y > 12.3")
            until(ben, "KeyA", "arena.here.y < 12.7")
            ann.wait_for_function("Math.abs(arena.seen[0]?.y - 12.5) < 0.4")  # she has seen him move
            ben.wait_for_function("arena.seen[0]?.x < 4.5 && arena.seen[0].y > 12")  # and he her
            until(ann, "KeyW", "arena.here.x > 17")
            for page in (ann, ben):
                page.evaluate(
                    "arena.facing.angle = Math.atan2(arena.seen[0].y - arena.here.y, arena.seen[0].x - arena.here.x)"
                )
            ann.keyboard.down("Space")
            ben.wait_for_function("arena.health < 100")
            ann.screenshot(path=str(tmp_path / "doom-ann.png"))
            ben.screenshot(path=str(tmp_path / "doom-ben.png"))
            ben.wait_for_function("arena.deaths === 1")
            ann.wait_for_function("arena.frags === 1")
            ann.keyboard.up("Space")
            ann.get_by_text("you got Ben").wait_for()
            before = ann.evaluate("arena.ticks.at(-1).tick")
            kill_shards(runtime)
            ann.wait_for_function(f"arena.ticks.at(-1).tick > {before + 30}")
            assert ann.evaluate("arena.frags") == 1
            assert ann.evaluate("arena.ticks.every(({tick}, at) => !at || tick === arena.ticks[at - 1].tick + 1)")


def bots_of() -> ModuleType:
    spec = importlib.util.spec_from_file_location("doom_bots", f"{EXAMPLES}/doom/bots.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.mark.parametrize("seconds", [10, pytest.param(60, marks=pytest.mark.long)])
def test_doom_bots_are_not_thrown_back_when_a_shard_is_killed(tmp_path, seconds) -> None:
    with serving(f"{EXAMPLES}/doom", str(tmp_path / "data")) as runtime, ExitStack() as stack:
        killed = [threading.Timer(at, kill_shards, [runtime]) for at in (3, *range(12, seconds - 4, 12))]
        for timer in killed:
            timer.start()
            stack.callback(timer.cancel)
        url = runtime.url.replace("http", "ws") + "/arena/foundry"
        bots = asyncio.run(bots_of().match(url, 8, seconds))
        assert runtime.text().count("died ") >= len(killed)
        for bot in bots:
            assert bot.ended is None, bot.name
            assert bot.gaps() == bot.leaps() == [], bot.name
            assert bot.taken_back() == 0, bot.name
            assert len(bot.ticks) > 20 * (seconds - 3 * len(killed)), bot.name
            assert bot.ticks[-1]["tick"] - bots[0].ticks[-1]["tick"] in range(-3, 4), bot.name
        told = {tick["tick"]: tick for tick in bots[0].ticks}
        assert all(told.get(tick["tick"], tick) == tick for tick in bots[7].ticks), "one world for all"
        print("longest pause", round(max(bot.pause() for bot in bots), 3))
