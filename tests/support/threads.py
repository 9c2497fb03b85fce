"""Work in several threads at once."""

import threading
from collections.abc import Callable


def together(work: Callable[[int], None], count: int = 4) -> None:
    """``work(number)`` in that many threads that start at once; the first exception is the caller's."""
    barrier, errors = threading.Barrier(count), []

    def run(number: int) -> None:
        try:
            barrier.wait()
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(t.is_alive() for t in threads), "a thread does not come back"
    if errors:
        raise errors[0]
