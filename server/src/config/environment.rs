//! Settings from environment variables, by the rules of the Kafka images: `KAFKA_LOG_DIRS` is `log.dirs`.
//!
//! It turns names into keys; whether such a key exists is unknown here.

/// Variables of those images and of Kafka's scripts that are no settings.
const NOT_SETTINGS: &[&str] = &[
    "KAFKA_CLUSTER_ID",
    "KAFKA_CONF_DIR",
    "KAFKA_DEBUG",
    "KAFKA_GC_LOG_OPTS",
    "KAFKA_HEAP_OPTS",
    "KAFKA_HOME",
    "KAFKA_JMX_HOSTNAME",
    "KAFKA_JMX_OPTS",
    "KAFKA_JMX_PORT",
    "KAFKA_JVM_PERFORMANCE_OPTS",
    "KAFKA_KRAFT_CLUSTER_ID",
    "KAFKA_LOG4J_CMD_OPTS",
    "KAFKA_LOG4J_LOGGERS",
    "KAFKA_LOG4J_OPTS",
    "KAFKA_LOG4J_ROOT_LOGLEVEL",
    "KAFKA_OPTS",
    "KAFKA_TOOLS_LOG4J_LOGLEVEL",
    "KAFKA_VERSION",
];

/// The key that the variable `name` sets: `___` is `-`, `__` is `_`, `_` is `.`. `None` for variables that set none,
/// among them those that Kubernetes adds for a service named kafka.
pub(super) fn key_of(name: &str) -> Option<String> {
    if NOT_SETTINGS.contains(&name) || is_kubernetes(name) {
        return None;
    }
    let rest = name
        .strip_prefix("KAFKA_CFG_")
        .or_else(|| name.strip_prefix("KAFKA_"))?;
    if rest.is_empty() {
        return None;
    }
    let spelled = rest.to_ascii_lowercase();
    let dashed: Vec<_> = spelled.split("___").map(dots_and_underscores).collect();
    Some(dashed.join("-"))
}

fn dots_and_underscores(text: &str) -> String {
    let parts: Vec<_> = text
        .split("__")
        .map(|part| part.replace('_', "."))
        .collect();
    parts.join("_")
}

fn is_kubernetes(name: &str) -> bool {
    matches!(
        name,
        "KAFKA_PORT" | "KAFKA_SERVICE_HOST" | "KAFKA_SERVICE_PORT"
    ) || name.starts_with("KAFKA_PORT_")
        || name.starts_with("KAFKA_SERVICE_PORT_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_as_in_the_kafka_images() {
        let keys = [
            ("KAFKA_LOG_RETENTION_HOURS", Some("log.retention.hours")),
            (
                "KAFKA_CFG_ADVERTISED_LISTENERS",
                Some("advertised.listeners"),
            ),
            ("KAFKA_A__B___C_D", Some("a_b-c.d")),
            ("KAFKA_HEAP_OPTS", None),
            ("KAFKA_PORT_9092_TCP_ADDR", None),
            ("KAFKA_", None),
            ("PATH", None),
        ];
        for (name, key) in keys {
            assert_eq!(key_of(name).as_deref(), key, "{name}");
        }
    }
}
