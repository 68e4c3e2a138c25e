"""`raysweep keep`: holds a RayJob until a time."""
