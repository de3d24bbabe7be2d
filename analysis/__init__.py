"""Statistics, tables, figures and the report of a sweep: from the store to a page.

This layer imports `uniclip` (configuration, identity, store) only. No module imports torch; pandas
and matplotlib are imported when a report is built, not when `analysis.report.build` is imported.
"""
