"""What stops the system from starting, told in one sentence with its mend."""

from __future__ import annotations


class StartError(Exception):
    """The system cannot start or go on.  The message is one sentence for the operator and ends with the mend."""
