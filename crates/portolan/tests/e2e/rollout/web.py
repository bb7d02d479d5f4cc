"""The application: answers over HTTP/1.1 with its name, keeps connections alive, and drains on TERM.

Draining: it goes on answering, new connections too, but says with every answer that the connection ends. When every
connection has ended and nobody came for a while, it goes.
"""

import asyncio
import signal
import socket

PORT = 8080
# Nobody came for so long: every proxy knows by now.
QUIET = 3.0


class Web:
    def __init__(self):
        self.draining = asyncio.Event()
        self.open = 0
        self.last = 0.0

    async def connection(self, reader, writer):
        loop = asyncio.get_running_loop()
        self.open += 1
        try:
            last = False
            while not last:
                question = await reader.readuntil(b"\r\n\r\n")
                self.last = loop.time()
                last = self.draining.is_set() or b"Connection: close" in question
                body = socket.gethostname().encode()
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n" + "Connection: close\r\n" * last
                writer.write(head.encode() + b"\r\n" + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def run(self):
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.draining.set)
        await asyncio.start_server(self.connection, "0.0.0.0", PORT, backlog=1024)
        await self.draining.wait()
        self.last = loop.time()
        while self.open > 0 or loop.time() < self.last + QUIET:
            await asyncio.sleep(0.1)


asyncio.run(Web().run())
