// The same program as src/entry.py, for the reference.
import { DurableObject } from "cloudflare:workers";

export class Hall extends DurableObject {
  async fetch(request) {
    const [client, server] = Object.values(new WebSocketPair());
    this.ctx.acceptWebSocket(server);
    return new Response(null, { status: 101, webSocket: client });
  }

  async webSocketMessage(ws, message) {
    if (message.startsWith("all")) {
      for (const socket of this.ctx.getWebSockets()) socket.send(message);
    } else {
      ws.send(message);
    }
  }
}

export default {
  async fetch(request, env) {
    return await env.HALL.get(env.HALL.idFromName(request.url.split("/").pop())).fetch(request);
  },
};
