"""The server of live pages, for a browser on the same machine."""
