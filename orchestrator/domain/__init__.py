"""What Millrace means, in plain Python: no Django, no I/O, time and chance passed in."""
