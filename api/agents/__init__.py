"""Policies that move single robots, over HTTP: which there are, one tick for a fleet, and actions streamed tick by tick."""
