"""Those who take every connection give every one of them back."""

from __future__ import annotations

import asyncio

import pytest
from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.ha import crowd
from forebay_cli.local.ha.crowd import Crowd
from forebay_cli.local.ha.sessions import NoSlotLeft
from forebay_cli.local.postgres_server import ConnectionParts

DEADLINE_S = 30.0


class Server:
    """Has a few places. Whoever asks at a full one waits, once everybody was refused, until a place is free."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.taken = self.refused = self.waiting = 0
        self._freed = asyncio.Event()

    async def open_session(self, _parts: ConnectionParts, _timeout_s: float) -> Place:
        if self.taken >= self.places and self.refused < crowd.AT_ONCE:
            self.refused += 1
            raise NoSlotLeft
        if self.taken >= self.places:
            self.waiting += 1
            await self._freed.wait()
            self._freed.clear()
        self.taken += 1
        return Place(self)

    def leave(self) -> None:
        self.taken -= 1
        self._freed.set()


class Place:
    """A connection."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def abort(self) -> None:
        self._server.leave()


def test_place_that_one_takes_while_all_leave_is_given_back_too(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(3)
    monkeypatch.setattr(crowd, "open_session", server.open_session)
    parts = ConnectionParts(host="nowhere", port=1, dbname="d", user="u", password="p")

    visitors = Crowd(parts)
    assert wait_until(lambda: visitors.has_filled() and server.waiting == 1, DEADLINE_S)
    visitors.leave()

    assert server.taken == 0
