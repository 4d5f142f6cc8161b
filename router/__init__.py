"""How to reach an object: wire format, slots, links, client, endpoint, gateway."""
