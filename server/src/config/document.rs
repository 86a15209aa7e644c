//! docs/configuration.md, written from the tables. A test keeps the committed file current.

use std::fmt::Write;

use millrace_engine::config::{Dynamic, Handling, Kind, Property, TOPIC_PROPERTIES, Table};

use super::table::{BROKER_PROPERTIES, RETIRED_BROKER_KEYS};

const INTRODUCTION: &str = "\
# Configuration

Generated from the tables of properties; do not edit. To write it anew:
`MILLRACE_WRITE_DOCUMENTS=1 cargo test -p millrace-server document`.

`millrace-server` takes a Kafka `server.properties` (2.7 to 4.3) as its argument. A value may also come from the
environment (`KAFKA_LOG_DIRS`, `KAFKA_CFG_LOG_DIRS`: `___` is `-`, `__` is `_`, `_` is `.`) and from
`--override key=value`; the command line beats the environment, which beats the file. Unknown keys are ignored with a
warning. Without a file the broker listens on localhost:9092 and keeps its data under ./data.

What becomes of a value:

- **honoured**: it does what it does in Kafka, or what its line here says.
- **mapped**: it steers a mechanism of our own that serves the same purpose.
- **accepted**: stored and echoed, without effect.
- **later**: stored and echoed, without effect until the part of Kafka named here exists in Millrace.
- **refused**: the broker does not start with another value than the default, because ignoring it would not be safe.

When it changes: *restart* only, *broker* by broker while it runs, or for all brokers at once (*cluster*).
";

/// The whole text of docs/configuration.md.
#[must_use]
pub fn configuration_document() -> String {
    let mut text = INTRODUCTION.to_owned();
    text.push_str("\n# Broker settings\n");
    write_table(&mut text, BROKER_PROPERTIES);
    text.push_str("\n# Topic settings\n\nA topic that does not say otherwise follows the broker setting named as default.\n");
    write_table(&mut text, TOPIC_PROPERTIES);
    text.push_str("\n# Settings of the past\n\nTaken with a warning, so that old files start:\n\n");
    for (name, advice) in RETIRED_BROKER_KEYS {
        line(&mut text, format_args!("- `{name}`: {advice}."));
    }
    text
}

fn write_table(text: &mut String, table: Table) {
    for (title, rows) in table.themes() {
        line(text, format_args!("\n## {title}\n"));
        text.push_str("| name | type | default | allowed | changes | handling | meaning |\n");
        text.push_str("|---|---|---|---|---|---|---|\n");
        for row in *rows {
            line(
                text,
                format_args!(
                    "| `{}` | {} | {} | {} | {} | {} | {} |",
                    row.name,
                    row.kind.name(),
                    default_of(row),
                    row.allowed.to_string().replace('|', "\\|"),
                    changes(row),
                    handling(row.handling),
                    row.documentation.replace('|', "\\|"),
                ),
            );
        }
    }
}

/// Writing to a string cannot fail.
fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    let _ = writeln!(text, "{content}");
}

fn default_of(row: &Property) -> String {
    let own = match (row.default, row.kind) {
        (None, _) => "none".to_owned(),
        (Some(""), _) => "empty".to_owned(),
        (Some("9223372036854775807"), Kind::Long) => "unlimited".to_owned(),
        (Some(text), Kind::Long | Kind::Int) if row.name.ends_with(".ms") => in_words(text),
        (Some(text), _) => format!("`{text}`"),
    };
    match row.twins.first() {
        Some(twin) if row.name != twin.name => format!("`{}`: {own}", twin.name),
        _ => own,
    }
}

/// A time in its largest whole unit beside the number, from a second up.
fn in_words(text: &str) -> String {
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "min"),
        (1_000, "s"),
    ];
    let number = text.parse::<i64>().unwrap_or(0);
    let fits = |&&(factor, _): &&(i64, &str)| number >= factor && number % factor == 0;
    match units.iter().find(fits) {
        Some((factor, unit)) => format!("`{text}` ({} {unit})", number / factor),
        None => format!("`{text}`"),
    }
}

const fn changes(row: &Property) -> &'static str {
    match row.dynamic {
        Dynamic::ReadOnly => "restart",
        Dynamic::PerBroker => "broker",
        Dynamic::ClusterWide => "cluster",
    }
}

fn handling(handling: Handling) -> String {
    match handling {
        Handling::Honoured => "honoured".to_owned(),
        Handling::Mapped => "mapped".to_owned(),
        Handling::Accepted => "accepted".to_owned(),
        Handling::Pending(what) => format!("later: {what}"),
        Handling::Refused(reason) => format!("refused: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_committed_document_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
        let text = configuration_document();
        if std::env::var_os("MILLRACE_WRITE_DOCUMENTS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == text,
            "docs/configuration.md is not current: MILLRACE_WRITE_DOCUMENTS=1 cargo test -p millrace-server document"
        );
    }

    #[test]
    fn every_property_is_in_the_document_once_and_no_row_breaks_its_table() {
        let text = configuration_document();
        for row in BROKER_PROPERTIES.rows() {
            assert!(
                text.contains(&format!("\n| `{}` | ", row.name)),
                "{}",
                row.name
            );
        }
        for row in text.lines().filter(|line| line.starts_with("| `")) {
            assert_eq!(row.replace("\\|", "").matches('|').count(), 8, "{row}");
        }
    }
}
