"""Files: atomic writes, content hashes and memoised results."""
