// Records the request and response bytes of every API and version that Millrace serves, taken from a real Apache Kafka.
// Requests are composed with Kafka's own message classes; every response must survive Kafka's own decode and re-encode
// byte for byte before it is written down. How to run it: README.md beside this file.

import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.IntFunction;

import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.UnsupportedVersionException;
import org.apache.kafka.common.message.*;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.MessageUtil;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.SimpleRecord;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;

public class Capture {
    static final long TIME = 1_700_000_000_000L;
    static final String CLIENT = "golden";

    final String host;
    final int port;
    final Map<String, StringBuilder> files = new TreeMap<>();
    final Map<String, Integer> skipped = new TreeMap<>();
    Connection main;
    int exchanges;

    /** One connection; requests may be pipelined, answers come in order. */
    class Connection {
        final Socket socket;
        final DataInputStream in;
        final DataOutputStream out;
        int correlation = 1;

        Connection() throws IOException {
            socket = new Socket(host, port);
            socket.setSoTimeout(20_000);
            in = new DataInputStream(socket.getInputStream());
            out = new DataOutputStream(socket.getOutputStream());
        }

        Pending send(ApiKeys api, int version, String name, ApiMessage body) throws IOException {
            short v = (short) version;
            RequestHeaderData header = new RequestHeaderData().setRequestApiKey(api.id).setRequestApiVersion(v)
                .setCorrelationId(correlation++).setClientId(CLIENT);
            byte[] head = bytes(header, api.requestHeaderVersion(v));
            byte[] tail = bytes(body, v);
            byte[] request = new byte[head.length + tail.length];
            System.arraycopy(head, 0, request, 0, head.length);
            System.arraycopy(tail, 0, request, head.length, tail.length);
            sendRaw(request);
            return new Pending(this, api, v, name, request);
        }

        void sendRaw(byte[] request) throws IOException {
            out.writeInt(request.length);
            out.write(request);
            out.flush();
        }

        byte[] receive() throws IOException {
            byte[] response = new byte[in.readInt()];
            in.readFully(response);
            return response;
        }
    }

    record Pending(Connection connection, ApiKeys api, short version, String name, byte[] request) { }

    static byte[] bytes(ApiMessage message, short version) {
        ByteBuffer buffer = MessageUtil.toByteBufferAccessor(message, version).buffer();
        byte[] out = new byte[buffer.remaining()];
        buffer.get(out);
        return out;
    }

    Capture(String host, int port) throws IOException {
        this.host = host;
        this.port = port;
        main = new Connection();
    }

    @SuppressWarnings("unchecked")
    <T extends ApiMessage> T finish(Pending p) throws IOException {
        byte[] response = p.connection.receive();
        ByteBufferAccessor reader = new ByteBufferAccessor(ByteBuffer.wrap(response));
        short headerVersion = p.api.responseHeaderVersion(p.version);
        ResponseHeaderData header = new ResponseHeaderData(reader, headerVersion);
        ApiMessage body = p.api.messageType.newResponse();
        body.read(reader, p.version);
        byte[] head = bytes(header, headerVersion);
        byte[] tail = bytes(body, p.version);
        byte[] again = new byte[head.length + tail.length];
        System.arraycopy(head, 0, again, 0, head.length);
        System.arraycopy(tail, 0, again, head.length, tail.length);
        if (!java.util.Arrays.equals(again, response)) {
            throw new IllegalStateException(p.api + " v" + p.version + " " + p.name + ": Kafka re-encodes this answer differently");
        }
        write(p.api, p.version, p.name, p.request, response);
        if (System.getenv("VERBOSE") != null) {
            System.err.println(p.api + " v" + p.version + " " + p.name + " " + body);
        }
        return (T) body;
    }

    void write(ApiKeys api, int version, String name, byte[] request, byte[] response) {
        HexFormat hex = HexFormat.of();
        files.computeIfAbsent(api.name, n -> new StringBuilder()).append(version).append(' ').append(name).append(' ')
            .append(hex.formatHex(request)).append(' ').append(response == null ? "-" : hex.formatHex(response)).append('\n');
        exchanges++;
    }

    <T extends ApiMessage> T one(ApiKeys api, int version, String name, ApiMessage body) throws IOException {
        return finish(main.send(api, version, name, body));
    }

    /** The same case in every version of the API that can express it. */
    void all(ApiKeys api, String name, IntFunction<ApiMessage> body) throws IOException {
        for (int v = api.messageType.lowestSupportedVersion(); v <= api.messageType.highestSupportedVersion(false); v++) {
            ApiMessage message = body.apply(v);
            if (message == null) continue;
            try {
                bytes(message, (short) v);
            } catch (UnsupportedVersionException e) {
                skipped.merge(api.name + " " + name, 1, Integer::sum);
                continue;
            }
            one(api, v, name, message);
        }
    }

    static byte[] utf8(String s) {
        return s == null ? null : s.getBytes(StandardCharsets.UTF_8);
    }

    static SimpleRecord record(int i, String key, String value, Header... headers) {
        return new SimpleRecord(TIME + i * 1000L, utf8(key), utf8(value), headers);
    }

    static MemoryRecords batch(Compression compression, SimpleRecord... records) {
        return MemoryRecords.withRecords((byte) 2, 0L, compression, TimestampType.CREATE_TIME, -1L, (short) -1, -1, -1, false, records);
    }

    static MemoryRecords plain(String value) {
        return batch(Compression.NONE, record(0, "key", value));
    }

    ProduceRequestData produce(String topic, Uuid id, int partition, int acks, MemoryRecords records) {
        var data = new ProduceRequestData().setAcks((short) acks).setTimeoutMs(5000);
        data.topicData().add(new ProduceRequestData.TopicProduceData().setName(topic).setTopicId(id).setPartitionData(List.of(
            new ProduceRequestData.PartitionProduceData().setIndex(partition).setRecords(records))));
        return data;
    }

    FetchRequestData fetch(String topic, Uuid id, int partition, long offset, int wait) {
        return new FetchRequestData().setMaxWaitMs(wait).setMinBytes(1).setMaxBytes(1 << 20).setIsolationLevel((byte) 0)
            .setSessionId(0).setSessionEpoch(-1).setTopics(List.of(new FetchRequestData.FetchTopic().setTopic(topic).setTopicId(id)
                .setPartitions(List.of(new FetchRequestData.FetchPartition().setPartition(partition).setFetchOffset(offset)
                    .setCurrentLeaderEpoch(-1).setLastFetchedEpoch(-1).setLogStartOffset(-1).setPartitionMaxBytes(1 << 18)))));
    }

    static CreateTopicsRequestData.CreatableTopic topic(String name, int partitions, String... configs) {
        var topic = new CreateTopicsRequestData.CreatableTopic().setName(name).setNumPartitions(partitions).setReplicationFactor((short) 1);
        for (int i = 0; i < configs.length; i += 2) {
            topic.configs().add(new CreateTopicsRequestData.CreatableTopicConfig().setName(configs[i]).setValue(configs[i + 1]));
        }
        return topic;
    }

    static CreateTopicsRequestData create(CreateTopicsRequestData.CreatableTopic... topics) {
        var data = new CreateTopicsRequestData().setTimeoutMs(10_000);
        for (var t : topics) data.topics().add(t);
        return data;
    }

    Uuid topicId(String name) throws Exception {
        for (int i = 0; i < 50; i++) {
            Pending p = main.send(ApiKeys.METADATA, 12, "setup", new MetadataRequestData()
                .setTopics(List.of(new MetadataRequestData.MetadataRequestTopic().setName(name))).setAllowAutoTopicCreation(false));
            var answer = new MetadataResponseData();
            ByteBufferAccessor reader = new ByteBufferAccessor(ByteBuffer.wrap(p.connection.receive()));
            new ResponseHeaderData(reader, (short) 1);
            answer.read(reader, (short) 12);
            var found = answer.topics().find(name);
            if (found != null && found.errorCode() == 0 && found.partitions().stream().allMatch(x -> x.leaderId() >= 0)) return found.topicId();
            Thread.sleep(100);
        }
        throw new IllegalStateException("topic " + name + " did not appear");
    }

    void run() throws Exception {
        apiVersions();
        createTopics();
        Uuid orders = topicId("orders");
        Uuid compacted = topicId("compacted");
        Uuid codecs = topicId("codecs");
        produce(orders, compacted, codecs);
        fetch(orders, codecs);
        listOffsets();
        metadata(orders);
        coordinators();
        groups(orders);
        topicAdmin();
        configs();
        cluster();
        security();
    }

    void apiVersions() throws Exception {
        all(ApiKeys.API_VERSIONS, "plain", v -> new ApiVersionsRequestData().setClientSoftwareName("golden").setClientSoftwareVersion("1.0"));
        one(ApiKeys.API_VERSIONS, 3, "bad-software-name", new ApiVersionsRequestData().setClientSoftwareName("").setClientSoftwareVersion(""));
        // A version from the future: header v2, answered in the body of version 0 with error 35.
        byte[] future = bytes(new RequestHeaderData().setRequestApiKey((short) 18).setRequestApiVersion((short) 99).setCorrelationId(99)
            .setClientId(CLIENT), (short) 2);
        main.sendRaw(future);
        write(ApiKeys.API_VERSIONS, 99, "from-the-future", future, main.receive());
    }

    void createTopics() throws Exception {
        all(ApiKeys.CREATE_TOPICS, "create", v -> create(topic("created-v" + v, 3, "retention.ms", "60000", "cleanup.policy", "delete")));
        all(ApiKeys.CREATE_TOPICS, "defaults", v -> create(topic("defaults-v" + v, -1).setReplicationFactor((short) -1)));
        all(ApiKeys.CREATE_TOPICS, "manual-assignment", v -> {
            var t = topic("assigned-v" + v, -1).setReplicationFactor((short) -1);
            for (int i = 0; i < 2; i++) {
                t.assignments().add(new CreateTopicsRequestData.CreatableReplicaAssignment().setPartitionIndex(i).setBrokerIds(List.of(1)));
            }
            return create(t);
        });
        all(ApiKeys.CREATE_TOPICS, "validate-only", v -> create(topic("validated-v" + v, 2)).setValidateOnly(true));
        topicId("created-v7");
        all(ApiKeys.CREATE_TOPICS, "errors", v -> create(topic("created-v7", 1), topic("bad name!", 1),
            topic("too-many-replicas", 1).setReplicationFactor((short) 3), topic("no-partitions", 0), topic("no-replicas", 1).setReplicationFactor((short) 0),
            topic("bad-config", 1, "retention.ms", "soon"), topic("unknown-config", 1, "no.such.config", "1")));
        one(ApiKeys.CREATE_TOPICS, 7, "setup", create(topic("orders", 2), topic("codecs", 1), topic("compacted", 1, "cleanup.policy", "compact"),
            topic("small", 1, "max.message.bytes", "200"), topic("log-append-time", 1, "message.timestamp.type", "LogAppendTime")));
        for (String name : List.of("orders", "codecs", "compacted", "small", "log-append-time")) topicId(name);
    }

    void produce(Uuid orders, Uuid compacted, Uuid codecs) throws Exception {
        var headers = new Header[] {new RecordHeader("trace", utf8("abc")), new RecordHeader("empty", new byte[0]), new RecordHeader("null", (byte[]) null)};
        all(ApiKeys.PRODUCE, "acks-all", v -> produce("orders", orders, 0, -1,
            batch(Compression.NONE, record(v, "key-" + v, "value " + v, headers), record(v, null, "no key"), record(v, "tombstone", null))));
        all(ApiKeys.PRODUCE, "acks-one", v -> produce("orders", orders, 1, 1, plain("one " + v)));
        var errors = new Object[][] {{"unknown-topic", "nowhere", Uuid.fromString("AAAAAAAAAAAAAAAAAAAAFw"), 0, -1}, {"unknown-partition", "orders", orders, 77, -1},
            {"bad-acks", "orders", orders, 0, 5}, {"no-key-compacted", "compacted", compacted, 0, -1}, {"too-large", "small", topicId("small"), 0, -1}};
        for (Object[] e : errors) {
            MemoryRecords records = switch ((String) e[0]) {
                case "no-key-compacted" -> batch(Compression.NONE, record(0, null, "no key"));
                case "too-large" -> plain("x".repeat(300));
                default -> plain("x");
            };
            all(ApiKeys.PRODUCE, (String) e[0], v -> produce((String) e[1], (Uuid) e[2], (int) e[3], (int) e[4], records));
        }
        Uuid appendTime = topicId("log-append-time");
        all(ApiKeys.PRODUCE, "log-append-time", v -> produce("log-append-time", appendTime, 0, -1, plain("stamped " + v)));
        all(ApiKeys.PRODUCE, "bad-crc", v -> {
            MemoryRecords records = plain("crc");
            records.buffer().put(17, (byte) (records.buffer().get(17) ^ 1));
            return produce("orders", orders, 0, -1, records);
        });
        var list = List.of(Compression.NONE, Compression.gzip().build(), Compression.snappy().build(), Compression.lz4().build(), Compression.zstd().build());
        int i = 0;
        for (Compression codec : list) {
            int n = i++;
            var records = batch(codec, record(n * 10, "k" + n, "squeezed ".repeat(20)), record(n * 10 + 1, null, "squeezed ".repeat(20), headers));
            one(ApiKeys.PRODUCE, 12, "codec-" + codec.type().name, produce("codecs", codecs, 0, -1, records));
        }
        one(ApiKeys.PRODUCE, 3, "zstd-too-old", produce("codecs", codecs, 0, -1, batch(Compression.zstd().build(), record(0, "k", "v"))));
        // acks 0 has no answer; the Metadata behind it does.
        Pending silent = main.send(ApiKeys.PRODUCE, 9, "acks-zero", produce("orders", orders, 1, 0, plain("silent")));
        write(ApiKeys.PRODUCE, 9, "acks-zero", silent.request(), null);

        all(ApiKeys.INIT_PRODUCER_ID, "fresh", v -> new InitProducerIdRequestData().setTransactionalId(null).setTransactionTimeoutMs(60_000));
        all(ApiKeys.INIT_PRODUCER_ID, "empty-transactional-id", v -> new InitProducerIdRequestData().setTransactionalId("").setTransactionTimeoutMs(60_000));
        InitProducerIdResponseData pid = one(ApiKeys.INIT_PRODUCER_ID, 4, "idempotent",
            new InitProducerIdRequestData().setTransactionalId(null).setTransactionTimeoutMs(60_000));
        int[][] sequences = {{0, 0}, {1, 1}, {1, 1}, {5, 5}};
        String[] names = {"idempotent-first", "idempotent-next", "idempotent-duplicate", "idempotent-out-of-order"};
        for (int s = 0; s < names.length; s++) {
            var records = MemoryRecords.withIdempotentRecords((byte) 2, 0L, Compression.NONE, pid.producerId(), pid.producerEpoch(), sequences[s][0], -1,
                record(s, "key", "idempotent"));
            one(ApiKeys.PRODUCE, 9, names[s], produce("orders", orders, 0, -1, records));
        }
        all(ApiKeys.DESCRIBE_PRODUCERS, "live", v -> new DescribeProducersRequestData().setTopics(List.of(
            new DescribeProducersRequestData.TopicRequest().setName("orders").setPartitionIndexes(List.of(0, 1, 9)),
            new DescribeProducersRequestData.TopicRequest().setName("nowhere").setPartitionIndexes(List.of(0)))));
    }

    void fetch(Uuid orders, Uuid codecs) throws Exception {
        all(ApiKeys.FETCH, "records", v -> fetch("orders", orders, 0, 0, 100));
        all(ApiKeys.FETCH, "inside-a-batch", v -> fetch("orders", orders, 0, 1, 100));
        all(ApiKeys.FETCH, "at-the-end", v -> fetch("codecs", codecs, 0, 10, 1));
        all(ApiKeys.FETCH, "out-of-range", v -> fetch("orders", orders, 0, 10_000, 100));
        all(ApiKeys.FETCH, "read-committed", v -> fetch("codecs", codecs, 0, 0, 100).setIsolationLevel((byte) 1));
        all(ApiKeys.FETCH, "unknown-topic", v -> fetch("nowhere", Uuid.fromString("AAAAAAAAAAAAAAAAAAAAFw"), 0, 0, 1));
        all(ApiKeys.FETCH, "unknown-partition", v -> fetch("orders", orders, 77, 0, 1));
        all(ApiKeys.FETCH, "one-byte-limit", v -> {
            var data = fetch("orders", orders, 0, 0, 100).setMaxBytes(1);
            data.topics().get(0).partitions().get(0).setPartitionMaxBytes(1);
            return data;
        });
        for (int v = 7; v <= 18; v++) {
            FetchResponseData opened = one(ApiKeys.FETCH, v, "session-open", fetch("codecs", codecs, 0, 9, 1).setSessionEpoch(0));
            one(ApiKeys.FETCH, v, "session-incremental", fetch("codecs", codecs, 0, 8, 1).setSessionId(opened.sessionId()).setSessionEpoch(1));
            one(ApiKeys.FETCH, v, "session-wrong-epoch", fetch("codecs", codecs, 0, 8, 1).setSessionId(opened.sessionId()).setSessionEpoch(9));
            var forget = new FetchRequestData().setMaxWaitMs(1).setMinBytes(1).setMaxBytes(1 << 20).setSessionId(opened.sessionId()).setSessionEpoch(2)
                .setForgottenTopicsData(List.of(new FetchRequestData.ForgottenTopic().setTopic("codecs").setTopicId(codecs).setPartitions(List.of(0))));
            one(ApiKeys.FETCH, v, "session-forget", forget);
            // A session that forgot its last partition is gone.
            one(ApiKeys.FETCH, v, "session-emptied", fetch("codecs", codecs, 0, 8, 1).setSessionId(opened.sessionId()).setSessionEpoch(3));
            one(ApiKeys.FETCH, v, "session-unknown", fetch("codecs", codecs, 0, 8, 1).setSessionId(1).setSessionEpoch(1));
        }
        for (int v = 9; v <= 18; v++) {
            for (int epoch : new int[] {0, 99}) {
                var data = fetch("codecs", codecs, 0, 10, 1);
                data.topics().get(0).partitions().get(0).setCurrentLeaderEpoch(epoch);
                one(ApiKeys.FETCH, v, "leader-epoch-" + epoch, data);
            }
        }
    }

    void listOffsets() throws Exception {
        long[] times = {-1, -2, -3, -4, -5, -6, TIME + 5000, TIME + 10_000_000};
        for (long time : times) {
            String name = switch ((int) Math.max(-10, Math.min(time, 0))) {
                case -1 -> "latest";
                case -2 -> "earliest";
                case -3 -> "max-timestamp";
                case -4 -> "earliest-local";
                case -5 -> "latest-tiered";
                case -6 -> "earliest-pending-upload";
                default -> time == TIME + 5000 ? "by-time" : "after-the-last";
            };
            all(ApiKeys.LIST_OFFSETS, name, v -> new ListOffsetsRequestData().setReplicaId(-1).setIsolationLevel((byte) 0).setTimeoutMs(1000).setTopics(List.of(
                new ListOffsetsRequestData.ListOffsetsTopic().setName("orders").setPartitions(List.of(
                    new ListOffsetsRequestData.ListOffsetsPartition().setPartitionIndex(0).setTimestamp(time),
                    new ListOffsetsRequestData.ListOffsetsPartition().setPartitionIndex(77).setTimestamp(time))),
                new ListOffsetsRequestData.ListOffsetsTopic().setName("codecs").setPartitions(List.of(
                    new ListOffsetsRequestData.ListOffsetsPartition().setPartitionIndex(0).setTimestamp(time))))));
        }
        all(ApiKeys.OFFSET_FOR_LEADER_EPOCH, "epochs", v -> {
            var data = new OffsetForLeaderEpochRequestData().setReplicaId(-1);
            var topic = new OffsetForLeaderEpochRequestData.OffsetForLeaderTopic().setTopic("orders");
            for (int[] p : new int[][] {{0, 0, 0}, {1, -1, 9}, {77, 0, 0}}) {
                topic.partitions().add(new OffsetForLeaderEpochRequestData.OffsetForLeaderPartition().setPartition(p[0]).setCurrentLeaderEpoch(p[1]).setLeaderEpoch(p[2]));
            }
            data.topics().add(topic);
            return data;
        });
    }

    void metadata(Uuid orders) throws Exception {
        var named = List.of("orders", "nowhere", "bad name!");
        all(ApiKeys.METADATA, "named", v -> {
            var data = new MetadataRequestData();
            for (String n : named) data.topics().add(new MetadataRequestData.MetadataRequestTopic().setName(n));
            return v >= 4 ? data.setAllowAutoTopicCreation(false) : data.setTopics(data.topics().subList(0, 1));
        });
        all(ApiKeys.METADATA, "all", v -> v == 0 ? new MetadataRequestData() : new MetadataRequestData().setTopics(null));
        all(ApiKeys.METADATA, "none", v -> v == 0 ? null : new MetadataRequestData());
        all(ApiKeys.METADATA, "authorized-operations", v -> v < 8 ? null : new MetadataRequestData().setIncludeTopicAuthorizedOperations(true)
            .setIncludeClusterAuthorizedOperations(v <= 10)
            .setTopics(List.of(new MetadataRequestData.MetadataRequestTopic().setName("orders"))));
        all(ApiKeys.METADATA, "by-id", v -> v < 12 ? null : new MetadataRequestData().setTopics(List.of(
            new MetadataRequestData.MetadataRequestTopic().setName(null).setTopicId(orders),
            new MetadataRequestData.MetadataRequestTopic().setName(null).setTopicId(Uuid.fromString("AAAAAAAAAAAAAAAAAAAAFw")))));
        all(ApiKeys.METADATA, "auto-create", v -> new MetadataRequestData().setAllowAutoTopicCreation(true)
            .setTopics(List.of(new MetadataRequestData.MetadataRequestTopic().setName("auto-v" + v))));
        all(ApiKeys.DESCRIBE_TOPIC_PARTITIONS, "first-page", v -> new DescribeTopicPartitionsRequestData().setResponsePartitionLimit(2).setTopics(List.of(
            new DescribeTopicPartitionsRequestData.TopicRequest().setName("created-v7"), new DescribeTopicPartitionsRequestData.TopicRequest().setName("nowhere"),
            new DescribeTopicPartitionsRequestData.TopicRequest().setName("orders"))));
        all(ApiKeys.DESCRIBE_TOPIC_PARTITIONS, "cursor", v -> new DescribeTopicPartitionsRequestData().setResponsePartitionLimit(100).setTopics(List.of(
            new DescribeTopicPartitionsRequestData.TopicRequest().setName("created-v7"), new DescribeTopicPartitionsRequestData.TopicRequest().setName("orders")))
            .setCursor(new DescribeTopicPartitionsRequestData.Cursor().setTopicName("created-v7").setPartitionIndex(2)));
    }

    void coordinators() throws Exception {
        for (int i = 0; i < 100; i++) {
            var found = main.send(ApiKeys.FIND_COORDINATOR, 2, "setup", new FindCoordinatorRequestData().setKey("warm-up").setKeyType((byte) 0));
            byte[] answer = found.connection().receive();
            if (answer[9] == 0) break;  // correlation id, throttle time, error code
            Thread.sleep(200);
        }
        all(ApiKeys.FIND_COORDINATOR, "group", v -> v < 4 ? new FindCoordinatorRequestData().setKey("group").setKeyType((byte) 0)
            : new FindCoordinatorRequestData().setKeyType((byte) 0).setCoordinatorKeys(List.of("group", "other", "")));
        all(ApiKeys.FIND_COORDINATOR, "unknown-type", v -> v < 1 ? null : v < 4 ? new FindCoordinatorRequestData().setKey("group").setKeyType((byte) 42)
            : new FindCoordinatorRequestData().setKeyType((byte) 42).setCoordinatorKeys(List.of("group")));
    }

    JoinGroupRequestData join(String group, String member, int version, String... protocols) {
        var data = new JoinGroupRequestData().setGroupId(group).setMemberId(member).setProtocolType("consumer").setSessionTimeoutMs(10_000).setRebalanceTimeoutMs(20_000);
        for (String p : protocols) {
            data.protocols().add(new JoinGroupRequestData.JoinGroupRequestProtocol().setName(p)
                .setMetadata(HexFormat.of().parseHex("0001" + "00000001" + "0006" + HexFormat.of().formatHex(utf8("orders")) + "ffffffff" + "00000000")));
        }
        return version >= 8 ? data.setReason("because " + version) : data;
    }

    String member(Connection c, String group, int version, String instance, String name) throws IOException {
        var first = join(group, "", version, "range", "roundrobin");
        if (instance != null) first.setGroupInstanceId(instance);
        JoinGroupResponseData answer = finish(c.send(ApiKeys.JOIN_GROUP, version, name, first));
        return answer.memberId();
    }

    static byte[] assignment(int... partitions) {
        ByteBuffer b = ByteBuffer.allocate(64);
        b.putShort((short) 1).putInt(1).putShort((short) 6).put(utf8("orders")).putInt(partitions.length);
        for (int p : partitions) b.putInt(p);
        b.putInt(-1);
        byte[] out = new byte[b.position()];
        b.flip().get(out);
        return out;
    }

    void groups(Uuid orders) throws Exception {
        Connection second = new Connection();
        for (int v = 0; v <= 9; v++) {
            String group = "group-v" + v;
            int sync = Math.min(v, 5), beat = Math.min(v, 4), leave = Math.min(v, 5);
            String a = member(main, group, v, null, "first-join");
            if (v >= 4) {
                one(ApiKeys.JOIN_GROUP, v, "second-join", join(group, a, v, "range", "roundrobin"));
            }
            if (v == sync) {
                one(ApiKeys.HEARTBEAT, beat, "completing", new HeartbeatRequestData().setGroupId(group).setMemberId(a).setGenerationId(1));
            }
            SyncGroupRequestData alone = new SyncGroupRequestData().setGroupId(group).setGenerationId(1).setMemberId(a).setAssignments(List.of(
                new SyncGroupRequestData.SyncGroupRequestAssignment().setMemberId(a).setAssignment(assignment(0, 1))));
            if (sync >= 5) alone.setProtocolType("consumer").setProtocolName("range");
            one(ApiKeys.SYNC_GROUP, sync, v == sync ? "alone" : "alone-join-v" + v, alone);
            // A second member: its join is answered when the first one has come again.
            var firstOfB = join(group, "", v, "range", "roundrobin");
            Pending waiting = second.send(ApiKeys.JOIN_GROUP, v, v >= 4 ? "member-id-required" : "follower", firstOfB);
            String b = null;
            if (v >= 4) {
                b = this.<JoinGroupResponseData>finish(waiting).memberId();
                waiting = second.send(ApiKeys.JOIN_GROUP, v, "follower", join(group, b, v, "range", "roundrobin"));
            }
            short beatError = 0;
            for (int i = 0; i < 50 && beatError != 27; i++) {
                Pending p = main.send(ApiKeys.HEARTBEAT, beat, "rebalance-in-progress", new HeartbeatRequestData().setGroupId(group).setMemberId(a).setGenerationId(1));
                byte[] raw = p.connection().receive();
                var reader = new ByteBufferAccessor(ByteBuffer.wrap(raw));
                new ResponseHeaderData(reader, ApiKeys.HEARTBEAT.responseHeaderVersion((short) beat));
                beatError = new HeartbeatResponseData(reader, (short) beat).errorCode();
                if (beatError == 27) write(ApiKeys.HEARTBEAT, beat, "rebalance-in-progress", p.request(), raw);
                else Thread.sleep(20);
            }
            one(ApiKeys.JOIN_GROUP, v, "leader-of-two", join(group, a, v, "range", "roundrobin"));
            b = this.<JoinGroupResponseData>finish(waiting).memberId();
            var leader = new SyncGroupRequestData().setGroupId(group).setGenerationId(2).setMemberId(a).setAssignments(List.of(
                new SyncGroupRequestData.SyncGroupRequestAssignment().setMemberId(a).setAssignment(assignment(0)),
                new SyncGroupRequestData.SyncGroupRequestAssignment().setMemberId(b).setAssignment(assignment(1))));
            var follower = new SyncGroupRequestData().setGroupId(group).setGenerationId(2).setMemberId(b);
            if (sync >= 5) {
                leader.setProtocolType("consumer").setProtocolName("range");
                follower.setProtocolType("consumer").setProtocolName("range");
            }
            Pending followerSync = second.send(ApiKeys.SYNC_GROUP, sync, "follower-join-v" + v, follower);
            one(ApiKeys.SYNC_GROUP, sync, "leader-join-v" + v, leader);
            finish(followerSync);
            one(ApiKeys.SYNC_GROUP, sync, "unknown-member-join-v" + v, leader.duplicate().setMemberId("nobody").setAssignments(List.of()));
            if (v <= 4) {
                one(ApiKeys.HEARTBEAT, beat, "stable", new HeartbeatRequestData().setGroupId(group).setMemberId(a).setGenerationId(2));
                one(ApiKeys.HEARTBEAT, beat, "unknown-member", new HeartbeatRequestData().setGroupId(group).setMemberId("nobody").setGenerationId(2));
                one(ApiKeys.HEARTBEAT, beat, "illegal-generation", new HeartbeatRequestData().setGroupId(group).setMemberId(a).setGenerationId(1));
            }
            if (v == 5) {
                groupOffsets(group, a, orders);
                groupAdmin(group);
            }
            if (leave < 3) {
                one(ApiKeys.LEAVE_GROUP, leave, "leave", new LeaveGroupRequestData().setGroupId(group).setMemberId(b));
                one(ApiKeys.LEAVE_GROUP, leave, "unknown-member", new LeaveGroupRequestData().setGroupId(group).setMemberId("nobody"));
                one(ApiKeys.LEAVE_GROUP, leave, "last-one", new LeaveGroupRequestData().setGroupId(group).setMemberId(a));
            } else {
                var who = List.of(new LeaveGroupRequestData.MemberIdentity().setMemberId(b), new LeaveGroupRequestData.MemberIdentity().setMemberId("nobody"),
                    new LeaveGroupRequestData.MemberIdentity().setMemberId(a));
                if (leave >= 5) who.get(0).setReason("the capture is over");
                one(ApiKeys.LEAVE_GROUP, leave, "leave-join-v" + v, new LeaveGroupRequestData().setGroupId(group).setMembers(who));
            }
        }
        for (int v = 5; v <= 9; v++) {
            String group = "static-v" + v;
            member(main, group, v, "instance-1", "static-first");
            String again = member(main, group, v, "instance-1", "static-again");
            var alone = new SyncGroupRequestData().setGroupId(group).setGenerationId(2).setMemberId(again).setGroupInstanceId("instance-1").setAssignments(List.of(
                new SyncGroupRequestData.SyncGroupRequestAssignment().setMemberId(again).setAssignment(assignment(0, 1))));
            one(ApiKeys.SYNC_GROUP, 4, "static-join-v" + v, alone);
            String third = member(main, group, v, "instance-1", "static-in-stable");
            one(ApiKeys.HEARTBEAT, 4, "fenced-join-v" + v, new HeartbeatRequestData().setGroupId(group).setMemberId(again).setGroupInstanceId("instance-1").setGenerationId(2));
            one(ApiKeys.LEAVE_GROUP, 5, "static-join-v" + v, new LeaveGroupRequestData().setGroupId(group).setMembers(List.of(
                new LeaveGroupRequestData.MemberIdentity().setMemberId(third).setGroupInstanceId("instance-1"))));
        }
        all(ApiKeys.JOIN_GROUP, "unknown-member", v -> join("errors", "nobody", v, "range"));
        all(ApiKeys.JOIN_GROUP, "empty-group", v -> join("", "", v, "range"));
        all(ApiKeys.JOIN_GROUP, "session-too-short", v -> join("errors", "", v, "range").setSessionTimeoutMs(1));
        all(ApiKeys.JOIN_GROUP, "no-protocols", v -> join("errors", "", v));
        all(ApiKeys.DELETE_GROUPS, "delete", v -> new DeleteGroupsRequestData().setGroupsNames(List.of("group-v" + v, "nowhere")));
        second.socket.close();
    }

    void groupOffsets(String group, String member, Uuid orders) throws Exception {
        Uuid nowhere = Uuid.fromString("AAAAAAAAAAAAAAAAAAAAFw");
        IntFunction<OffsetCommitRequestData> commit = v -> new OffsetCommitRequestData().setTopics(List.of(
            new OffsetCommitRequestData.OffsetCommitRequestTopic().setName("orders").setTopicId(orders).setPartitions(List.of(
                new OffsetCommitRequestData.OffsetCommitRequestPartition().setPartitionIndex(0).setCommittedOffset(v).setCommittedMetadata("metadata of v" + v)
                    .setCommittedLeaderEpoch(v >= 6 ? 0 : -1),
                new OffsetCommitRequestData.OffsetCommitRequestPartition().setPartitionIndex(1).setCommittedOffset(1).setCommittedMetadata(null))),
            new OffsetCommitRequestData.OffsetCommitRequestTopic().setName("nowhere").setTopicId(nowhere).setPartitions(List.of(
                new OffsetCommitRequestData.OffsetCommitRequestPartition().setPartitionIndex(0).setCommittedOffset(1).setCommittedMetadata("")))));
        all(ApiKeys.OFFSET_COMMIT, "member", v -> commit.apply(v).setGroupId(group).setMemberId(member).setGenerationIdOrMemberEpoch(2));
        all(ApiKeys.OFFSET_COMMIT, "simple", v -> commit.apply(v).setGroupId("simple").setMemberId("").setGenerationIdOrMemberEpoch(-1));
        all(ApiKeys.OFFSET_COMMIT, "illegal-generation", v -> commit.apply(v).setGroupId(group).setMemberId(member).setGenerationIdOrMemberEpoch(9));
        all(ApiKeys.OFFSET_COMMIT, "unknown-group", v -> commit.apply(v).setGroupId("nowhere").setMemberId("x").setGenerationIdOrMemberEpoch(1));
        all(ApiKeys.OFFSET_FETCH, "named", v -> {
            if (v < 8) {
                return new OffsetFetchRequestData().setGroupId(group).setTopics(List.of(
                    new OffsetFetchRequestData.OffsetFetchRequestTopic().setName("orders").setPartitionIndexes(List.of(0, 1, 77)),
                    new OffsetFetchRequestData.OffsetFetchRequestTopic().setName("nowhere").setPartitionIndexes(List.of(0))));
            }
            return new OffsetFetchRequestData().setGroups(List.of(new OffsetFetchRequestData.OffsetFetchRequestGroup().setGroupId(group).setTopics(List.of(
                new OffsetFetchRequestData.OffsetFetchRequestTopics().setName("orders").setTopicId(orders).setPartitionIndexes(List.of(0, 1, 77)),
                new OffsetFetchRequestData.OffsetFetchRequestTopics().setName("nowhere").setTopicId(nowhere).setPartitionIndexes(List.of(0)))),
                new OffsetFetchRequestData.OffsetFetchRequestGroup().setGroupId("nobody").setTopics(List.of(
                    new OffsetFetchRequestData.OffsetFetchRequestTopics().setName("orders").setTopicId(orders).setPartitionIndexes(List.of(0))))));
        });
        all(ApiKeys.OFFSET_FETCH, "everything", v -> v < 2 ? null
            : v < 8 ? new OffsetFetchRequestData().setGroupId(group).setTopics(null).setRequireStable(v >= 7)
            : new OffsetFetchRequestData().setRequireStable(true).setGroups(List.of(
                new OffsetFetchRequestData.OffsetFetchRequestGroup().setGroupId(group).setTopics(null),
                new OffsetFetchRequestData.OffsetFetchRequestGroup().setGroupId("simple").setTopics(null))));
        IntFunction<OffsetDeleteRequestData> delete = v -> {
            var data = new OffsetDeleteRequestData();
            data.topics().add(new OffsetDeleteRequestData.OffsetDeleteRequestTopic().setName("orders").setPartitions(List.of(
                new OffsetDeleteRequestData.OffsetDeleteRequestPartition().setPartitionIndex(1), new OffsetDeleteRequestData.OffsetDeleteRequestPartition().setPartitionIndex(77))));
            return data;
        };
        all(ApiKeys.OFFSET_DELETE, "subscribed", v -> delete.apply(v).setGroupId(group));
        all(ApiKeys.OFFSET_DELETE, "simple", v -> delete.apply(v).setGroupId("simple"));
        all(ApiKeys.OFFSET_DELETE, "unknown-group", v -> delete.apply(v).setGroupId("nowhere"));
    }

    void groupAdmin(String group) throws Exception {
        all(ApiKeys.DESCRIBE_GROUPS, "groups", v -> new DescribeGroupsRequestData().setGroups(List.of(group, "simple", "nowhere")).setIncludeAuthorizedOperations(v >= 3));
        all(ApiKeys.LIST_GROUPS, "all", v -> new ListGroupsRequestData());
        all(ApiKeys.LIST_GROUPS, "by-state", v -> v < 4 ? null : new ListGroupsRequestData().setStatesFilter(List.of("Stable")));
        all(ApiKeys.LIST_GROUPS, "by-type", v -> v < 5 ? null : new ListGroupsRequestData().setTypesFilter(List.of("classic")));
        all(ApiKeys.LIST_GROUPS, "by-unknown-type", v -> v < 5 ? null : new ListGroupsRequestData().setTypesFilter(List.of("nonsense")));
        one(ApiKeys.DELETE_GROUPS, 2, "not-empty", new DeleteGroupsRequestData().setGroupsNames(List.of(group)));
    }

    void topicAdmin() throws Exception {
        all(ApiKeys.CREATE_PARTITIONS, "more", v -> partitions(new CreatePartitionsRequestData.CreatePartitionsTopic().setName("created-v" + (v + 2)).setCount(4).setAssignments(null)));
        all(ApiKeys.CREATE_PARTITIONS, "assigned", v -> partitions(new CreatePartitionsRequestData.CreatePartitionsTopic().setName("defaults-v" + (v + 2)).setCount(2)
            .setAssignments(List.of(new CreatePartitionsRequestData.CreatePartitionsAssignment().setBrokerIds(List.of(1))))));
        all(ApiKeys.CREATE_PARTITIONS, "errors", v -> partitions(new CreatePartitionsRequestData.CreatePartitionsTopic().setName("created-v7").setCount(2).setAssignments(null),
            new CreatePartitionsRequestData.CreatePartitionsTopic().setName("orders").setCount(2).setAssignments(null),
            new CreatePartitionsRequestData.CreatePartitionsTopic().setName("nowhere").setCount(2).setAssignments(null)).setValidateOnly(true));
        all(ApiKeys.DELETE_RECORDS, "delete", v -> new DeleteRecordsRequestData().setTimeoutMs(5000).setTopics(List.of(
            new DeleteRecordsRequestData.DeleteRecordsTopic().setName("orders").setPartitions(List.of(
                new DeleteRecordsRequestData.DeleteRecordsPartition().setPartitionIndex(1).setOffset(v + 1),
                new DeleteRecordsRequestData.DeleteRecordsPartition().setPartitionIndex(0).setOffset(100_000),
                new DeleteRecordsRequestData.DeleteRecordsPartition().setPartitionIndex(77).setOffset(-1))))));
        all(ApiKeys.DELETE_TOPICS, "by-name", v -> v < 6 ? new DeleteTopicsRequestData().setTopicNames(List.of("auto-v" + v, "nowhere")).setTimeoutMs(10_000)
            : new DeleteTopicsRequestData().setTopics(List.of(new DeleteTopicsRequestData.DeleteTopicState().setName("auto-v6"),
                new DeleteTopicsRequestData.DeleteTopicState().setName("nowhere"))).setTimeoutMs(10_000));
        Uuid id = topicId("auto-v7");
        one(ApiKeys.DELETE_TOPICS, 6, "by-id", new DeleteTopicsRequestData().setTopics(List.of(new DeleteTopicsRequestData.DeleteTopicState().setName(null).setTopicId(id),
            new DeleteTopicsRequestData.DeleteTopicState().setName(null).setTopicId(Uuid.fromString("AAAAAAAAAAAAAAAAAAAAFw")))).setTimeoutMs(10_000));
    }

    static CreatePartitionsRequestData partitions(CreatePartitionsRequestData.CreatePartitionsTopic... topics) {
        var data = new CreatePartitionsRequestData().setTimeoutMs(10_000);
        for (var t : topics) data.topics().add(t);
        return data;
    }

    static DescribeConfigsRequestData.DescribeConfigsResource resource(ConfigResource.Type type, String name, List<String> keys) {
        return new DescribeConfigsRequestData.DescribeConfigsResource().setResourceType(type.id()).setResourceName(name).setConfigurationKeys(keys);
    }

    void configs() throws Exception {
        var topic = ConfigResource.Type.TOPIC;
        var broker = ConfigResource.Type.BROKER;
        all(ApiKeys.INCREMENTAL_ALTER_CONFIGS, "alter", v -> {
            var data = new IncrementalAlterConfigsRequestData();
            var of = new IncrementalAlterConfigsRequestData.AlterConfigsResource().setResourceType(topic.id()).setResourceName("codecs");
            of.configs().add(new IncrementalAlterConfigsRequestData.AlterableConfig().setName("retention.ms").setConfigOperation((byte) 0).setValue("123456"));
            of.configs().add(new IncrementalAlterConfigsRequestData.AlterableConfig().setName("segment.ms").setConfigOperation((byte) 1).setValue(null));
            of.configs().add(new IncrementalAlterConfigsRequestData.AlterableConfig().setName("cleanup.policy").setConfigOperation((byte) 2).setValue("compact"));
            data.resources().add(of);
            return data;
        });
        all(ApiKeys.INCREMENTAL_ALTER_CONFIGS, "errors", v -> {
            var data = new IncrementalAlterConfigsRequestData().setValidateOnly(true);
            String[][] wrong = {{"codecs", "retention.ms", "soon", "0"}, {"codecs", "retention.ms", "1", "2"}, {"nowhere", "retention.ms", "1", "0"}};
            for (String[] w : wrong) {
                var of = new IncrementalAlterConfigsRequestData.AlterConfigsResource().setResourceType(topic.id()).setResourceName(w[0]);
                of.configs().add(new IncrementalAlterConfigsRequestData.AlterableConfig().setName(w[1]).setConfigOperation(Byte.parseByte(w[3])).setValue(w[2]));
                if (data.resources().find(topic.id(), w[0]) == null) data.resources().add(of);
            }
            var of = new IncrementalAlterConfigsRequestData.AlterConfigsResource().setResourceType(broker.id()).setResourceName("1");
            of.configs().add(new IncrementalAlterConfigsRequestData.AlterableConfig().setName("log.dirs").setConfigOperation((byte) 0).setValue("elsewhere"));
            data.resources().add(of);
            return data;
        });
        all(ApiKeys.ALTER_CONFIGS, "alter", v -> {
            var data = new AlterConfigsRequestData();
            for (String name : List.of("compacted", "nowhere")) {
                var of = new AlterConfigsRequestData.AlterConfigsResource().setResourceType(topic.id()).setResourceName(name);
                of.configs().add(new AlterConfigsRequestData.AlterableConfig().setName("cleanup.policy").setValue("compact"));
                data.resources().add(of);
            }
            return data;
        });
        Thread.sleep(500);
        all(ApiKeys.DESCRIBE_CONFIGS, "keys", v -> new DescribeConfigsRequestData().setIncludeSynonyms(true).setIncludeDocumentation(v >= 3).setResources(List.of(
            resource(topic, "codecs", List.of("retention.ms", "cleanup.policy", "compression.type", "no.such.config")), resource(topic, "nowhere", null),
            resource(broker, "1", List.of("log.retention.hours", "num.io.threads", "log.dirs")), resource(broker, "77", null))));
        all(ApiKeys.DESCRIBE_CONFIGS, "whole-topic", v -> new DescribeConfigsRequestData().setResources(List.of(resource(topic, "codecs", null))));
        one(ApiKeys.DESCRIBE_CONFIGS, 4, "whole-topic-with-synonyms", new DescribeConfigsRequestData().setIncludeSynonyms(true).setIncludeDocumentation(true)
            .setResources(List.of(resource(topic, "codecs", null))));
        one(ApiKeys.DESCRIBE_CONFIGS, 4, "whole-broker", new DescribeConfigsRequestData().setIncludeSynonyms(true).setResources(List.of(resource(broker, "1", null))));
        one(ApiKeys.DESCRIBE_CONFIGS, 4, "cluster-defaults", new DescribeConfigsRequestData().setResources(List.of(resource(broker, "", null))));
    }

    void security() throws Exception {
        all(ApiKeys.SASL_HANDSHAKE, "on-a-plaintext-listener", v -> new SaslHandshakeRequestData().setMechanism("PLAIN"));
        byte topic = 2, literal = 3, read = 3, allow = 3, any = 1;
        all(ApiKeys.DESCRIBE_ACLS, "without-authorizer", v -> new DescribeAclsRequestData().setResourceTypeFilter(topic).setResourceNameFilter("orders")
            .setPatternTypeFilter(literal).setPrincipalFilter(null).setHostFilter("*").setOperation(any).setPermissionType(any));
        var creation = new CreateAclsRequestData.AclCreation().setResourceType(topic).setResourceName("orders").setResourcePatternType(literal)
            .setPrincipal("User:alice").setHost("*").setOperation(read).setPermissionType(allow);
        all(ApiKeys.CREATE_ACLS, "without-authorizer", v -> new CreateAclsRequestData().setCreations(List.of(creation, creation.duplicate().setResourceName("codecs"))));
        var filter = new DeleteAclsRequestData.DeleteAclsFilter().setResourceTypeFilter(topic).setResourceNameFilter("orders").setPatternTypeFilter(literal)
            .setPrincipalFilter(null).setHostFilter(null).setOperation(any).setPermissionType(any);
        all(ApiKeys.DELETE_ACLS, "without-authorizer", v -> new DeleteAclsRequestData().setFilters(List.of(filter, filter.duplicate().setResourceNameFilter(null))));
    }

    void cluster() throws Exception {
        all(ApiKeys.DESCRIBE_CLUSTER, "plain", v -> new DescribeClusterRequestData());
        all(ApiKeys.DESCRIBE_CLUSTER, "authorized-operations", v -> new DescribeClusterRequestData().setIncludeClusterAuthorizedOperations(true));
        all(ApiKeys.DESCRIBE_CLUSTER, "controllers", v -> v < 1 ? null : new DescribeClusterRequestData().setEndpointType((byte) 2));
        all(ApiKeys.DESCRIBE_LOG_DIRS, "named", v -> {
            var data = new DescribeLogDirsRequestData();
            data.topics().add(new DescribeLogDirsRequestData.DescribableLogDirTopic().setTopic("orders").setPartitions(List.of(0, 1)));
            return data;
        });
        all(ApiKeys.DESCRIBE_LOG_DIRS, "none", v -> new DescribeLogDirsRequestData());
    }

    public static void main(String[] args) throws Exception {
        if (args.length != 3) {
            System.err.println("usage: Capture HOST PORT OUT_DIR    (a broker with an empty data directory)");
            System.exit(2);
        }
        Capture capture = new Capture(args[0], Integer.parseInt(args[1]));
        capture.run();
        Path out = Path.of(args[2]);
        Files.createDirectories(out);
        long size = 0;
        for (var file : capture.files.entrySet()) {
            byte[] content = utf8(file.getValue().toString());
            size += content.length;
            Files.write(out.resolve(file.getKey() + ".txt"), content);
        }
        System.out.println(capture.exchanges + " exchanges, " + capture.files.size() + " APIs, " + size + " bytes; not expressible in some versions: " + capture.skipped);
    }
}
