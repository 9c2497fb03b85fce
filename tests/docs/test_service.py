"""The example of a service answers right, by processes that are forked or spawned, whatever comes to it."""

import http.client
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest
from documents import ROOT, python

FOLDER = ROOT / "examples/service"
PATHS = f"{ROOT / 'src'}{os.pathsep}{FOLDER}"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_every_answer_is_right_and_nothing_grows(method: str) -> None:
    options = ("--method", method, "--workers", 2, "--clients", 4, "--requests", 200)
    done = python(FOLDER / "load_test.py", *options, PYTHONPATH=PATHS)
    assert done.returncode == 0, done.stderr
    found = re.search(
        r"(\d+) requests .* p50 \S+ ms, p99 \S+ ms, (\d+) wrong, workers grew by (-?\d+) KiB", done.stdout
    )
    assert found is not None, done.stdout
    requests, wrong, grown = map(int, found.groups())
    assert (requests, wrong) == (200, 0)
    assert grown < 8192


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A service of one worker, and what asks it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        import load_test
        from build import build
        from server import listening

        path = build(str(tmp_path_factory.mktemp("service") / "net.frozen"))
        program = (
            "import socket, sys, server; server.work(sys.argv[1], socket.socket(fileno=int(sys.argv[2])))"
        )
        with listening() as waiting:
            environment = {"PYTHONPATH": PATHS}
            command = [sys.executable, "-P", "-c", program, path, str(waiting.fileno())]
            worker = subprocess.Popen(command, env=environment, pass_fds=[waiting.fileno()])
            port = waiting.getsockname()[1]
            try:
                load_test.wait_until_ready(port, [])
                yield SimpleNamespace(port=port, ask=load_test.ask, npy=load_test.npy, path=path)
            finally:
                worker.send_signal(signal.SIGTERM)
                worker.wait()
    for name in ("app", "build", "load_test", "server"):
        sys.modules.pop(name, None)


def is_right(service: SimpleNamespace) -> bool:
    from blockfuse import frozen

    rows = numpy.linspace(-1, 1, 3 * 64, dtype="float32").reshape(3, 64)
    status, body = service.ask(service.port, "POST", "/predict", service.npy(rows))
    return bool(status == 200 and (numpy.load(io.BytesIO(body)) == frozen.load(service.path)(rows)).all())


ROWS = numpy.ones((2, 64), "float32")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (ROWS[:, 1:], r"\(float32\[2, 63\]\)"),
        (ROWS.astype("float64"), r"\(float64\[2, 64\]\)"),
        (ROWS[0], r"\(float32\[64\]\)"),
        (ROWS[:0], "a batch of 0"),
        (
            numpy.ones((65, 64), "float32"),
            "a batch of 65: the file is for 1 to 64|a batch of 65: the file is for 2 to 64",
        ),
        (numpy.full((2, 64), "text"), r"\(<U4\[2, 64\]\)"),
    ],
    ids=["features", "dtype", "rank", "empty", "large", "text"],
)
def test_rows_that_the_net_does_not_take_are_refused(
    service: SimpleNamespace, rows: numpy.ndarray, said: str
) -> None:
    status, body = service.ask(service.port, "POST", "/predict", service.npy(rows))
    assert status == 400
    assert re.search(said, body.decode())
    assert is_right(service)


def pickled() -> bytes:
    written = io.BytesIO()
    numpy.save(written, numpy.array([{}], object), allow_pickle=True)
    return written.getvalue()


def with_header(text: str) -> bytes:
    """A body that says what array it is, and holds none."""
    header = text.encode().ljust(118)
    return b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header


HEADER = "{{'descr': '<f4', 'fortran_order': False, 'shape': ({},)}}"


@pytest.mark.parametrize(
    ("method", "route", "body", "status"),
    [
        ("POST", "/predict", b"", 400),
        ("POST", "/predict", b"no array", 400),
        ("POST", "/predict", pickled(), 400),
        (
            "POST",
            "/predict",
            b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (9",
            400,
        ),
        ("POST", "/predict", b"PK\3\4, and no archive", 400),
        ("POST", "/predict", with_header(HEADER.format(10**15)), 400),
        ("POST", "/predict", with_header(HEADER.format(10**25)), 400),
        ("POST", "/predict", with_header("{'descr': '<f4', ((("), 400),
        ("POST", "/predict", with_header("{1: 2, 'descr': 3}"), 400),
        ("POST", "/predict", bytes(2 << 20), 413),
        ("GET", "/predict", b"", 404),
        ("POST", "/elsewhere", b"", 404),
        ("DELETE", "/health", b"", 404),
    ],
    ids=[
        "empty",
        "garbage",
        "pickle",
        "cut",
        "zip",
        "vast",
        "overflow",
        "open",
        "keys",
        "huge",
        "get",
        "route",
        "delete",
    ],
)
def test_other_requests_are_refused(
    service: SimpleNamespace, method: str, route: str, body: bytes, status: int
) -> None:
    assert service.ask(service.port, method, route, body)[0] == status
    assert is_right(service)


def test_a_length_of_thousands_of_digits_is_refused(service: SimpleNamespace) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)) as connection:
        connection.putrequest("POST", "/predict")
        connection.putheader("Content-Length", "9" * 5000)
        connection.endheaders()
        assert connection.getresponse().status == 411
    assert is_right(service)


def test_nan_and_infinity_are_numbers_like_others(service: SimpleNamespace) -> None:
    rows = numpy.full((2, 64), numpy.inf, "float32")
    rows[1] = numpy.nan
    status, body = service.ask(service.port, "POST", "/predict", service.npy(rows))
    assert status == 200
    assert numpy.isnan(numpy.load(io.BytesIO(body))[1]).all()


def test_workers_load_no_compiler(service: SimpleNamespace) -> None:
    program = "import sys, server; print(sorted({'numba', 'llvmlite'} & set(sys.modules)), 'blockfuse.array' in sys.modules)"
    done = python("-c", program, PYTHONPATH=PATHS)
    assert done.stdout.strip() == "[] False", done.stderr
    assert Path(service.path).exists()
