"""Processes that answer on one socket, forked or spawned: the standard library's server around the application.

``python examples/service/server.py net.frozen --port 8000 --workers 4 --method spawn``
"""

import argparse
import multiprocessing
import socket
from multiprocessing.process import BaseProcess
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from app import application

from blockfuse import frozen

METHODS = ("fork", "spawn")


class _Quiet(WSGIRequestHandler):
    timeout = 10  # seconds for a client that says nothing

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed for a request."""


def listening(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """A socket that waits for requests; port 0: the system chooses one."""
    return socket.create_server((host, port), backlog=128)


def start(path: str, waiting: socket.socket, workers: int, method: str) -> list[BaseProcess]:
    """Processes that answer what comes to ``waiting``. Each loads the file itself; the system keeps one copy in memory."""
    context = multiprocessing.get_context(method)
    started: list[BaseProcess] = []
    for _ in range(workers):
        process = context.Process(target=work, args=(path, waiting), daemon=True)
        process.start()
        started.append(process)
    return started


def work(path: str, waiting: socket.socket) -> None:
    """The life of a worker. Workers share the cores, so each computes with one thread."""
    host, port = waiting.getsockname()[:2]
    server = WSGIServer((host, port), _Quiet, bind_and_activate=False)
    server.socket.close()
    server.socket = waiting
    server.server_name, server.server_port = host, port
    server.setup_environ()
    server.set_app(application(frozen.load(path, threads=1)))
    server.serve_forever()


def main() -> None:
    """Serve until somebody ends it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--method", choices=METHODS, default="spawn")
    given = parser.parse_args()
    with listening(port=given.port) as waiting:
        for process in start(given.path, waiting, given.workers, given.method):
            process.join()


if __name__ == "__main__":
    main()
