printf 'correct horse battery staple' >ada.password
accord-auth principal add ada --role catalog-reader --password-file ada.password --if-absent
accord-auth client add shop --role catalog-reader --secret-file shop.secret --if-absent
# A public key (RFC 8037, appendix A.2).
echo '{"keys":[{"kid":"mill-1","kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}' >mill.jwks
# Who else says who somebody is.
python3 "$ROOT/.ci/guide/issuer.py" keys .
serving 'Serving HTTP' python3 -u -m http.server "$((BASE + 919))" --bind 127.0.0.1 --directory published
#> accord-auth device list
# Two command lines that ask, of which the page names one.
ask() {
    curl -s http://127.0.0.1:8090/oauth2/device_authorization --data client_id=shop-cli | python3 -c 'import json, sys; print(json.load(sys.stdin)["user_code"])'
}
CODES=("$(ask)" "$(ask)")
accord-auth() {
    [ "$1 $2" != "device approve" ] || CODES=("${CODES[1]}")
    command accord-auth "${@//WDJB-MJHT/${CODES[0]}}"
}
#> curl -s --cert svid.pem --key svid.key --cacert ca.pem https://api.example.com/v1/products/oak-desk
# An authority for the gateway and its clients, and a gateway that asks for certificates.
signed() {
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$1" -keyout "$1.key" -out "$1.csr" 2>&1
    openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 1 -extfile <(echo "subjectAltName=$2") -out "$1.pem" 2>&1
}
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=ca -days 1 -keyout ca.key -out ca.pem 2>&1
signed api DNS:api.example.com
signed svid URI:spiffe://prod.example/ns/shop/sa/pay
cat >tls.toml <<'EOF'
[listen.tls]
cert_file = "api.pem"
key_file = "api.key"
client_ca_file = "ca.pem"
client_certificate = "optional"

[client_certificates]
identity = "spiffe_id"
EOF
serving '"listening"|listening' accord-gateway serve --config .accord/config/gateway.toml --config tls.toml --listen 127.0.0.1:8280 --admin 127.0.0.1:8281 --internal 127.0.0.1:8282
curl() {
    command curl --connect-to api.example.com:443:127.0.0.1:8280 "$@"
}
#> curl -s --user "gateway:$(cat gateway.secret)" http://127.0.0.1:8090/oauth2/token \
cp .accord/secret/gateway gateway.secret
#> curl -s http://127.0.0.1:8090/oauth2/token --data grant_type=urn:ietf:params:oauth:grant-type:token-exchange \
ID_TOKEN=$(python3 "$ROOT/.ci/guide/issuer.py" token . '{"iss": "https://login.example.com", "aud": "accord", "sub": "5f2a", "groups": ["staff"]}')
accord-auth principal add shop/orders --kind service --role catalog-reader --if-absent
# The file that the kubelet mounts.
python3 "$ROOT/.ci/guide/issuer.py" token . '{"iss": "https://kubernetes.default.svc.cluster.local", "aud": ["accord"], "sub": "system:serviceaccount:shop:orders"}' >mounted
cat() {
    command cat "${@//\/var\/run\/secrets\/accord\/token/mounted}"
}
