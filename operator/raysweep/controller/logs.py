"""Log lines on stderr: JSON for machines, text for a terminal. Fields go in `extra={"fields": {...}}`; secrets never do."""

import json
import logging
import sys
from datetime import UTC, datetime

from raysweep.core.text import plain
from raysweep.settings import LogFormat, Settings


class JsonLines(logging.Formatter):
    """One JSON object per line: ts, level, logger, msg, then the fields, and the traceback where there is one."""

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
        return json.dumps(line, default=str, ensure_ascii=False)


class TextLines(logging.Formatter):
    """`12:00:01 info  deleted team-a/train`, with the traceback below where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_time(record)[11:19]} {record.levelname.lower():7} {record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def set_up(settings: Settings) -> None:
    """Sends all logging of the process to stderr in the one format. Kopf speaks only from warnings on."""
    as_text = settings.log_format is LogFormat.TEXT or (settings.log_format is LogFormat.AUTO and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextLines() if as_text else JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for chatty in ("kopf", "asyncio", "aiohttp", "kubernetes_asyncio"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def safe(error: BaseException) -> str:
    """An error as one line."""
    return f"{type(error).__name__}: {plain(error)}"
