"""Decides what happens to RayJobs. Pure: no I/O, clock, logging or environment."""
