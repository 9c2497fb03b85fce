"""The service as a WSGI application: rows as ``.npy`` in the body of POST /predict, scores as ``.npy`` in the answer.

Any server of WSGI runs it; ``server.py`` is one of the standard library's parts. Of blockfuse it needs ``frozen`` alone.
"""

from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

import numpy

from blockfuse import frozen

MAX_BYTES = 1 << 20  # of a request
MAX_DIGITS = 20  # of the number that says how long a request is
MAX_DRAINED_BYTES = (
    16 << 20
)  # of one that is too large: clients look for an answer when they have sent everything

Answer = tuple[str, bytes]  # status and body


def application(net: frozen.FrozenNet) -> Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]:
    """What a server calls for each request."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        status, body = _answered(net, environ)
        kind = "application/octet-stream" if status == "200 OK" else "text/plain; charset=utf-8"
        start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [body]

    return answer


def _answered(net: frozen.FrozenNet, environ: dict[str, Any]) -> Answer:
    route = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    if route == ("GET", "/health"):
        return "200 OK", b"ready"
    if route != ("POST", "/predict"):
        return "404 Not Found", b"POST /predict, or GET /health"
    length = environ.get("CONTENT_LENGTH") or ""
    if not length.isdecimal() or len(length) > MAX_DIGITS:
        return "411 Length Required", b"a request says how long it is"
    if int(length) > MAX_BYTES:
        _pass_over(environ["wsgi.input"], min(int(length), MAX_DRAINED_BYTES))
        return "413 Content Too Large", f"at most {MAX_BYTES} bytes".encode()
    try:
        scores = net(_rows(environ["wsgi.input"].read(int(length))))
    except ValueError as error:  # no .npy, or rows that the net does not take
        return "400 Bad Request", str(error).encode()
    return "200 OK", npy(scores)


def _rows(body: bytes) -> numpy.ndarray:
    """Raises ValueError for what is no ``.npy``, whichever part of NumPy's reader fails of it: the fault is the client's."""
    try:
        return numpy.lib.format.read_array(BytesIO(body), allow_pickle=False)
    except Exception as error:
        raise ValueError(f"the body is no .npy: {error}") from error


def _pass_over(body: Any, length: int) -> None:
    while length > 0:
        part = body.read(min(length, 1 << 16))
        length -= len(part) or length


def npy(array: numpy.ndarray) -> bytes:
    """An array as bytes that ``numpy.load`` reads."""
    written = BytesIO()
    numpy.save(written, array, allow_pickle=False)
    return written.getvalue()
