"""The texts for people, in their languages."""
