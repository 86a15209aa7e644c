#!/usr/bin/env bash
# Kafka's own tools of 4.3.1, by hand: BOOTSTRAP=localhost:9092 ./walk.sh
set -u
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
WALK=tools-4.3
. "$HERE/../lib.sh"

TOOL=("${JVM[@]}" "-Dlog4j2.configurationFile=$HERE/log4j2.properties" -cp "$HERE/target/dependency/*")
TOPICS=("${TOOL[@]}" org.apache.kafka.tools.TopicCommand --bootstrap-server "$BOOTSTRAP")
PRODUCER=("${TOOL[@]}" org.apache.kafka.tools.ConsoleProducer --bootstrap-server "$BOOTSTRAP")
CONSUMER=("${TOOL[@]}" org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server "$BOOTSTRAP")
GROUPS_TOOL=("${TOOL[@]}" org.apache.kafka.tools.consumer.group.ConsumerGroupCommand --bootstrap-server "$BOOTSTRAP")
CONFIGS=("${TOOL[@]}" kafka.admin.ConfigCommand --bootstrap-server "$BOOTSTRAP")
GET_OFFSETS=("${TOOL[@]}" org.apache.kafka.tools.GetOffsetShell --bootstrap-server "$BOOTSTRAP")
DELETE_RECORDS=("${TOOL[@]}" org.apache.kafka.tools.DeleteRecordsCommand --bootstrap-server "$BOOTSTRAP")
LOG_DIRS=("${TOOL[@]}" org.apache.kafka.tools.LogDirsCommand --bootstrap-server "$BOOTSTRAP")
API_VERSIONS=("${TOOL[@]}" org.apache.kafka.tools.BrokerApiVersionsCommand --bootstrap-server "$BOOTSTRAP")
PRODUCER_PERF=("${TOOL[@]}" org.apache.kafka.tools.ProducerPerformance --bootstrap-server "$BOOTSTRAP")
CONSUMER_PERF=("${TOOL[@]}" org.apache.kafka.tools.ConsumerPerformance --bootstrap-server "$BOOTSTRAP" --timeout 30000 --num-records)
DUMP_LOG=("${TOOL[@]}" org.apache.kafka.tools.DumpLogSegments)
READER_PROPERTY=--reader-property
FORMATTER_PROPERTY=--formatter-property

. "$HERE/../tools-walk.sh"

if [ -z "${DATA_DIR:-}" ]; then
  check "cluster id" '^Cluster ID: [A-Za-z0-9_-]{22}$' "${TOOL[@]}" org.apache.kafka.tools.ClusterTool cluster-id --bootstrap-server "$BOOTSTRAP"
  check "cluster endpoints" '(PLAINTEXT|ENDPOINT|localhost|127\.0\.0\.1)' "${TOOL[@]}" org.apache.kafka.tools.ClusterTool list-endpoints --bootstrap-server "$BOOTSTRAP"
fi
finish
