"""Submits Ray jobs: the only code that sends anything but a GET to a Ray head."""
