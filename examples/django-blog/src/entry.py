"""A Django project inside each object: /ann/ and /ben/ are two blogs, with their own tables, users, sessions and admin."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from workers import DurableObject, Request, Response, WorkerEntrypoint, wsgi

application = get_wsgi_application()


class Blog(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        settings.SECRET_KEY = env.SECRET_KEY
        call_command("migrate", interactive=False, verbosity=0)

    async def fetch(self, request):
        return await wsgi.fetch(application, request, self.env)

    async def create_admin(self, name, password):
        """Over RPC only: nobody reaches it by HTTP."""
        from django.contrib.auth.models import User

        User.objects.create_superuser(name, password=password)


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        name = request.url.split("/", 4)[3]
        if not name.isalnum():
            return Response("whose blog? /NAME/\n", status=404)
        return await self.env.BLOGS.getByName(name).fetch(
            Request(request, headers=[*request.headers.items(), ("x-blog", name)])
        )
