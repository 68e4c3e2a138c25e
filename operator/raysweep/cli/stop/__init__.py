"""`raysweep stop`: stops a RayJob's job."""
