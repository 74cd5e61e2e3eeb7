"""HTTP and command line: the only place that knows the web, JSON and pydantic."""
