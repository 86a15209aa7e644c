#!/usr/bin/env bash
# Resolves and builds what the walks need, by name, through Maven (npm, pip and go for theirs): build.sh [WALK...].
# Without arguments all that this machine has the tools for.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")"
MVN=(mvn -q -B -Dstyle.color=never)
if [ $# -eq 0 ]; then
  set -- tools-2.7 tools-4.3 clients-2.5 clients-4.3 spring-guide spring-saga
  if command -v npm > /dev/null; then set -- "$@" node; fi
  if command -v python3 > /dev/null; then set -- "$@" python; fi
  # Go 1.21 and later fetch the toolchain that go.mod names; older ones cannot read it.
  if [[ "$(go version 2> /dev/null || true)" =~ go1\.([0-9]+) ]] && [ "${BASH_REMATCH[1]}" -ge 21 ]; then
    set -- "$@" go
  fi
fi

# retry COMMAND...: three times in all, because a registry may fail once.
retry() { "$@" || { sleep 5 && "$@"; } || { sleep 20 && "$@"; }; }

# inside FOLDER COMMAND...
inside() { (cd "$1" && "${@:2}"); }

for walk in "$@"; do
  case $walk in
    tools-*) retry inside "$walk" "${MVN[@]}" dependency:copy-dependencies ;;
    clients-*) retry inside clients "${MVN[@]}" package -P "${walk#clients-}" ;;
    spring-*) retry inside "$walk" "${MVN[@]}" package ;;
    node)
      mkdir -p node/target
      cp node/package.json node/target
      retry inside node/target npm install --no-audit --no-fund --silent
      ;;
    python)
      python3 -m venv python/target/venv
      retry python/target/venv/bin/pip install -q -r python/requirements.txt
      ;;
    go) retry inside go go build -o target/walk . ;;
    *) echo "build.sh: no walk named $walk" >&2; exit 2 ;;
  esac
done
