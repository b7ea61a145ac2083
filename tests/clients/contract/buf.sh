mkdir -p third_party/accord
cp -r ../accord/proto/accord/policy third_party/accord/
cp -r ../accord/proto/google third_party/
buf generate
buf build --path proto/notes --output notes.binpb
