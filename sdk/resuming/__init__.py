"""Clients that carry on where they were after their connection has died, and the object's side of it: docs/resume.md."""
