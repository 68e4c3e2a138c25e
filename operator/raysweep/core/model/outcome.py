"""The outcomes of a finished job."""

from enum import StrEnum


class Outcome(StrEnum):
    """How a job ended. Also the suffix of the annotations that apply to this outcome only."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
