"""Django on an object's own database: `DATABASES = {"default": {"ENGINE": "perdure.sdk.django"}}`.

Queries go to the database of the object whose event runs, so one process serves many objects, each with its own tables.
"""

import os

# Django refuses its synchronous parts where an event loop runs, for fear of blocking it. Here they are what runs in the event.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
