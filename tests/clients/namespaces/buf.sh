buf curl --protocol grpc --http2-prior-knowledge -H "authorization: Bearer $TOKEN" \
    -d '{"namespace": "carts", "key": "ada", "value": "bWlsaw==", "ttl": "600s"}' http://127.0.0.1:8080/accord.cache.v1.CacheService/Put
buf curl --protocol grpc --http2-prior-knowledge -H "authorization: Bearer $TOKEN" \
    -d '{"namespace": "carts", "key": "ada"}' http://127.0.0.1:8080/accord.cache.v1.CacheService/Get
buf curl --protocol grpc --http2-prior-knowledge -H "authorization: Bearer $TOKEN" \
    -d '{"namespace": "carts", "key": "ada"}' http://127.0.0.1:8080/accord.cache.v1.CacheService/Delete
