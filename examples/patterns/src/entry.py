"""Four ways in which objects work together: a coordinator and its tasks, fan-out and fan-in, a chain, a parent and its children.

POST /tasks/NAME              ["some text", …]: the words of each are counted by an object of its own
GET  /tasks/NAME              {"some text": 2, "another": null, …}
GET  /words/NAME              all those tasks are asked at a time: {"words": sum, "away": [who did not answer]}
POST /chain/NAME?text=hello   is passed from step to step
GET  /chain/NAME              what the last step has: [["hello", "NAME/0", …, "NAME/3"], …]
POST /family/NAME?children=3  a parent that sees to it that its children work; /family/NAME/break?child=1 spoils one
GET  /family/NAME             {"0": {"born": 1, "beats": 7, "failures": 0}, …}

One rule makes all of them safe: write down what is to be done and when to look again, then do it, then write down that it was
done. Whatever dies in between is done again; whoever is asked twice says the same twice.
"""

from urllib.parse import parse_qs, unquote, urlsplit

from chain import LAST, Step
from family import Child, Parent
from tasks import Coordinator, Survey, Task
from workers import Response, WorkerEntrypoint

__all__ = ["Child", "Coordinator", "Default", "Parent", "Step", "Survey", "Task"]
TASKS_MAX = 100


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        url = urlsplit(request.url)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        text, children, child = query.get("text", ""), query.get("children", "3"), query.get("child", "0")
        match request.method, *[unquote(part) for part in url.path.strip("/").split("/")]:
            case "POST", "tasks", name:
                texts = await request.json()
                if (
                    not isinstance(texts, list)
                    or len(texts) > TASKS_MAX
                    or not all(isinstance(one, str) for one in texts)
                ):
                    return Response(f"a list of at most {TASKS_MAX} texts\n", status=400)
                await self.env.COORDINATORS.getByName(name).begin(texts)
                return Response("begun\n", status=202)
            case "GET", "tasks", name:
                return Response.json(await self.env.COORDINATORS.getByName(name).tasks())
            case "GET", "words", name:
                texts = await self.env.COORDINATORS.getByName(name).tasks()
                return Response.json(await self.env.SURVEYS.getByName(name).words([f"{name}/{one}" for one in texts]))
            case "POST", "chain", name if text:
                await self.env.STEPS.getByName(f"{name}/0").say(text)
                return Response("taken\n", status=202)
            case "GET", "chain", name:
                return Response.json(await self.env.STEPS.getByName(f"{name}/{LAST}").had())
            case "POST", "family", name if children.isdecimal() and 0 < int(children) <= 100:
                await self.env.PARENTS.getByName(name).begin(int(children))
                return Response("begun\n", status=202)
            case "GET", "family", name:
                return Response.json(await self.env.PARENTS.getByName(name).children())
            case "POST", "family", name, "break" if child in await self.env.PARENTS.getByName(name).children():
                await self.env.PARENTS.getByName(name).break_one(child)
                return Response("broken\n")
        return Response("try POST /tasks/NAME\n", status=404)
