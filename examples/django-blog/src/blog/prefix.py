"""Every blog is under its name: /ann/write is the page `write` of ann's blog."""

from django.urls import set_script_prefix


class UnderItsName:
    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        name = request.headers["x-blog"]
        request.path_info = request.path_info.removeprefix(f"/{name}") or "/"
        set_script_prefix(f"/{name}/")
        return self.get_response(request)
