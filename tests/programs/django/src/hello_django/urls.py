import json

from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from pyodide.ffi import run_sync


def index(request):
    return JsonResponse({"message": "Hello from Django", "method": request.method})


def greet(request, name):
    return JsonResponse({"hello": name, "query": request.GET.dict()})


def echo(request):
    return JsonResponse({"heard": json.loads(request.body), "type": request.content_type}, status=201)


def visit(request):
    env = request.environ["workers.env"]
    count = int(run_sync(env.VISITS.get("count")) or 0) + 1
    run_sync(env.VISITS.put("count", str(count)))
    response = HttpResponse(f"visit {count}")
    response.set_cookie("seen", str(count))
    response.set_cookie("other", "x")
    return response


def stream(request):
    return StreamingHttpResponse((f"line {number}\n" for number in range(3)), content_type="text/plain")


urlpatterns = [
    path("", index),
    path("hello/<str:name>", greet),
    path("echo", echo),
    path("visit", visit),
    path("stream", stream),
]
