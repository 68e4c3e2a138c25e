"""The checks that decide about a RayJob, in three groups. core/decide.py has their order."""
