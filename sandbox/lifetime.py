"""Ends everything that a block started, whatever ends the block.

A block has watchers. It ends with the first error of a watcher, such as a signal or a program
that exited. The stack of what was started lies outside the block, so that the cleanup cannot be
interrupted by a watcher.
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
    """`stack` ends what was started. The first error of `watchers` ends the block."""

    stack: contextlib.AsyncExitStack
    watchers: asyncio.TaskGroup


Command = Callable[[Lifetime], Coroutine[Any, Any, int]]


@contextlib.asynccontextmanager
async def lifetime() -> AsyncIterator[Lifetime]:
    """A block with watchers and a stack. The stack is unwound after block and watchers."""
    async with contextlib.AsyncExitStack() as stack, watched() as watchers:
        yield Lifetime(stack, watchers)


@contextlib.asynccontextmanager
async def watched() -> AsyncIterator[asyncio.TaskGroup]:
    """A block that ends with the first error of a watcher. Its end cancels the watchers.

    A single error is raised as it is, several as a group.
    """
    failure: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as watchers:
            yield watchers
            raise _BlockEndedError
    except BaseExceptionGroup as group:
        _, failure = group.split(_BlockEndedError)
    if isinstance(failure, BaseExceptionGroup) and len(failure.exceptions) == 1:
        failure = failure.exceptions[0]
    if failure is not None:
        raise failure


def run(command: Command, signals: Signals) -> int:
    """Runs a command and stops all that it started.

    Returns the exit code: the command's, 1 after an error, or 128 + N after signal N. Errors are
    printed at once. The programs that were stopped are printed last.
    """
    outcome = _Outcome()
    try:
        asyncio.run(_run(command, signals, outcome))
    except Exception as error:  # noqa: BLE001 - the exit code and the last line must follow
        outcome.code = 1
        _say(f"error during the shutdown: {error!r}")
    signals.ignore()
    if signals.first:
        outcome.code = exit_code(signals.first)
        _say(last_line(signals.first, outcome.stopped()))
    elif outcome.code and outcome.stopped():
        _say(f"stopped: {', '.join(outcome.stopped())}")
    _drop_broken_streams()
    return outcome.code


@dataclass
class _Outcome:
    code: int = 1
    running: list[Program] = field(default_factory=list)  # when the command ended

    def stopped(self) -> list[str]:
        """The programs that were stopped. A program that exits can close its connections first."""
        return [program.title for program in self.running if program.was_stopped]


class _BlockEndedError(Exception):
    """Cancels the watchers after the block ended without an error."""


class _SignalError(Exception):
    """Ends the block after a signal."""


async def _run(command: Command, signals: Signals, outcome: _Outcome) -> None:
    received, loop = asyncio.Event(), asyncio.get_running_loop()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: everything has ended
            loop.call_soon_threadsafe(received.set)

    signals.on_first(wake)
    async with contextlib.AsyncExitStack() as stack:
        try:
            async with watched() as watchers:
                watchers.create_task(_watch_for_end(received, outcome))
                outcome.code = await command(Lifetime(stack, watchers))
        except Exception as error:  # noqa: BLE001 - it is printed before the stack is unwound
            if signals.first is None:
                _report(error)


async def _watch_for_end(received: asyncio.Event, outcome: _Outcome) -> None:
    """Ends the block after a signal. In any case it records what runs when the block ends."""
    try:
        await received.wait()
        raise _SignalError
    finally:
        outcome.running = running()


def _report(error: Exception) -> None:
    """Prints expected errors as one line, others with a traceback.

    If a program exited, other errors are its consequences and are left out.
    """
    leaves = list(_leaves(error))
    causes = [leaf for leaf in leaves if isinstance(leaf, ProgramDiedError)]
    for leaf in causes or leaves:
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
    with contextlib.suppress(OSError):  # the terminal may be closed
        print(text, file=sys.stderr, flush=True)


def _drop_broken_streams() -> None:
    """Discards unwritten output: a second attempt at the exit would change the exit code."""
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None: closed from the start
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
