"""taskwatch: tells people, at once and reliably, when a task of a cloud database ended."""

__version__ = "0.6.0"
