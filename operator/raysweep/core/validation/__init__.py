"""Which RayJobs KubeRay, its CRD, the API server or Kueue refuses. `validate.py` is the entry."""
