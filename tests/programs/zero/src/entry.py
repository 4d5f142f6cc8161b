from workers import Response, WorkerEntrypoint


class Default(WorkerEntrypoint):
    async def fetch(self):
        return Response("no request was needed", headers={"X-Answer": 42})
