grpcurl -plaintext -H "authorization: Bearer $TOKEN" -d '{"namespace": "carts", "key": "ada", "value": "bWlsaw==", "ttl": "600s"}' \
    127.0.0.1:8080 accord.cache.v1.CacheService/Put
grpcurl -plaintext -H "authorization: Bearer $TOKEN" -d '{"namespace": "carts", "key": "ada"}' \
    127.0.0.1:8080 accord.cache.v1.CacheService/Get
grpcurl -plaintext -H "authorization: Bearer $TOKEN" -d '{"namespace": "carts", "key": "ada"}' \
    127.0.0.1:8080 accord.cache.v1.CacheService/Delete
