"""What `test_django_cf.py` runs in a process of its own: a program written for the package django-cf, unmodified.

Prints what its requests were answered, as JSON.
"""

# ruff: noqa: E402

from __future__ import annotations

import json
import os
import sys

from django.conf import settings
from perdure.sdk import aliases

aliases.install()

import django_cf
from django_cf import DjangoCFDurableObject
from workers import DurableObject, WorkerEntrypoint

OLD = hasattr(django_cf, "BytesIO")
"""Before 0.2: its own WSGI, and `get_app` is awaited."""
settings.configure(
    DATABASES={"default": {"ENGINE": "django_cf.do_binding" if OLD else "django_cf.db.backends.do"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions", "django_own"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="x",
    DEBUG_PROPAGATE_EXCEPTIONS=True,
    USE_TZ=True,
)


def migrate(request):
    from django.core.management import call_command

    call_command("migrate", run_syncdb=True, verbosity=0)
    return JsonResponse({"status": "success"})


def add(request):
    from django_own.models import Author

    request.session["adds"] = request.session.get("adds", 0) + 1
    author, made = Author.objects.get_or_create(name=request.POST["name"])
    return JsonResponse({"name": author.name, "made": made, "adds": request.session["adds"]})


def names(request):
    from django_own.models import Author

    return JsonResponse({"names": sorted(author.name for author in Author.objects.exclude(name=""))})


from django.http import JsonResponse
from django.urls import path

urlpatterns = [path("migrate", migrate), path("add", add), path("names", names)]


def application():
    from django.core.wsgi import get_wsgi_application

    return get_wsgi_application()


if OLD:

    class DjangoDO(DjangoCFDurableObject, DurableObject):
        async def get_app(self):
            return application()
else:

    class DjangoDO(DjangoCFDurableObject, DurableObject):
        def get_app(self):
            return application()


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        name = request.headers.get("x-object") or "A"
        id = self.env.DjangoDO.idFromName(name)
        obj = self.env.DjangoDO.get(id)
        return await obj.fetch(request)


def main() -> None:
    from perdure.testing import World

    with World([DjangoDO, Default]) as world:

        def ask(path: str, where: str, body: str | None = None, **headers: str) -> object:
            kind = {"content-type": "application/x-www-form-urlencoded"} if body else {}
            answer = world.fetch(
                path, method="POST" if body else "GET", body=body, headers={**kind, "x-object": where, **headers}
            )
            text = world.loop.drive(answer.text())
            cookies[where] = (answer.headers.get("set-cookie") or cookies.get(where, "")).split(";")[0]
            return json.loads(text) if answer.status == 200 else [answer.status, text]

        cookies: dict[str, str] = {}
        told = [ask("/migrate", where) for where in ("A", "B")]
        for where, name in (("A", "ann"), ("B", "ben"), ("A", "ann"), ("A", "cat")):
            told.append(ask("/add", where, f"name={name}", cookie=cookies.get(where, "")))
        world.crash(world.namespace("DjangoDO").getByName("A"))
        told += [ask("/names", where) for where in ("A", "B")]
        print(json.dumps(told))


if __name__ == "__main__":
    os.environ.setdefault("PYTHONHASHSEED", "0")
    main()
    sys.stdout.flush()
