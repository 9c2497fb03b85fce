"""The words of the thread pool's state: how those who make it and those who write code for it number them."""

LIBRARY = ("sem_wait", "sem_post", "sem_trywait", "sched_getcpu", "sched_setaffinity", "clock_gettime")
# Words of the state; then the caller's semaphore, two sets of processors, and for each worker its semaphore (4 words),
# thread number and memory.
FIELDS = (
    *("busy", "workers", "function", "table", "rows", "part", "parts", "next", "inside"),
    *("caller", "awake", "last", "woken", *LIBRARY),
)
DONE = 24  # index of the caller's semaphore
ALLOWED, AWAY = 32, 48  # indices of the processors of this process; of those without the caller's
SET_WORDS = 16
WORKERS = 64  # index of the first worker's words
WORKER_WORDS = 8  # one cache line
THREAD, MEMORY = 4, 5  # among the words of a worker
POOL = ("fork", "fork_awake", "state")  # words of a program's table
