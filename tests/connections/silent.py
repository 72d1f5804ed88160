"""A server that speaks PostgreSQL's protocol as far as it keeps a client waiting."""

from __future__ import annotations

import base64
import socket
import struct
import threading
from contextlib import suppress

SCRAM = b"SCRAM-SHA-256\0\0"


class Silent:
    """Takes whoever comes and then answers nothing; with `iterations`, it lets them calculate first.

    `asked` is released once for each client that waits."""

    def __init__(self, *, iterations: int = 0) -> None:
        self.asked = threading.Semaphore(0)
        self._iterations = iterations
        self._server = socket.create_server(("127.0.0.1", 0))
        port = self._server.getsockname()[1]
        self.address = f"postgresql://app:secret@127.0.0.1:{port}/shop?sslmode=disable"
        self._clients: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """Let go of everybody who waits."""
        for end in (self._server, *self._clients):
            with suppress(OSError):  # it is closed already
                end.shutdown(socket.SHUT_RDWR)
        while self._threads:
            self._threads.pop().join()
        for end in (self._server, *self._clients):
            end.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client = self._server.accept()[0]
                self._clients.append(client)
                self._threads.append(threading.Thread(target=self._meet, args=(client,)))
                self._threads[-1].start()

    def _meet(self, client: socket.socket) -> None:
        with suppress(OSError):
            client.recv(4096)
            if self._iterations:
                client.sendall(_message(b"R", struct.pack("!I", 10) + SCRAM))
                nonce = client.recv(4096).partition(b"r=")[2]
                salt = base64.b64encode(b"a salt of theirs")
                first = b"r=%bmore,s=%b,i=%d" % (nonce, salt, self._iterations)
                client.sendall(_message(b"R", struct.pack("!I", 11) + first))
            else:
                client.sendall(_message(b"R", struct.pack("!I", 0)) + _message(b"Z", b"I"))
                client.recv(4096)  # the question
            self.asked.release()
            client.recv(4096)  # until one of both goes


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body
