"""Two ticket desks sell the seats of one show."""

from workers import DurableObject


class Show(DurableObject):
    async def holder(self, seat):
        return await self.ctx.storage.get(f"seat:{seat}")

    async def claim(self, seat, buyer):
        """The seat's holder: the buyer, if it was free. Question and sale are one turn of the object that knows."""
        holder = await self.holder(seat)
        if holder is None:
            holder = buyer
            await self.ctx.storage.put(f"seat:{seat}", buyer)
        return holder


class Desk(DurableObject):
    async def book(self, seat, buyer):
        """Whether the seat is the buyer's."""
        return await self.env.Show.getByName("tonight").claim(seat, buyer) == buyer
