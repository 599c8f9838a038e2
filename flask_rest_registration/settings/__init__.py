"""The settings: one definition each, read and checked."""
