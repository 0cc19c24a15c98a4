"""An event loop whose time passes only when there is nothing else to do: an hour's wait costs nothing and never varies.

Work for other threads is done on the loop after `thread_s` of its time. Waiting for what will never come is an error.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

STEP_S = 0.001
"""How often a condition is looked at, in the loop's time."""

TURN_S = 1e-6
"""What each turn of the loop costs: a wait that rounding made too short is over in the next turn, as in real life."""


class NothingLeft(Exception):
    """Everything waits and no timer is set."""


class _Selector(selectors.BaseSelector):
    """Passes the time instead of waiting."""

    def __init__(self) -> None:
        self.now = 0.0
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if not ready:
            if timeout is None:
                raise NothingLeft
            self.now += max(0.0, timeout)
        self.now += TURN_S
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """time() begins at 0. thread_s: how long each piece of work in another thread takes."""

    def __init__(self) -> None:
        self._passing = _Selector()
        self.thread_s = 0.0
        super().__init__(self._passing)

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._passing.now

    def run_in_executor(self, _executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]  # TypeVarTuple of typeshed
        """Do the work here, later."""
        done: asyncio.Future[T] = self.create_future()

        def work() -> None:
            if not done.cancelled():
                done.set_result(func(*args))

        self.call_later(self.thread_s, work)
        return done


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Makes an ordinary test of an async one."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


async def until(condition: Callable[[], bool], deadline_s: float = 600.0) -> None:
    """Until it holds, looked at after each step of virtual time. Raises TimeoutError."""
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110  the fakes' state has no event, and the wait costs no real time
            await asyncio.sleep(STEP_S)
