"""From nothing to a result, as ``python -m benchmarks.first NAME NET TIME``: import a contender, build a net, call it twice.

Two calls, because what is compiled lazily is compiled by then. The third argument is the time when the process was
started. Prints a line of JSON: seconds and the peak of memory.
"""

import importlib
import json
import os
import resource
import sys
from time import perf_counter, process_time

if __name__ == "__main__":
    started = perf_counter()
    output = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no answer
    name, net_name, launched = sys.argv[1:]
    contender = importlib.import_module(f"benchmarks.contenders.{name}")
    imported = perf_counter()
    from benchmarks.nets import net_named

    net = net_named(net_name)
    way = contender.build(net, 1)[0]
    for _ in range(2):
        way.value()
    done, used = perf_counter(), process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    from benchmarks.worker import difference_of

    answer = {
        "all_s": done - float(launched),  # the clock is the system's
        "used_s": used,  # processor time since the process started
        "import_s": imported - started,
        "first_s": done - imported,
        "peak_bytes": peak,
        "complaint": way.complaint(),
        "agrees": difference_of(way, net.expected(*net.draw())) <= net.tolerance,
    }
    os.write(output, json.dumps(answer).encode() + b"\n")
