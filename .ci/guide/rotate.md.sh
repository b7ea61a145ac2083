mkdir -p deploy/secrets/auth deploy/secrets/gateway
echo secret >deploy/secrets/auth/encryption-key
#> kubectl --namespace accord exec deployment/accord-auth -- /usr/local/bin/accord-auth key reseal --config /etc/accord/auth.toml
# A store of this page's own, in which two signing keys and an API key are under an encryption key that has just been exchanged.
mkdir own
accord-auth key new own/before
accord-auth key new own/next
export ACCORD_AUTH__STORE__URL="sqlite://$PWD/own/auth.db" ACCORD_AUTH__KEYS__ENCRYPTION_KEY_FILE="$PWD/own/before"
accord-auth principal add robot
accord-auth api-key add robot --key-file own/robot.key --permission catalog.products.read
accord-auth key rotate
export ACCORD_AUTH__KEYS__ENCRYPTION_KEY_FILE="$PWD/own/next" ACCORD_AUTH__KEYS__ACCEPTED_ENCRYPTION_KEY_FILE="$PWD/own/before"
# What the holder of the API key has to do is left, and the exit status says so.
kubectl() {
    local status=0
    command kubectl "$@" || status=$?
    [ "$status" = 1 ]
}
#> accord-auth key retire "$KEY" --config auth.toml
# The same store, whose keys sign no token of the mesh that pages run beside.
printf '[store]\nurl = "%s"\n\n[keys]\nencryption_key_file = "%s"\n' "$ACCORD_AUTH__STORE__URL" "$ACCORD_AUTH__KEYS__ENCRYPTION_KEY_FILE" >auth.toml
KEY=$(accord-auth key list | awk 'NR == 1 { print $1 }')
