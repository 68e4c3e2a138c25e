"""Measures the peak memory that each hostile response of a head costs.

`python -m tests.support.answer_costs` prints the MiB as a JSON object. It needs Linux (/proc/self).
"""

import asyncio
import json
import multiprocessing
import sys
from collections.abc import Callable
from pathlib import Path

from tests.support.scripted_api import json_response
from tests.support.scripted_head import MIB, RUNNING, scripted_head

ENTRY = '{"type":"","status":""}'


def filled(unit: str, size: int, begin: str = "[", end: str = "]") -> str:
    """A list of one unit that fills the size."""
    return begin + ",".join([unit] * ((size - len(begin) - len(end)) // (len(unit) + 1))) + end


def entry_with(value: str) -> str:
    return '[{"type":"SUBMISSION","status":"RUNNING","submission_id":"x","metadata":' + value + "}]"


LISTS: dict[str, Callable[[], str]] = {
    "ones": lambda: filled("1", 4 * MIB),
    "empty lists": lambda: filled("[]", 4 * MIB),
    "empty objects": lambda: filled("{}", 4 * MIB),
    "an object of objects": lambda: filled('"a":{}', 4 * MIB, "{", "}"),
    "161,000 smallest entries": lambda: filled(ENTRY, 161_000 * 24),
    "entries without a status": lambda: filled('{"type":""}', 4 * MIB),
    "a digit": lambda: "1" * (4 * MIB),
    "long numbers": lambda: filled("1" * 4300, 4 * MIB),
    "nested lists": lambda: filled("[" * 400 + "]" * 400, 4 * MIB),
    "one entry of nested lists": lambda: entry_with(filled("[" * 400 + "]" * 400, 4 * MIB - 100)),
    "one entry of numbers": lambda: entry_with(filled("257", 4 * MIB - 100)),
    "entries with a character of four bytes": lambda: filled(
        '{"type":"","status":"\U0001f600"}', 3 * MIB
    ),
}
NODES: dict[str, Callable[[], str]] = {
    "H5: 524,000 wrong nodes": lambda: filled("1", MIB, '{"data":{"result":{"result":[', "]}}}"),
    "H5: nested nodes": lambda: filled(
        "[" * 400 + "]" * 400, MIB, '{"data":{"result":{"result":[', "]}}}"
    ),
    "H5: smallest nodes": lambda: filled(
        '{"node_id":"","state":""}', MIB, '{"data":{"result":{"result":[', "]}}}"
    ),
}


def _peak() -> int:
    """The peak memory of this process in KiB (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def _reset_peak() -> int:
    """Resets the peak to the current size and returns it."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


async def _cost(name: str) -> float:
    body = (LISTS | NODES)[name]()
    answers = [json_response(body), json_response("404: Not Found", 404)]
    if name in NODES:
        answers = [json_response([RUNNING]), json_response(body)]
    async with scripted_head(json_response([]), *answers) as head:
        await head.jobs("train-x7k2p")
        before = _reset_peak()
        await head.jobs("train-x7k2p")
        return (_peak() - before) / 1024


def cost(name: str) -> float:
    return asyncio.run(_cost(name))


if __name__ == "__main__":
    names = [*LISTS, *NODES]
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as one_process_each:
        costs = one_process_each.map(cost, names, 1)
    json.dump(dict(zip(names, costs, strict=True)), sys.stdout)
