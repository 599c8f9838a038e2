"""One request a file, in the order in which it does its work."""
