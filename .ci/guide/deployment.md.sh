cp -r "$ROOT/deploy" .
rm -rf deploy/secrets
