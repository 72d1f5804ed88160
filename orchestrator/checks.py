"""System checks: what must be right before the server starts."""
