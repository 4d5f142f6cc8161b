"""The pages of the examples with WebSockets in a real browser, two visitors or more; and what a dying keeper means to them."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import pytest
from perdure.resuming import Client, Message, Reset

from .browser import browsing, page_of
from .runtime import EXAMPLES, Runtime, serving, wait_gone
from .test_example_pages import LONG, looks_right

pytestmark = pytest.mark.system


def kill_keeper(runtime: Runtime) -> None:
    (pid,) = runtime.pids("keeper")
    os.kill(pid, signal.SIGKILL)
    wait_gone([pid])


class Visitor(threading.Thread):
    """A resuming client in Python that speaks while the keeper dies: what it has heard, in order."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.texts: dict[int, str] = {}
        self.resets = 0
        self.live, self.killed, self.failure = threading.Event(), threading.Event(), ""

    def run(self) -> None:
        try:
            asyncio.run(asyncio.wait_for(self._talk(), 40))
        except Exception as error:
            self.failure = repr(error)

    async def _talk(self) -> None:
        async with Client(self.url) as client:
            await client.became("live")
            listening = asyncio.ensure_future(self._listen(client))
            self.live.set()
            number = 0
            while not self.killed.is_set() or number < 60:
                await client.send({"say": f"visitor {number}"})
                number += 1
                await asyncio.sleep(0.02)
            await client.flushed()
            await client.became("live")
            self.sent = number
            while sum(text.startswith("visitor") for text in self.texts.values()) < number:
                await asyncio.sleep(0.02)
            listening.cancel()

    async def _listen(self, client: Client) -> None:
        async for event in client:
            if isinstance(event, Reset):
                self.resets += 1
                self.texts = {row["number"]: row["text"] for row in event.snapshot}
            elif isinstance(event, Message) and "text" in event.data:
                assert event.data["number"] not in self.texts
                self.texts[event.data["number"]] = event.data["text"]


def test_chat(tmp_path) -> None:
    with serving(f"{EXAMPLES}/chat", str(tmp_path / "data")) as runtime, browsing() as browser:
        url = f"{runtime.url}/room/Lobby"
        with page_of(browser, url) as ann, page_of(browser, url, width=390) as ben:
            for page, name in ((ann, "Ann"), (ben, "Ben")):
                page.locator("#state[data-state=live]").wait_for()
                page.get_by_label("Your name").fill(name)
                page.get_by_label("Message", exact=True).fill(f"hello from {name}")
                page.get_by_label("Message", exact=True).press("Enter")
            for page in (ann, ben):
                for name in ("Ann", "Ben"):
                    page.locator(".said:not(.waiting) .text", has_text=f"hello from {name}").wait_for()
            assert ann.locator("#here .who").all_inner_texts() == ["Ann", "Ben"]
            ben.get_by_label("Message", exact=True).press_sequentially("Do")
            ann.get_by_text("Ben is typing").wait_for()

            visitor = Visitor(f"{url.replace('http', 'ws')}/live?name=Visitor")
            visitor.start()
            assert visitor.live.wait(20), visitor.failure
            ann.evaluate(
                "window.states = []; new MutationObserver(() => states.push(document.getElementById('state').dataset.state))"
                ".observe(document.getElementById('state'), {attributes: true})"
            )
            kill_keeper(runtime)
            for number in range(3):  # said while nobody holds the connection
                ann.get_by_label("Message", exact=True).fill(f"in the gap {number}")
                ann.get_by_label("Message", exact=True).press("Enter")
            visitor.killed.set()
            visitor.join(45)
            assert (visitor.failure, visitor.resets) == ("", 1)
            spoken = [text for text in visitor.texts.values() if text.startswith("visitor")]
            assert spoken == [f"visitor {number}" for number in range(visitor.sent)]
            assert list(visitor.texts) == list(range(1, len(visitor.texts) + 1))
            for page in (ann, ben):
                page.locator(".said:not(.waiting) .text", has_text="in the gap 2").wait_for()
                page.locator(".said .text", has_text=f"visitor {visitor.sent - 1}").wait_for()
                texts = page.locator(".said:not(.waiting) .text").all_inner_texts()
                assert sorted(texts) == sorted(visitor.texts.values())
                assert [text for text in texts if text.startswith("visitor")] == spoken
            assert "connecting" in ann.evaluate("states")
            ann.reload()
            ann.locator(".said").nth(49).wait_for()
            ann.get_by_role("button", name="Older messages").click()
            ann.locator(".said .text", has_text="hello from Ann").wait_for()
        room = f"{runtime.url}/room/Garden"
        with page_of(browser, room) as ann, page_of(browser, room) as ben:
            talk = [(ann, "Ann", ["The tomatoes are ripe.", "Who wants some?"]), (ben, "Ben", ["Me, please!", LONG])]
            for page, name, texts in talk:
                page.locator("#state[data-state=live]").wait_for()
                page.get_by_label("Your name").fill(name)
                for text in texts:
                    page.get_by_label("Message", exact=True).fill(text)
                    page.get_by_label("Message", exact=True).press("Enter")
                    ann.locator(".said:not(.waiting) .text", has_text=text).wait_for()
            ann.screenshot(path=str(tmp_path / "chat-ann.png"))
            looks_right(browser, room, ".said", str(tmp_path / "chat"))


def place(page) -> str:
    return page.locator(".pointer").first.evaluate("(pointer) => pointer.style.transform")


def test_cursors(tmp_path) -> None:
    with serving(f"{EXAMPLES}/cursors", str(tmp_path / "data")) as runtime, browsing() as browser:
        url = f"{runtime.url}/board/Playground"
        with page_of(browser, url) as ann, page_of(browser, url) as ben:
            for page in (ann, ben):
                page.locator("#state[data-state=live]").wait_for()
                page.locator("#here li").nth(1).wait_for()
            ann.mouse.move(300, 300)
            ben.locator(".pointer").wait_for()
            ann.mouse.move(900, 500, steps=20)
            ben.wait_for_function("new DOMMatrix(document.querySelector('.pointer').style.transform).e > 890")
            ann.mouse.click(900, 500)
            ben.locator(".dot").wait_for()
            kill_keeper(runtime)
            ann.mouse.click(640, 400)  # while nobody holds the connection
            ben.locator(".dot").nth(1).wait_for()
            assert ben.locator(".dot").count() == ann.locator(".dot").count() == 2
            ben.locator("#board").press("ArrowLeft")
            ann.locator(".pointer").wait_for()
            ben.locator("#here li").nth(1).wait_for()
            for at in range(24):
                ben.mouse.click(350 + 30 * at, 330 + 7 * (at * 29 % 31))
            ann.locator(".dot").nth(25).wait_for()
            ann.screenshot(path=str(tmp_path / "cursors-ann.png"))
            looks_right(browser, url, "#here li:nth-child(3)", str(tmp_path / "cursors"))


def test_tilt(tmp_path) -> None:
    with serving(f"{EXAMPLES}/tilt", str(tmp_path / "data")) as runtime, browsing() as browser:
        with page_of(browser, runtime.url) as screen, page_of(browser, f"{runtime.url}/play", width=390) as phone:
            screen.locator("#state[data-state=live]").wait_for()
            phone.get_by_label("Code on the screen").fill("0000")
            phone.get_by_role("button", name="Join").click()
            phone.get_by_text("No game has this code").wait_for()
            phone.get_by_label("Code on the screen").fill(screen.locator("#code").inner_text().lower())
            phone.get_by_role("button", name="Join").click()
            phone.get_by_role("heading", name="Player 1").wait_for()
            screen.locator("#scores li", has_text="Player 1").wait_for()
            phone.locator("#pad").focus()
            phone.keyboard.down("ArrowRight")
            screen.wait_for_function("marbles.get(1).x > 700")
            phone.keyboard.up("ArrowRight")
            with page_of(browser, screen.locator("#link").inner_text(), width=390) as other:
                other.get_by_role("heading", name="Player 2").wait_for()
                screen.locator("#scores li", has_text="Player 2").wait_for()
                kill_keeper(runtime)
                other.locator("#state[data-state=connecting], #state[data-state=offline]").wait_for()
                other.locator("#state[data-state=live]").wait_for()
                screen.locator("#state[data-state=live]").wait_for()
                phone.locator("#state[data-state=live]").wait_for()
                screen.locator("#scores li").nth(1).wait_for()
                phone.get_by_role("heading", name="Player 1").wait_for()  # who they were
                other.get_by_role("heading", name="Player 2").wait_for()
                other.mouse.move(195, 400)
                other.mouse.down()
                other.mouse.move(195, 250, steps=5)
                screen.wait_for_function("[...marbles.values()].some(({y}) => y < 100)")
                screen.screenshot(path=str(tmp_path / "tilt-playing.png"))
                other.screenshot(path=str(tmp_path / "tilt-phone.png"))
        looks_right(browser, runtime.url, "#qr svg", str(tmp_path / "tilt"))
        looks_right(browser, f"{runtime.url}/play", "#join", str(tmp_path / "tilt-join"))
