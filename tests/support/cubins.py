"""What stands in a cubin, read with NVIDIA's ``cuobjdump``: registers, memory, instructions."""

import os
import re
import subprocess
import sysconfig
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Entry:
    """The machine code of one entry. loops: instructions of each backward branch's body, inner ones before outer ones."""

    registers: int
    stack: int
    local: int
    instructions: Counter[str]
    loops: tuple[Counter[str], ...]


def entries(cubin: bytes, folder: Path) -> dict[str, Entry]:
    """Entry name -> its machine code; skips the test where there is no ``cuobjdump``."""
    path = folder / "kernel.cubin"
    path.write_bytes(cubin)
    usage, code = (_dumped(path, option) for option in ("--dump-resource-usage", "--dump-sass"))
    numbers = {
        name: [int(n) for n in figures]
        for name, *figures in re.findall(r"Function (\w+):\s+REG:(\d+) STACK:(\d+) .*?LOCAL:(\d+)", usage)
    }
    texts = re.split(r"Function : (\w+)", code)
    return {
        name: Entry(*numbers[name], *_instructions(text))
        for name, text in zip(texts[1::2], texts[2::2], strict=True)
    }


def _instructions(text: str) -> tuple[Counter[str], tuple[Counter[str], ...]]:
    found = re.findall(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+ )?\s*([A-Z][\w.]*)([^;]*);", text)
    places = [int(place, 16) for place, _, _ in found]
    names = [name for _, name, _ in found]
    loops = []
    for number, (_, name, operands) in enumerate(found):
        target = re.search(r"0x([0-9a-f]+)", operands)
        if name == "BRA" and target and int(target[1], 16) < places[number]:
            loops.append(Counter(names[places.index(int(target[1], 16)) : number + 1]))
    return Counter(names), tuple(loops)


def _dumped(path: Path, option: str) -> str:
    tools = sorted(Path(sysconfig.get_path("purelib")).glob("nvidia/*/bin/cuobjdump"))
    if not tools:
        pytest.skip("cuobjdump is not installed: extra cuda-test")
    search = os.pathsep.join([str(tools[0].parent), os.defpath])  # it starts nvdisasm, which lies beside it
    command = [str(tools[0]), option, str(path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env={"PATH": search})
    return run.stdout
