"""Journeys of a whole node: killed, damaged, retraced, restarted. What one room cannot prove alone."""
