"""`raysweep submit`: creates a RayJob and submits its job."""
