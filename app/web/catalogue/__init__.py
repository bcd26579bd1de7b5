"""The catalogue doors of the admin port: what people send about campaigns and placements, checked and kept.

Everything about a field's shape is decided here; what needs the catalogue itself (parents, capacity)
is decided by the state and arrives as a refusal.
"""
