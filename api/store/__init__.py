"""What outlives the server: jobs, answers and keys, in SQLite or PostgreSQL."""
