mkdir -p gen
protoc -I proto -I ../accord/proto --es_out=gen --es_opt=target=ts \
    notes/v1/notes.proto accord/policy/v1/policy.proto google/api/annotations.proto google/api/http.proto
