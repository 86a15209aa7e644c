//! The tables against the sources: whatever a row says is obeyed has somebody who obeys it.
//!
//! Plain text: that a value is read is seen here, that it is obeyed well is for the tests of whoever reads it. A row that
//! fails is either wired up, or says honestly that it waits (`Pending`) or has no effect (`Accepted`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use millrace_engine::config::{Handling, Property, TOPIC_PROPERTIES};

use super::table::{self, BROKER_PROPERTIES};

fn is_obeyed(row: &Property) -> bool {
    match row.handling {
        Handling::Honoured | Handling::Mapped => true,
        Handling::Accepted | Handling::Pending(_) | Handling::Refused(_) => false,
    }
}

/// Every broker property is either read by name in this room, or what topics fall back on.
#[test]
fn every_broker_property_that_is_obeyed_is_read() {
    let readers = production_code("server/src/config", &["server/src/config/table"]);
    let topics = TOPIC_PROPERTIES.rows().filter(|row| is_obeyed(row));
    let twins: BTreeSet<&str> = topics
        .flat_map(|row| row.twins)
        .map(|twin| twin.name)
        .collect();
    let mut unread = Vec::new();
    for row in BROKER_PROPERTIES.rows().filter(|row| is_obeyed(row)) {
        let quoted = format!("\"{}\"", row.name);
        if !twins.contains(row.name) && !readers.contains(&quoted) {
            unread.push(row.name);
        }
    }
    assert_eq!(unread, [""; 0], "said to be obeyed, and read by nobody");
}

/// What is read becomes a field of a typed structure, and each field has a user in another room.
#[test]
fn every_typed_broker_setting_is_used_outside_of_the_configuration() {
    let definitions = read("server/src/config/broker.rs");
    let users = compact(&production_code("server/src", &["server/src/config"]));
    let mut unused = Vec::new();
    for field in fields(&definitions) {
        let holder = match holder_of(&definitions, &field.structure) {
            Some(holder) => holder,
            None if field.structure == "BrokerConfig" => "config".to_owned(),
            None => "own".to_owned(),
        };
        let paths = [&holder, "config"].map(|holder| format!("{holder}.{}", field.name));
        if !paths.iter().any(|path| has_word(&users, path)) {
            unused.push(format!("{}.{}", field.structure, field.name));
        }
        if let Some(row) = field.property.as_deref().and_then(table::find) {
            assert!(
                is_obeyed(row),
                "{} has a typed field, and its row says that nobody obeys it",
                row.name
            );
        }
    }
    assert_eq!(unused, [""; 0], "typed, and used by nobody");
}

/// Topic settings are obeyed by the engine.
#[test]
fn every_topic_property_that_is_obeyed_is_used_by_the_engine() {
    let definitions = read("engine/src/config/topic.rs");
    let users = compact(&production_code("engine/src", &["engine/src/config"]));
    let fields = fields(&definitions);
    let fields: Vec<_> = fields
        .iter()
        .filter(|field| field.structure == "TopicConfig")
        .collect();
    let mut faults = Vec::new();
    for row in TOPIC_PROPERTIES.rows() {
        let field = fields
            .iter()
            .find(|field| field.property.as_deref() == Some(row.name));
        let used = field.is_some_and(|field| {
            let paths = ["config", "config()"].map(|holder| format!("{holder}.{}", field.name));
            paths.iter().any(|path| has_word(&users, path))
        });
        if used != is_obeyed(row) {
            faults.push((row.name, used));
        }
    }
    assert_eq!(
        faults,
        [],
        "rows that say otherwise than (whether the engine uses it)"
    );
}

/// A public field, and the property that its documentation names first.
struct Field {
    structure: String,
    name: String,
    property: Option<String>,
}

fn fields(source: &str) -> Vec<Field> {
    let mut fields = Vec::new();
    let (mut structure, mut property) = (String::new(), None);
    for line in source.lines() {
        let words = line.trim();
        if let Some(name) = line.strip_prefix("pub struct ") {
            name.trim_end_matches(" {").clone_into(&mut structure);
            property = None;
        } else if let Some(text) = words.strip_prefix("/// ") {
            let named = text.split('`').nth(1).map(str::to_owned);
            property = property.or(named);
        } else if let Some((name, _)) = line
            .strip_prefix("    pub ")
            .and_then(|rest| rest.split_once(": "))
            && !name.contains(['(', ' '])
        {
            fields.push(Field {
                structure: structure.clone(),
                name: name.to_owned(),
                property: property.take(),
            });
        }
    }
    assert!(
        fields.len() > 10,
        "the source has another form than this test knows"
    );
    fields
}

/// The field in which a structure is held.
fn holder_of(source: &str, structure: &str) -> Option<String> {
    let ending = format!(": {structure},");
    let mut lines = source
        .lines()
        .filter_map(|line| line.strip_prefix("    pub "));
    lines.find_map(|line| line.strip_suffix(&ending).map(str::to_owned))
}

/// Whether the path stands in the text and does not go on as a longer name.
fn has_word(text: &str, path: &str) -> bool {
    let ends = |at: usize| {
        let next = text[at + path.len()..].chars().next();
        !next.is_some_and(|next| next.is_ascii_alphanumeric() || next == '_')
    };
    text.match_indices(path).any(|(at, _)| ends(at))
}

/// Without white space, so that a path that was broken over lines is found.
fn compact(text: &str) -> String {
    text.split_whitespace().collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The sources under `folder` without comments and tests, and without the folders of `except`.
fn production_code(folder: &str, except: &[&str]) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(root().join(folder)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let path = format!("{folder}/{name}");
        if except.contains(&path.as_str()) || name.trim_end_matches(".rs") == "tests" {
            continue;
        }
        if root().join(&path).is_dir() {
            text.push_str(&production_code(&path, except));
        } else if name.ends_with(".rs") && path != "server/src/config/obeyed.rs" {
            let source = read(&path);
            let code = source
                .split("\n#[cfg(test)]\nmod tests")
                .next()
                .unwrap_or_default();
            let lines = code.lines().filter(|line| !line.trim().starts_with("//"));
            for line in lines {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}
