"""Regular expressions of requests, matched by an engine that needs linear time.

RE2 knows no look-around and no back-references, and refuses patterns that would need
much memory. What is left to bound is the number of texts: see `Matcher`.
"""

import functools
import time

import re2

from .errors import ApiError

MAX_PATTERN = 20_000  # characters
MAX_TEXT = 20_000  # characters; what comes after them is not looked at
MAX_MEMORY = 1 << 20  # bytes for a compiled pattern
SECONDS = 2.0  # for all the texts that one call looks at


def compiled(pattern, ignore_case: bool = False):
    """Return a pattern's program.

    Raises:
        ApiError: It is no regular expression, or too large a one.
    """
    if not isinstance(pattern, str) or len(pattern) > MAX_PATTERN:
        raise ApiError("invalid_regex_error", "no text, or too long a one")
    return _compiled(pattern, ignore_case)


@functools.lru_cache(maxsize=64)
def _compiled(pattern: str, ignore_case: bool):
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_MEMORY
    options.case_sensitive = not ignore_case
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "malformed"
        reason = reason.decode(errors="replace") if type(reason) is bytes else reason
        raise ApiError("invalid_regex_error", reason, pattern=pattern) from None


class Matcher:
    """The SQL function ``matches(pattern, ignore_case, text)`` of one connection.

    Attributes:
        seconds: Time used since `start`.
    """

    def __init__(self):
        self.seconds = 0.0

    def start(self) -> None:
        """Begin another call."""
        self.seconds = 0.0

    @property
    def is_exhausted(self) -> bool:
        return self.seconds > SECONDS

    def __call__(self, pattern, ignore_case, text) -> bool:
        if not isinstance(text, str):
            return False
        if self.is_exhausted:
            raise TimeoutError
        start = time.perf_counter()
        found = compiled(pattern, bool(ignore_case)).search(text[:MAX_TEXT])
        self.seconds += time.perf_counter() - start
        return found is not None
