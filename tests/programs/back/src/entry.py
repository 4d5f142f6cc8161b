from workers import DurableObject, Response, WorkerEntrypoint


class Stock(DurableObject):
    async def take(self, count):
        left = await self.ctx.storage.get("left")
        left = 10 if left is None else left
        if count > left:
            raise ValueError(f"only {left} left")
        await self.ctx.storage.put("left", left - count)
        return {"taken": count, "left": left - count}


class Admin(WorkerEntrypoint):
    async def refill(self, name):
        return await self.env.STOCK.getByName(name).take(-5)

    def who(self):
        return self.ctx.props.role if self.ctx.props else "nobody"


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        body = await request.text()
        return Response(f"back heard {request.method} {body}", headers={"x-from": "back"})

    async def order(self, name, count):
        return await self.env.STOCK.getByName(name).take(count)

    async def subtract(self, a, b):
        return a - b
