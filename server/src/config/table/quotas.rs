//! Rows about quotas, metrics, configuration providers and tiering.
//!
//! Facts only: names, types, defaults and bounds as Kafka 4.3 defines them.

use millrace_engine::config::Allowed::Anything;
use millrace_engine::config::Handling::{Accepted, Mapped, Pending, Refused};
use millrace_engine::config::{Allowed, Property};
use millrace_engine::properties;

use super::words::{JVM, QUOTAS, TIERING};

pub(super) const ROWS: &[Property] = properties! {
    "quota.window.num": Int = "11", Allowed::at_least(1), ReadOnly, Mapped,
        "Less one, times quota.window.size.seconds: for how long an unused max.connection.creation.rate is saved up.";
    "quota.window.size.seconds": Int = "1", Allowed::at_least(1), ReadOnly, Mapped,
        "As quota.window.num.";
    "controller.quota.window.num": Int = "11", Allowed::at_least(1), ReadOnly, Pending(QUOTAS),
        "Samples kept to measure changes of topics.";
    "controller.quota.window.size.seconds": Int = "1", Allowed::at_least(1), ReadOnly, Pending(QUOTAS),
        "Length of such a sample.";
    "client.quota.callback.class": Class, Anything, ReadOnly, Refused(JVM),
        "Java class that decides quotas.";
    "metric.reporters": List = "org.apache.kafka.common.metrics.JmxReporter", Anything, ClusterWide, Accepted,
        "Java classes that report metrics; none can run here.";
    "metrics.num.samples": Int = "2", Allowed::at_least(1), ReadOnly, Accepted,
        "Samples kept per metric.";
    "metrics.sample.window.ms": Long = "30000", Allowed::at_least(1), ReadOnly, Accepted,
        "Length of such a sample.";
    "metrics.recording.level": String = "INFO", Anything, ReadOnly, Accepted,
        "Least level of metrics that are recorded.";
    "kafka.metrics.reporters": List = "", Anything, ReadOnly, Accepted,
        "Java classes that report metrics; none can run here.";
    "kafka.metrics.polling.interval.secs": Int = "10", Allowed::at_least(1), ReadOnly, Accepted,
        "How often such classes are asked to report.";
    "telemetry.max.bytes": Int = "1048576", Allowed::at_least(1), ReadOnly, Pending("client telemetry (KIP-714)"),
        "The largest metrics push of a client.";
    "config.providers": List = "", Anything, ReadOnly, Mapped,
        "Where ${provider:path:key} in the file may look: file, directory and env are known.";
    "remote.log.storage.system.enable": Boolean = "false", Anything, ReadOnly, Refused(TIERING),
        "Whether topics may be tiered to remote storage.";
    "remote.log.storage.manager.class.name": String, Anything, ReadOnly, Refused(TIERING),
        "Java class that stores segments remotely.";
    "remote.log.storage.manager.class.path": String, Anything, ReadOnly, Accepted,
        "Class path of that class.";
    "remote.log.storage.manager.impl.prefix": String = "rsm.config.", Anything, ReadOnly, Accepted,
        "Prefix of that class's own properties.";
    "remote.log.metadata.manager.class.name": String = "org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager", Anything, ReadOnly, Accepted,
        "Java class that keeps the list of remote segments.";
    "remote.log.metadata.manager.class.path": String, Anything, ReadOnly, Accepted,
        "Class path of that class.";
    "remote.log.metadata.manager.impl.prefix": String = "rlmm.config.", Anything, ReadOnly, Accepted,
        "Prefix of that class's own properties.";
    "remote.log.metadata.manager.listener.name": String, Anything, ReadOnly, Accepted,
        "Listener that class connects to.";
    "remote.log.metadata.custom.metadata.max.bytes": Int = "128", Allowed::at_least(0), ReadOnly, Accepted,
        "Largest description a remote storage may add.";
    "remote.log.reader.threads": Int = "10", Allowed::at_least(1), ClusterWide, Accepted,
        "Threads that read remote segments.";
    "remote.log.reader.max.pending.tasks": Int = "100", Allowed::at_least(1), ReadOnly, Accepted,
        "Remote reads that may wait.";
    "remote.log.index.file.cache.total.size.bytes": Long = "1073741824", Allowed::at_least(1), ClusterWide, Accepted,
        "Bytes of remote indexes kept locally.";
    "remote.log.manager.copier.thread.pool.size": Int = "10", Allowed::at_least(1), ClusterWide, Accepted,
        "Threads that copy segments.";
    "remote.log.manager.copy.max.bytes.per.second": Long = "9223372036854775807", Allowed::at_least(1), ClusterWide, Accepted,
        "Bytes copied per second.";
    "remote.log.manager.copy.quota.window.num": Int = "11", Allowed::at_least(1), ReadOnly, Accepted,
        "Samples kept to measure copies.";
    "remote.log.manager.copy.quota.window.size.seconds": Int = "1", Allowed::at_least(1), ReadOnly, Accepted,
        "Length of such a sample.";
    "remote.log.manager.expiration.thread.pool.size": Int = "10", Allowed::at_least(1), ClusterWide, Accepted,
        "Threads that delete remote segments.";
    "remote.log.manager.fetch.max.bytes.per.second": Long = "9223372036854775807", Allowed::at_least(1), ClusterWide, Accepted,
        "Bytes read from remote storage per second.";
    "remote.log.manager.fetch.quota.window.num": Int = "11", Allowed::at_least(1), ReadOnly, Accepted,
        "Samples kept to measure remote reads.";
    "remote.log.manager.fetch.quota.window.size.seconds": Int = "1", Allowed::at_least(1), ReadOnly, Accepted,
        "Length of such a sample.";
    "remote.log.manager.follower.thread.pool.size": Int = "2", Allowed::at_least(1), ClusterWide, Accepted,
        "Threads that follow remote segments.";
    "remote.log.manager.task.interval.ms": Long = "30000", Allowed::at_least(1), ReadOnly, Accepted,
        "How often segments to copy are looked for.";
    "remote.log.manager.thread.pool.size": Int = "2", Allowed::at_least(1), ReadOnly, Accepted,
        "Threads of the tiering as a whole.";
    "remote.fetch.max.wait.ms": Int = "500", Allowed::at_least(1), ClusterWide, Accepted,
        "How long a fetch waits for remote storage.";
    "remote.list.offsets.request.timeout.ms": Long = "30000", Allowed::at_least(1), ClusterWide, Accepted,
        "How long a search by time waits for remote storage.";
};
