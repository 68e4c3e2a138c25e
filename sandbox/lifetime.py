"""How what was started ends: with the block that started it, undisturbed, whatever ended the block.

A block has watchers. The first error of one of them ends it: a part that ended, or a signal. What was started is on a stack
outside of what watchers can interrupt, so the end is never interrupted itself.
"""

import asyncio
import contextlib
import os
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

from sandbox.processes import Program, ProgramDiedError, SandboxError, running
from sandbox.signals import Signals, exit_code, last_line


@dataclass
class Lifetime:
    """`stack`: what ends with the block, the last first. `watchers`: tasks of which the first error ends the block."""

    stack: contextlib.AsyncExitStack
    watchers: asyncio.TaskGroup


Command = Callable[[Lifetime], Coroutine[Any, Any, int]]


@contextlib.asynccontextmanager
async def lifetime() -> AsyncIterator[Lifetime]:
    """A block with watchers, and a stack that is unwound when block and watchers have ended."""
    async with contextlib.AsyncExitStack() as stack, watched() as watchers:
        yield Lifetime(stack, watchers)


@contextlib.asynccontextmanager
async def watched() -> AsyncIterator[asyncio.TaskGroup]:
    """A block that ends with the first error of one of its watchers, and they with the block. A single error comes as it is."""
    failed: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as watchers:
            yield watchers
            raise _OverError
    except BaseExceptionGroup as group:
        _, failed = group.split(_OverError)
    if isinstance(failed, BaseExceptionGroup) and len(failed.exceptions) == 1:
        failed = failed.exceptions[0]
    if failed is not None:
        raise failed


def run(command: Command, signals: Signals) -> int:
    """Runs a command and ends all that it started. The exit code: the command's own, 1 after an error, 128 + N after signal N.

    An error is said at once, what was ended when it has ended.
    """
    outcome = _Outcome()
    try:
        asyncio.run(_run(command, signals, outcome))
    except Exception as error:  # noqa: BLE001 - whatever it was, the exit code and the last line are to come
        outcome.code = 1
        _say(f"error while ending: {error!r}")
    signals.ignore()
    if signals.first:
        outcome.code = exit_code(signals.first)
        _say(last_line(signals.first, outcome.stopped()))
    elif outcome.code and outcome.stopped():
        _say(f"ended: {', '.join(outcome.stopped())}")
    _drop_broken_streams()
    return outcome.code


@dataclass
class _Outcome:
    code: int = 1
    running: list[Program] = field(default_factory=list)  # when the command ended

    def stopped(self) -> list[str]:
        """What was ended. A part that ends by itself may close its connections a moment before it counts as ended."""
        return [program.title for program in self.running if program.was_stopped]


class _OverError(Exception):
    """The block has ended by itself: its watchers end, too."""


class _ToldToEndError(Exception):
    """A signal came."""


async def _run(command: Command, signals: Signals, outcome: _Outcome) -> None:
    told, loop = asyncio.Event(), asyncio.get_running_loop()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: everything has ended
            loop.call_soon_threadsafe(told.set)

    signals.on_first(wake)
    async with contextlib.AsyncExitStack() as stack:
        try:
            async with watched() as watchers:
                watchers.create_task(_watch_for_end(told, outcome))
                outcome.code = await command(Lifetime(stack, watchers))
        except Exception as error:  # noqa: BLE001 - said here, before everything is ended
            if signals.first is None:
                _complain(error)


async def _watch_for_end(told: asyncio.Event, outcome: _Outcome) -> None:
    """Ends the block when told to. Whatever ends it, this notes what was running then: other watchers end programs."""
    try:
        await told.wait()
        raise _ToldToEndError
    finally:
        outcome.running = running()


def _complain(error: Exception) -> None:
    """What a person can act on in a line, anything else with its traceback. What failed because a part ended is left out."""
    leaves = list(_leaves(error))
    found = [leaf for leaf in leaves if isinstance(leaf, ProgramDiedError)] or leaves
    for leaf in found:
        if isinstance(leaf, SandboxError | OSError):
            _say(f"error: {str(leaf) or repr(leaf)}")
        else:
            _say("".join(traceback.format_exception(leaf)).rstrip())


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone
        print(text, file=sys.stderr, flush=True)


def _drop_broken_streams() -> None:
    """What a closed terminal or pipe did not take is not tried again at the exit, which would change the exit code."""
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None: closed from the start
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
