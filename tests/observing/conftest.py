from tests.api.conftest import api, key_of, tenant

__all__ = ["api", "key_of", "tenant"]
