"""What `test_django.py` runs in a process of its own, since Django's settings are the process's.

Each function below runs inside an object, whose database Django uses, in one event; those that are named `outside_…` see it from
outside. Prints the names of those that passed.
"""

# ruff: noqa: E402

from __future__ import annotations

import asyncio
import sys
import traceback
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import django
from django.conf import settings

settings.configure(
    DATABASES={"default": {"ENGINE": "perdure.sdk.django"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django_own"],
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="x",
    USE_TZ=True,
    TIME_ZONE="UTC",
)
django.setup()

from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.db import IntegrityError, connection, models, transaction
from django.db.migrations.state import ModelState, ProjectState
from django.db.models import Avg, Count, F, Q, StdDev, Sum
from django.db.models.functions import ExtractYear, TruncWeek, Upper
from django.http import HttpResponse
from django.urls import path
from django_own.models import Author, Book
from perdure.engine.durable import DurableObject
from perdure.engine.errors import PerdureError
from perdure.sdk import asgi, wsgi
from perdure.testing import World


def view(request):
    author, made = Author.objects.get_or_create(name=request.GET["name"])
    return HttpResponse(f"{author.name} {made} {request.body.decode()}")


def failing(request):
    Author.objects.create(name="of a view that raises")
    raise ValueError("after the write")


async def async_view(request):
    author, made = await Author.objects.aget_or_create(name=request.GET["name"])
    return HttpResponse(f"{author.name} {made}")


urlpatterns = [
    path("plain", view),
    path("async", async_view),
    path("failing", failing),
    path("whole", transaction.atomic(failing)),
]


class Base(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        if not connection.introspection.table_names():
            call_command("migrate", run_syncdb=True, verbosity=0)

    async def run(self, name):
        found = globals()[name]()
        return await found if hasattr(found, "__await__") else found

    async def fetch(self, request):
        if "/asgi/" in request.url:
            return await asgi.fetch(ASGIHandler(), type(request)(request.url.replace("/asgi/", "/")), self.env)
        return await wsgi.fetch(WSGIHandler(), request, self.env)

    async def names(self):
        return list(Author.objects.order_by("id").values_list("name", flat=True))

    async def checks_foreign_keys(self):
        return self.ctx.storage.sql.exec("PRAGMA foreign_keys").one()["foreign_keys"]


def values_come_back_as_they_were():
    Book.objects.create(author=Author.objects.create(name="ann"), title="ä%s'", data={"a": [1, None, "x"]})
    book = Book.objects.get(title="ä%s'", data__a__0=1)
    assert (book.price, book.weight, book.lasts) == (Decimal("1.50"), 2.0, timedelta(hours=1, microseconds=5))
    assert type(book.weight) is float
    assert book.published == datetime(2026, 3, 4, 5, 6, 7, 8, tzinfo=UTC)
    assert (book.day, book.good, bytes(book.blob)) == (date(2026, 3, 4), True, b"\0\1")
    assert book.data == {"a": [1, None, "x"]}
    assert Book.objects.filter(published__year=2026, published__week_day=4, day__month=3).count() == 1
    assert Book.objects.filter(title__iregex="^Ä|ä").exists()
    assert Book.objects.filter(title__icontains="%s").get() == book
    assert Book.objects.annotate(y=ExtractYear("day"), w=TruncWeek("published")).get().w.day == 2
    assert Book.objects.annotate(up=Upper("author__name")).get().up == "ANN"
    assert Book.objects.aggregate(a=Avg("price"), s=Sum("weight"), d=StdDev("weight"))["d"] == 0
    assert Book.objects.filter(published__gt=F("published") - timedelta(days=1)).count() == 1
    with connection.cursor() as cursor:
        cursor.execute("select %(a)s, %(b)s, '%%'", {"a": 1, "b": "x"})
        assert cursor.fetchall() == [(1, "x", "%")]
        cursor.executemany("update django_own_author set name = %s where id = %s", [("b", 1), ("c", 2)])
        assert cursor.rowcount == 1


def many_rows():
    authors = Author.objects.bulk_create(Author(name=f"a{n}") for n in range(250))
    assert {author.pk for author in authors} == set(range(1, 251))
    Book.objects.bulk_create(
        Book(author=author, title=f"of {author.name}", data={"n": n}) for n, author in enumerate(authors)
    )
    assert Author.objects.filter(pk__in=range(1, 201)).count() == 200
    assert Author.objects.filter(name__in=[f"a{n}" for n in range(150)] + ["it's", "%s"]).count() == 150
    found = Author.objects.prefetch_related("books").annotate(n=Count("books"))
    assert [author.books.all()[0].title for author in found.order_by("id")][249] == "of a249"
    assert Book.objects.filter(Q(data__n__lt=5) | Q(title="of a9")).count() == 6
    assert Book.objects.filter(title__startswith="of a1").update(weight=F("weight") + 1) == 111
    assert Author.objects.filter(pk__lt=200).delete()[0] == 398
    assert len(list(Author.objects.iterator(chunk_size=10))) == 51


def atomic_blocks_are_kept_or_undone():
    told = []
    with transaction.atomic():
        Author.objects.create(name="kept")
        transaction.on_commit(lambda: told.append("committed"))
        try:
            with transaction.atomic():
                Author.objects.create(name="inner")
                Author.objects.create(name="kept")
        except IntegrityError:
            pass
        with transaction.atomic():
            Author.objects.create(name="inner kept")
        sid = transaction.savepoint()
        Author.objects.create(name="savepoint")
        transaction.savepoint_rollback(sid)
        Author.objects.create(name="after it")
        transaction.savepoint_commit(sid)
        assert told == []
    assert told == ["committed"]
    try:
        with transaction.atomic():
            Author.objects.create(name="undone")
            raise ValueError
    except ValueError:
        pass
    with transaction.atomic():
        Author.objects.create(name="undone too")
        transaction.set_rollback(True)
    with transaction.atomic(durable=True):
        Author.objects.create(name="durable")
    assert list(Author.objects.order_by("id").values_list("name", flat=True)) == [
        "kept",
        "inner kept",
        "after it",
        "durable",
    ]


def constraints():
    author = Author.objects.create(name="ann")
    for wrong in (lambda: Author.objects.create(name="ann"), lambda: Author.objects.create(name=None)):
        try:
            with transaction.atomic():
                wrong()
        except IntegrityError as error:
            assert "constraint failed" in str(error)
        else:
            raise AssertionError("nothing was raised")
    Book.objects.create(author=author, title="a")
    author.delete()
    assert Book.objects.count() == 0


def wrong_reference():
    Book.objects.create(author_id=77, title="of nobody")


def tables_are_changed_with_their_rows():
    """Another table refers to the one that is made anew; foreign keys of the object were switched off for it."""
    Book.objects.create(author=Author.objects.create(name="ann"), title="a")
    state = ProjectState()
    state.add_model(ModelState.from_model(Author))
    state.add_model(ModelState.from_model(Book))
    old = state.apps.get_model("django_own", "Author")
    field = models.CharField(max_length=70, null=True)
    field.set_attributes_from_name("name")
    field.model = old
    with connection.schema_editor() as editor:
        editor.alter_field(old, old._meta.get_field("name"), field)
        added = models.IntegerField(default=5)
        added.set_attributes_from_name("age")
        editor.add_field(old, added)
    with connection.cursor() as cursor:
        cursor.execute("select id, name, age from django_own_author")
        assert cursor.fetchall() == [(1, "ann", 5)]
    assert Book.objects.get().author_id == 1


def tables_of_the_runtime_are_not_seen():
    assert not [name for name in connection.introspection.table_names() if name.startswith("_cf")]
    assert "django_own_book" in connection.introspection.table_names()
    assert connection.vendor == "sqlite"


def outside_several_objects_use_one_connection(world):
    stubs = [world.namespace("Base").getByName(name) for name in ("a", "b", "c")]

    async def ask_all():
        return await asyncio.gather(
            *(stub.fetch(f"http://x/plain?name={stub.name}", method="POST", body="x") for stub in stubs * 3)
        )

    answers = world.loop.drive(ask_all())
    texts = sorted(world.loop.drive(answer.text()) for answer in answers)
    assert texts == sorted([f"{name} {made} x" for name in "abc" for made in (True, False, False)])
    assert [stub.names() for stub in stubs] == [["a"], ["b"], ["c"]]
    for stub in stubs:
        world.crash(stub)
    assert [stub.names() for stub in stubs] == [["a"], ["b"], ["c"]]


def outside_django_s_asgi_handler(world):
    stub = world.namespace("Base").getByName("asgi")
    for view_name, name, expected in (("async", "x", "x True"), ("async", "x", "x False"), ("plain", "y", "y True ")):
        answer = stub.fetch(f"http://x/asgi/{view_name}?name={name}")
        assert world.loop.drive(answer.text()) == expected


def outside_views_that_raise(world):
    stub = world.namespace("Base").getByName("views")
    for view_name, kept in (("whole", 0), ("failing", 1)):
        answer = stub.fetch(f"http://x/{view_name}")
        assert answer.status == 500
        assert len(stub.names()) == kept


def outside_a_wrong_reference_resets_the_object(world):
    stub = world.namespace("Base").getByName("reset")
    assert stub.checks_foreign_keys() == 1
    try:
        stub.run("wrong_reference")
    except PerdureError as error:
        assert "FOREIGN KEY constraint failed" in error.message
    else:
        raise AssertionError("nothing was raised")
    assert world.namespace("Base").getByName("reset").names() == []


def outside_foreign_keys_are_checked_again_in_the_next_turn(world):
    stub = world.namespace("Base").getByName("again")
    stub.names()
    stub.run("tables_are_changed_with_their_rows")
    stub.run("tables_of_the_runtime_are_not_seen")
    assert stub.checks_foreign_keys() == 1


def main(names: list[str]) -> None:
    for name in names:
        try:
            with World([Base]) as world:
                if name.startswith("outside_"):
                    globals()[name](world)
                else:
                    world.namespace("Base").getByName("a").run(name)
        except Exception:
            traceback.print_exc()
            continue
        print("passed", name)


if __name__ == "__main__":
    main(sys.argv[1:])
