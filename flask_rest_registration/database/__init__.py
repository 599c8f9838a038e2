"""Every statement, in the application's own session."""
