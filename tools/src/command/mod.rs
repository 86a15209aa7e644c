//! The commands, and the way from the name a program was called by to the one that was meant.
//!
//! Flags are checked here as far as clap can; each command file knows its own rules and texts.

mod broker_api_versions;
mod cluster;
mod completion;
mod configs;
mod console_consumer;
mod console_producer;
mod consumer_groups;
mod consumer_perf_test;
mod delete_records;
mod dump_log;
mod end_to_end_latency;
mod get_offsets;
mod links;
mod log_dirs;
mod producer_perf_test;
mod topics;
mod verify_log;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::admin::AdminError;
use crate::properties::NotMillis;

/// Kafka's command-line tools, in one program.
///
/// Every command has the name, the flags and the output of Kafka's tool: `millrace topics` is `kafka-topics.sh`. Called
/// through a link of that name (`millrace links DIR` makes them) it is that tool.
#[derive(Parser)]
#[command(
    name = "millrace",
    version,
    propagate_version = true,
    infer_long_args = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Topics(topics::Flags),
    ConsoleProducer(console_producer::Flags),
    ConsoleConsumer(console_consumer::Flags),
    ConsumerGroups(consumer_groups::Flags),
    Configs(configs::Flags),
    GetOffsets(get_offsets::Flags),
    DeleteRecords(delete_records::Flags),
    LogDirs(log_dirs::Flags),
    Cluster(cluster::Flags),
    BrokerApiVersions(broker_api_versions::Flags),
    DumpLog(dump_log::Flags),
    // Its parser in Kafka is another one: of a value that is given twice the last one counts.
    #[command(args_override_self = true)]
    ProducerPerfTest(producer_perf_test::Flags),
    ConsumerPerfTest(consumer_perf_test::Flags),
    #[command(visible_alias = "e2e-latency")]
    EndToEndLatency(end_to_end_latency::Flags),
    VerifyLog(verify_log::Flags),
    Links(links::Flags),
    Completion(completion::Flags),
}

/// The commands that Kafka has as `kafka-NAME.sh`.
pub(crate) const KAFKA_NAMES: [&str; 15] = [
    "topics",
    "console-producer",
    "console-consumer",
    "consumer-groups",
    "configs",
    "get-offsets",
    "delete-records",
    "log-dirs",
    "cluster",
    "broker-api-versions",
    "dump-log",
    "producer-perf-test",
    "consumer-perf-test",
    "e2e-latency",
    "end-to-end-latency",
];

/// What Kafka has for classes that have no script, or had none once.
pub(crate) const RUN_CLASS: &str = "run-class";

/// The commands of Kafka's classes, whose packages were others when old guides were written.
const CLASSES: [(&str, &str); 14] = [
    ("TopicCommand", "topics"),
    ("ConsoleProducer", "console-producer"),
    ("ConsoleConsumer", "console-consumer"),
    ("ConsumerGroupCommand", "consumer-groups"),
    ("ConfigCommand", "configs"),
    ("GetOffsetShell", "get-offsets"),
    ("DeleteRecordsCommand", "delete-records"),
    ("LogDirsCommand", "log-dirs"),
    ("ClusterTool", "cluster"),
    ("BrokerApiVersionsCommand", "broker-api-versions"),
    ("DumpLogSegments", "dump-log"),
    ("ProducerPerformance", "producer-perf-test"),
    ("ConsumerPerformance", "consumer-perf-test"),
    ("EndToEndLatency", "end-to-end-latency"),
];

/// Why a command ends with exit code 1.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The flags make no sense together.
    #[error("{0}")]
    Usage(String),
    /// It did not work, for the reason given.
    #[error("{0}")]
    Text(String),
    /// A broker refused, or could not be reached.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// A property has a value it cannot have.
    #[error(transparent)]
    Property(#[from] NotMillis),
    /// The output could not be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// Everything there is to say was printed already.
    #[error("failed")]
    Reported,
}

impl Failure {
    /// A failure to read or write a file, with its name.
    pub(crate) fn file(path: &Path, error: &io::Error) -> Self {
        Self::Text(format!("{}: {error}", path.display()))
    }
}

/// Runs the command the arguments ask for; the first argument is the name of the program.
pub(crate) fn run(arguments: Vec<OsString>) -> ExitCode {
    let arguments = normal_form(arguments);
    let parsed = match parse(&arguments) {
        Ok(parsed) => parsed,
        Err(error) => return usage(&error),
    };
    let stdout = io::stdout();
    let mut out = BufWriter::new(stdout.lock());
    let result = execute(parsed.command, &arguments, &mut out);
    let result = result.and(out.flush().map_err(Failure::Output));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of a pipe has seen enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(Failure::Reported) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: &[OsString]) -> Result<Arguments, clap::Error> {
    // Kafka's tools only ask whether a switch was given, not how often.
    let repeatable = |flag: Arg| match flag.get_action() {
        ArgAction::SetTrue => {
            let itself = flag.get_id().clone();
            flag.overrides_with(itself)
        }
        _ => flag,
    };
    let program = Arguments::command().mut_subcommands(|command| command.mut_args(repeatable));
    Arguments::from_arg_matches(&program.try_get_matches_from(arguments)?)
}

fn execute(command: Command, arguments: &[OsString], out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        Command::Topics(flags) => block_on(topics::run(flags, out)),
        Command::ConsoleProducer(flags) => console_producer::run(&flags),
        Command::ConsoleConsumer(flags) => console_consumer::run(&flags, out),
        Command::ConsumerGroups(flags) => block_on(consumer_groups::run(flags, out)),
        Command::Configs(flags) => {
            let given = arguments.iter().skip(2).map(|text| text.to_string_lossy());
            let given = given.collect::<Vec<_>>().join(" ");
            block_on(configs::run(flags, &given, out))
        }
        Command::GetOffsets(flags) => block_on(get_offsets::run(flags, out)),
        Command::DeleteRecords(flags) => block_on(delete_records::run(flags, out)),
        Command::LogDirs(flags) => block_on(log_dirs::run(flags, out)),
        Command::Cluster(flags) => block_on(cluster::run(flags, out)),
        Command::BrokerApiVersions(flags) => block_on(broker_api_versions::run(flags, out)),
        Command::DumpLog(flags) => dump_log::run(&flags, out),
        Command::ProducerPerfTest(flags) => producer_perf_test::run(&flags, out),
        Command::ConsumerPerfTest(flags) => consumer_perf_test::run(&flags, out),
        Command::EndToEndLatency(flags) => end_to_end_latency::run(flags, out),
        Command::VerifyLog(flags) => verify_log::run(&flags, out),
        Command::Links(flags) => links::run(&flags, out),
        Command::Completion(flags) => completion::run(&flags, Arguments::command(), out),
    }
}

fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Text(format!("cannot start: {error}")))?
        .block_on(work)
}

/// Puts the command into the place of its name if the program was called through a link such as `kafka-topics.sh`, or of that and
/// the name of a class through `kafka-run-class.sh`.
fn normal_form(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let called = arguments.first().map(|name| {
        let file_name = Path::new(name).file_name().unwrap_or_default();
        file_name.to_string_lossy().into_owned()
    });
    let name = called.as_deref().and_then(|name| {
        let name = name.strip_suffix(".sh").unwrap_or(name);
        name.strip_prefix("kafka-")
    });
    let (command, words) = match name {
        Some(RUN_CLASS) => (arguments.get(1).and_then(|class| of_class(class)), 2),
        name => {
            let mut known = KAFKA_NAMES.into_iter();
            (known.find(|known| name == Some(*known)), 1)
        }
    };
    if let Some(command) = command {
        arguments.splice(..words, ["millrace".into(), command.into()]);
    }
    double_dashes(&mut arguments);
    arguments
}

/// The command of a class of Kafka's.
fn of_class(class: &OsStr) -> Option<&'static str> {
    let name = class.to_str()?.rsplit('.').next()?;
    let found = CLASSES.into_iter().find(|(known, _)| *known == name);
    found.map(|(_, command)| command)
}

/// Kafka's tools take one dash for two in front of the name of a flag, and many guides have one.
fn double_dashes(arguments: &mut [OsString]) {
    let [_, command, words @ ..] = arguments else {
        return;
    };
    let program = Arguments::command();
    let Some(command) = program.find_subcommand(command) else {
        return;
    };
    let flags: BTreeSet<&str> = command
        .get_arguments()
        .flat_map(|flag| {
            let aliases = flag.get_all_aliases().unwrap_or_default();
            flag.get_long().into_iter().chain(aliases)
        })
        .collect();
    for word in words {
        let Some(name) = word.to_str().and_then(|word| word.strip_prefix('-')) else {
            continue;
        };
        if name
            .split('=')
            .next()
            .is_some_and(|name| flags.contains(name))
        {
            *word = format!("--{name}").into();
        }
    }
}

/// Prints what clap has to say; texts that Kafka has are Kafka's. Kafka's tools exit with 1, not 2.
fn usage(error: &clap::Error) -> ExitCode {
    let argument = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) => Some(argument.as_str()),
        _ => None,
    };
    match (error.kind(), argument) {
        (ErrorKind::DisplayHelp | ErrorKind::DisplayVersion, _) => {
            print!("{error}");
            return ExitCode::SUCCESS;
        }
        (ErrorKind::UnknownArgument, Some(argument)) => {
            eprintln!(
                "{} is not a recognized option",
                argument.trim_start_matches('-')
            );
            if let Some(usage) = error.get(ContextKind::Usage) {
                eprintln!("{usage}");
            }
        }
        _ => eprint!("{error}"),
    }
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(arguments: &[&str]) -> Vec<String> {
        let given = arguments.iter().map(|text| OsString::from(*text)).collect();
        let found = normal_form(given).into_iter();
        found.map(|text| text.into_string().unwrap()).collect()
    }

    fn parse_line(line: &str) -> Result<Arguments, clap::Error> {
        let words = std::iter::once("millrace").chain(line.split(' '));
        parse(&words.map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn a_link_with_kafkas_name_is_that_command() {
        assert_eq!(
            normal(&["/x/kafka-topics.sh", "--list"]),
            ["millrace", "topics", "--list"]
        );
        assert_eq!(normal(&["kafka-dump-log"]), ["millrace", "dump-log"]);
        assert_eq!(
            normal(&["/bin/millrace", "topics"]),
            ["/bin/millrace", "topics"]
        );
        assert_eq!(normal(&["kafka-storage.sh"]), ["kafka-storage.sh"]);
    }

    #[test]
    fn a_class_of_kafkas_is_its_command_whatever_its_package() {
        for class in [
            "kafka.tools.GetOffsetShell",
            "org.apache.kafka.tools.GetOffsetShell",
        ] {
            assert_eq!(
                normal(&["bin/kafka-run-class.sh", class, "-time", "-1"]),
                ["millrace", "get-offsets", "--time", "-1"]
            );
        }
        let unknown = ["kafka-run-class", "kafka.tools.MirrorMaker"];
        assert_eq!(normal(&unknown), unknown);
        assert_eq!(normal(&["kafka-run-class"]), ["kafka-run-class"]);
    }

    #[test]
    fn one_dash_before_a_flag_is_two() {
        let given = [
            "kafka-topics",
            "-list",
            "-topic=a",
            "--bootstrap-server",
            "-x",
        ];
        let found = [
            "millrace",
            "topics",
            "--list",
            "--topic=a",
            "--bootstrap-server",
            "-x",
        ];
        assert_eq!(normal(&given), found);
    }

    #[test]
    fn the_flags_of_all_commands_are_consistent() {
        Arguments::command().debug_assert();
        let of_classes = CLASSES.map(|(_, name)| name);
        for name in KAFKA_NAMES.into_iter().chain(of_classes) {
            assert!(
                Arguments::command().find_subcommand(name).is_some(),
                "no command {name}"
            );
        }
    }

    #[test]
    fn values_follow_an_equals_sign_or_a_space() {
        for line in [
            "topics --list --bootstrap-server=h:1",
            "topics --list --bootstrap-server h:1",
        ] {
            assert!(parse_line(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn a_switch_may_be_repeated_and_a_value_only_where_kafka_takes_the_last() {
        assert!(parse_line("topics --list --list --exclude-internal --exclude-internal").is_ok());
        assert!(parse_line("topics --list --topic a --topic b").is_err());
        let repeated = "producer-perf-test --topic a --print-metrics --topic b --print-metrics";
        assert!(parse_line(repeated).is_ok());
    }
}
