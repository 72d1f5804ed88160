"""PostgreSQL and a broker of our own, out of wheels, and the supervisor that runs the whole system."""
