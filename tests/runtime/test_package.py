"""Names of the package are loaded when somebody asks for them: by one thread at a time, not over what others have set."""

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import blockfuse


def run(program: str) -> str:
    """What a fresh process prints."""
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-P", "-c", textwrap.dedent(program)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_one_thread_at_a_time_loads_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where several do, Python may give one of them a module that another has made the half of."""
    loading = [0]
    most = [0]

    def watched(load: Callable[[str], Any]) -> Callable[[str], Any]:
        def loaded(name: str) -> Any:
            loading[0] += 1
            most[0] = max(most[0], loading[0])
            time.sleep(0.01)
            loading[0] -= 1
            return load(name)

        return loaded

    monkeypatch.setattr(blockfuse, "import_module", watched(blockfuse.import_module))
    names = ("image", "metric", "freeze", "compile", "nothing", "kvstore")
    threads = [threading.Thread(target=getattr, args=(blockfuse, name, None)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


@pytest.mark.long
@pytest.mark.parametrize("seed", range(8))
def test_threads_that_ask_for_names_at_once_all_get_them(seed: int) -> None:
    program = f"""
        import random, sys, threading
        import blockfuse
        sys.setswitchinterval(1e-5)
        names = random.Random({seed}).sample(
            ["nn", "np", "gluon", "metric", "freeze", "frozen", "hybridize", "compile", "image", "loss", "show"], 6
        )
        barrier, missing = threading.Barrier(len(names)), []
        def ask(name):
            barrier.wait()
            try:
                getattr(blockfuse, name)
            except Exception as error:
                missing.append((name, error))
        threads = [threading.Thread(target=ask, args=(name,), daemon=True) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        print(missing, any(thread.is_alive() for thread in threads))
    """
    assert run(program) == "[] False"


def test_no_module_asks_the_package_for_a_name_while_it_is_imported() -> None:
    """It may be the one for which the thread waits that loads names."""
    program = """
        import sys
        import blockfuse
        asked = []
        def refusing(name):
            asked.append(name)
            raise AttributeError(name)
        blockfuse.__getattr__ = refusing
        import blockfuse.public, blockfuse.gluon.nn, blockfuse.image, blockfuse.kvstore, blockfuse.metric
        import blockfuse.frontends.compiling, blockfuse.frozen.freezing, blockfuse.runtime.cli.in_python
        print(asked)
    """
    assert run(program) == "[]"


def test_what_somebody_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blockfuse, "Trainer", object)
    assert not hasattr(blockfuse, "nothing")
    assert blockfuse.Trainer is object
