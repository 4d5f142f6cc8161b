"""Every name that the other programs do not use, in checks of its own: GET /CHECKS runs them and says what failed."""

import traceback
from urllib.parse import urlparse

import js_checks
import object_checks
import pyodide_checks
import request_checks
import response_checks
import workers_checks
from object_checks import Kept  # noqa: F401
from workers import Response, WorkerEntrypoint

SUITES = {
    "js": js_checks,
    "objects": object_checks,
    "pyodide": pyodide_checks,
    "request": request_checks,
    "response": response_checks,
    "workers": workers_checks,
}


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        path = urlparse(request.url).path.strip("/")
        if path == "echo":
            return Response(await request.text() or "nothing", headers={"x-method": request.method})
        results = {}
        for name, check in vars(SUITES[path]).items():
            if name.startswith("check_"):
                try:
                    await check(self.env, self.ctx)
                    results[name] = "passed"
                except Exception as error:
                    last = traceback.extract_tb(error.__traceback__)
                    where = [frame for frame in last if "_checks" in frame.filename][-1]
                    results[name] = f"{where.line} (line {where.lineno}): {type(error).__name__}: {error}"
        return Response.json(results)

    async def scheduled(self, controller):
        assert controller.scheduledTime == 1000
        controller.noRetry()
