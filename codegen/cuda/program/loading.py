"""A schedule as loaded kernels: what the device turns out not to have is left to the processor."""

from __future__ import annotations

from dataclasses import dataclass

from blockfuse.codegen.cuda.device.device import Device, Loaded
from blockfuse.codegen.cuda.program.host_kernels import HostKernel, HostProduct, on_host
from blockfuse.codegen.cuda.program.plan import Plan, plan
from blockfuse.codegen.cuda.program.regions import Region
from blockfuse.codegen.cuda.source.device_source import DeviceSource
from blockfuse.codegen.kernels.kernel import Kernel
from blockfuse.codegen.scheduling.schedule import Schedule
from blockfuse.codegen.store import Store
from blockfuse.ir.errors import NoDeviceKernelError


@dataclass(frozen=True)
class LoadedProgram:
    """A plan, and the code of all that it runs."""

    plan: Plan
    kernels: dict[int, Loaded]  # launch on the device, by its step -> its kernel
    regions: dict[int, tuple[Region, Loaded]]  # block -> the region that it is in
    host: dict[Kernel, HostKernel | HostProduct]  # those that the device does not have


def loaded(schedule: Schedule, device: Device, store: Store, precision: str) -> LoadedProgram:
    """The program of a schedule.

    Kernels that cannot be compiled are left to the processor, regions are launched kernel by kernel.
    """
    refused: dict[Kernel, str] = {}
    kernels: dict[DeviceSource, Loaded] = {}
    single = ""
    while True:
        found, known = plan(schedule, device.machine, device.render, refused, single), (len(refused), single)
        for kernel, source in dict.fromkeys(found.rendered.values()):
            try:
                kernels[source] = kernels.get(source) or device.load(kernel, source, store, precision)
            except NoDeviceKernelError as error:
                refused[kernel] = str(error)
        try:
            regions = [(region, device.compiled(region.source, store)) for region in found.regions]
        except NoDeviceKernelError as error:
            single = str(error)
        if (len(refused), single) == known:
            launched = {number: kernels[source] for number, (_, source) in found.rendered.items()}
            by_block = {number: pair for pair in regions for number in pair[0].blocks}
            return LoadedProgram(found, launched, by_block, {k: on_host(k, store) for k in found.reasons})
