"""The product as a user meets it: cloned, started, stopped."""
