"""The report: one page for a development, or for a graph."""

from connectome.analysis.report.page import Sample, report

__all__ = ["Sample", "report"]
