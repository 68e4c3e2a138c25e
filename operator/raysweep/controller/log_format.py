"""Log lines on stderr: JSON for machines, text for a terminal. Fields go in `extra={"fields": {...}}`; secrets never do."""

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
    """One JSON object per line: ts, level, logger, msg, then the fields, and the traceback where there is one.

    JSON escapes what is below U+0020. What else controls a terminal is escaped too: `kubectl logs` shows lines as they are.
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
    """`12:00:01 info  deleted team-a/train`, with the traceback below where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_time(record)[11:19]} {record.levelname.lower():7} {escaped(record.getMessage(), TAB)}"
        if not record.exc_info:
            return line
        return f"{line}\n{escaped(self.formatException(record.exc_info), LINES)}"


def set_up(settings: Settings) -> None:
    """Sends all logging of the process to stderr in the one format. Kopf speaks only from warnings on."""
    as_text = settings.log_format is LogFormat.TEXT or (
        settings.log_format is LogFormat.AUTO and sys.stderr.isatty()
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextLines() if as_text else JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for chatty in ("kopf", "asyncio", "aiohttp", "kubernetes_asyncio"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))


def _escape(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1] if is_control(found[0]) else found[0]


def _time(record: logging.LogRecord) -> str:
    return (
        datetime.fromtimestamp(record.created, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


def safe(error: BaseException) -> str:
    """An error as one line."""
    return f"{type(error).__name__}: {plain(error)}"
