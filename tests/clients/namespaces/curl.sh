# Puts a value: bytes, which are base64 in JSON. Then reads it, alone and with others, gives it a new life, and deletes it.
curl -sS -X PUT -H "authorization: Bearer $TOKEN" http://127.0.0.1:8080/v1/cache/carts/ada \
    -H 'content-type: application/json' -d '{"value": "bWlsaw==", "ttl": "600s", "tags": ["user/ada"]}'
curl -sS -H "authorization: Bearer $TOKEN" http://127.0.0.1:8080/v1/cache/carts/ada
curl -sS -X POST -H "authorization: Bearer $TOKEN" http://127.0.0.1:8080/v1/cache/carts:batchGet \
    -H 'content-type: application/json' -d '{"keys": ["ada", "bob"]}'
curl -sS -X POST -H "authorization: Bearer $TOKEN" http://127.0.0.1:8080/v1/cache/carts/ada:touch \
    -H 'content-type: application/json' -d '{"ttl": "1800s"}'
curl -sS -X DELETE -H "authorization: Bearer $TOKEN" http://127.0.0.1:8080/v1/cache/carts/ada
# Invalidates all that was put under a tag, and all keys that begin so.
curl -sS -X POST -H "authorization: Bearer $TOKEN" http://127.0.0.1:8080/v1/cache/carts:invalidate \
    -H 'content-type: application/json' -d '{"tags": {"tags": ["user/ada"]}}'
curl -sS -X POST -H "authorization: Bearer $TOKEN" http://127.0.0.1:8080/v1/cache/carts:invalidate \
    -H 'content-type: application/json' -d '{"prefix": "ad"}'
# What the namespace holds, and what was done with it.
curl -sS -H "authorization: Bearer $TOKEN" http://127.0.0.1:8080/v1/cache/carts:stats
