"""Formats log lines on stderr: JSON, or text for a terminal.

Pass fields as `extra={"fields": {...}}`, and never secrets.
"""

import json
import logging
import re
import sys
from datetime import UTC, datetime

from raysweep.core.text import escaped, is_control, plain
from raysweep.settings import LogFormat, Settings

_UNUSUAL = re.compile(r"[^ -~]")
TAB, LINES = "\t", "\t\n"


class JsonLines(logging.Formatter):
    """One JSON object per line: ts, level, logger, msg, the fields, and a traceback if any.

    JSON escapes what is below U+0020. All other characters that control a terminal are escaped too,
    because `kubectl logs` prints lines as they are.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "ts": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return _UNUSUAL.sub(_escape, json.dumps(line, default=str, ensure_ascii=False))


class TextLines(logging.Formatter):
    """`12:00:01 info  deleted team-a/train`, followed by the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        time, level = _time(record)[11:19], record.levelname.lower()
        line = f"{time} {level:7} {escaped(record.getMessage(), TAB)}"
        if not record.exc_info:
            return line
        return f"{line}\n{escaped(self.formatException(record.exc_info), LINES)}"


def set_up(settings: Settings) -> None:
    """Sends all log lines to stderr in one format. Libraries log warnings and errors only."""
    as_text = settings.log_format is LogFormat.TEXT or (
        settings.log_format is LogFormat.AUTO and sys.stderr.isatty()
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextLines() if as_text else JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for library in ("kopf", "asyncio", "aiohttp", "kubernetes_asyncio"):
        logging.getLogger(library).setLevel(max(logging.WARNING, root.level))


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    return json.dumps(character)[1:-1] if is_control(character) else character


def _time(record: logging.LogRecord) -> str:
    time = datetime.fromtimestamp(record.created, UTC)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def safe(error: BaseException) -> str:
    """An error as one line."""
    return f"{type(error).__name__}: {plain(error)}"
