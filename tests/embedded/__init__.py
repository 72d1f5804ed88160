"""The embedded servers and the supervisor, tried with real processes."""
