"""A program at a pseudo-terminal: what reaches the screen, byte for byte."""

import asyncio
import os
import tty
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raysweep.core.text import is_control

OWNED = "\x1b]0;owned\x07\x1b[2J"
"""Sets the window's title and clears the screen, if it reaches a terminal as it is."""
HOSTILE = f"{OWNED}\x9b2J\u202egpj.exe\u2066\x08\x7f\x00"
"""The same by a C1 control, characters that reorder text, and such as take back what was shown."""


@dataclass(frozen=True)
class Shown:
    """The exit code, and the bytes on the screen. The terminal itself changes nothing (raw mode)."""

    code: int
    raw: bytes

    @property
    def text(self) -> str:
        return self.raw.decode()

    def controls(self, but: str = "\n\t") -> set[str]:
        """The characters on the screen that control it, without those."""
        return {character for character in self.text if is_control(character) and character not in but}


async def at_a_screen(command: Sequence[str], environment: Mapping[str, str], *, timeout: float = 150) -> Shown:
    """Runs the command to its end with stdout and stderr at one pseudo-terminal."""
    screen, terminal = os.openpty()
    tty.setraw(terminal)
    try:
        process = await asyncio.create_subprocess_exec(
            *command, env=dict(environment), stdin=asyncio.subprocess.DEVNULL, stdout=terminal, stderr=terminal
        )
    finally:
        os.close(terminal)
    reading = asyncio.create_task(asyncio.to_thread(_all_of, screen))
    try:
        async with asyncio.timeout(timeout):
            code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
        raw = await reading
        os.close(screen)
    return Shown(code, raw)


def _all_of(screen: int) -> bytes:
    """Until the last program has closed the terminal: Linux says EIO then."""
    found = bytearray()
    while True:
        try:
            piece = os.read(screen, 65536)
        except OSError:
            return bytes(found)
        if not piece:
            return bytes(found)
        found += piece
