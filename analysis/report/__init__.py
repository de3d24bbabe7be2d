"""The report: text summary, HTML page and executed notebook."""
