"""How long to wait before trying again."""

import random
from typing import Final

RETRY_AFTER_MIN: Final = 1.0
RETRY_AFTER_MAX: Final = 3600.0
_MAX_EXPONENT: Final = 32  # keeps 2**n finite; the cap is reached long before


def delay(failures: int, *, initial: float, maximum: float, rng: random.Random) -> float:
    """Return seconds to wait after so many failures in a row: full jitter, from `initial` to `maximum`.

    Full jitter spreads the retries of many senders best (Brooker, "Exponential Backoff And Jitter").
    It is never shorter than a tenth of `initial`, so that a receiver that refuses at once is not hammered.
    """
    ceiling = min(maximum, initial * 2 ** min(max(failures - 1, 0), _MAX_EXPONENT))
    return max(initial / 10, rng.uniform(0.0, ceiling))


def clamp_retry_after(seconds: float) -> float:
    """Honour what a receiver asked, within a second and an hour."""
    return min(max(seconds, RETRY_AFTER_MIN), RETRY_AFTER_MAX)
