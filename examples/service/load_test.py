"""Clients that ask the service at once and check every answer, to the bit; how long answers take, and what grows.

``python examples/service/load_test.py --method fork --workers 2 --clients 4 --requests 2000``
"""

import argparse
import http.client
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy
from app import npy
from build import FEATURES, MAX_BATCH, build
from server import METHODS, listening, start

from blockfuse import frozen

Answer = tuple[int, bytes]  # status and body


@dataclass
class Seen:
    """What clients saw."""

    seconds: list[float] = field(default_factory=list)  # of each request
    wrong: list[str] = field(default_factory=list)


def ask(port: int, method: str, route: str, body: bytes = b"") -> Answer:
    """One request, by a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, route, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def wait_until_ready(port: int, processes: Sequence[BaseProcess], seconds: float = 60.0) -> None:
    """Until somebody answers."""
    limit = time.monotonic() + seconds
    while ask(port, "GET", "/health") != (200, b"ready"):
        assert time.monotonic() < limit
    assert all(process.is_alive() for process in processes)


def client(port: int, net: frozen.FrozenNet, requests: int, seed: int, seen: Seen) -> None:
    """Asks one request after the other."""
    generator = numpy.random.default_rng(seed)
    for _ in range(requests):
        rows = generator.normal(size=(generator.integers(1, MAX_BATCH + 1), FEATURES)).astype("float32")
        body, expected = npy(rows), net(rows)
        started = time.perf_counter()
        status, answer = ask(port, "POST", "/predict", body)
        seen.seconds.append(time.perf_counter() - started)
        if status != 200 or numpy.load(BytesIO(answer)).tobytes() != expected.tobytes():
            seen.wrong.append(f"status {status} for {len(rows)} rows of seed {seed}")


def load(port: int, net: frozen.FrozenNet, clients: int, requests: int, seed: int) -> Seen:
    """Clients at once, each with its share of the requests."""
    seen = Seen()
    shares = [(port, net, requests // clients, seed + number, seen) for number in range(clients)]
    threads = [threading.Thread(target=client, args=share) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen


def resident(processes: Sequence[BaseProcess]) -> int:
    """Bytes of memory that processes have."""
    pages = (Path(f"/proc/{process.pid}/statm").read_text().split()[1] for process in processes)
    return sum(map(int, pages)) * os.sysconf("SC_PAGE_SIZE")


def test(path: str, method: str, workers: int, clients: int, requests: int) -> tuple[Seen, int]:
    """What clients saw, and by how many bytes the workers grew behind the first part of the requests."""
    with listening() as waiting:
        port = waiting.getsockname()[1]
        processes = start(path, waiting, workers, method)
        try:
            wait_until_ready(port, processes)
            net = frozen.load(path, threads=1)
            before = load(port, net, clients, max(requests // 4, clients), seed=0)
            held = resident(processes)
            seen = load(port, net, clients, requests, seed=1000)
            seen.wrong += before.wrong
            return seen, resident(processes) - held
        finally:
            for process in processes:
                process.terminate()
                process.join()


def main() -> None:
    """Print what was found; ends with an error where an answer was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", choices=METHODS, default="fork")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--requests", type=int, default=2000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = build(f"{folder}/net.frozen")
        started = time.perf_counter()
        seen, grown = test(path, **vars(given))
        passed = time.perf_counter() - started
    median, late = numpy.percentile(seen.seconds, (50, 99)) * 1000
    print(
        f"{given.method}: {len(seen.seconds)} requests in {passed:.1f} s, p50 {median:.2f} ms, p99 {late:.2f} ms, "
        f"{len(seen.wrong)} wrong, workers grew by {grown / 1024:.0f} KiB"
    )
    if seen.wrong:
        raise SystemExit("\n".join(seen.wrong[:10]))


if __name__ == "__main__":
    main()
