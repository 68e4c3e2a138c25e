"""A temporary real cluster on loopback for demo, tests and benchmarks. It does not use raysweep."""
