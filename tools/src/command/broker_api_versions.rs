//! `kafka-broker-api-versions`: which versions of which APIs each broker serves.

use std::io::Write;

use clap::Args;
use millrace_wire::message::api_versions::ApiVersion;
use millrace_wire::{ApiKey, api_name};

use super::Failure;
use crate::flags::Connect;
use crate::print::joined;

/// Shows which versions of which APIs the brokers serve
#[derive(Args, Debug)]
pub(crate) struct Flags {
    #[command(flatten)]
    connect: Connect,
}

/// Runs the command.
pub(crate) async fn run(flags: Flags, out: &mut dyn Write) -> Result<(), Failure> {
    let mut admin = flags.connect.admin()?;
    for node in admin.nodes().await? {
        let (host, port, id) = (&node.host, node.port, node.id);
        let rack = node.rack.as_deref().unwrap_or("null");
        let name = format!("{host}:{port} (id: {id} rack: {rack} isFenced: false)");
        match admin.versions(id).await {
            Ok(versions) => {
                let apis = joined(lines(versions.api_keys), ",\n");
                writeln!(out, "{name} -> (\n{apis}\n)")?;
            }
            Err(error) => writeln!(out, "{name} -> ERROR: {}", error.as_exception())?,
        }
    }
    Ok(())
}

/// The APIs by number; those that clients know and the broker does not serve stand among them.
fn lines(mut apis: Vec<ApiVersion>) -> Vec<String> {
    apis.sort_by_key(|api| api.api_key);
    let last = apis.last().map_or(0, |api| api.api_key);
    let numbers = 0..=last.max(LAST_KEY);
    let text = |key| match apis.iter().find(|api| api.api_key == key) {
        Some(api) => Some(line(api)),
        None if BROKER_KEYS.contains(&key) => None,
        None => api_name(key).map(|name| format!("\t{name}({key}): UNSUPPORTED")),
    };
    numbers.filter_map(text).collect()
}

/// The last key of Kafka 4.3.
const LAST_KEY: i16 = 92;

/// APIs between brokers and controllers, and those that are gone.
const BROKER_KEYS: [i16; 16] = [4, 5, 6, 7, 52, 53, 54, 56, 58, 59, 62, 63, 67, 70, 73, 82];

/// One API. "Usable" is the highest version that these tools know too.
fn line(api: &ApiVersion) -> String {
    let name = api_name(api.api_key).unwrap_or("UNKNOWN");
    let range = if api.min_version == api.max_version {
        api.min_version.to_string()
    } else {
        format!("{} to {}", api.min_version, api.max_version)
    };
    let known = ApiKey::from_number(api.api_key).map(ApiKey::advertised_versions);
    let usable = match &known {
        None => api.max_version,
        Some(known) => api.max_version.min(*known.end()),
    };
    if usable < api.min_version || known.is_some_and(|known| api.max_version < *known.start()) {
        return format!(
            "\t{name}({}): {range} [unusable: node too new]",
            api.api_key
        );
    }
    format!("\t{name}({}): {range} [usable: {usable}]", api.api_key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_served_is_said() {
        let found = lines(vec![ApiVersion {
            api_key: 0,
            min_version: 0,
            max_version: 13,
        }]);
        assert_eq!(found[0], "\tProduce(0): 0 to 13 [usable: 13]");
        assert_eq!(found[1], "\tFetch(1): UNSUPPORTED");
        assert_eq!(
            found.last().unwrap(),
            "\tDeleteShareGroupOffsets(92): UNSUPPORTED"
        );
    }

    #[test]
    fn an_api_has_its_name_its_versions_and_the_usable_one() {
        let api = |api_key, min_version, max_version| ApiVersion {
            api_key,
            min_version,
            max_version,
        };
        assert_eq!(line(&api(0, 0, 13)), "\tProduce(0): 0 to 13 [usable: 13]");
        assert_eq!(line(&api(47, 0, 0)), "\tOffsetDelete(47): 0 [usable: 0]");
        assert_eq!(
            line(&api(75, 3, 4)),
            "\tDescribeTopicPartitions(75): 3 to 4 [unusable: node too new]"
        );
        assert_eq!(
            line(&api(24, 0, 5)),
            "\tAddPartitionsToTxn(24): 0 to 5 [usable: 5]"
        );
    }
}
