"""A workflow of three steps with a pause between."""

from datetime import UTC, datetime, timedelta

from workers import Response, WorkerEntrypoint, WorkflowEntrypoint
from workers.workflows import NonRetryableError


class Order(WorkflowEntrypoint):
    async def run(self, event, step):
        @step.do("price")
        async def price():
            return 12

        @step.do("charge", config={"retries": {"limit": 2, "delay": "1 second"}})
        async def charge():
            if event["payload"]["card"] == "bad":
                raise NonRetryableError("card refused")
            return {"charged": await price()}

        total = await price()
        paid = await charge()
        await step.sleep("wait", "10 seconds")
        await step.sleep_until("later", datetime.now(UTC) + timedelta(seconds=1))
        sent = await step.wait_for_event("wait for parcel", "parcel", timeout="24 hours")
        return {"total": total, "paid": paid, "parcel": sent["payload"]}


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        instance = await self.env.ORDERS.create({"params": await request.json()})
        return Response.json({"id": instance.id, "status": (await instance.status())["status"]})
