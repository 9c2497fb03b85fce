"""What is said where CUDA cannot be used: a driver, a device or packages that are missing or too old."""

import ctypes
import re
from importlib import metadata
from typing import Any

import pytest
from documents import python

from blockfuse.codegen.cuda.device import probe
from blockfuse.ir.errors import CudaError


class Driver:
    """A library with the functions that are asked, as C writes their results: through pointers."""

    def __init__(
        self, version: int = 13000, status: int = 0, devices: int = 1, capability: tuple[int, int] = (9, 0)
    ) -> None:
        self.version, self.status, self.devices, self.capability = version, status, devices, capability

    def cuDriverGetVersion(self, number: Any) -> int:  # noqa: N802 - the driver's name
        number._obj.value = self.version
        return 0

    def cuInit(self, flags: int) -> int:  # noqa: N802, ARG002 - the same
        return self.status

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802 - the same
        count._obj.value = self.devices
        return 0

    def cuDeviceGet(self, device: Any, number: int) -> int:  # noqa: N802 - the same
        device._obj.value = number
        return 0

    def cuDeviceGetName(self, name: Any, length: int, device: Any) -> int:  # noqa: N802, ARG002 - the same
        name.value = b"NVIDIA H100 80GB HBM3"[:length]
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:  # noqa: N802, ARG002 - the same
        value._obj.value = self.capability[attribute - 75]
        return 0


@pytest.fixture(autouse=True)
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The packages that seem to be installed."""
    installed = {"cuda-bindings": "13.0.1", "cuda-core": "1.2.2", "numba-cuda": "0.30.4"}

    def version(name: str) -> str:
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(metadata, "version", version)
    return installed


def found(driver: Driver) -> probe.Found:
    return probe.probe(lambda _: driver)


def complaint(driver: Driver) -> str:
    with pytest.raises(CudaError) as error:
        found(driver)
    return str(error.value)


def test_a_device_is_found() -> None:
    assert found(Driver()) == probe.Found("NVIDIA H100 80GB HBM3", (9, 0), (13, 0), (13, 0))


def test_without_a_driver_the_error_says_what_is_needed() -> None:
    def missing(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file")

    with pytest.raises(
        CudaError, match=r"there is no NVIDIA driver \(libcuda.so.1 was not found\); it needs"
    ) as error:
        probe.probe(missing)
    assert "backend='cpu' works everywhere" in str(error.value)


@pytest.mark.parametrize(
    ("driver", "text"),
    [
        (
            Driver(version=11080),
            r"driver is of CUDA 11\.8; it needs a driver of CUDA 13 or newer, or pip install",
        ),
        (
            Driver(version=12040),
            r"driver is of CUDA 12\.4; it needs a driver of CUDA 13 or newer, or pip install",
        ),
        (Driver(status=999), r"driver of CUDA 13\.0 does not start \(error 999\)"),
        (Driver(devices=0), "has no device"),
        (Driver(status=100, devices=0), "has no device"),
        (Driver(capability=(7, 5)), r"has compute capability 7\.5; it needs 8\.0 \(Ampere\) or newer"),
    ],
    ids=[
        "old",
        "older than the packages",
        "broken",
        "without a device",
        "that does not start for want of one",
        "an old device",
    ],
)
def test_what_cannot_be_used_is_named(driver: Driver, text: str) -> None:
    assert re.search(text, complaint(driver))


def test_packages_for_an_older_driver_do(versions: dict[str, str]) -> None:
    versions["cuda-bindings"] = "12.9.1"
    assert found(Driver(version=12040)).toolkit == (12, 9)


def test_missing_packages_are_named_with_the_extra(versions: dict[str, str]) -> None:
    del versions["numba-cuda"]
    text = complaint(Driver())
    assert "NVIDIA H100 80GB HBM3 is there, the packages numba-cuda are not" in text
    assert "pip install 'blockfuse[cuda]'" in text


def test_pointers_are_what_ctypes_passes() -> None:
    number = ctypes.c_int()
    Driver(version=12345).cuDriverGetVersion(ctypes.byref(number))
    assert number.value == 12345


CPU = """
import sys
import blockfuse
from blockfuse import nn, np
net = nn.Dense(3)
net.initialize()
for backend in ("auto", "cpu"):
    net.hybridize(backend=backend)
    for _ in range(3):
        net(np.ones((2, 4)))
    assert net._hybrid.cases
print(*sorted(n for n in sys.modules if n.partition(".")[0] in ("cuda", "numba_cuda") or n == "numba.cuda"))
"""


@pytest.mark.long
def test_calls_on_the_processor_touch_nothing_of_cuda() -> None:
    run = python("-c", CPU)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == []
