"""A throw-away real cluster on loopback for demo, tests and benchmarks. It never imports raysweep."""
