"""JSON and YAML to facts. Invalid input never raises; it becomes a validation error of its object."""
