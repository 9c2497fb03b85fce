"""Devices, as Gluon programs name them; arrays live in the machine's memory whatever the name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from blockfuse.ir.errors import UsageError


@dataclass(frozen=True)
class Device:
    """A place for arrays; prints as ``cpu(0)``.

    device_type: 'cpu' or 'gpu', of which only the first holds arrays.
    device_id: which one of several.

    >>> from blockfuse import npx
    >>> npx.Device("cpu", 0)
    cpu(0)
    """

    device_type: str = "cpu"
    device_id: int = 0

    def __repr__(self) -> str:
        return f"{self.device_type}({self.device_id})"


def cpu(device_id: int = 0) -> Device:
    """The processor; ``device_id`` is any number.

    >>> from blockfuse import np, npx
    >>> np.ones(2, ctx=npx.cpu())
    array([1., 1.])
    """
    return Device("cpu", device_id)


def gpu(device_id: int = 0) -> Device:
    """The name of a graphics processor, the ``device_id``-th; arrays stay in the machine's memory.

    >>> from blockfuse import npx
    >>> npx.gpu(1)
    gpu(1)
    """
    return Device("gpu", device_id)


def num_gpus() -> int:
    """How many graphics processors arrays can live on: none.

    >>> from blockfuse import npx
    >>> npx.num_gpus()
    0
    """
    return 0


def current_device() -> Device:
    """Where new arrays are made.

    >>> from blockfuse import npx
    >>> npx.current_device()
    cpu(0)
    """
    return CPU


def check_device(*devices: Any) -> None:
    """Refuse what was given as ``ctx=`` or ``device=`` and is no device; "cpu" is NumPy's word for it."""
    for device in devices:
        if device not in (None, "cpu") and not isinstance(device, Device):
            raise UsageError(f"{device!r} is not a device; use npx.cpu()")


CPU = Device()
