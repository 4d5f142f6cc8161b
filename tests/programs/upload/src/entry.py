"""A form with files: read with the SDK and with the names of JavaScript."""

import js
from js import Object
from pyodide.ffi import to_js
from workers import Blob, File, FormData, Request, Response, WorkerEntrypoint, fetch

PAGE = """<form method=post enctype=multipart/form-data><input name=title><input type=file name=file></form>"""


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        if request.method == "GET":
            return Response(PAGE, headers={"Content-Type": "text/html"})
        path = js.URL.new(request.url).pathname
        if path == "/js":
            return await self.in_js_style(request)
        if path == "/send":
            return await self.send()
        form = await request.form_data()
        file = form["file"]
        assert isinstance(file, File)
        assert isinstance(file, Blob)
        return Response.json(
            {
                "title": form["title"],
                "tags": form.get_all("tag"),
                "none": form["nothing"],
                "has": "title" in form,
                "name": file.name,
                "type": file.content_type,
                "size": file.size,
                "text": await file.text(),
                "part": await file.slice(0, 5).text(),
                "keys": sorted(set(form.keys())),
                "values": len(list(form.values())),
                "items": [key for key, _ in form.items()],
            }
        )

    async def in_js_style(self, request):
        form = await request.js_object.formData()
        file = form.get("file")
        buffer = await file.arrayBuffer()
        return js.Response.new(
            js.JSON.stringify(
                to_js(
                    {
                        "title": form.get("title"),
                        "name": file.name,
                        "type": file.type,
                        "size": file.size,
                        "length": buffer.byteLength,
                        "bytes": buffer.to_bytes().decode(),
                        "tags": form.getAll("tag").to_py(),
                    },
                    dict_converter=Object.fromEntries,
                )
            ),
            headers=to_js({"content-type": "application/json"}, dict_converter=Object.fromEntries),
        )

    async def send(self):
        """Sends a form on: to a server, through a Request, and in a Response."""
        form = FormData({"field": "value"})
        form.append("blob.py", Blob(["print(42)"], content_type="text/python"), filename="blob.py")
        form.append("number", 123)
        form["file"] = File(["{}"], filename="m.json", content_type="application/json", last_modified=1000)
        try:
            form["file"] = ["one", "two"]
        except TypeError as error:
            refused = str(error)
        old = js.FormData.new()
        old.append("key", "lorem")
        old.append("key", "ipsum")
        both = FormData(old)
        both["js"] = js.Blob.new(to_js(["another string"]))
        answer = await fetch("https://api.test/form", method="POST", body=form)
        again = await Request("https://x.test", method="POST", body=form).form_data()
        third = await Response(form).formData()
        del form["number"]
        form.delete("field")
        return Response.json(
            {
                "heard": await answer.json(),
                "again": [
                    again["number"],
                    again["file"].name,
                    await again["blob.py"].text(),
                    again["blob.py"].content_type,
                ],
                "third": third["field"],
                "refused": refused,
                "both": both.get_all("key"),
                "blob": [type(both["js"]).__name__, await both["js"].text()],
                "left": sorted(form.keys()),
                "modified": form["file"].last_modified,
                "type of both": Blob(Blob("x", content_type="a/b")).content_type,
                "type of list": Blob([Blob("x", content_type="a/b")]).content_type,
                "view": await Blob([memoryview(b"foo"), b"bar", "baz"], endings="transparent").text(),
                "js type": Blob("x", content_type="a/b").js_object.type,
            }
        )
