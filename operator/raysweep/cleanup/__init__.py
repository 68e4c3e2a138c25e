"""One RayJob, one pass: observe, decide, act. No Kopf, no queue, no metrics; the operator and the command line share it."""
