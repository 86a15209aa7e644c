//! The room's door for fuzzing: any bytes as a properties file.

use std::collections::BTreeSet;
use std::path::Path;

use millrace_engine::config::Overrides;

use super::{Loaded, Sources, load_with};

const FILE: &str = "server.properties";

/// Loads `data` as `server.properties`; no other file is there. Never panics on the bytes.
///
/// # Panics
/// When a file that is refused has no fault that can be told, or one that is taken cannot be shown: that is the finding.
pub fn load_hostile(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let read_file = |path: &Path| {
        let known = path == Path::new(FILE);
        known.then(|| text.clone()).ok_or("no such file".to_owned())
    };
    let sources = Sources {
        file: Some(FILE.into()),
        ..Sources::default()
    };
    match load_with(&sources, &read_file) {
        Ok(loaded) => show(&loaded),
        Err(error) => {
            assert!(!error.faults.is_empty(), "refused without a reason");
            for fault in &error.faults {
                assert!(!fault.text.is_empty(), "a fault without words");
            }
        }
    }
}

fn show(loaded: &Loaded) {
    let view = &loaded.view;
    let all = BTreeSet::new();
    assert!(!view.describe_broker(&all).is_empty(), "there are settings");
    let topic = view.describe_topic(&Overrides::new(), &all);
    assert!(!topic.is_empty(), "topics have settings");
    let again = view.with_dynamic(Overrides::new(), Overrides::new());
    assert_eq!(
        format!("{:?}", again.broker_config()),
        format!("{:?}", loaded.config),
        "the same settings hold"
    );
    assert!(
        !loaded.config.listeners.clients.is_empty(),
        "somebody can connect"
    );
}
