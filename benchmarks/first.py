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
    importlib.import_module(f"benchmarks.contenders.{name}")
    imported = perf_counter()
    from benchmarks.worker import built, checked, task_named

    way = built(name, task_named(net_name), 1)[0]
    for _ in range(2):
        way.value()
    done, used = perf_counter(), process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    complaint = way.complaint()
    task = task_named(net_name)
    answer = {
        "all_s": done - float(launched),  # the clock is the system's
        "used_s": used,  # processor time since the process started
        "import_s": imported - started,
        "first_s": done - imported,
        "peak_bytes": peak,
        "complaint": complaint,
        "agrees": checked(name, task, 1)[1] <= task.tolerance,
    }
    os.write(output, json.dumps(answer).encode() + b"\n")
