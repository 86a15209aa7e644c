#!/usr/bin/env bash
# run.sh BOOTSTRAP [WALK...]: every foreign client against one broker, TAP lines, "N passed, N failed" at the end.
# Walks: tools-2.7 tools-4.3 clients-2.5 clients-4.3 spring-guide spring-saga node python go; without names all that are built.
#        dump-2.7 dump-4.3 read the segments of a cleanly stopped broker in DATA_DIR and need no broker (BOOTSTRAP: -).
# build.sh comes first. Each walk has a bounded time; logs are in LOGS (a temporary directory, removed when all is well).
set -u
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $# -ge 1 ] || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
export BOOTSTRAP=$1
shift
if [ $# -eq 0 ]; then
  set -- tools-2.7 tools-4.3 clients-2.5 clients-4.3 spring-guide spring-saga
  for name in node python go; do
    if [ -e "$HERE/$name/target" ]; then set -- "$@" "$name"; fi
  done
fi
KEEP=${LOGS:+yes}
export LOGS=${LOGS:-$(mktemp -d)}
mkdir -p "$LOGS"
RUN=$(date +%s)
export RUN
TAP=$LOGS/tap
: > "$TAP"

# walk SECONDS COMMAND...: a walk that dies or hangs without saying so counts as a failure.
walk() {
  local seconds=$1 code=0
  shift
  timeout -k 20 "$seconds" "$@" 2>> "$LOGS/$name.err" | tee "$LOGS/$name.tap" || true
  code=${PIPESTATUS[0]}
  cat "$LOGS/$name.tap" >> "$TAP"
  if [ "$code" -ne 0 ] && ! grep -q '^not ok' "$LOGS/$name.tap"; then
    echo "not ok - $name: ended with exit code $code after at most $seconds s" | tee -a "$TAP"
    tail -n 20 "$LOGS/$name.err" | sed 's/^/# /'
  fi
}

for name in "$@"; do
  case $name in
    tools-*) walk 900 "$HERE/$name/walk.sh" ;;
    clients-*) walk 900 "$HERE/clients/walk.sh" "${name#clients-}" ;;
    spring-*) walk 900 "$HERE/$name/walk.sh" ;;
    dump-*) walk 600 env "DATA_DIR=${DATA_DIR:?a closed data directory}" "$HERE/tools-${name#dump-}/walk.sh" ;;
    node) walk 300 env "NODE_PATH=$HERE/node/target/node_modules" node "$HERE/node/walk.js" ;;
    python) walk 300 "$HERE/python/target/venv/bin/python" "$HERE/python/walk.py" ;;
    go) walk 300 "$HERE/go/target/walk" ;;
    *) echo "not ok - run: no walk named $name" | tee -a "$TAP" ;;
  esac
done

passed=$(grep -c '^ok' "$TAP")
failed=$(grep -c '^not ok' "$TAP")
if [ "$failed" -gt 0 ]; then
  grep '^not ok' "$TAP" | sed 's/^/# /'
  echo "# logs: $LOGS"
elif [ -z "$KEEP" ]; then
  rm -rf "$LOGS"
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
