"""`raysweep plan`: what will be deleted, and when."""
