"""The limit on open files of this process, which bounds its connections."""

import contextlib
import resource

MOST = 65_536
"""Far more than the connections of one operator. A few programs scan all numbers up to the limit,
and container runtimes set limits of a billion.
"""


def raise_limit() -> None:
    """Raises the soft limit to the hard limit, up to MOST. Never lowers it.

    The default soft limit of 1,024 is for programs that call select(), and Raysweep does not. It
    does nothing if the system refuses.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
