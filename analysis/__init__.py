"""What did the cells show? Reads the store, and claims no more than the seeds support.

Floor 2: knows `uniclip` (configuration, identity, store) and nothing above. No module here imports
torch; pandas and matplotlib are imported when a report is built, not when `analysis.report.build` is.
"""
