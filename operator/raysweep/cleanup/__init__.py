"""One RayJob, one pass: observe, decide, act. The operator and the commands share it."""
