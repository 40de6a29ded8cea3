"""The yardstick: a pass-through of aiohttp's server and client on uvloop, which knows nothing of models or money.

Run as a program: `bare.py PORT UPSTREAM_PORT`.
"""

import asyncio
import sys

import uvloop
from aiohttp import ClientSession, DummyCookieJar, TCPConnector, web

KEPT = ("content-type", "x-request-id")


async def _run(port, upstream):
    session = ClientSession(connector=TCPConnector(limit=0), cookie_jar=DummyCookieJar(), auto_decompress=False)

    async def handle(request):
        body = await request.read()
        headers = {"content-type": request.content_type, "authorization": request.headers.get("authorization", "")}
        async with session.post(f"http://127.0.0.1:{upstream}{request.raw_path}", data=body, headers=headers) as answer:
            kept = {name: answer.headers[name] for name in KEPT if name in answer.headers}
            if answer.content_type != "text/event-stream":
                return web.Response(status=answer.status, body=await answer.read(), headers=kept)
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response

    server = web.Server(handle, access_log=None)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", port, backlog=1024)
    await listening.serve_forever()


if __name__ == "__main__":
    uvloop.run(_run(int(sys.argv[1]), int(sys.argv[2])))
