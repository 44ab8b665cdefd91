"""An asyncio web site that the programs query: ``python site.py PORT``.

``GET /N?delay=S`` returns ``{"path": "/N"}`` after S seconds; a POST returns its body.
"""

import asyncio
import json
import sys
from urllib.parse import parse_qs, urlsplit


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one keep-alive connection."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, target, _ = head[0].split(" ")
            fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await reader.readexactly(int(fields.get("content-length", 0)))
            url = urlsplit(target)
            await asyncio.sleep(float(parse_qs(url.query).get("delay", ["0"])[0]))
            if method == "GET":
                body = json.dumps({"path": url.path}).encode()
            start = (
                f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
            )
            writer.write(start.encode() + b"\r\n\r\n" + body)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main(port: int) -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


asyncio.run(main(int(sys.argv[1])))
