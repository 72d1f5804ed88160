from tests.api.conftest import api, echo, engine, key_of, stranger, tenant

__all__ = ["api", "echo", "engine", "key_of", "stranger", "tenant"]
