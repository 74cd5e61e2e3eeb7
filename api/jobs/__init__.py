"""Jobs: requests that are accepted now and answered later, whatever happens to the server meanwhile."""
