"""The report: summary, HTML page and executed notebook."""
