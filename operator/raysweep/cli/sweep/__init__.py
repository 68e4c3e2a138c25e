"""`raysweep sweep`: deletes finished RayJobs now."""
