"""JSON and YAML to facts. Invalid input does not raise but becomes an error of its object."""
