"""Seat booking: each show is an object, each seat a row. A seat is sold once, however many want it.

POST /show/NAME/book?seat=12&buyer=ann   200 with the seat, or 409 when it is taken
POST /show/NAME/any?buyer=ann            the first free seat, 409 when sold out
GET  /show/NAME                          {"free": 98, "sold": {"12": "ann", …}}
"""

from urllib.parse import parse_qs, unquote, urlsplit

from workers import DurableObject, Response, WorkerEntrypoint


class Show(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.sql = ctx.storage.sql
        ctx.blockConcurrencyWhile(self.prepare)

    async def prepare(self):
        self.sql.exec("CREATE TABLE IF NOT EXISTS seats(number INTEGER PRIMARY KEY, buyer TEXT)")
        if self.sql.exec("SELECT count(*) AS n FROM seats").one()["n"] == 0:
            for number in range(1, int(self.env.SEATS_PER_SHOW) + 1):
                self.sql.exec("INSERT INTO seats(number) VALUES(?)", number)

    async def book(self, number, buyer):
        """The seat if it was free, None if not. No other request runs between the question and the sale."""
        sold = self.sql.exec(
            "UPDATE seats SET buyer = ? WHERE number = ? AND buyer IS NULL RETURNING number", buyer, number
        ).toArray()
        return sold[0]["number"] if sold else None

    async def book_any(self, buyer):
        free = self.sql.exec("SELECT number FROM seats WHERE buyer IS NULL ORDER BY number LIMIT 1").toArray()
        return await self.book(free[0]["number"], buyer) if free else None

    async def overview(self):
        rows = self.sql.exec("SELECT number, buyer FROM seats WHERE buyer IS NOT NULL ORDER BY number").toArray()
        free = self.sql.exec("SELECT count(*) AS n FROM seats WHERE buyer IS NULL").one()["n"]
        return {"free": free, "sold": {str(row["number"]): row["buyer"] for row in rows}}


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        url = urlsplit(request.url)
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if len(parts) < 2 or parts[0] != "show":
            return Response("try POST /show/NAME/any?buyer=YOU\n", status=404)
        show = self.env.SHOWS.getByName(parts[1])
        action = parts[2] if len(parts) > 2 else ""
        if request.method == "GET" and not action:
            return Response.json(await show.overview())
        buyer = query.get("buyer", "")
        if request.method != "POST" or not buyer:
            return Response("POST with ?buyer=NAME\n", status=400)
        if action == "book" and query.get("seat", "").isdigit():
            seat = await show.book(int(query["seat"]), buyer)
        elif action == "any":
            seat = await show.book_any(buyer)
        else:
            return Response("book?seat=N&buyer=NAME or any?buyer=NAME\n", status=400)
        return Response("taken\n", status=409) if seat is None else Response(f"{seat}\n")
