"""An ASGI application.

https://asgi.readthedocs.io/en/latest/specs/www.html, https://asgi.readthedocs.io/en/latest/specs/lifespan.html
"""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from sjm.receiver.answer import Answer, refusal
from sjm.receiver.notification import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from concurrent.futures import Executor

    from sjm.receiver.receiver import Receiver

    Receive = Callable[[], Awaitable[Any]]
    Send = Callable[[Any], Awaitable[None]]
    AsgiApplication = Callable[[Any, Receive, Send], Awaitable[None]]


def asgi(receiver: Receiver) -> AsgiApplication:
    """An application that takes webhooks at every path."""
    # The threads of the loop's own executor are few. Sync jobs would take all, and other webhooks would wait.
    threads = ThreadPoolExecutor(2 * receiver.workers + 8, thread_name_prefix="sjm-webhook")

    async def application(scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receiver, receive, send)
        elif scope["type"] == "http":
            answer = await _answer(receiver, threads, scope, receive)
            if answer is not None:
                await _send(answer, send)
        else:
            raise NotImplementedError(f"the receiver has no {scope['type']}")

    return application


@contextlib.asynccontextmanager
async def lifespan(receiver: Receiver) -> AsyncIterator[None]:
    """Lives as long as the server, and closes the receiver at its end. Coroutines go on meanwhile."""
    receiver.start()
    try:
        yield
    finally:
        await asyncio.to_thread(receiver.close)


async def _live(receiver: Receiver, receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "lifespan.startup":
        pass
    async with lifespan(receiver):
        await send({"type": "lifespan.startup.complete"})
        while (await receive())["type"] != "lifespan.shutdown":
            pass
    await send({"type": "lifespan.shutdown.complete"})


async def _answer(receiver: Receiver, threads: Executor, scope: Any, receive: Receive) -> Answer | None:
    if scope["method"] != "POST":
        return refusal(405, "a notification is a POST", {"allow": "POST"})
    content = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        content += message.get("body", b"")
        if len(content) > MAX_BYTES:
            return refusal(413, f"the body is too large: expected at most {MAX_BYTES} bytes")
        if not message.get("more_body", False):
            break
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    # The claim of an attempt may ask a database, so it is made in a thread.
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(threads, lambda: receiver.receive(bytes(content), headers, loop=loop))


async def _send(answer: Answer, send: Send) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
