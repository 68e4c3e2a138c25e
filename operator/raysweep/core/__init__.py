"""What Raysweep decides, and nothing else: the standard library only, no await, no clock, no logging, no environment."""
