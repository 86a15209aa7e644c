import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.OffsetOutOfRangeException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * A walk through kafka-clients against one broker: producer, consumer, groups and admin, each check a TAP line.
 * BOOTSTRAP names the broker. What the client versions call differently is in Compat.
 */
final class Walk {
    interface Body {
        void run() throws Exception;
    }

    static final Duration POLL = Duration.ofMillis(100);
    static final long PATIENCE_MS = 30_000;

    final String bootstrap = Optional.ofNullable(System.getenv("BOOTSTRAP")).orElse("localhost:9092");
    final String version = System.getProperty("walk.version", "4.3");
    final String run = version.replace('.', '-') + "-" + Long.toString(System.currentTimeMillis() / 100, 36);
    final List<String> created = new ArrayList<>();
    final Admin admin;
    int passed;
    int failed;

    Walk() {
        Map<String, Object> settings = new HashMap<>();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("request.timeout.ms", "20000");
        settings.put("default.api.timeout.ms", "30000");
        admin = Admin.create(settings);
    }

    // -- checks

    void check(String name, Body body) {
        long start = System.nanoTime();
        try {
            body.run();
            passed++;
            System.out.printf("ok - clients-%s: %s%n", version, name);
        } catch (Throwable e) {
            failed++;
            System.out.printf("not ok - clients-%s: %s%n# %s%n", version, name, e);
            for (StackTraceElement at : e.getStackTrace()) {
                if (at.getClassName().startsWith("Walk") || at.getClassName().equals("Compat")) System.out.println("#   at " + at);
            }
        }
        long ms = (System.nanoTime() - start) / 1_000_000;
        if (ms > 5000) System.out.printf("# the last one took %d ms%n", ms);
        System.out.flush();
    }

    static void that(boolean condition, String otherwise) {
        if (!condition) throw new AssertionError(otherwise);
    }

    static void same(Object expected, Object found) {
        if (!Objects.equals(expected, found)) throw new AssertionError("expected " + expected + ", found " + found);
    }

    static void eventually(Callable<Boolean> condition, String otherwise) throws Exception {
        long end = System.currentTimeMillis() + PATIENCE_MS;
        while (!condition.call()) {
            if (System.currentTimeMillis() > end) throw new AssertionError(otherwise);
            Thread.sleep(50);
        }
    }

    /** The future fails, and with this. */
    static <E extends Exception> E fails(Class<E> with, Future<?> future) throws Exception {
        try {
            Object value = future.get();
            throw new AssertionError("expected " + with.getSimpleName() + ", got " + value);
        } catch (ExecutionException e) {
            if (!with.isInstance(e.getCause())) throw new AssertionError("expected " + with.getSimpleName() + ", found " + e.getCause());
            return with.cast(e.getCause());
        }
    }

    // -- topics and clients

    String topic(String name, int partitions) throws Exception {
        return topic(name, partitions, Map.of());
    }

    String topic(String name, int partitions, Map<String, String> configs) throws Exception {
        String full = name + "-" + run;
        create(full, partitions, configs);
        return full;
    }

    void create(String name, int partitions, Map<String, String> configs) throws Exception {
        admin.createTopics(List.of(new NewTopic(name, partitions, (short) 1).configs(configs))).all().get();
        created.add(name);
        eventually(() -> {
            try {
                return Compat.describe(admin, name).partitions().stream().allMatch(p -> p.leader() != null);
            } catch (ExecutionException e) {
                return false;
            }
        }, name + " does not appear");
    }

    KafkaProducer<byte[], byte[]> producer(Map<String, String> settings) {
        Properties all = new Properties();
        all.put("bootstrap.servers", bootstrap);
        all.put("delivery.timeout.ms", "30000");
        all.put("request.timeout.ms", "15000");
        // The walk names what it wants; the defaults of the two versions differ.
        all.put("enable.idempotence", "false");
        all.put("linger.ms", "0");
        all.putAll(settings);
        return new KafkaProducer<>(all, new ByteArraySerializer(), new ByteArraySerializer());
    }

    KafkaConsumer<byte[], byte[]> consumer(String group, Map<String, String> settings) {
        Properties all = new Properties();
        all.put("bootstrap.servers", bootstrap);
        if (group != null) all.put("group.id", group);
        all.put("enable.auto.commit", "false");
        all.put("auto.offset.reset", "earliest");
        all.put("session.timeout.ms", "10000");
        all.put("heartbeat.interval.ms", "500");
        all.putAll(settings);
        return new KafkaConsumer<>(all, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static byte[] utf8(String s) {
        return s == null ? null : s.getBytes(StandardCharsets.UTF_8);
    }

    static String text(byte[] bytes) {
        return bytes == null ? null : new String(bytes, StandardCharsets.UTF_8);
    }

    List<RecordMetadata> send(String topic, Map<String, String> settings, String... values) throws Exception {
        List<Future<RecordMetadata>> futures = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = producer(settings)) {
            for (String value : values) futures.add(producer.send(new ProducerRecord<>(topic, 0, null, utf8(value))));
            producer.flush();
        }
        List<RecordMetadata> answers = new ArrayList<>();
        for (Future<RecordMetadata> future : futures) answers.add(future.get());
        return answers;
    }

    void sendAt(String topic, long timestamp, String value) throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("acks", "all"))) {
            producer.send(new ProducerRecord<>(topic, 0, timestamp, null, utf8(value))).get();
        }
    }

    /** Everything from the start of partition 0 until so many records came. */
    List<ConsumerRecord<byte[], byte[]>> read(String topic, int count, Map<String, String> settings) throws Exception {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(null, settings)) {
            TopicPartition partition = new TopicPartition(topic, 0);
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            return poll(consumer, count);
        }
    }

    static List<ConsumerRecord<byte[], byte[]>> poll(KafkaConsumer<byte[], byte[]> consumer, int count) {
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        long end = System.currentTimeMillis() + PATIENCE_MS;
        while (records.size() < count) {
            that(System.currentTimeMillis() < end, "only " + records.size() + " of " + count + " records came");
            consumer.poll(POLL).forEach(records::add);
        }
        return records;
    }

    static List<String> values(List<ConsumerRecord<byte[], byte[]>> records) {
        List<String> values = new ArrayList<>();
        for (ConsumerRecord<byte[], byte[]> record : records) values.add(text(record.value()));
        return values;
    }

    // -- the walk

    void producing() {
        for (String acks : List.of("all", "1", "0")) {
            check("produce and consume with acks=" + acks, () -> {
                String topic = topic("acks-" + acks, 1);
                List<RecordMetadata> answers = send(topic, Map.of("acks", acks), "a", "b", "c");
                if (acks.equals("0")) {
                    same(-1L, answers.get(0).offset());
                } else {
                    same(2L, answers.get(2).offset());
                }
                same(List.of("a", "b", "c"), values(read(topic, 3, Map.of())));
            });
        }
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            check("codec " + codec, () -> {
                String topic = topic("codec-" + codec, 1);
                String[] sent = new String[200];
                for (int i = 0; i < sent.length; i++) sent[i] = "squeeze me ".repeat(20) + i;
                send(topic, Map.of("acks", "all", "compression.type", codec, "linger.ms", "50", "batch.size", "65536"), sent);
                same(Arrays.asList(sent), values(read(topic, sent.length, Map.of())));
                long size = Compat.sizes(admin, broker()).get(topic + "-0");
                that(codec.equals("none") ? size > 40_000 : size < 20_000, size + " bytes on disk");
            });
        }
        check("an idempotent producer keeps order and counts once", () -> {
            String topic = topic("idempotent", 1);
            String[] sent = new String[1000];
            for (int i = 0; i < sent.length; i++) sent[i] = "record " + i;
            send(topic, Map.of("acks", "all", "enable.idempotence", "true", "max.in.flight.requests.per.connection", "5", "batch.size", "200"), sent);
            same(Arrays.asList(sent), values(read(topic, sent.length, Map.of())));
        });
        check("headers, null keys, tombstones and timestamps", () -> {
            String topic = topic("shapes", 1);
            try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("acks", "all"))) {
                ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(topic, 0, 1_600_000_000_123L, utf8("key"), utf8("value"));
                record.headers().add("trace", utf8("abc")).add("trace", utf8("def")).add("null", null).add("empty", new byte[0]);
                producer.send(record);
                producer.send(new ProducerRecord<>(topic, 0, utf8("key"), null));
                producer.send(new ProducerRecord<>(topic, 0, null, new byte[0]));
                producer.flush();
            }
            List<ConsumerRecord<byte[], byte[]>> records = read(topic, 3, Map.of());
            ConsumerRecord<byte[], byte[]> first = records.get(0);
            same(1_600_000_000_123L, first.timestamp());
            same("CreateTime", first.timestampType().toString());
            List<String> headers = new ArrayList<>();
            for (Header h : first.headers()) headers.add(h.key() + "=" + text(h.value()));
            same(List.of("trace=abc", "trace=def", "null=null", "empty="), headers);
            same(null, records.get(1).value());
            same("key", text(records.get(1).key()));
            same(null, records.get(2).key());
            same("", text(records.get(2).value()));
            that(records.get(2).timestamp() > 1_600_000_000_123L, "the clock stands still");
        });
        check("LogAppendTime is the broker's", () -> {
            String topic = topic("append-time", 1, Map.of("message.timestamp.type", "LogAppendTime"));
            long before = System.currentTimeMillis() - 60_000;
            sendAt(topic, 1000L, "old");
            ConsumerRecord<byte[], byte[]> record = read(topic, 1, Map.of()).get(0);
            same("LogAppendTime", record.timestampType().toString());
            that(record.timestamp() > before, "timestamp " + record.timestamp());
        });
        check("offsets for times", () -> {
            String topic = topic("times", 1);
            try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("acks", "all", "compression.type", "gzip", "linger.ms", "100"))) {
                for (int i = 0; i < 10; i++) producer.send(new ProducerRecord<>(topic, 0, 1000L * (i + 1), null, utf8("at " + i)));
            }
            TopicPartition partition = new TopicPartition(topic, 0);
            try (KafkaConsumer<byte[], byte[]> consumer = consumer(null, Map.of())) {
                OffsetAndTimestamp found = consumer.offsetsForTimes(Map.of(partition, 4500L)).get(partition);
                same(4L, found.offset());
                same(5000L, found.timestamp());
                same(0L, consumer.offsetsForTimes(Map.of(partition, 0L)).get(partition).offset());
                same(null, consumer.offsetsForTimes(Map.of(partition, 99_000L)).get(partition));
                same(0L, consumer.beginningOffsets(List.of(partition)).get(partition));
                same(10L, consumer.endOffsets(List.of(partition)).get(partition));
            }
        });
        check("a message of almost 1 MiB", () -> {
            String topic = topic("large", 1);
            byte[] large = new byte[1_048_000];
            new java.util.Random(7).nextBytes(large);
            try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("acks", "all"))) {
                producer.send(new ProducerRecord<>(topic, 0, null, large)).get();
            }
            that(Arrays.equals(large, read(topic, 1, Map.of()).get(0).value()), "the bytes differ");
            // Fetch limits below the message size must not hide it.
            that(Arrays.equals(large, read(topic, 1, Map.of("fetch.max.bytes", "1000", "max.partition.fetch.bytes", "1000")).get(0).value()), "the bytes differ");
        });
        check("RecordTooLarge from the broker", () -> {
            String topic = topic("too-large", 1);
            try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("acks", "all", "max.request.size", "3000000"))) {
                fails(RecordTooLargeException.class, producer.send(new ProducerRecord<>(topic, 0, null, new byte[2_000_000])));
                same(0L, producer.send(new ProducerRecord<>(topic, 0, null, utf8("small"))).get().offset());
            }
        });
        check("a topic is made when a producer asks for it", () -> {
            String topic = "auto-" + run;
            created.add(topic);
            send(topic, Map.of("acks", "all"), "hello");
            same(List.of("hello"), values(read(topic, 1, Map.of())));
        });
        check("ten thousand records in order, keys to their partitions", () -> {
            String topic = topic("throughput", 3);
            long start = System.nanoTime();
            Map<Integer, Integer> partitionOf = new HashMap<>();
            try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("acks", "all", "linger.ms", "5"))) {
                List<Future<RecordMetadata>> futures = new ArrayList<>();
                for (int i = 0; i < 10_000; i++) futures.add(producer.send(new ProducerRecord<>(topic, utf8("key-" + i % 20), utf8(i + " " + "x".repeat(1000)))));
                producer.flush();
                for (int i = 0; i < futures.size(); i++) partitionOf.put(i % 20, futures.get(i).get().partition());
            }
            double sent = (System.nanoTime() - start) / 1e9;
            try (KafkaConsumer<byte[], byte[]> consumer = consumer("throughput-" + run, Map.of())) {
                consumer.subscribe(List.of(topic));
                Map<Integer, Long> last = new HashMap<>();
                Map<String, Integer> lastOfKey = new HashMap<>();
                for (ConsumerRecord<byte[], byte[]> r : poll(consumer, 10_000)) {
                    same(last.getOrDefault(r.partition(), -1L) + 1, r.offset());
                    last.put(r.partition(), r.offset());
                    int number = Integer.parseInt(text(r.value()).split(" ")[0]);
                    same(partitionOf.get(number % 20), r.partition());
                    Integer before = lastOfKey.put(text(r.key()), number);
                    that(before == null || before < number, "key " + text(r.key()) + ": " + number + " after " + before);
                }
            }
            System.out.printf("# 10 MB sent in %.1f s, read %.1f s after the start%n", sent, (System.nanoTime() - start) / 1e9);
        });
    }

    int broker() throws Exception {
        return admin.describeCluster().nodes().get().iterator().next().id();
    }

    void consuming() {
        check("commit with metadata, sync and async", () -> {
            String topic = topic("commit", 1);
            String group = "commit-" + run;
            TopicPartition partition = new TopicPartition(topic, 0);
            send(topic, Map.of("acks", "all"), "a", "b", "c", "d");
            try (KafkaConsumer<byte[], byte[]> consumer = consumer(group, Map.of())) {
                consumer.subscribe(List.of(topic));
                poll(consumer, 4);
                same(null, consumer.committed(Set.of(partition)).get(partition));
                consumer.commitSync(Map.of(partition, new OffsetAndMetadata(1, Optional.of(0), "half way \u2713")));
                OffsetAndMetadata found = consumer.committed(Set.of(partition)).get(partition);
                same(1L, found.offset());
                same("half way \u2713", found.metadata());
                AtomicInteger answered = new AtomicInteger();
                consumer.commitAsync(Map.of(partition, new OffsetAndMetadata(2, "later")), (offsets, error) -> answered.set(error == null ? 1 : -1));
                long end = System.currentTimeMillis() + PATIENCE_MS;
                while (answered.get() == 0 && System.currentTimeMillis() < end) consumer.poll(POLL);
                same(1, answered.get());
            }
            try (KafkaConsumer<byte[], byte[]> consumer = consumer(group, Map.of())) {
                consumer.subscribe(List.of(topic));
                same(List.of("c", "d"), values(poll(consumer, 2)));
            }
            Map<TopicPartition, OffsetAndMetadata> offsets = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
            same(2L, offsets.get(partition).offset());
            same("later", offsets.get(partition).metadata());
        });
        check("seek, and where auto.offset.reset leads", () -> {
            String topic = topic("seek", 1);
            TopicPartition partition = new TopicPartition(topic, 0);
            send(topic, Map.of("acks", "all"), "a", "b", "c", "d");
            try (KafkaConsumer<byte[], byte[]> consumer = consumer("seek-" + run, Map.of())) {
                consumer.assign(List.of(partition));
                consumer.seek(partition, 2);
                same(List.of("c", "d"), values(poll(consumer, 2)));
                consumer.seek(partition, 0);
                same("a", values(poll(consumer, 4)).get(0));
                consumer.seek(partition, 100);
                same("a", values(poll(consumer, 4)).get(0));
            }
            try (KafkaConsumer<byte[], byte[]> consumer = consumer("latest-" + run, Map.of("auto.offset.reset", "latest"))) {
                consumer.assign(List.of(partition));
                same(4L, consumer.position(partition));
                send(topic, Map.of("acks", "all"), "e");
                same(List.of("e"), values(poll(consumer, 1)));
            }
            try (KafkaConsumer<byte[], byte[]> consumer = consumer("none-" + run, Map.of("auto.offset.reset", "none"))) {
                consumer.assign(List.of(partition));
                consumer.seek(partition, 100);
                long end = System.currentTimeMillis() + PATIENCE_MS;
                boolean outOfRange = false;
                while (!outOfRange && System.currentTimeMillis() < end) {
                    try {
                        consumer.poll(POLL);
                    } catch (org.apache.kafka.clients.consumer.OffsetOutOfRangeException e) {
                        outOfRange = true;
                    }
                }
                that(outOfRange, "no OffsetOutOfRangeException");
            }
        });
        check("a parked fetch wakes up for one record", () -> {
            String topic = topic("wake", 1);
            try (KafkaConsumer<byte[], byte[]> consumer = consumer(null, Map.of("fetch.max.wait.ms", "10000"))) {
                consumer.assign(List.of(new TopicPartition(topic, 0)));
                consumer.poll(Duration.ofMillis(500));
                send(topic, Map.of("acks", "all"), "wake up");
                long start = System.currentTimeMillis();
                same(List.of("wake up"), values(poll(consumer, 1)));
                that(System.currentTimeMillis() - start < 5000, "it took " + (System.currentTimeMillis() - start) + " ms");
                // The next fetch is parked already: an orderly close would wait for it.
                consumer.close(Duration.ZERO);
            }
        });
    }

    /** A member of a group on a thread of its own. */
    final class Member extends Thread implements AutoCloseable, ConsumerRebalanceListener {
        final KafkaConsumer<byte[], byte[]> consumer;
        final String topic;
        final Set<Integer> assigned = Collections.synchronizedSet(new TreeSet<>());
        final List<String> seen = Collections.synchronizedList(new ArrayList<>());
        final AtomicInteger revocations = new AtomicInteger();
        final AtomicInteger rebalances = new AtomicInteger();
        volatile Throwable failure;
        volatile boolean stop;

        Member(String group, String topic, Map<String, String> settings) {
            this.topic = topic;
            consumer = consumer(group, settings);
            start();
        }

        @Override
        public void run() {
            try {
                consumer.subscribe(List.of(topic), this);
                while (!stop) {
                    consumer.poll(POLL).forEach(r -> seen.add(text(r.value())));
                    try {
                        consumer.commitSync();
                    } catch (CommitFailedException | org.apache.kafka.common.errors.RebalanceInProgressException e) {
                        // A rebalance came between; the next poll joins again.
                    }
                }
            } catch (Throwable e) {
                failure = e;
            } finally {
                consumer.close(Duration.ofSeconds(5));
            }
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            rebalances.incrementAndGet();
            partitions.forEach(p -> assigned.add(p.partition()));
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            revocations.addAndGet(partitions.size());
            partitions.forEach(p -> assigned.remove(p.partition()));
        }

        @Override
        public void close() throws Exception {
            stop = true;
            join(20_000);
            that(!isAlive(), "a member does not stop");
        }
    }

    void groups() {
        for (String assignor : List.of("RangeAssignor", "CooperativeStickyAssignor")) {
            check("two members rebalance with the " + assignor, () -> {
                String topic = topic("group-" + assignor.substring(0, 5).toLowerCase(), 4);
                String group = "group-" + assignor + "-" + run;
                Map<String, String> settings = Map.of("partition.assignment.strategy", "org.apache.kafka.clients.consumer." + assignor);
                try (Member a = new Member(group, topic, settings)) {
                    eventually(() -> a.assigned.size() == 4, "one member has " + a.assigned);
                    Member b = new Member(group, topic, settings);
                    try {
                        eventually(() -> a.assigned.size() == 2 && b.assigned.size() == 2, "two members have " + a.assigned + " and " + b.assigned);
                        same(assignor.startsWith("Cooperative") ? 2 : 4, a.revocations.get());
                        Set<String> sent = new HashSet<>();
                        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("acks", "all"))) {
                            for (int i = 0; i < 100; i++) {
                                sent.add("m" + i);
                                producer.send(new ProducerRecord<>(topic, i % 4, null, utf8("m" + i)));
                            }
                        }
                        eventually(() -> a.seen.size() + b.seen.size() >= 100, "only " + a.seen.size() + " and " + b.seen.size());
                        Set<String> seen = new HashSet<>(a.seen);
                        seen.addAll(b.seen);
                        same(sent, seen);
                        same(100, a.seen.size() + b.seen.size());
                        var described = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
                        same("Stable", Compat.state(described));
                        same(2, described.members().size());
                        fails(GroupNotEmptyException.class, admin.deleteConsumerGroups(List.of(group)).all());
                    } finally {
                        b.close();
                    }
                    eventually(() -> a.assigned.size() == 4, "after the second left, the first has " + a.assigned);
                    that(a.failure == null && b.failure == null, "failures " + a.failure + ", " + b.failure);
                }
                eventually(() -> Compat.state(admin.describeConsumerGroups(List.of(group)).all().get().get(group)).equals("Empty"), "the group does not become empty");
                that(Compat.groups(admin).contains(group), "the group is not listed");
                admin.deleteConsumerGroups(List.of(group)).all().get();
                that(!Compat.groups(admin).contains(group), "the deleted group is still listed");
            });
        }
        check("a member that dies loses its partitions after the session timeout", () -> {
            String topic = topic("dies", 2);
            String group = "dies-" + run;
            // This one joins and is never polled again: no close, so no LeaveGroup; max.poll.interval.ms lets it go.
            KafkaConsumer<byte[], byte[]> silent = consumer(group, Map.of("max.poll.interval.ms", "2000", "session.timeout.ms", "6000"));
            silent.subscribe(List.of(topic));
            long end = System.currentTimeMillis() + PATIENCE_MS;
            while (silent.assignment().size() < 2 && System.currentTimeMillis() < end) silent.poll(POLL);
            same(2, silent.assignment().size());
            try (Member b = new Member(group, topic, Map.of())) {
                eventually(() -> b.assigned.size() == 2, "the survivor has " + b.assigned);
            } finally {
                silent.close(Duration.ofSeconds(1));
            }
        });
        check("a static member comes back without a rebalance", () -> {
            String topic = topic("static", 2);
            String group = "static-" + run;
            try (Member a = new Member(group, topic, Map.of("group.instance.id", "a"))) {
                Member b = new Member(group, topic, Map.of("group.instance.id", "b"));
                Set<Integer> before;
                int rebalances;
                try {
                    eventually(() -> a.assigned.size() == 1 && b.assigned.size() == 1, "members have " + a.assigned + " and " + b.assigned);
                    before = new TreeSet<>(b.assigned);
                    rebalances = a.rebalances.get();
                } finally {
                    b.close();
                }
                try (Member again = new Member(group, topic, Map.of("group.instance.id", "b"))) {
                    eventually(() -> again.assigned.size() == 1, "the returned member has " + again.assigned);
                    same(before, new TreeSet<>(again.assigned));
                    same(rebalances, a.rebalances.get());
                    Set<String> instances = new TreeSet<>();
                    admin.describeConsumerGroups(List.of(group)).all().get().get(group).members().forEach(m -> instances.add(m.groupInstanceId().orElse("?")));
                    same(Set.of("a", "b"), instances);
                }
            }
        });
    }

    void admin() {
        check("describe cluster", () -> {
            var cluster = admin.describeCluster();
            that(cluster.nodes().get().size() >= 1, "no nodes");
            that(cluster.controller().get() != null, "no controller");
            that(cluster.clusterId().get().matches("[A-Za-z0-9_-]{22}"), "cluster id " + cluster.clusterId().get());
        });
        check("create, describe and delete topics", () -> {
            String topic = topic("admin", 2, Map.of("retention.ms", "3600000"));
            var described = Compat.describe(admin, topic);
            same(2, described.partitions().size());
            same(1, described.partitions().get(1).isr().size());
            that(!described.isInternal(), "internal");
            fails(TopicExistsException.class, admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).all());
            fails(InvalidTopicException.class, admin.createTopics(List.of(new NewTopic("no spaces please", 1, (short) 1))).all());
            fails(InvalidPartitionsException.class, admin.createTopics(List.of(new NewTopic("none-" + run, 0, (short) 1))).all());
            fails(InvalidReplicationFactorException.class, admin.createTopics(List.of(new NewTopic("many-" + run, 1, (short) 9))).all());
            fails(InvalidConfigurationException.class, admin.createTopics(List.of(new NewTopic("odd-" + run, 1, (short) 1).configs(Map.of("retention.ms", "soon")))).all());
            admin.createTopics(List.of(new NewTopic("only-checked-" + run, 1, (short) 1)), new org.apache.kafka.clients.admin.CreateTopicsOptions().validateOnly(true)).all().get();
            that(!admin.listTopics().names().get().contains("only-checked-" + run), "validateOnly made a topic");
            admin.deleteTopics(List.of(topic)).all().get();
            eventually(() -> !admin.listTopics().names().get().contains(topic), "the deleted topic stays listed");
            fails(UnknownTopicOrPartitionException.class, admin.deleteTopics(List.of(topic)).all());
        });
        check("defaults of the broker make a topic", () -> {
            String topic = "defaults-" + run;
            admin.createTopics(List.of(new NewTopic(topic, Optional.empty(), Optional.empty()))).all().get();
            created.add(topic);
            eventually(() -> admin.listTopics().names().get().contains(topic), "not listed");
        });
        check("more partitions, seen by a running producer", () -> {
            String topic = topic("grow", 1);
            admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all().get();
            eventually(() -> Compat.describe(admin, topic).partitions().size() == 3, "no third partition");
            try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("acks", "all"))) {
                same(0L, producer.send(new ProducerRecord<>(topic, 2, null, utf8("third"))).get().offset());
            }
            fails(InvalidPartitionsException.class, admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(2))).all());
        });
        check("configs: describe and alter", () -> {
            String topic = topic("configs", 1);
            ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
            var before = admin.describeConfigs(List.of(resource)).all().get().get(resource);
            that(before.entries().size() >= 25, before.entries().size() + " entries");
            same("604800000", before.get("retention.ms").value());
            that(before.get("retention.ms").isDefault(), "retention.ms is not said to be a default");
            admin.incrementalAlterConfigs(Map.of(resource, List.of(new AlterConfigOp(new ConfigEntry("retention.ms", "5000"), AlterConfigOp.OpType.SET),
                new AlterConfigOp(new ConfigEntry("cleanup.policy", "compact"), AlterConfigOp.OpType.APPEND)))).all().get();
            eventually(() -> {
                var after = admin.describeConfigs(List.of(resource)).all().get().get(resource);
                return after.get("retention.ms").value().equals("5000") && after.get("cleanup.policy").value().equals("delete,compact")
                    && after.get("retention.ms").source() == ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG;
            }, "the altered values do not appear");
            fails(InvalidConfigurationException.class, admin.incrementalAlterConfigs(Map.of(resource, List.of(
                new AlterConfigOp(new ConfigEntry("retention.ms", "soon"), AlterConfigOp.OpType.SET)))).all());
            ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, String.valueOf(broker()));
            var values = admin.describeConfigs(List.of(broker)).all().get().get(broker);
            that(values.get("log.dirs") != null && values.get("log.dirs").isReadOnly(), "log.dirs " + values.get("log.dirs"));
        });
        check("delete records moves the log start", () -> {
            String topic = topic("purge", 1);
            TopicPartition partition = new TopicPartition(topic, 0);
            send(topic, Map.of("acks", "all"), "a", "b", "c", "d");
            same(3L, admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(3))).lowWatermarks().get(partition).get().lowWatermark());
            same(List.of("d"), values(read(topic, 1, Map.of())));
            same(3L, admin.listOffsets(Map.of(partition, OffsetSpec.earliest())).partitionResult(partition).get().offset());
            same(4L, admin.listOffsets(Map.of(partition, OffsetSpec.latest())).partitionResult(partition).get().offset());
            fails(OffsetOutOfRangeException.class, admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(9))).all());
        });
        check("log dirs", () -> {
            String topic = topic("dirs", 1);
            send(topic, Map.of("acks", "all"), "x".repeat(5000));
            long size = Compat.sizes(admin, broker()).get(topic + "-0");
            that(size >= 5000 && size < 6000, size + " bytes");
        });
        check("offsets of a group altered and deleted from outside", () -> {
            String topic = topic("outside", 1);
            String group = "outside-" + run;
            TopicPartition partition = new TopicPartition(topic, 0);
            send(topic, Map.of("acks", "all"), "a", "b", "c");
            admin.alterConsumerGroupOffsets(group, Map.of(partition, new OffsetAndMetadata(2, "by hand"))).all().get();
            try (KafkaConsumer<byte[], byte[]> consumer = consumer(group, Map.of())) {
                consumer.subscribe(List.of(topic));
                same(List.of("c"), values(poll(consumer, 1)));
            }
            admin.deleteConsumerGroupOffsets(group, Set.of(partition)).all().get();
            same(null, admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(partition));
        });
    }

    void clean() {
        // Some stay, so that the dump tool finds every codec and an idempotent producer in the closed data directory.
        created.removeIf(topic -> topic.startsWith("codec-") || topic.startsWith("idempotent-") || topic.startsWith("shapes-"));
        check("the topics of the walk are deleted", () -> {
            Set<String> listed = admin.listTopics().names().get();
            created.retainAll(listed);
            admin.deleteTopics(created).all().get();
        });
        admin.close(Duration.ofSeconds(5));
    }

    public static void main(String[] args) throws Exception {
        // A hanging broker must fail the walk, not stop it.
        Thread watch = new Thread(() -> {
            try {
                Thread.sleep(240_000);
                System.out.println("not ok - clients: the whole walk within 240 s");
                System.out.flush();
                Runtime.getRuntime().halt(1);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        });
        watch.setDaemon(true);
        watch.start();
        long start = System.nanoTime();
        Walk walk = new Walk();
        walk.producing();
        walk.consuming();
        walk.groups();
        walk.admin();
        Compat.more(walk);
        walk.clean();
        System.out.printf("# clients-%s: %d passed, %d failed in %d s%n", walk.version, walk.passed, walk.failed, (System.nanoTime() - start) / 1_000_000_000);
        System.exit(walk.failed == 0 ? 0 : 1);
    }
}
