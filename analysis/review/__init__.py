"""What a reviewer would attack in a finished sweep, and the cheapest cells that answer it."""
