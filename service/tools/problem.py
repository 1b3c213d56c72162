"""What goes wrong for reasons that the person at the terminal can mend."""

from __future__ import annotations

PROBLEM_FOUND = 1
WRONG_USAGE = 2


class CommandError(Exception):
    """Ends a command with one paragraph for a person, and no traceback.

    The message says what is wrong, where, and what to do next. `exit_code` is `PROBLEM_FOUND`, or
    `WRONG_USAGE` where the command line itself must change.
    """

    def __init__(self, message: str, *, exit_code: int = PROBLEM_FOUND) -> None:
        super().__init__(message)
        self.exit_code = exit_code
