"""How much one rendering may take, and how worker and workshop speak of it."""

from typing import Final

SECONDS: Final = 1.0
MEMORY_MIB: Final = 256  # of the worker as a whole
TEXT_KIB: Final = 64  # of the text that is made

OUT_OF_MEMORY: Final = 3  # the worker's exit code: it may not even have the memory to say so
LENGTH_BYTES: Final = 4  # before each frame, the most significant byte first
