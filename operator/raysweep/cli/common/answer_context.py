"""What an answer of `plan` or `sweep` covers, and whose settings it uses."""

from dataclasses import dataclass
from datetime import datetime

from raysweep.cli.common.formatting import API_VERSION, Json, rfc3339
from raysweep.cli.common.session import Session


@dataclass(frozen=True, slots=True)
class AnswerContext:
    """The fields that the documents of `plan` and `sweep` share. An empty namespace means all."""

    server: str
    namespace: str
    selector: str | None
    settings: str
    mode: str

    @classmethod
    def of(cls, session: Session) -> "AnswerContext":
        """The context of a session."""
        return cls(
            session.server,
            session.namespace,
            session.options.selector,
            session.operator.source,
            session.operator.settings.mode.value,
        )

    def as_json(self, kind: str, now: datetime) -> Json:
        """The first fields of the document."""
        return {
            "apiVersion": API_VERSION,
            "kind": kind,
            "generatedAt": rfc3339(now),
            "server": self.server,
            "namespace": self.namespace or None,
            "selector": self.selector,
            "settings": self.settings,
            "mode": self.mode,
        }
