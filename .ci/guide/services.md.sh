# Beside `up`, what credentials.md has added is not there.
accord-auth client remove shop >removed.txt || true
# Everything on this page has addresses and a store of its own.
ports() {
    export "ACCORD_$1__LISTEN__ADDRESS=127.0.0.1:$2" "ACCORD_$1__ADMIN__ADDRESS=127.0.0.1:$(($2 + 1))"
}
ports GATEWAY "$BASE"
ports AUTH "$((BASE + 10))"
ports CACHE "$((BASE + 20))"
export ACCORD_GATEWAY__AUTH__URL=http://127.0.0.1:8090 ACCORD_CACHE__AUTH__URL=http://127.0.0.1:8090
# The types of objects that the page declares, and who may say who stands in them.
printf '[[policy.object]]\nname = "Product"\nrelations = ["owner", "viewer"]\npermission = "catalog.relate"\n' >auth.toml
printf '[[policy.object]]\nname = "Group"\nrelations = ["member"]\ngroups = true\npermission = "staff.relate"\n' >>auth.toml
export ACCORD_AUTH_CONFIG=auth.toml
echo 'permit (principal in Accord::Role::"editor", action in [Accord::Action::"notes.write", Accord::Action::"catalog.relate"], resource);' >policies.cedar
# The service of the README.
serving '"port"' "$ROOT/target/tools/venv/bin/python" "$ROOT/tests/clients/echo_server.py" --port 50051
#> accord-auth principal add me --role editor --policy policies.cedar --development
# The cache keeps nothing in its first moments, which are over when somebody has typed this.
accord-auth principal add early --role editor --development
EARLY=$(accord-auth token issue --subject early --development)
until curl -si -H "authorization: Bearer $EARLY" http://127.0.0.1:8080/v1/echo/early | grep -q 'accord; hit'; do :; done
#> protoc -I proto -I ../accord/proto --include_imports --descriptor_set_out=service.binpb proto/notes/v1/notes.proto
cp -r "$ROOT/tests/clients/contract/proto" "$ROOT/tests/clients/contract/buf.yaml" .
mkdir -p third_party/accord
cp -r "$ROOT/proto/accord/policy" third_party/accord/
cp -r "$ROOT/proto/google" third_party/
ln -sfn "$ROOT" ../accord
