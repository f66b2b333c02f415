"""Wait for what is to come about, however long this machine takes for it."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable


async def until(
    met: Callable[[], bool] | Callable[[], Awaitable[bool]], within: float = 40
) -> None:
    """Return once the condition is met; raises TimeoutError after `within` seconds."""
    async with asyncio.timeout(within):
        while True:
            outcome = met()
            if await outcome if inspect.isawaitable(outcome) else outcome:
                return
            await asyncio.sleep(0.02)
