"""Programs with regions in the simulator against Python; ``tests/codegen/test_cuda_simulator.py`` starts this file."""

from typing import Any

import numpy
import pytest
from devices import Tensor
from region_programs import PROGRAMS, calls_of, hybridized

from blockfuse import np
from blockfuse.codegen.cuda.device.device import Queue
from blockfuse.codegen.cuda.device.simulated_device import SimulatedDevice, SimulatedQueue
from blockfuse.codegen.cuda.program import regions
from blockfuse.runtime.programs import backend as backends

CALLS, AGAIN = 5, 2  # of each program, and those that are made once more: the simulator is slow


class CountingDevice(SimulatedDevice):
    """A device that counts what the host waits for, and the launches."""

    def __init__(self) -> None:
        self.downloads: list[int] = []  # bytes of each
        self.launches = 0
        super().__init__()

    def queue(self) -> Queue:
        return CountingQueue(self)


class CountingQueue(SimulatedQueue):
    device: CountingDevice

    def download(self, target: numpy.ndarray, source: int) -> None:
        self.device.downloads.append(target.nbytes)
        super().download(target, source)

    def launch(self, *arguments: Any) -> None:
        self.device.launches += 1
        super().launch(*arguments)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> CountingDevice:
    made = CountingDevice()
    monkeypatch.setattr(backends, "cuda_device", lambda: made)
    return made


def leaves(results: Any) -> list[numpy.ndarray]:
    """The values of one result or several, whoever they belong to."""
    several = results if isinstance(results, tuple) else (results,)
    return [r.numpy() if isinstance(r, Tensor) else r.asnumpy() for r in several]


def agree(name: str, device: CountingDevice) -> Any:
    """The net, after calls from the host, which record, and from the device have given what Python gives."""
    make, _, _ = PROGRAMS[name]
    plain, net = make(), hybridized(make(), "cuda")
    calls = calls_of(name)[:CALLS]
    wanted = [leaves(plain(*(np.array(a) for a in arguments))) for arguments in calls]
    for arguments in calls:
        net(*(np.array(a) for a in arguments))
    device.downloads, device.launches = [], 0
    for arguments, results in zip(calls[:AGAIN], wanted, strict=False):
        found = leaves(net(*(Tensor(a, device) for a in arguments)))
        for one, other in zip(found, results, strict=True):
            numpy.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)
    return net


@pytest.mark.parametrize("name", ["FixedHiddenMLP", "a counter", "break and continue", "swapped", "views"])
def test_a_call_is_one_launch_and_one_look_at_it(name: str, device: CountingDevice) -> None:
    agree(name, device)
    assert device.launches == AGAIN
    assert len(device.downloads) <= AGAIN
    assert max(device.downloads, default=0) < 64


@pytest.mark.parametrize("name", ["nested loops", "columns", "power iteration", "products"])
def test_a_region_gives_what_python_gives(name: str, device: CountingDevice) -> None:
    agree(name, device)


def test_nobody_looks_where_every_way_is_known_to_end(device: CountingDevice) -> None:
    agree("a branch", device)
    assert (device.launches, device.downloads) == (AGAIN, [])


def test_a_region_that_stopped_goes_on_where_it_was(
    device: CountingDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regions, "MAX_DECISIONS", 2)
    agree("swapped", device)
    assert device.launches > AGAIN
