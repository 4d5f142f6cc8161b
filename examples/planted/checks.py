"""What must hold of each planted program, however its events are ordered and whatever crashes: CHECKS, by folder.

A check gets a world: `world.namespace("Account").getByName("ann")` is a stub, `await world.advance(seconds=60)` lets time
pass. It is a client like any other: what it got no answer to, and may be repeated, it repeats on a new stub.
"""

import asyncio

TRIES = 12


async def retried(call):
    """`call()` makes its stub anew: the answer, after as many tries as a patient client makes."""
    for attempt in range(TRIES - 1):
        try:
            return await call()
        except Exception as error:
            if not getattr(error, "retryable", False):
                raise
        await asyncio.sleep(0.1 * 2**attempt)
    return await call()


async def follow(world):
    """Both sides of a follow agree once things are quiet."""

    def account(name):
        return world.namespace("Account").getByName(name)

    await asyncio.gather(
        retried(lambda: account("ann").follow("ann", "bob")), retried(lambda: account("ann").unfollow("ann", "bob"))
    )
    await world.advance(seconds=200)
    ann = await retried(lambda: account("ann").is_following("bob"))
    bob = await retried(lambda: account("bob").has_follower("ann"))
    assert ann == bob, f"ann follows bob: {ann}; bob has ann as a follower: {bob}"


async def subscription(world):
    """Three months are charged once each."""
    await retried(lambda: world.namespace("Subscription").getByName("ann").start(3))
    await world.advance(seconds=400)
    charges = await retried(lambda: world.namespace("Ledger").getByName("all").charges())
    assert charges == [["month 1", 10], ["month 2", 10], ["month 3", 10]], charges


async def turn_clock(world):
    """A player who never moves has forfeited, however long it took to notice."""

    def game():
        return world.namespace("Game").getByName("one")

    await retried(lambda: game().begin_turn(1, "ann"))
    await retried(lambda: game().move(1))
    await retried(lambda: game().begin_turn(2, "bob"))
    for _ in range(4):
        await world.advance(seconds=3)
        await retried(lambda: game().state())
    await world.advance(seconds=60)
    state = await retried(lambda: game().state())
    assert state["forfeited"] == "bob", state


async def warm_up(world):
    """What was put into the cart is in it."""

    def cart():
        return world.namespace("Cart").getByName("ann")

    for item in ("bread", "milk", "eggs"):
        await retried(lambda item=item: cart().add(item))
    contents = await retried(lambda: cart().contents())
    assert sorted(contents) == ["bread", "eggs", "milk"], contents


async def moderation(world):
    """No spam is left when its author has been answered."""

    async def write(number, text):
        await retried(lambda: world.namespace("Author").getByName("ann").write(number, text))

    await asyncio.gather(write(1, "hello"), write(2, "buy spam"))
    texts = await retried(lambda: world.namespace("Feed").getByName("all").texts())
    assert texts == ["hello"], texts


async def lost_update(world):
    """The balance is the sum of the payments."""

    async def pay_in(payment, amount, currency):
        await retried(lambda: world.namespace("Wallet").getByName("ann").pay_in(payment, amount, currency))

    await asyncio.gather(pay_in("a", 10, "EUR"), pay_in("b", 10, "USD"), pay_in("c", 5, "EUR"))
    balance = await retried(lambda: world.namespace("Wallet").getByName("ann").balance())
    assert balance == 35, balance


async def withdrawal(world):
    """Each withdrawal is taken once."""
    for key in ("monday", "tuesday", "friday"):
        await retried(lambda key=key: world.namespace("Account").getByName("ann").withdraw(key, 10))
    balance = await retried(lambda: world.namespace("Account").getByName("ann").balance())
    assert balance == 70, balance


async def transfer(world):
    """The sum of all accounts stays, and what was transferred arrives."""

    def account(name):
        return world.namespace("Account").getByName(name)

    await asyncio.gather(
        retried(lambda: account("ann").transfer("rent", "bob", 30)),
        retried(lambda: account("ann").transfer("food", "bob", 20)),
        retried(lambda: account("bob").transfer("gift", "ann", 5)),
    )
    await world.advance(seconds=200)
    balances = [await retried(lambda name=name: account(name).balance()) for name in ("ann", "bob")]
    assert balances == [55, 145], balances


async def seat(world):
    """Only one buyer has been told that the seat is theirs, and it is."""

    async def book(desk, buyer):
        return await retried(lambda: world.namespace("Desk").getByName(desk).book(12, buyer))

    buyers = ("ann", "bob")
    told = await asyncio.gather(*(book(f"desk of {buyer}", buyer) for buyer in buyers))
    holder = await retried(lambda: world.namespace("Show").getByName("tonight").holder(12))
    assert [buyer for buyer, is_theirs in zip(buyers, told, strict=True) if is_theirs] == [holder], (told, holder)


async def stale_cache(world):
    """Who reads after the change was acknowledged reads what it was changed to."""

    async def read():
        return await retried(lambda: world.namespace("Reader").getByName("all").read())

    async def change():
        await retried(lambda: world.namespace("Setting").getByName("all").change("new"))

    await asyncio.gather(read(), change())
    value = await read()
    assert value == "new", value


CHECKS = {
    check.__name__: check
    for check in (
        follow,
        subscription,
        turn_clock,
        warm_up,
        moderation,
        lost_update,
        withdrawal,
        transfer,
        seat,
        stale_cache,
    )
}
