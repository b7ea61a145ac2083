# Sourced before what a page shows. What serves until it is stopped has a terminal of its own: it is started here, waited for, and
# stopped when the page ends.
BASE=$1
LOGS=$(mktemp -d)
# What each says, by its process id.
declare -A SAYS=()
UP=
STARTED=0

# serving PATTERN COMMAND...: goes on once a line of what it says has PATTERN.
serving() {
    local pattern=$1 line from number=$((++STARTED))
    shift
    if [ "$1 ${2-}" = "cargo xtask" ]; then
        # Its reader ends one `up` before the next.
        [ -z "$UP" ] || ended "$UP"
        # What it keeps, and where it is unless the page says so.
        set -- "$@" --data "target/pages/up-$BASE"
        [[ " $* " == *" --ports "* ]] || set -- "$@" --ports "$BASE"
    fi
    # Opened for reading and writing: a terminal in which nobody types anything.
    mkfifo "$LOGS/$number.in"
    exec {from}< <(exec "$@" 2>&1 0<>"$LOGS/$number.in")
    SAYS[$!]=$from
    [ "$1 ${2-}" != "cargo xtask" ] || UP=$!
    while IFS= read -r line <&"$from"; do
        printf '%s\n' "$line" >>"$LOGS/$number"
        if [[ $line =~ $pattern ]]; then
            # What `up` says is to be pasted first.
            eval "$(grep -E '^ +export [A-Z]+=[A-Za-z0-9._-]+$' "$LOGS/$number" || true)"
            return
        fi
    done
    echo "$* has ended:" >&2
    tail -n 20 "$LOGS/$number" >&2
    return 1
}

# ended PID: stops it, and waits until it says nothing any more.
ended() {
    [ -n "${SAYS[$1]-}" ] || return 0
    kill "$1" 2>/dev/null || true
    cat <&"${SAYS[$1]}" >/dev/null
    unset "SAYS[$1]"
}

all_ended() {
    local pid
    for pid in "${!SAYS[@]}"; do
        ended "$pid"
    done
    rm -rf "$LOGS"
}
trap all_ended EXIT
