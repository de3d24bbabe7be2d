"""The records of a store as pandas data frames."""
