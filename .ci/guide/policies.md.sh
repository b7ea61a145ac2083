# A contract to describe.
cp -r "$ROOT/tests/clients/contract/proto" "$ROOT/tests/clients/contract/buf.yaml" .
mkdir -p third_party/accord
cp -r "$ROOT/proto/accord/policy" third_party/accord/
cp -r "$ROOT/proto/google" third_party/
buf build --path proto/notes --output shop.binpb
printf '[[rule]]\nselector = "notes.v1.NoteService/*"\npolicy = { max_request_bytes = 65536 }\n' >shop.toml
