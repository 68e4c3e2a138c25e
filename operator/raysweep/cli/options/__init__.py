"""`raysweep options`: the flags that every connecting command takes."""
