"""Rewrites the head of a page of another server."""

from js import HTMLRewriter
from pyodide.ffi import create_proxy
from workers import WorkerEntrypoint, fetch


class Inject:
    def __init__(self, title):
        self.title = title

    def element(self, element):
        element.prepend(f'<meta property="og:title" content="{self.title}" />', html=True)


class Remove:
    def element(self, element):
        element.remove()


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        page = await fetch("https://api.test/page")
        rewriter = HTMLRewriter.new()
        rewriter.on('meta[property^="og:"]', create_proxy(Remove()))
        rewriter.on("head", create_proxy(Inject("ours")))
        return rewriter.transform(page.js_object)
