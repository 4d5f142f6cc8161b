"""django-blog: a Django project inside each object, on the object's own database."""

from __future__ import annotations

import asyncio
import re
from urllib.parse import urlencode

from .stage import ask, example


class Browser:
    """Keeps cookies, sends forms with their token."""

    def __init__(self, world, name: str) -> None:
        self.world, self.name = world, name
        self.cookies: dict[str, str] = {}

    async def get(self, path: str) -> tuple[int, str]:
        return await self.send("GET", path, None)

    async def post(self, path: str, **fields: str) -> tuple[int, str]:
        """Fill in the form that is at `path`."""
        _, page = await self.get(path)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
        assert token is not None, page
        return await self.send("POST", path, urlencode({"csrfmiddlewaretoken": token[1], **fields}))

    async def send(self, method: str, path: str, body: str | None) -> tuple[int, str]:
        headers = {"cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if body is not None:
            headers["content-type"] = "application/x-www-form-urlencoded"
        answer = await self.world.fetch(f"/{self.name}{path}", method=method, headers=headers, body=body)
        for cookie in answer.headers.get_all("set-cookie") or []:
            name, _, value = cookie.split(";")[0].partition("=")
            self.cookies[name] = value
        if answer.status in (301, 302):
            assert answer.headers["location"].startswith(f"/{self.name}/")
            return await self.get(answer.headers["location"].removeprefix(f"/{self.name}"))
        return answer.status, await answer.text()


@example("django-blog")
async def test_posts_with_forms_messages_and_sessions(world) -> None:
    ann = Browser(world, "ann")
    assert "Nothing yet." in (await ann.get("/"))[1]
    status, page = await ann.post("/write", title="First <b>", text="Line\n\nOther", tags="sea sun")
    assert status == 200
    assert '<p class="success">First &lt;b&gt; is out</p>' in page
    assert "<p>Line</p>" in page
    assert "#sea #sun (0)" in page
    assert "Visit 2." in page
    assert "is out" not in (await ann.get("/"))[1]
    assert "Visit 4." in (await ann.get("/"))[1]
    assert "Visit 1." in (await Browser(world, "ann").get("/"))[1]
    status, page = await ann.post("/write", title="", text="x")
    assert (status, "This field is required" in page) == (400, True)
    assert (await ann.get("/7"))[0] == 404
    assert (await ann.send("POST", "/write", "title=a&text=b"))[0] == 403  # no token


@example("django-blog")
async def test_each_object_has_its_own_tables_and_keeps_them(world) -> None:
    ann, ben = Browser(world, "ann"), Browser(world, "ben")
    await asyncio.gather(*(browser.post("/write", title=f"of {browser.name}", text="x") for browser in (ann, ben) * 3))
    for shard in (0, 1):
        await world.crash(shard)
    for browser, other in ((ann, "of ben"), (ben, "of ann")):
        page = (await browser.get("/"))[1]
        assert page.count(f"of {browser.name}</a>") == 3
        assert other not in page
    assert (await ask(world, "GET /ann/1"))[1]["title"] == "of ann"
    tables = await world.storage(world.namespace("Blog").getByName("ann")).sql("select count(*) as n from blog_post")
    assert tables == [{"n": 3}]


@example("django-blog")
async def test_dates_are_grouped_by_functions_in_python(world) -> None:
    ann = Browser(world, "ann")
    for days in (0, 20, 20):
        await world.advance(days=days)
        await ann.post("/write", title="a", text="b")
    assert await ask(world, "GET /ann/months") == (200, {"2026-01": 2, "2026-02": 1})
    assert (await ask(world, "GET /ann/1"))[1]["published"].startswith("2026-01-01T00:00:00")


@example("django-blog")
async def test_the_admin(world) -> None:
    blog = world.namespace("Blog").getByName("ann")
    await blog.create_admin("ann", "a long password")
    ann = Browser(world, "ann")
    assert "Log in" in (await ann.get("/admin/"))[1]
    status, page = await ann.post("/admin/login/?next=/ann/admin/", username="ann", password="wrong")
    assert (status, "Please enter the correct username" in page) == (200, True)
    status, page = await ann.post("/admin/login/?next=/ann/admin/", username="ann", password="a long password")
    assert (status, "Site administration" in page) == (200, True)
    await ann.post("/admin/blog/tag/add/", name="sea")
    inline = {"comments-TOTAL_FORMS": "1", "comments-INITIAL_FORMS": "0", "comments-0-text": "nice"}
    status, page = await ann.post("/admin/blog/post/add/", title="By the admin", text="x", tags="1", **inline)
    assert (status, "was added successfully" in page) == (200, True)
    assert (await ask(world, "GET /ann/1"))[1]["comments"] == ["nice"]
    page = (await ann.get("/admin/blog/post/?q=admin&published__year=2026"))[1]
    assert ">By the admin</a>" in page
    assert ">By the admin</a>" not in (await ann.get("/admin/blog/post/?q=nothing"))[1]
    assert "By the admin" in (await ann.get("/admin/blog/post/1/history/"))[1]
    status, page = await ann.post("/admin/blog/post/1/delete/", post="yes")
    assert (status, "was deleted successfully" in page) == (200, True)
    assert await world.storage(blog).sql("select count(*) as n from blog_comment") == [{"n": 0}]


@example("django-blog")
async def test_whose_blog(world) -> None:
    assert await ask(world, "GET /") == (404, "whose blog? /NAME/\n")
