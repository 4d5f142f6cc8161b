"""Who is there, and where their cursors are: y-protocols' awareness states, as messages and as what a socket keeps.

What always holds: of one client the state with the higher clock counts; a state of null says that the client is gone.
"""

import json

from pycrdt import Decoder, Encoder, YMessageType, create_awareness_message

STATE_BYTES_MAX = 4_096
CLIENTS_MAX = 4


class Awareness:
    def __init__(self):
        self.clients = {}
        """Client id, as text: [clock, state as JSON]."""

    @classmethod
    def of(cls, attachment):
        made = cls()
        made.clients = dict(attachment or {})
        return made

    def __bool__(self):
        return bool(self.clients)

    def apply(self, message):
        """What a message of a client says. ValueError if it says too much."""
        inside = Decoder(message)
        assert inside.read_var_uint() == YMessageType.AWARENESS
        states = Decoder(inside.read_message() or b"")
        for _ in range(states.read_var_uint()):
            client, clock, state = str(states.read_var_uint()), states.read_var_uint(), states.read_var_string()
            json.loads(state)
            if client in self.clients and self.clients[client][0] > clock:
                continue
            if state == "null":
                self.clients.pop(client, None)
            elif len(state) > STATE_BYTES_MAX or (len(self.clients) >= CLIENTS_MAX and client not in self.clients):
                raise ValueError("one socket speaks for a few clients, with small states")
            else:
                self.clients[client] = [clock, state]

    def gone(self):
        """The same clients, as gone."""
        made = Awareness()
        made.clients = {client: [clock + 1, "null"] for client, (clock, _) in self.clients.items()}
        return made

    def message(self):
        encoder = Encoder()
        encoder.write_var_uint(len(self.clients))
        for client, (clock, state) in self.clients.items():
            encoder.write_var_uint(int(client))
            encoder.write_var_uint(clock)
            encoder.write_var_string(state)
        return create_awareness_message(encoder.to_bytes())
