"""The core of Driftline: what happens to records, from source to verdict."""

__version__ = "0.1.0"
