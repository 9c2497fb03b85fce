"""What there is of CUDA on this machine, found without any package: the driver asked through ctypes, packages looked up."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blockfuse.ir.errors import CudaError

NEEDED_DRIVER = (12, 0)  # what the oldest toolkit among the extras needs
NEEDED_CAPABILITY = (8, 0)
PACKAGES = ("cuda-core", "numba-cuda")
INSTALL = "pip install 'blockfuse[cuda]' (with a driver of CUDA 12: 'blockfuse[cuda12]')"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_...
_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE


@dataclass(frozen=True)
class Found:
    """A device that can be used."""

    name: str
    capability: tuple[int, int]
    driver: tuple[int, int]  # the newest CUDA that the driver runs
    toolkit: tuple[int, int]  # the CUDA of the installed packages


def is_installed() -> bool:
    """Whether the packages and a driver are there; the driver is not started."""
    return Path("/dev/nvidiactl").exists() and not _missing_packages()


def probe(library: Callable[[str], Any] = ctypes.CDLL) -> Found:
    """The first device; raises CudaError that says what was found and what is needed. library: loads the driver."""
    try:
        driver = library("libcuda.so.1")
    except OSError as error:
        raise _error(
            "there is no NVIDIA driver (libcuda.so.1 was not found)", "a machine with an NVIDIA GPU"
        ) from error
    version = _driver_version(driver)
    toolkit = _toolkit()
    if version < max(NEEDED_DRIVER, (toolkit[0], 0)):
        needed = f"a driver of CUDA {max(NEEDED_DRIVER[0], toolkit[0])} or newer, or {INSTALL} for the driver at hand"
        raise _error(f"the NVIDIA driver is of CUDA {_text(version)}", needed)
    status = driver.cuInit(0)
    if status and status != _NO_DEVICE:
        raise _error(
            f"the NVIDIA driver of CUDA {_text(version)} does not start (error {status})", "one that works"
        )
    name, capability = _first_device(driver, version)
    missing = _missing_packages()
    if missing:
        raise _error(f"{name} is there, the packages {' and '.join(missing)} are not", INSTALL)
    return Found(name, capability, version, toolkit)


def _first_device(driver: Any, version: tuple[int, int]) -> tuple[str, tuple[int, int]]:
    count, device = ctypes.c_int(), ctypes.c_int()
    if driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        raise _error(
            f"the NVIDIA driver of CUDA {_text(version)} has no device", "one that it shows to this process"
        )
    driver.cuDeviceGet(ctypes.byref(device), 0)
    name = ctypes.create_string_buffer(256)
    driver.cuDeviceGetName(name, 256, device)
    numbers = []
    for attribute in (_MAJOR, _MINOR):
        value = ctypes.c_int()
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        numbers.append(value.value)
    text, capability = name.value.decode(), (numbers[0], numbers[1])
    if capability < NEEDED_CAPABILITY:
        found = f"{text} has compute capability {_text(capability)}"
        raise _error(found, f"{_text(NEEDED_CAPABILITY)} (Ampere) or newer")
    return text, capability


def _driver_version(driver: Any) -> tuple[int, int]:
    number = ctypes.c_int()
    driver.cuDriverGetVersion(ctypes.byref(number))
    return number.value // 1000, number.value % 1000 // 10


def _toolkit() -> tuple[int, int]:
    """The CUDA that the installed packages are for; (0, 0) where there are none."""
    version = _version("cuda-bindings")
    if version is None:
        return 0, 0
    major, minor, *_ = version.split(".")
    return int(major), int(minor)


def _missing_packages() -> list[str]:
    return [name for name in PACKAGES if _version(name) is None]


def _version(package: str) -> str | None:
    """That of an installed package, asked without importing it."""
    from importlib import metadata  # takes 12 ms to import: only who asks for CUDA pays for it

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _error(found: str, needed: str) -> CudaError:
    return CudaError(
        f"backend='cuda' cannot be used: {found}; it needs {needed}. backend='cpu' works everywhere."
    )


def _text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
