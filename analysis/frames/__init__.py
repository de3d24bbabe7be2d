"""Results and tables of a sweep as pandas data frames."""
