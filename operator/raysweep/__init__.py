"""Raysweep: deletes the RayCluster and the RayJob once the job has finished and its TTL has elapsed."""
