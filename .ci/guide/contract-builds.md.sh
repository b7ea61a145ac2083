# The team's directory, as it was released.
cp -r "$ROOT/tests/clients/contract/proto" "$ROOT/tests/clients/contract/buf.yaml" .
mkdir -p third_party/accord
cp -r "$ROOT/proto/accord/policy" third_party/accord/
cp -r "$ROOT/proto/google" third_party/
cp proto/notes/v1/notes.proto released.proto
printf '[[rule]]\nselector = "notes.v1.NoteService/*"\npolicy = { max_request_bytes = 65536 }\n' >notes.toml
cp notes.toml released.toml
buf build --path proto/notes --output released.binpb
# And as it is to be.
sed -e 's/authenticated: true/public: true/' -e 's/max: {seconds: 10}/max: {seconds: 5}/' released.proto >proto/notes/v1/notes.proto
buf build --path proto/notes --output notes.binpb
#> buf build --path proto/notes --output notes.binpb
# What loosens alone.
sed 's/authenticated: true/public: true/' released.proto >proto/notes/v1/notes.proto
