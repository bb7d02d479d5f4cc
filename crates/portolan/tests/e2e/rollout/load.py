"""Constant load on a web server: load.py ADDRESS PORT STOP, until the file STOP is there.

Some clients keep their connection for as long as the server does, the others make a new one for every request. None
tries anything twice. Prints what came of it as JSON.
"""

import asyncio
import json
import os
import sys

KEEPING = 4
CONNECTING = 2
# Between two requests of a client, in seconds.
PAUSE = 0.01
# An answer that takes longer is lost, in seconds.
PATIENCE = 30

answered = {"kept": 0, "new": 0}
failed = []
servers = set()


async def ask(reader, writer, keep):
    """The answer's body, and whether the connection goes on."""
    ending = b"" if keep else b"Connection: close\r\n"
    writer.write(b"GET / HTTP/1.1\r\nHost: web\r\n" + ending + b"\r\n")
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    if not head.startswith("http/1.1 200"):
        raise ValueError(head)
    length = int(head.split("content-length:")[1].split("\r\n")[0])
    body = await reader.readexactly(length)
    return body.decode(), keep and "connection: close" not in head


async def client(address, port, stop, keep):
    kind = "kept" if keep else "new"
    connection = None
    while not os.path.exists(stop):
        state = "on a kept connection" if connection else "while connecting"
        try:
            async with asyncio.timeout(PATIENCE):
                if connection is None:
                    connection = await asyncio.open_connection(address, port)
                    state = "on a new connection"
                body, goes_on = await ask(*connection, keep)
            answered[kind] += 1
            servers.add(body)
        except Exception as error:
            failed.append(f"{kind}, {state}: {error!r}")
            goes_on = False
        if not goes_on and connection is not None:
            connection[1].close()
            connection = None
        await asyncio.sleep(PAUSE)


async def main():
    address, port, stop = sys.argv[1:]
    clients = [client(address, int(port), stop, number < KEEPING) for number in range(KEEPING + CONNECTING)]
    await asyncio.gather(*clients)
    print(json.dumps({"answered": answered, "failed": failed, "servers": len(servers)}))


asyncio.run(main())
