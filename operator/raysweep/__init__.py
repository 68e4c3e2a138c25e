"""Raysweep deletes the RayCluster and the RayJob of a finished job when its TTL has elapsed."""
