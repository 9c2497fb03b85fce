"""What of the driver's side can be tried without a device: errors, launches as they are handed over, streams."""

import os
import threading
from typing import Any

import numpy
import pytest
from test_cuda_nets import layers, scheduled

from blockfuse.codegen.cuda.products.chains import with_whole_nets
from blockfuse.codegen.cuda.products.providers import suits_library
from blockfuse.codegen.cuda.render import render
from blockfuse.codegen.cuda.source.device_source import DeviceSource, Stage
from blockfuse.ir.errors import CudaError, DeviceLostError, DeviceMemoryError

pytest.importorskip("cuda.core", reason="cuda-core is not installed: pip install 'blockfuse[cuda]'")

from blockfuse.codegen.cuda.device import driver


@pytest.fixture
def device() -> Any:
    """A device of which nothing but its books is there."""
    made = driver.CudaDevice.__new__(driver.CudaDevice)
    made.name, made._process, made._lost, made._threads = "H100", os.getpid(), "", threading.local()
    made._threads.known = True
    return made


def fails(text: str) -> Any:
    def function() -> None:
        raise RuntimeError(text)

    return function


def test_what_a_function_gives_comes_through(device: Any) -> None:
    assert device.tried(max, 1, 2, key=lambda x: -x) == 1


def test_too_little_memory_has_an_error_of_its_own(device: Any) -> None:
    with pytest.raises(DeviceMemoryError, match="H100 has too little memory left"):
        device.tried(fails("CUDA_ERROR_OUT_OF_MEMORY: the API call failed because it was unable to allocate"))
    device.check()


def test_what_breaks_the_context_loses_the_device_for_good(device: Any) -> None:
    with pytest.raises(DeviceLostError, match="ILLEGAL_ADDRESS"):
        device.tried(fails("CUDA_ERROR_ILLEGAL_ADDRESS: while executing a kernel"))
    with pytest.raises(
        DeviceLostError, match=r"cannot be used any more: .*ILLEGAL_ADDRESS.*backend='cpu' works"
    ):
        device.check()


def test_other_errors_leave_the_device_usable(device: Any) -> None:
    with pytest.raises(CudaError, match="H100: CUDA_ERROR_INVALID_VALUE") as error:
        device.tried(fails("CUDA_ERROR_INVALID_VALUE"))
    assert type(error.value) is CudaError
    device.check()


def test_statuses_of_the_driver_are_read(device: Any) -> None:
    device.require(driver.cu.CUresult.CUDA_SUCCESS)
    with pytest.raises(DeviceMemoryError):
        device.require(driver.cu.CUresult.CUDA_ERROR_OUT_OF_MEMORY)


def test_the_names_of_fatal_errors_are_those_of_the_driver() -> None:
    known = {result.name for result in driver.cu.CUresult}
    assert all(any(word in name for name in known) for word in driver._FATAL)


def test_a_forked_process_has_lost_the_device(device: Any) -> None:
    device._process -= 1
    with pytest.raises(DeviceLostError, match="forked after CUDA had started: use the start method 'spawn'"):
        device.check()


def test_each_stage_is_launched_over_all_pointers_and_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[tuple[Any, ...]] = []
    monkeypatch.setattr(driver, "launch", lambda *arguments: launched.append(arguments))
    stages = (
        Stage("one", 128, pieces=4, pieces_per_block=2, columns=3),
        Stage("other", 256, shared_bytes=1024),
    )
    kernel = driver.CudaKernel.__new__(driver.CudaKernel)
    kernel._stages, kernel._entries, kernel._launches = stages, ["first", "second"], (0, [])
    for rows in (10, 10, 7):
        launched.clear()
        kernel.launch("stream", [4096, 8192], rows)
        (target, one, entry, *arguments), (_, other, _, *_) = launched
        assert (target, entry, arguments) == ("stream", "first", [4096, 8192, rows])
        assert type(arguments[-1]) is numpy.uint32
        assert (one.grid, one.block, one.shmem_size) == ((2 * rows, 3, 1), (128, 1, 1), 0)
        assert (other.grid, other.block, other.shmem_size) == ((rows, 1, 1), (256, 1, 1), 1024)


def test_numbers_stand_for_the_default_streams() -> None:
    assert driver._stream(1) is driver._stream(0) is driver.LEGACY_DEFAULT_STREAM
    assert driver._stream(2) is driver.PER_THREAD_DEFAULT_STREAM


def test_a_kernel_is_kept_apart_by_all_that_its_source_says() -> None:
    assert len({DeviceSource("k", "", (), (Stage("k", threads),)) for threads in (32, 64, 64)}) == 2


def test_a_chain_of_products_is_never_given_to_the_library(
    device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last product alone would be large enough, with the fewer bits of tf32."""
    (launch,) = with_whole_nets(scheduled(layers, 2048, 128, 128, 128)).steps
    assert suits_library(launch.kernel.layers[-1], "tf32")
    monkeypatch.setattr(driver.CudaDevice, "compiled", lambda self, source, store: source)
    monkeypatch.setattr(driver.CudaDevice, "_library", lambda self: pytest.fail("the library was asked"))
    source = render(launch.kernel)
    assert device.load(launch.kernel, source, None, "tf32") is source
