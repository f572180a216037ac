"""The sockets of the loopback Hub: requests read, answers written, nothing left over at the end."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import traceback
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING

from .messages import Answer, Request

if TYPE_CHECKING:
    from .server import Hub


class Listener(ThreadingHTTPServer):
    """One listening host; remembers its connections, so that it can end them."""

    request_queue_size = 128

    def __init__(self, hub: Hub, name: str, answering: Callable[[Request], Answer]):
        self.hub, self.name, self.answering = hub, name, answering
        self.open: dict[socket.socket, threading.Thread] = {}
        super().__init__(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,), name=f"{name} accept", daemon=True)
        self.thread.start()

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's asks the name service who 127.0.0.1 is
        self.server_port = self.server_address[1]

    def process_request(self, request: socket.socket, client_address: tuple) -> None:
        work = (request, client_address)
        thread = threading.Thread(target=self.process_request_thread, args=work, name=f"{self.name} serve", daemon=True)
        self.open[request] = thread
        thread.start()

    def shutdown_request(self, request: socket.socket) -> None:
        super().shutdown_request(request)
        self.open.pop(request, None)

    def handle_error(self, request: socket.socket, client_address: tuple) -> None:
        self.hub.crashes.append(traceback.format_exc())

    def stop(self) -> None:
        self.shutdown()
        self.thread.join()
        for connection, thread in list(self.open.items()):
            with contextlib.suppress(OSError):  # it may have ended by itself
                connection.shutdown(socket.SHUT_RDWR)
            thread.join(5)
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    """Reads one request after the other from a connection and writes the answers."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Listener

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # clients are killed, and give up waiting
            super().handle()

    def log_message(self, *_: object) -> None:
        """Print nothing: the log is Hub.log."""

    def version_string(self) -> str:
        return "loopback"

    def serve(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self._body(headers)
        if body is None:  # half a request is none
            self.close_connection = True
            return
        request = Request(self.command, self.path, headers, body)
        seen, answer = self.server.hub.serve(self.server.name, request, self.server.answering)
        if answer is None:
            self.close_connection = True
            return
        head, body = self._bytes(answer)
        if seen.fault == "truncate":
            self.close_connection = True
            head, body = (head, body[: len(body) // 2]) if body else (head[: len(head) // 2], b"")
        self.wfile.write(head)
        self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = serve

    def _body(self, headers: dict[str, str]) -> bytes | None:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            size = int(headers.get("content-length", 0))
            body = self.rfile.read(size)
            return body if len(body) == size else None
        parts = []
        while size := int(self.rfile.readline().split(b";")[0] or b"-1", 16):
            part = self.rfile.read(size + 2) if size > 0 else b""
            if len(part) < size + 2 or size < 0:
                return None
            parts.append(part[:-2])
        self.rfile.readline()
        return b"".join(parts)

    def _bytes(self, answer: Answer) -> tuple[bytes, bytes]:
        headers = {
            "Content-Length": str(len(answer.body)),
            "Date": self.date_time_string(time.time()),
            **answer.headers,
        }
        lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1"), b"" if self.command == "HEAD" else answer.body
