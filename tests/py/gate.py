# SPDX-License-Identifier: BSD-3-Clause
"""A gate between clients and a daemon's socket, which can be shut for one connection while others pass."""

import contextlib
import os
import selectors
import socket
import threading
from pathlib import Path


class Gate:
    """Listens at @path and passes on to @server what comes. Connections are numbered from 0, as they come."""

    def __init__(self, path: Path, server: Path) -> None:
        self._server = server
        self._shut: set[int] = set()
        self._stop = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(16)
        self._wake, self._woken = os.pipe()
        self._others: dict[socket.socket, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._stop = True
        os.write(self._woken, b"x")
        self._thread.join()
        for end in self._others:
            end.close()
        self._selector.close()
        self._listener.close()
        os.close(self._wake)
        os.close(self._woken)

    def shut(self, number: int) -> None:
        """From now on nothing that the client says on that connection arrives."""
        self._shut.add(number)

    def _accept(self, number: int) -> None:
        client, server = self._listener.accept()[0], socket.socket(socket.AF_UNIX)
        try:
            server.connect(str(self._server))
        except OSError:
            client.close()
            server.close()
            return
        self._others |= {client: server, server: client}
        self._selector.register(client, selectors.EVENT_READ, number)
        self._selector.register(server, selectors.EVENT_READ, None)

    def _pass_on(self, end: socket.socket, number: int | None) -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = end.recv(1 << 20)
            if data and number not in self._shut:
                self._others[end].sendall(data)
        if not data:
            other = self._others[end]
            for side in (end, other):
                self._selector.unregister(side)
                del self._others[side]
                side.close()

    def _run(self) -> None:
        number = 0
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)
        while not self._stop:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    self._accept(number)
                    number += 1
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._others:
                    self._pass_on(key.fileobj, key.data)
