"""Scenarios in, certified plans out: propose, filter, verify, choose, polish."""
