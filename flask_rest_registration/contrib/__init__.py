"""Optional integrations, one module each: none is imported unless the application names it."""
