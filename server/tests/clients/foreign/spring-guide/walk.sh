#!/usr/bin/env bash
# The guide's Spring Boot application, two services with groups of their own. By hand: BOOTSTRAP=localhost:9092 ./walk.sh,
# after mvn -q -B package. Without BOOTSTRAP it looks for a broker on ports 9092, 9093 and 9094 of localhost.
set -u
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
WALK=spring-guide
GUIDE_BOOTSTRAP=${BOOTSTRAP:-localhost:9092,localhost:9093,localhost:9094}
. "$HERE/../lib.sh"
# The guide lists three brokers; two of these answer nobody here, and the client must not mind.
case $GUIDE_BOOTSTRAP in
  *,*) ;;
  *) GUIDE_BOOTSTRAP=127.0.0.1:$(free_port),$GUIDE_BOOTSTRAP,127.0.0.1:$(free_port) ;;
esac
export BOOTSTRAP=$GUIDE_BOOTSTRAP

ms2=$(free_port) ms3=$(free_port)
HTTP_PORT=$ms2 background guide-ms2 "${JVM[@]}" -jar "$HERE/target/spring-guide.jar"
HTTP_PORT=$ms3 background guide-ms3 "${JVM[@]}" -jar "$HERE/target/spring-guide.jar" --spring.profiles.active=ms3
started() { grep -q 'Started Application' "$LOGS/guide-$1.log"; }
publish() { curl -sS --max-time 30 --noproxy '*' -o /dev/null -w '%{http_code}' --data-urlencode "message=$2" "http://127.0.0.1:$1/kafka/publish"; }
consumed() { grep -qF "group_id_$1 consumed message -> $2" "$LOGS/guide-$1.log"; }
for service in ms2 ms3; do
  verdict "service $service starts" "$LOGS/guide-$service.log" wait_for 180 started "$service"
done
for n in 1 2 3; do
  verdict "POST /kafka/publish answers 200 ($n)" "$LOGS/guide-ms2.log" [ "$(publish "$ms2" "message $n of $RUN")" = 200 ]
done
for service in ms2 ms3; do
  for n in 1 2 3; do
    verdict "service $service consumes message $n" "$LOGS/guide-$service.log" wait_for 40 consumed "$service" "message $n of $RUN"
  done
done
verdict "the other service publishes too" "$LOGS/guide-ms3.log" [ "$(publish "$ms3" "grüße of $RUN")" = 200 ]
verdict "and both hear it" "$LOGS/guide-ms2.log" wait_for 30 consumed ms2 "grüße of $RUN"
verdict "each in its own group" "$LOGS/guide-ms3.log" wait_for 30 consumed ms3 "grüße of $RUN"

# A service that comes back goes on where its group was.
kill -TERM -- "-${CHILDREN[1]}" 2>/dev/null || kill -TERM "${CHILDREN[1]}"
verdict "service ms3 stops" "$LOGS/guide-ms3.log" wait_for 60 gone "${CHILDREN[1]}"
verdict "a message while it is away" "$LOGS/guide-ms2.log" [ "$(publish "$ms2" "while away of $RUN")" = 200 ]
mv "$LOGS/guide-ms3.log" "$LOGS/guide-ms3-first.log"
HTTP_PORT=$ms3 background guide-ms3 "${JVM[@]}" -jar "$HERE/target/spring-guide.jar" --spring.profiles.active=ms3
verdict "the returned service gets it" "$LOGS/guide-ms3.log" wait_for 180 consumed ms3 "while away of $RUN"
verdict "and nothing twice" "$LOGS/guide-ms3.log" sh -c "! grep -q 'message 1 of $RUN' '$LOGS/guide-ms3.log'"
finish
