"""Before entrypoint classes: functions on the module, some with what the SDK's decorator converts."""

from js import Response, fetch
from workers import Response as SdkResponse
from workers import handler

SEEN = []


async def on_fetch(request, env, ctx):
    if request.url.endswith("/seen"):
        return Response.new(",".join(SEEN))
    if request.url.endswith("/out"):
        answer = await fetch("https://api.test/x")
        return Response.new(await answer.text(), status=answer.status)
    await env.FOO.put("bar", env.WORD)
    return Response.new(await env.FOO.get("bar"))


@handler
async def on_scheduled(controller, env, ctx):
    SEEN.append(controller.cron)
    assert SdkResponse(None).status == 200
