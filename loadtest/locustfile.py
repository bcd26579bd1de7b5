"""The scenario of `adjudge load`, where people look for it: `locust -f loadtest/locustfile.py --host URL`."""

from app.offline.visitors import visitor_class

Visitor = visitor_class()
