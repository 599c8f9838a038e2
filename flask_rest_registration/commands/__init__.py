"""The ``flask rest-registration`` commands."""
