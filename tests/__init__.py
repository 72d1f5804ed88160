"""The tests mirror the packages; those of the whole system have folders of their own."""
