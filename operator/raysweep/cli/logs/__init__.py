"""`raysweep logs`: the log of a RayJob's job."""
