cp -r "$ROOT/deploy" .
rm -rf deploy/secrets
# Those of every installation, and what this page adds.
for name in gateway auth cache; do
    mkdir -p deploy/secrets/$name
    echo secret >deploy/secrets/$name/client-secret
done
rm deploy/secrets/auth/client-secret
for key in encryption-key gateway-secret cache-secret database-password postgresql-ca.crt; do
    echo secret >deploy/secrets/auth/$key
done
echo secret >deploy/secrets/gateway/valkey-password
for key in database-password postgresql-ca.crt consistency-key valkey-password; do
    echo secret >deploy/secrets/cache/$key
done
