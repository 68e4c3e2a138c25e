"""How long a RayJob is kept: annotations, policies and the KubeRay fields of its spec."""
