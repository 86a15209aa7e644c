#!/usr/bin/env bash
# kafka-clients of one version, by hand: BOOTSTRAP=localhost:9092 ./walk.sh 2.5   (or 4.3), after mvn -q -B package -P 2.5
set -u
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
VERSION=${1:-4.3}
exec java -XX:TieredStopAtLevel=1 -Xshare:auto -Xmx512m -Dwalk.version="$VERSION" -Dorg.slf4j.simpleLogger.defaultLogLevel=error \
  -cp "$HERE/target/$VERSION/clients-1.jar:$HERE/target/$VERSION/dependency/*" Walk
