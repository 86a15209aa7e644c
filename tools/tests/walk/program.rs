//! The program itself: links under Kafka's names, completion, help, unknown commands.

use std::process::Command;

use crate::support::{Broker, Process, millrace};

#[test]
fn links_are_kafkas_tools() {
    let broker = Broker::start();
    let directory = broker.data().parent().unwrap().join("bin");
    let made = millrace(&["links", &directory.display().to_string()]);
    assert_eq!(made.code, Some(0), "{made:?}");
    for name in [
        "kafka-topics",
        "kafka-topics.sh",
        "kafka-console-producer.sh",
        "kafka-dump-log",
        "kafka-run-class.sh",
    ] {
        assert!(directory.join(name).is_symlink(), "{name}");
    }
    let address = broker.address().to_string();
    let run = |name: &str, words: &[&str], input: &str| {
        let words = [words, &["--bootstrap-server", &address]].concat();
        Process::start_program(&directory.join(name), &words, input).end()
    };
    run("kafka-topics.sh", &["--create", "--topic", "t"], "").prints("Created topic t.\n");
    run("kafka-console-producer", &["--topic", "t"], "v\n").prints("");
    let read = ["--topic", "t", "--from-beginning", "--max-messages", "1"];
    run("kafka-console-consumer.sh", &read, "").prints("v\n");
    // A second time nothing is in the way.
    assert_eq!(
        millrace(&["links", &directory.display().to_string()]).code,
        Some(0)
    );
}

#[test]
fn a_shell_can_complete_commands_and_flags() {
    let script = millrace(&["completion", "bash"]);
    assert_eq!(script.code, Some(0), "{script:?}");
    // Bash itself reads the script and completes with it.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("millrace.bash");
    let try_it = "COMP_WORDS=(millrace topics --cre); COMP_CWORD=2; _millrace millrace --cre topics; echo \"${COMPREPLY[@]}\"";
    std::fs::write(&path, format!("{}\n{try_it}\n", script.out)).unwrap();
    let shell = Command::new("bash").arg(&path).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&shell.stdout),
        "--create\n",
        "{shell:?}"
    );
    for shell in ["zsh", "fish"] {
        let script = millrace(&["completion", shell]);
        assert!(script.out.contains("console-consumer"), "{shell}");
    }
}

#[test]
fn help_is_no_error_and_an_unknown_command_is() {
    let help = millrace(&["topics", "--help"]);
    assert_eq!(help.code, Some(0), "{help:?}");
    assert!(help.out.contains("--if-not-exists"), "{help:?}");
    let version = millrace(&["--version"]);
    assert_eq!(
        version.out,
        format!("millrace {}\n", env!("CARGO_PKG_VERSION"))
    );
    let unknown = millrace(&["topic"]);
    assert_eq!(
        (unknown.code, unknown.out.as_str()),
        (Some(1), ""),
        "{unknown:?}"
    );
}
