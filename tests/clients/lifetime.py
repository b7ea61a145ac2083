"""How long a server of the tests lives: until SIGTERM, SIGINT or the end of its standard input, so that it never outlives
whoever started it."""

import asyncio
import contextlib
import signal
import sys
import threading


async def the_end():
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)

    def follow_standard_input():
        while sys.stdin.buffer.read(1):
            pass
        with contextlib.suppress(RuntimeError):  # The loop is gone: so are we.
            loop.call_soon_threadsafe(over.set)

    threading.Thread(target=follow_standard_input, daemon=True).start()
    await over.wait()
