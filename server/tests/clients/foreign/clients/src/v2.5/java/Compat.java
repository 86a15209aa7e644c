import java.util.Map;
import java.util.stream.Collectors;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.TopicDescription;

/** What kafka-clients 2.5 calls differently. */
final class Compat {
    private Compat() { }

    static TopicDescription describe(Admin admin, String topic) throws Exception {
        return admin.describeTopics(java.util.List.of(topic)).all().get().get(topic);
    }

    static String state(ConsumerGroupDescription group) {
        return group.state().toString();
    }

    static java.util.Set<String> groups(Admin admin) throws Exception {
        return admin.listConsumerGroups().all().get().stream().map(g -> g.groupId()).collect(Collectors.toSet());
    }

    /** Bytes on disk by "topic-partition". */
    static Map<String, Long> sizes(Admin admin, int broker) throws Exception {
        Map<String, Long> sizes = new java.util.TreeMap<>();
        admin.describeLogDirs(java.util.List.of(broker)).all().get().get(broker).values()
            .forEach(dir -> dir.replicaInfos.forEach((partition, info) -> sizes.put(partition.toString(), info.size)));
        return sizes;
    }

    /** Checks that only a newer client can make. */
    static void more(Walk walk) { }
}
