#!/usr/bin/env bash
# Kafka's own tools of 2.7.0, by hand: BOOTSTRAP=localhost:9092 ./walk.sh
set -u
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
WALK=tools-2.7
. "$HERE/../lib.sh"

TOOL=("${JVM[@]}" "-Dlog4j.configuration=file:$HERE/log4j.properties" -cp "$HERE/target/dependency/*")
TOPICS=("${TOOL[@]}" kafka.admin.TopicCommand --bootstrap-server "$BOOTSTRAP")
PRODUCER=("${TOOL[@]}" kafka.tools.ConsoleProducer --broker-list "$BOOTSTRAP")
CONSUMER=("${TOOL[@]}" kafka.tools.ConsoleConsumer --bootstrap-server "$BOOTSTRAP")
GROUPS_TOOL=("${TOOL[@]}" kafka.admin.ConsumerGroupCommand --bootstrap-server "$BOOTSTRAP")
CONFIGS=("${TOOL[@]}" kafka.admin.ConfigCommand --bootstrap-server "$BOOTSTRAP")
GET_OFFSETS=("${TOOL[@]}" kafka.tools.GetOffsetShell --broker-list "$BOOTSTRAP")
DELETE_RECORDS=("${TOOL[@]}" kafka.admin.DeleteRecordsCommand --bootstrap-server "$BOOTSTRAP")
LOG_DIRS=("${TOOL[@]}" kafka.admin.LogDirsCommand --bootstrap-server "$BOOTSTRAP")
API_VERSIONS=("${TOOL[@]}" kafka.admin.BrokerApiVersionsCommand --bootstrap-server "$BOOTSTRAP")
PRODUCER_PERF=("${TOOL[@]}" org.apache.kafka.tools.ProducerPerformance --producer-props "bootstrap.servers=$BOOTSTRAP")
CONSUMER_PERF=("${TOOL[@]}" kafka.tools.ConsumerPerformance --broker-list "$BOOTSTRAP" --timeout 30000 --messages)
DUMP_LOG=("${TOOL[@]}" kafka.tools.DumpLogSegments)
READER_PROPERTY=--property
FORMATTER_PROPERTY=--property

. "$HERE/../tools-walk.sh"
finish
