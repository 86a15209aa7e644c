# Shared by the walks: TAP lines, bounded waits, children that die with the walk. Sourced, never run.
# Expects BOOTSTRAP; LOGS is where output goes (a temporary directory of the walk's own unless set).

BOOTSTRAP=${BOOTSTRAP:-localhost:9092}
LOGS=${LOGS:-$(mktemp -d)}
mkdir -p "$LOGS"
RUN=${RUN:-$(date +%s)}       # makes topics and groups of this run distinct from those of the last
# What a JVM prints is looked through for words that are not ASCII; up to 17 it goes by the locale.
export LC_ALL=C.UTF-8
JVM=(java -XX:TieredStopAtLevel=1 -Xshare:auto -Xmx256m -Dfile.encoding=UTF-8)
PASSED=0
FAILED=0
CHILDREN=()

# Children are process groups of their own (setsid), so that a shell wrapped around a JVM takes it along.
stop_children() {
  local child
  for child in "${CHILDREN[@]}"; do kill -TERM -- "-$child" 2>/dev/null || kill -TERM "$child" 2>/dev/null; done
  for child in "${CHILDREN[@]}"; do
    wait_for 10 gone "$child" || { kill -KILL -- "-$child" 2>/dev/null; kill -KILL "$child" 2>/dev/null; }
  done
  CHILDREN=()
} 2>/dev/null
trap stop_children EXIT
trap 'exit 130' INT TERM

gone() { ! kill -0 "$1" 2>/dev/null; }

# wait_for SECONDS COMMAND...: until the command succeeds, at most so long.
wait_for() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.1
  done
}

ok() { PASSED=$((PASSED + 1)); echo "ok - $WALK: $1"; }

# not_ok NAME [FILE]: the end of the file is shown, so that a failure explains itself.
not_ok() {
  FAILED=$((FAILED + 1))
  echo "not ok - $WALK: $1"
  if [ -n "${2:-}" ] && [ -f "$2" ]; then tail -n 40 "$2" | sed 's/^/# /'; fi
}

# verdict NAME FILE COMMAND...: ok if the command succeeds.
verdict() {
  local name=$1 file=$2
  shift 2
  if "$@"; then ok "$name"; else not_ok "$name" "$file"; fi
}

# check NAME PATTERN COMMAND...: exit code 0 and a line that matches ('' asks for the exit code alone).
check() { expect_exit 0 "$@"; }

# refused NAME PATTERN COMMAND...: exit code other than 0 and a line that matches.
refused() { expect_exit 1 "$@"; }

expect_exit() {
  local expected=$1 name=$2 pattern=$3 code=0
  shift 3
  OUT=$LOGS/$WALK.out
  timeout -k 5 90 "$@" > "$OUT" 2>&1 < /dev/null || code=$?
  { echo "+ $*"; cat "$OUT"; echo "= $code"; } >> "$LOGS/$WALK.log"
  [ "$code" -eq 0 ] || [ "$code" -ge 124 ] || code=1
  if [ "$code" -ne "$expected" ]; then
    echo "exit code $code, expected $expected: $*" >> "$OUT"
    not_ok "$name" "$OUT"
  elif [ -n "$pattern" ] && ! grep -qE -- "$pattern" "$OUT"; then
    echo "no line matches: $pattern" >> "$OUT"
    not_ok "$name" "$OUT"
  else
    ok "$name"
  fi
}

# also NAME PATTERN: a further line of the last command's output.
also() { verdict "$1" "$OUT" grep -qE -- "$2" "$OUT"; }

# background NAME COMMAND...: started with its output in LOGS/NAME.log and its input from INPUT, if set; its process id is
# left in CHILD. Descriptor 9 is the writing end of somebody's input: a child that kept it would keep that input open.
background() {
  local log=$LOGS/$1.log
  shift
  setsid "$@" < "${INPUT:-/dev/null}" > "$log" 2>&1 9>&- &
  CHILD=$!
  CHILDREN+=("$CHILD")
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# The last line of a walk; its exit code is the walk's.
finish() {
  echo "# $WALK: $PASSED passed, $FAILED failed in ${SECONDS} s"
  [ "$FAILED" -eq 0 ]
}
