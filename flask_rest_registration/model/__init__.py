"""What the application's models look like."""
