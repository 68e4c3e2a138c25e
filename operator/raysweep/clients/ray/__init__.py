"""The dashboard API of Ray heads, and how they are reached."""
