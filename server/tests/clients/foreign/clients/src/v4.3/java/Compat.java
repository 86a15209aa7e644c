import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.ListGroupsOptions;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;

/** What kafka-clients 4.3 calls differently. */
final class Compat {
    private Compat() { }

    static TopicDescription describe(Admin admin, String topic) throws Exception {
        return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
    }

    static String state(ConsumerGroupDescription group) {
        return group.groupState().toString();
    }

    static Set<String> groups(Admin admin) throws Exception {
        return admin.listGroups(ListGroupsOptions.forConsumerGroups()).all().get().stream().map(g -> g.groupId()).collect(Collectors.toSet());
    }

    /** Bytes on disk by "topic-partition". */
    static Map<String, Long> sizes(Admin admin, int broker) throws Exception {
        Map<String, Long> sizes = new java.util.TreeMap<>();
        admin.describeLogDirs(List.of(broker)).allDescriptions().get().get(broker).values()
            .forEach(dir -> dir.replicaInfos().forEach((partition, info) -> sizes.put(partition.toString(), info.size())));
        return sizes;
    }

    /** Checks that only a newer client can make. */
    static void more(Walk walk) throws Exception {
        Admin admin = walk.admin;
        walk.check("topics by id", () -> {
            String topic = walk.topic("ids", 1);
            Uuid id = describe(admin, topic).topicId();
            Walk.that(!id.equals(Uuid.ZERO_UUID), "topic id is zero");
            Walk.same(topic, admin.describeTopics(TopicCollection.ofTopicIds(List.of(id))).allTopicIds().get().get(id).name());
            admin.deleteTopics(TopicCollection.ofTopicIds(List.of(id))).all().get();
            Walk.eventually(() -> !admin.listTopics().names().get().contains(topic), "the topic deleted by id stays listed");
        });
        walk.check("a recreated topic has a new id", () -> {
            String topic = walk.topic("again", 1);
            Uuid first = describe(admin, topic).topicId();
            admin.deleteTopics(List.of(topic)).all().get();
            walk.create(topic, 1, Map.of());
            Walk.that(!describe(admin, topic).topicId().equals(first), "the id is the old one");
        });
        walk.check("describe producers", () -> {
            String topic = walk.topic("producers", 1);
            walk.send(topic, Map.of("enable.idempotence", "true"), "one", "two");
            TopicPartition partition = new TopicPartition(topic, 0);
            var producers = admin.describeProducers(List.of(partition)).partitionResult(partition).get().activeProducers();
            Walk.same(1, producers.size());
            Walk.same(1, producers.get(0).lastSequence());
        });
        walk.check("offset of the greatest timestamp", () -> {
            String topic = walk.topic("max-timestamp", 1);
            walk.sendAt(topic, 2000L, "a");
            walk.sendAt(topic, 9000L, "b");
            walk.sendAt(topic, 5000L, "c");
            TopicPartition partition = new TopicPartition(topic, 0);
            var found = admin.listOffsets(Map.of(partition, OffsetSpec.maxTimestamp())).partitionResult(partition).get();
            Walk.same(1L, found.offset());
            Walk.same(9000L, found.timestamp());
        });
        walk.check("features are described", () -> Walk.that(admin.describeFeatures().featureMetadata().get() != null, "no features"));
    }
}
