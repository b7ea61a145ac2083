GOOGLE=google.golang.org/genproto/googleapis/api/annotations
PACKAGES=paths=source_relative,Mnotes/v1/notes.proto=shop.example/gen/notes/v1
PACKAGES=$PACKAGES,Maccord/policy/v1/policy.proto=shop.example/gen/accord/policy/v1
PACKAGES=$PACKAGES,Mgoogle/api/annotations.proto=$GOOGLE,Mgoogle/api/http.proto=$GOOGLE
mkdir -p gen
protoc -I proto -I ../accord/proto --go_out=$PACKAGES:gen --go-grpc_out=$PACKAGES:gen \
    notes/v1/notes.proto accord/policy/v1/policy.proto
