"""`raysweep why`: the decision about one RayJob, with its checks."""
