# A database with the table, and whose the tables are; `db` is a server of its own here.
PROGRAMS=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
SHOP=$LOGS/shop
mkdir "$SHOP"
chmod 711 "$LOGS"
AS=(env -C "$SHOP")
if [ "$(id -u)" = 0 ]; then
    # PostgreSQL does not run as root.
    AS=(env -C "$SHOP" runuser --user postgres --)
    chown postgres "$SHOP"
fi
"${AS[@]}" "$PROGRAMS/initdb" --auth=trust --no-sync --username=owner -D "$SHOP/data" >initdb.log
serving 'ready to accept connections' "${AS[@]}" "$PROGRAMS/postgres" -D "$SHOP/data" -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c port="$((BASE + 940))"
PSQL=("$PROGRAMS/psql" -q -h 127.0.0.1 -p "$((BASE + 940))" -U owner)
"${PSQL[@]}" -d postgres -c 'CREATE DATABASE shop'
"${PSQL[@]}" -d shop -c 'CREATE USER accord_reader' -c 'CREATE TABLE products (id text PRIMARY KEY)'
# What the page has of its configuration, without the namespace.
cat >cache.toml <<'EOF'
[[outbox]]
name = "shop"
url = "postgres://accord_reader@db/shop?sslmode=verify-full"

[[outbox.table]]
name = "public.products"
tags = ["product/{id}"]
EOF
accord-cache() {
    command accord-cache "${@/@db\//@127.0.0.1:$((BASE + 940))/}"
}
