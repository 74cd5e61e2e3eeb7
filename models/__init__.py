"""Networks, flows and policies; imports nothing of the safety filter, the planner or the server."""
