"""`raysweep lint`: problems in manifests and in a cluster, each with its position."""
