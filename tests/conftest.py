"""What every test shares: hypothesis without deadlines, since no verdict may hang on a machine's speed."""

from hypothesis import settings

settings.register_profile("adjudge", deadline=None, print_blob=True)
settings.load_profile("adjudge")
