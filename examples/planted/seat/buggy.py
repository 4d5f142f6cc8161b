"""Two ticket desks sell the seats of one show."""

from workers import DurableObject


class Show(DurableObject):
    async def holder(self, seat):
        return await self.ctx.storage.get(f"seat:{seat}")

    async def give(self, seat, buyer):
        await self.ctx.storage.put(f"seat:{seat}", buyer)


class Desk(DurableObject):
    async def book(self, seat, buyer):
        """Whether the seat is the buyer's."""
        show = self.env.Show.getByName("tonight")
        holder = await show.holder(seat)
        if holder is None:
            await show.give(seat, buyer)
            return True
        return holder == buyer
