"""Property tests here depend on nothing but their examples: no deadlines, nothing remembered."""

from hypothesis import settings

settings.register_profile("domain", deadline=None, database=None, max_examples=100)
settings.load_profile("domain")
