mkdir -p gen
python3 -m grpc_tools.protoc -I proto -I ../accord/proto --python_out=gen --grpc_python_out=gen \
    notes/v1/notes.proto accord/policy/v1/policy.proto
