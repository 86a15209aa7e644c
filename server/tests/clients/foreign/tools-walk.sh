# One walk through Kafka's command-line tools, the same for each version: ../tools-*/walk.sh sets the commands and sources this.
# With DATA_DIR set it only dumps the (closed) data directory found there.

topic=topicMakeTest
group=tools-$RUN-${WALK#tools-}

# Every segment and index of a closed data directory is read by Kafka's own dump tool. Folders of deleted topics
# (topic-0.<id>-delete) are left out: nobody closes those.
dump_log() {
  local logs
  mapfile -t logs < <(find "$DATA_DIR" -regex '.*-[0-9]+/[0-9]+\.log' -size +0 | sort | head -n 300)
  verdict "the data directory holds segments" "" [ "${#logs[@]}" -gt 0 ]
  [ "${#logs[@]}" -gt 0 ] || return 0
  check "dump-log reads every segment" 'baseOffset: ' "${DUMP_LOG[@]}" --deep-iteration --files "$(IFS=,; echo "${logs[*]}")"
  verdict "every batch is valid" "$OUT" sh -c "! grep -qiE 'isvalid: false|Found [0-9]+ invalid|Non-?secutive|exception|corrupt' '$OUT'"
  echo "# $(grep -c '^| offset: ' "$OUT") records in ${#logs[@]} segments"
  mapfile -t logs < <(find "$DATA_DIR" -regex '.*-[0-9]+/[0-9]+\.\(time\)?index' -size +0 | sort | head -n 300)
  if [ "${#logs[@]}" -gt 0 ]; then
    check "dump-log reads every index" '^Dumping ' "${DUMP_LOG[@]}" --verify-index-only --files "$(IFS=,; echo "${logs[*]}")"
    verdict "indexes agree with the log" "$OUT" sh -c "! grep -qiE 'mismatch|not found|exception|corrupt' '$OUT'"
  fi
  mapfile -t logs < <(find "$DATA_DIR" -name '*.log' -path '*__consumer_offsets-*' -size +0 | sort)
  # The 2.7 tool does not know the value version (with topic ids) that today's Kafka writes.
  if [ "${#logs[@]}" -gt 0 ] && [ "$WALK" != tools-2.7 ]; then
    check "dump-log decodes committed offsets" 'tools-|"?group"?' "${DUMP_LOG[@]}" --offsets-decoder --files "$(IFS=,; echo "${logs[*]}")"
  fi
}

topics_walk() {
  "${TOPICS[@]}" --delete --if-exists --topic "$topic" > /dev/null 2>&1
  check "create $topic" "^Created topic $topic\.\$" "${TOPICS[@]}" --create --topic "$topic" --partitions 2 --replication-factor 1 --config retention.ms=3600000
  refused "creating it again says that it exists" "Topic '$topic' already exists" "${TOPICS[@]}" --create --topic "$topic" --partitions 2 --replication-factor 1
  check "create with --if-not-exists" '' "${TOPICS[@]}" --create --if-not-exists --topic "$topic" --partitions 2 --replication-factor 1
  refused "three replicas need three brokers" 'Unable to replicate the partition 3 time|[Rr]eplication factor: 3 larger than' "${TOPICS[@]}" --create --topic "replicated-$RUN" --partitions 1 --replication-factor 3
  check "list" "^$topic\$" "${TOPICS[@]}" --list
  check "describe" "Topic: $topic.*PartitionCount: ?2.*ReplicationFactor: ?1.*Configs: .*retention.ms=3600000" "${TOPICS[@]}" --describe --topic "$topic"
  also "describe names leader, replicas and ISR" 'Partition: 1[[:space:]]+Leader: [0-9]+[[:space:]]+Replicas: [0-9]+[[:space:]]+Isr: [0-9]+'
  check "alter to four partitions" '' "${TOPICS[@]}" --alter --topic "$topic" --partitions 4
  check "describe shows the fourth partition" 'Partition: 3[[:space:]]+Leader: [0-9]' "${TOPICS[@]}" --describe --topic "$topic"
  refused "fewer partitions are refused" 'currently has 4 partition' "${TOPICS[@]}" --alter --topic "$topic" --partitions 2
  refused "describing an unknown topic" "Topic 'nowhere-$RUN' does not exist" "${TOPICS[@]}" --describe --topic "nowhere-$RUN"
}

# Console producer and console consumer side by side, both alive while messages pass.
console_walk() {
  local fifo=$LOGS/$WALK.fifo read=$LOGS/$WALK-consumer.log
  rm -f "$fifo"
  mkfifo "$fifo"
  background "$WALK-consumer" "${CONSUMER[@]}" --topic "$topic" --group "$group" --from-beginning
  local consumer=$CHILD
  exec 9<> "$fifo"
  INPUT=$fifo background "$WALK-producer" "${PRODUCER[@]}" --topic "$topic"
  local producer=$CHILD
  echo "this is a message" >&9
  verdict "the console consumer prints what the console producer sends" "$read" wait_for 180 grep -q '^this is a message$' "$read"
  echo "this is another message" >&9
  verdict "and the next one, both still running" "$read" wait_for 60 grep -q '^this is another message$' "$read"

  check "groups: list" "^$group\$" "${GROUPS_TOOL[@]}" --list
  wait_for 15 committed
  check "groups: describe a live group" "$group +$topic +[0-3] +[0-9-]+ +[0-9]+ +[0-9-]+ +[a-z]+-[a-z0-9.-]+-[0-9a-f-]{36} +/" "${GROUPS_TOOL[@]}" --describe --group "$group"
  check "groups: members" "$group +[a-z]+-[a-z0-9.-]+-[0-9a-f-]{36} .*4" "${GROUPS_TOOL[@]}" --describe --members --verbose --group "$group"
  check "groups: state" "$group .*(range|Stable).*Stable +1|$group .*Stable" "${GROUPS_TOOL[@]}" --describe --state --group "$group"
  expect_text "groups: offsets of a live group cannot be reset" 'Stable' "${GROUPS_TOOL[@]}" --reset-offsets --to-earliest --group "$group" --topic "$topic" --execute
  expect_text "groups: a live group cannot be deleted" 'not empty|NonEmpty|non-empty' "${GROUPS_TOOL[@]}" --delete --group "$group"

  exec 9>&-
  verdict "the console producer ends with its input" "$LOGS/$WALK-producer.log" wait_for 60 gone "$producer"
  kill -TERM "$consumer"
  verdict "the console consumer ends on SIGTERM" "$read" wait_for 60 gone "$consumer"
  verdict "it counts its messages" "$read" grep -q 'Processed a total of 2 messages' "$read"
}

committed() {
  "${GROUPS_TOOL[@]}" --describe --group "$group" 2>/dev/null | awk -v t="$topic" '$2 == t { total += $4 } END { exit total != 2 }'
}

# Some refusals are told in the text alone: Kafka's tool exits with 0.
expect_text() {
  local name=$1 pattern=$2
  shift 2
  OUT=$LOGS/$WALK.out
  timeout -k 5 90 "$@" > "$OUT" 2>&1 < /dev/null
  verdict "$name" "$OUT" grep -qE -- "$pattern" "$OUT"
}

groups_walk() {
  check "groups: no active members, nothing lags" "$group +$topic +[0-3] +[0-9]+ +[0-9]+ +0 +- " "${GROUPS_TOOL[@]}" --describe --group "$group"
  check "groups: reset dry run" "$group +$topic +[0-3] +0" "${GROUPS_TOOL[@]}" --reset-offsets --to-earliest --group "$group" --topic "$topic" --dry-run
  check "groups: the dry run changed nothing" "$group +$topic +[0-3] +[0-9]+ +[0-9]+ +0 +- " "${GROUPS_TOOL[@]}" --describe --group "$group"
  check "groups: reset to earliest" "$group +$topic +[0-3] +0" "${GROUPS_TOOL[@]}" --reset-offsets --to-earliest --group "$group" --topic "$topic" --execute
  check "the group reads everything again" '^this is another message$' "${CONSUMER[@]}" --topic "$topic" --group "$group" --max-messages 2 --timeout-ms 30000
  also "the first message too" '^this is a message$'
  check "groups: shift by" "$group +$topic" "${GROUPS_TOOL[@]}" --reset-offsets --shift-by -1 --group "$group" --topic "$topic" --execute
  check "groups: reset by time" "$group +$topic" "${GROUPS_TOOL[@]}" --reset-offsets --to-datetime 2020-01-01T00:00:00.000 --group "$group" --all-topics --execute
  check "groups: delete offsets of a topic" "$topic +0 +Successful" "${GROUPS_TOOL[@]}" --delete-offsets --group "$group" --topic "$topic"
  check "groups: delete" "Deletion of requested consumer groups \('$group'\) was successful" "${GROUPS_TOOL[@]}" --delete --group "$group"
  expect_text "groups: the deleted group is gone" "does not exist|GroupIdNotFound|not found" "${GROUPS_TOOL[@]}" --describe --group "$group"
}

# Keys, codecs and the consumer's printing, over a topic of one partition.
records_walk() {
  local name=records-$RUN-${WALK#tools-}
  check "create with more settings" "^Created topic $name\.\$" "${TOPICS[@]}" --create --topic "$name" --partitions 1 --replication-factor 1 --config cleanup.policy=compact --config segment.bytes=1048576
  local codec
  for codec in none gzip snappy lz4 zstd; do
    if ! printf 'key-%s:value of %s\n' $codec $codec | timeout 60 "${PRODUCER[@]}" --topic "$name" --compression-codec $codec \
      $READER_PROPERTY parse.key=true $READER_PROPERTY key.separator=: > "$LOGS/$WALK.out" 2>&1; then
      not_ok "console producer with $codec" "$LOGS/$WALK.out"
    fi
  done
  check "console consumer prints keys and times" '^CreateTime:[0-9]+.*key-zstd=value of zstd$' "${CONSUMER[@]}" --topic "$name" --partition 0 --offset earliest --max-messages 5 --timeout-ms 30000 \
    $FORMATTER_PROPERTY print.key=true $FORMATTER_PROPERTY key.separator== $FORMATTER_PROPERTY print.timestamp=true
  for codec in none gzip snappy lz4; do also "record compressed with $codec" "key-$codec=value of $codec\$"; done
  check "console consumer from offset 3" '^value of lz4$' "${CONSUMER[@]}" --topic "$name" --partition 0 --offset 3 --max-messages 1 --timeout-ms 30000
  expect_text "console consumer gives up after --timeout-ms" 'Processed a total of 0 messages' "${CONSUMER[@]}" --topic "$name" --partition 0 --offset latest --timeout-ms 2000
  check "get-offsets: latest" "^$name:0:5\$" "${GET_OFFSETS[@]}" --topic "$name" --time -1
  check "get-offsets: earliest" "^$name:0:0\$" "${GET_OFFSETS[@]}" --topic "$name" --time -2

  check "configs: describe" 'cleanup.policy=compact' "${CONFIGS[@]}" --entity-type topics --entity-name "$name" --describe
  check "configs: describe all" 'max.message.bytes=[0-9]+ sensitive=false' "${CONFIGS[@]}" --entity-type topics --entity-name "$name" --describe --all
  check "configs: alter" 'Completed updating config for' "${CONFIGS[@]}" --entity-type topics --entity-name "$name" --alter --add-config cleanup.policy=delete,max.message.bytes=2000000
  check "configs: the new value is there" 'max.message.bytes=2000000' "${CONFIGS[@]}" --entity-type topics --entity-name "$name" --describe
  check "configs: delete" 'Completed updating config for' "${CONFIGS[@]}" --entity-type topics --entity-name "$name" --alter --delete-config max.message.bytes
  check "configs: back to the default" 'max.message.bytes=1048588' "${CONFIGS[@]}" --entity-type topics --entity-name "$name" --describe --all
  refused "configs: a value that cannot be" 'Invalid value|InvalidConfigurationException|InvalidRequestException' "${CONFIGS[@]}" --entity-type topics --entity-name "$name" --alter --add-config retention.ms=soon
  check "configs: describe the broker" 'log.retention.hours=[0-9]+' "${CONFIGS[@]}" --entity-type brokers --entity-name "$(broker_id)" --describe --all

  printf '{"version": 1, "partitions": [{"topic": "%s", "partition": 0, "offset": 2}]}' "$name" > "$LOGS/$WALK.json"
  check "delete-records" 'low_watermark: 2' "${DELETE_RECORDS[@]}" --offset-json-file "$LOGS/$WALK.json"
  check "get-offsets: earliest has moved" "^$name:0:2\$" "${GET_OFFSETS[@]}" --topic "$name" --time -2
  check "log-dirs" "\"partition\":\"$name-0\",\"size\":[1-9]" "${LOG_DIRS[@]}" --describe --topic-list "$name"
  check "broker-api-versions" 'Produce\(0\): 0 to 1[0-9]' "${API_VERSIONS[@]}"
  check "delete $name" '' "${TOPICS[@]}" --delete --topic "$name"
}

broker_id() {
  "${API_VERSIONS[@]}" 2>/dev/null | sed -nE 's/.*\(id: ([0-9]+) .*/\1/p' | head -n 1
}

perf_walk() {
  local name=perf-$RUN-${WALK#tools-}
  "${TOPICS[@]}" --create --topic "$name" --partitions 4 --replication-factor 1 > /dev/null 2>&1
  check "producer-perf-test" '^20000 records sent, .*MB/sec' "${PRODUCER_PERF[@]}" --topic "$name" --num-records 20000 --record-size 1024 --throughput -1
  check "consumer-perf-test" '^[0-9]{4}-[0-9-]+ [0-9:]+, .*, 2[0-9]{4}, ' "${CONSUMER_PERF[@]}" 20000 --topic "$name" --group "perf-$group"
}

# A compacted topic: what the broker makes of it is dumped with the rest when it has stopped.
compaction_walk() {
  local name=table-$RUN-${WALK#tools-} round
  check "create a compacted topic" "^Created topic $name" "${TOPICS[@]}" --create --topic "$name" --partitions 1 --replication-factor 1 \
    --config cleanup.policy=compact --config segment.ms=100 --config min.cleanable.dirty.ratio=0.01
  for round in 1 2 3; do
    seq 40 | sed "s/.*/key&:value of round $round/" | "${PRODUCER[@]}" --topic "$name" "$READER_PROPERTY" parse.key=true \
      "$READER_PROPERTY" key.separator=: > "$LOGS/$WALK-table.log" 2>&1
  done
  verdict "of each key only the last closed and the open value are left" "$LOGS/$WALK-table.read" wait_for 60 compacted "$name"
}

compacted() {
  "${CONSUMER[@]}" --topic "$1" --partition 0 --offset earliest --timeout-ms 5000 > "$LOGS/$WALK-table.read" 2>&1
  [ "$(grep -c '^value of round 3$' "$LOGS/$WALK-table.read")" -eq 40 ] &&
    ! grep -q '^value of round 1$' "$LOGS/$WALK-table.read"
}

if [ -n "${DATA_DIR:-}" ]; then
  dump_log
else
  topics_walk
  console_walk
  groups_walk
  records_walk
  perf_walk
  compaction_walk
  check "delete $topic" '' "${TOPICS[@]}" --delete --topic "$topic"
  check "the deleted topic is gone" '' "${TOPICS[@]}" --list
  verdict "list no longer names it" "$OUT" sh -c "! grep -q '^$topic\$' '$OUT'"
fi
