from js import URL
from workers import Request, Response, WorkerEntrypoint


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        path = URL.new(request.url).pathname
        if path == "/through":
            return await self.env.BACK.fetch(request)
        if path == "/own":
            answer = await self.env.BACK.fetch(Request("https://back/x", method="POST", body="own"))
            return Response(await answer.text(), headers={"x-heard": answer.headers["x-from"]})
        if path == "/order":
            first = await self.env.BACK.order("pens", 4)
            try:
                await self.env.BACK.order("pens", 7)
            except Exception as error:
                return Response.json({"first": first, "error": str(error), "minus": await self.env.BACK.subtract(5, 3)})
        if path == "/admin":
            left = await self.env.ADMIN.refill("pens")
            direct = await self.env.STOCK.getByName("pens").take(1)
            return Response.json({"left": left.left, "direct": direct["left"], "who": await self.env.ADMIN.who()})
        return Response("Not Found", status=404)
