//! `kafka-consumer-groups`: lists and describes groups, moves their offsets, deletes groups and offsets.
//!
//! Each action but listing has a file of its own; the flags of all are here. Where Kafka's tool prints an error and
//! ends with 0, so does this one.

mod delete;
mod describe;
mod reset;
mod time;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use millrace_wire::ErrorCode;
use millrace_wire::message::list_groups::ListedGroup;

use super::Failure;
use crate::admin::{Admin, AdminError};
use crate::flags::{Connect, missing, refuse_zookeeper};
use crate::print::{Table, joined};

/// Lists and describes consumer groups, moves their offsets, deletes them
#[derive(Args, Debug, Default)]
pub(crate) struct Flags {
    #[command(flatten)]
    connect: Connect,
    /// List all groups
    #[arg(long)]
    list: bool,
    /// Show offsets and lag of groups, or their members or state
    #[arg(long)]
    describe: bool,
    /// Delete groups
    #[arg(long)]
    delete: bool,
    /// Move the offsets of groups without members
    #[arg(long)]
    reset_offsets: bool,
    /// Delete the offsets of a group for topics
    #[arg(long)]
    delete_offsets: bool,
    /// Tell whether a regular expression is valid
    #[arg(long, value_name = "REGEX")]
    validate_regex: Option<String>,
    /// The group; may be repeated
    #[arg(long)]
    group: Vec<String>,
    /// All groups
    #[arg(long)]
    all_groups: bool,
    /// With --reset-offsets, --delete-offsets: the topic, or topic:0,1,2; may be repeated
    #[arg(long)]
    topic: Vec<String>,
    /// With --reset-offsets: all topics the group has offsets for
    #[arg(long)]
    all_topics: bool,
    /// With --describe: offsets and lag (this is the default)
    #[arg(long, requires = "describe")]
    offsets: bool,
    /// With --describe: the members
    #[arg(long, requires = "describe")]
    members: bool,
    /// With --describe: the state. With --list: show states, or only groups in the given ones, as stable,empty
    #[arg(long, value_name = "STATES", num_args = 0..=1, default_missing_value = "")]
    state: Option<String>,
    /// With --list: show types, or only groups of the given ones: classic, consumer
    #[arg(long = "type", value_name = "TYPES", num_args = 0..=1, default_missing_value = "", requires = "list")]
    types: Option<String>,
    /// With --describe: more columns
    #[arg(long, requires = "describe")]
    verbose: bool,
    /// How long to wait for each answer, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5000)]
    timeout: u64,
    /// With --reset-offsets: only show what would be done (this is the default)
    #[arg(long)]
    dry_run: bool,
    /// With --reset-offsets: do it
    #[arg(long)]
    execute: bool,
    /// With --reset-offsets: print the new offsets as CSV
    #[arg(long)]
    export: bool,
    /// To this offset
    #[arg(long, value_name = "OFFSET", allow_hyphen_values = true)]
    to_offset: Option<i64>,
    /// To the offsets in a CSV file
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    /// To the first record of that time or later: YYYY-MM-DDTHH:mm:SS.sss, UTC unless a zone follows
    #[arg(long, value_name = "TIME")]
    to_datetime: Option<String>,
    /// To the first record so long ago or later: PnDTnHnMnS
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    by_duration: Option<String>,
    /// To the oldest record
    #[arg(long)]
    to_earliest: bool,
    /// To the end
    #[arg(long)]
    to_latest: bool,
    /// To where the group is; to the end where it has no offset
    #[arg(long)]
    to_current: bool,
    /// By so many records, forth or back
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
    shift_by: Option<i64>,
    /// Gone with ZooKeeper
    #[arg(long, hide = true)]
    zookeeper: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(flags: Flags, out: &mut dyn Write) -> Result<(), Failure> {
    flags.check()?;
    if let Some(pattern) = &flags.validate_regex {
        match regex::Regex::new(pattern) {
            Ok(_) => writeln!(out, "The regular expression `{pattern}` is valid.")?,
            Err(error) => {
                let text = error.to_string();
                let reason = text.lines().last().unwrap_or_default();
                let reason = reason.trim_start_matches("error: ");
                writeln!(
                    out,
                    "The regular expression `{pattern}` is invalid: {reason}."
                )?;
            }
        }
        return Ok(());
    }
    let mut admin = flags.connect.admin()?;
    admin.limit(Duration::from_millis(flags.timeout));
    let result = if flags.list {
        list(&flags, &mut admin, out).await
    } else if flags.describe {
        describe::run(&flags, &mut admin, out).await
    } else if flags.delete {
        delete::groups(&flags, &mut admin, out).await
    } else if flags.reset_offsets {
        reset::run(&flags, &mut admin, out).await
    } else {
        delete::offsets(&flags, &mut admin, out).await
    };
    match result {
        Err(Failure::Admin(error)) => {
            let text = match &error {
                AdminError::Refused {
                    code: ErrorCode::GroupIdNotFound,
                    ..
                } => error.as_exception(),
                _ => error.to_string(),
            };
            print_error(
                &format!("Executing consumer group command failed due to {text}"),
                out,
            )?;
            Ok(())
        }
        Err(Failure::Text(text)) => {
            print_error(
                &format!("Executing consumer group command failed due to {text}"),
                out,
            )?;
            Ok(())
        }
        result => result,
    }
}

impl Flags {
    fn check(&self) -> Result<(), Failure> {
        refuse_zookeeper(self.zookeeper.as_deref())?;
        let usage = |text: &str| Err(Failure::Usage(text.to_owned()));
        let actions = [
            self.list,
            self.describe,
            self.delete,
            self.reset_offsets,
            self.delete_offsets,
            self.validate_regex.is_some(),
        ];
        if actions.iter().filter(|given| **given).count() != 1 {
            return usage(
                "Command must include exactly one action: --list, --describe, --delete, --reset-offsets, --delete-offsets, --validate-regex",
            );
        }
        if self.validate_regex.is_some() {
            return Ok(());
        }
        if self.connect.bootstrap_server.is_none() {
            return Err(missing("bootstrap-server"));
        }
        let grouped = !self.group.is_empty() || self.all_groups;
        if self.describe {
            if !grouped {
                return usage(
                    "Option [describe] takes one of these options: [all-groups], [group]",
                );
            }
            let actions = [self.members, self.offsets, self.state.is_some()];
            if actions.iter().filter(|given| **given).count() > 1 {
                return usage(
                    "Option [describe] takes at most one of these options: [members], [offsets], [state]",
                );
            }
            if self.state.as_ref().is_some_and(|states| !states.is_empty()) {
                return usage("Option [describe] does not take a value for [state]");
            }
        } else if self.state.is_some() && !self.list {
            return usage(
                "Option(s) [state] are unavailable given other options on the command line",
            );
        }
        if self.delete {
            if !grouped {
                return usage("Option [delete] takes one of these options: [all-groups], [group]");
            }
            if !self.topic.is_empty() {
                return usage(
                    "The consumer does not support topic-specific offset deletion from a consumer group.",
                );
            }
        }
        if self.delete_offsets && (self.group.is_empty() || self.topic.is_empty()) {
            return usage("Option [delete-offsets] takes the following options: [group], [topic]");
        }
        if self.reset_offsets {
            self.check_reset()?;
        }
        Ok(())
    }

    fn check_reset(&self) -> Result<(), Failure> {
        let usage = |text: &str| Err(Failure::Usage(text.to_owned()));
        if self.group.is_empty() && !self.all_groups {
            return usage(
                "Option [reset-offsets] takes one of these options: [all-groups], [group]",
            );
        }
        if self.dry_run && self.execute {
            return usage("Option [reset-offsets] only accepts one of [execute] and [dry-run]");
        }
        if !self.dry_run && !self.execute {
            eprintln!(
                "WARN: No action will be performed as the --execute option is missing. In version 5.0, this command will require either --dry-run or --execute to be specified. You should add the --dry-run option explicitly if you are scripting this command and want to keep the current default behavior without prompting."
            );
        }
        let scenarios = [
            self.from_file.is_some(),
            self.shift_by.is_some(),
            self.to_offset.is_some(),
            self.to_earliest,
            self.to_current,
            self.to_latest,
            self.by_duration.is_some(),
            self.to_datetime.is_some(),
        ];
        let scenarios = scenarios.iter().filter(|given| **given).count();
        if scenarios == 0 {
            return usage(
                "Option '[reset-offsets]' requires one of the following scenarios: [[from-file], [shift-by], [to-offset], [to-earliest], [to-current], [to-latest], [by-duration], [to-datetime]]",
            );
        }
        if scenarios > 1 {
            return usage(
                "Option [reset-offsets] takes only one of the following scenarios: [from-file], [shift-by], [to-offset], [to-earliest], [to-current], [to-latest], [by-duration], [to-datetime]",
            );
        }
        if self.topic.is_empty() && !self.all_topics && self.from_file.is_none() {
            return usage("One of the reset scopes should be defined: --all-topics, --topic.");
        }
        if self.all_topics && !self.topic.is_empty() {
            return usage("Option \"[topic]\" can't be used with option \"[all-topics]\"");
        }
        Ok(())
    }

    /// The groups that are meant.
    async fn groups(&self, admin: &mut Admin) -> Result<Vec<String>, AdminError> {
        if !self.all_groups {
            return Ok(self.group.clone());
        }
        let groups = consumer_groups(admin, &[], &[]).await?;
        Ok(groups
            .iter()
            .map(|group| group.group_id.to_string())
            .collect())
    }
}

/// The groups of consumers: those of Kafka Connect and the like are others.
async fn consumer_groups(
    admin: &mut Admin,
    states: &[String],
    types: &[String],
) -> Result<Vec<ListedGroup>, AdminError> {
    let mut groups = admin.groups(states, types).await?;
    groups.retain(|group| matches!(&*group.protocol_type, "" | "consumer"));
    groups.retain(|group| {
        matches!(
            &*group.group_type,
            "" | "classic" | "consumer" | "Classic" | "Consumer"
        )
    });
    Ok(groups)
}

fn print_error(text: &str, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(out, "\nError: {text}")?;
    Ok(())
}

async fn list(flags: &Flags, admin: &mut Admin, out: &mut dyn Write) -> Result<(), Failure> {
    let states = parse_words(flags.state.as_deref(), "state", &STATES)?;
    let types = parse_words(flags.types.as_deref(), "types", &TYPES)?;
    let groups = consumer_groups(admin, &states, &types).await?;
    if flags.state.is_none() && flags.types.is_none() {
        for group in &groups {
            writeln!(out, "{}", group.group_id)?;
        }
        return Ok(());
    }
    let longest = groups.iter().map(|group| group.group_id.chars().count());
    let width = longest.fold(15, usize::max) + 10;
    let mut headings = vec![("GROUP", width)];
    headings.extend(flags.types.as_ref().map(|_| ("TYPE", 20)));
    headings.extend(flags.state.as_ref().map(|_| ("STATE", 20)));
    let mut table = Table::new(&headings);
    for group in &groups {
        let mut cells = vec![group.group_id.to_string()];
        cells.extend(flags.types.as_ref().map(|_| capitalised(&group.group_type)));
        cells.extend(flags.state.as_ref().map(|_| group.group_state.to_string()));
        table.row(cells);
    }
    for line in table.lines() {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// The states a consumer group can be in.
const STATES: [&str; 7] = [
    "Assigning",
    "CompletingRebalance",
    "Dead",
    "Stable",
    "Reconciling",
    "PreparingRebalance",
    "Empty",
];

/// The types consumer groups have.
const TYPES: [&str; 2] = ["Classic", "Consumer"];

/// Parses words between commas, whatever their case, to the way they are written.
fn parse_words(list: Option<&str>, what: &str, known: &[&str]) -> Result<Vec<String>, Failure> {
    let list = list.unwrap_or_default();
    let words = list
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty());
    let word = |word: &str| {
        let found = known.iter().find(|known| known.eq_ignore_ascii_case(word));
        found.map(|known| (*known).to_owned()).ok_or_else(|| {
            let plural = if what.ends_with('s') {
                what.to_owned()
            } else {
                format!("{what}s")
            };
            let valid = joined(known, ", ");
            Failure::Usage(format!(
                "Invalid {what} list '{list}'. Valid {plural} are: {valid}"
            ))
        })
    };
    words.map(word).collect()
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => "Unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_known_whatever_their_case() {
        let found = parse_words(Some("stable, EMPTY"), "state", &STATES).unwrap();
        assert_eq!(found, ["Stable", "Empty"]);
        let error = parse_words(Some("foo"), "state", &STATES)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("Invalid state list 'foo'. Valid states are: Assigning, "),
            "{error}"
        );
    }

    #[test]
    fn zookeeper_is_answered_with_what_to_use_instead() {
        let flags = Flags {
            zookeeper: Some("z:2181".into()),
            list: true,
            ..Default::default()
        };
        let text = flags.check().unwrap_err().to_string();
        assert!(text.contains("use --bootstrap-server"), "{text}");
    }

    #[test]
    fn a_reset_needs_one_scenario_and_a_scope() {
        let flags = || Flags {
            reset_offsets: true,
            group: vec!["g".into()],
            dry_run: true,
            ..Default::default()
        };
        let none = flags().check_reset().unwrap_err().to_string();
        assert!(
            none.contains("requires one of the following scenarios"),
            "{none}"
        );
        let two = Flags {
            to_earliest: true,
            to_latest: true,
            ..flags()
        }
        .check_reset();
        assert!(two.unwrap_err().to_string().contains("takes only one"));
        let scope = Flags {
            to_earliest: true,
            ..flags()
        }
        .check_reset()
        .unwrap_err()
        .to_string();
        assert_eq!(
            scope,
            "One of the reset scopes should be defined: --all-topics, --topic."
        );
        assert!(
            Flags {
                to_earliest: true,
                all_topics: true,
                ..flags()
            }
            .check_reset()
            .is_ok()
        );
    }
}
