"""What every test shares."""

from hypothesis import settings

# A deadline measures the machine's neighbours; the blob lets a failure in CI be replayed here.
settings.register_profile("overland", deadline=None, print_blob=True)
settings.load_profile("overland")
