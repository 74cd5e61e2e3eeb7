"""The larger commands of `flowfleet`."""
