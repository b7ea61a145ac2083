cp -r "$ROOT/deploy" .
# What compose expects.
mkdir -p deploy/secrets/auth deploy/secrets/gateway deploy/secrets/cache
