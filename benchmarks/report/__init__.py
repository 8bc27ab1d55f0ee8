"""The report of a benchmark: one story, told as an HTML page, as Markdown and as a table."""

from benchmarks.report.documents import csv, html, markdown

__all__ = ["csv", "html", "markdown"]
