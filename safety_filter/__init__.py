"""safety_filter."""
