//! `consumer-groups`: list, describe, reset-offsets, delete, delete-offsets.

use crate::support::{Broker, millrace};

/// The heading of offsets.
const OFFSETS: &str = "\nGROUP           TOPIC           PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG             CONSUMER-ID     HOST            CLIENT-ID\n";
/// The heading of a plan.
const PLAN: &str = "\nGROUP           TOPIC           PARTITION  NEW-OFFSET\n";

/// A broker where group `g` has read all of topic `t`: 2 and 3 records in its partitions.
fn with_group() -> Broker {
    let broker = Broker::start();
    broker
        .run("topics --create --topic t --partitions 2")
        .prints("Created topic t.\n");
    // Where Kafka's producer puts these keys.
    broker
        .feed(
            "console-producer --topic t --property parse.key=true --property key.separator=:",
            "k1:a\nk2:b\nk1:c\nk3:d\nk3:e\n",
        )
        .prints("");
    let read = broker.run(
        "console-consumer --topic t --from-beginning --group g --max-messages 5 --timeout-ms 50000",
    );
    assert_eq!(read.out.lines().count(), 5, "{read:?}");
    broker
}

/// What `--describe` prints of group `g` without members, with these offsets in partitions 0 and 1.
fn offsets(first: i64, second: i64) -> String {
    let line = |partition: i64, offset: i64, end: i64| {
        let lag = end - offset;
        format!(
            "g               t               {partition}          {offset}               {end}               {lag}               -               -               -\n"
        )
    };
    [OFFSETS, &line(0, first, 2), &line(1, second, 3)].concat()
}

/// What `--reset-offsets` prints.
fn plan(offsets: &[(&str, i32, i64)]) -> String {
    let line = |(group, partition, offset): &(&str, i32, i64)| {
        format!("{group:<15} t               {partition}          {offset}\n")
    };
    let lines: Vec<String> = offsets.iter().map(line).collect();
    [PLAN, &lines.concat()].concat()
}

#[test]
fn groups_are_listed_with_state_and_type() {
    let broker = with_group();
    let list = "consumer-groups --list";
    broker.run(list).prints("g\n");
    broker
        .run(&format!("{list} --state"))
        .prints("GROUP                     STATE               \ng                         Empty               \n");
    broker
        .run(&format!("{list} --state stable"))
        .prints("GROUP                     STATE               \n");
    broker
        .run(&format!("{list} --state empty --type classic"))
        .prints("GROUP                     TYPE                 STATE               \ng                         Classic              Empty               \n");
    broker
        .run(&format!("{list} --state foo"))
        .is_refused("Invalid state list 'foo'. Valid states are: Assigning, CompletingRebalance, Dead, Stable, Reconciling, PreparingRebalance, Empty");
}

#[test]
fn a_group_without_members_is_described() {
    let broker = with_group();
    let describe = "consumer-groups --describe --group g";
    let offsets = broker.run(describe);
    offsets.prints(&self::offsets(2, 3));
    assert_eq!(offsets.err, "\nConsumer group 'g' has no active members.\n");
    broker
        .run("consumer-groups --describe --all-groups --offsets")
        .prints(&self::offsets(2, 3));
    broker.run(&format!("{describe} --members")).prints(
        "\nGROUP           CONSUMER-ID     HOST            CLIENT-ID       #PARTITIONS     \n",
    );
    let coordinator = format!("{}  (1)", broker.address());
    broker.run(&format!("{describe} --state")).prints(&format!(
        "\nGROUP           COORDINATOR (ID)          ASSIGNMENT-STRATEGY  STATE                #MEMBERS\n\
         g               {coordinator:<25} -                    Empty                0\n"
    ));
    let unknown = "\nError: Executing consumer group command failed due to org.apache.kafka.common.errors.GroupIdNotFoundException: Group nope not found.\n";
    for what in ["--offsets", "--members", "--state"] {
        broker
            .run(&format!("consumer-groups --describe --group nope {what}"))
            .prints(unknown);
    }
}

#[test]
fn members_are_described_with_what_they_read() {
    let broker = with_group();
    let member = broker.spawn("console-consumer --topic t --group g", "");
    let state = broker.until("consumer-groups --describe --group g --state", "Stable");
    let coordinator = format!("{}  (1)", broker.address());
    state.prints(&format!(
        "\nGROUP           COORDINATOR (ID)          ASSIGNMENT-STRATEGY  STATE                #MEMBERS\n\
         g               {coordinator:<25} range                Stable               1\n"
    ));
    assert_eq!(state.err, "");
    let members = broker.run("consumer-groups --describe --group g --members --verbose");
    let (heading, line) = members.out.trim().split_once('\n').unwrap();
    let headings: Vec<&str> = heading.split_whitespace().collect();
    assert_eq!(
        headings,
        [
            "GROUP",
            "CONSUMER-ID",
            "HOST",
            "CLIENT-ID",
            "#PARTITIONS",
            "CURRENT-EPOCH",
            "CURRENT-ASSIGNMENT",
            "TARGET-EPOCH",
            "TARGET-ASSIGNMENT"
        ]
    );
    let cells: Vec<&str> = line.split_whitespace().collect();
    let id = cells[1];
    assert!(id.starts_with("console-consumer-"), "{id}");
    assert_eq!(
        cells,
        [
            "g",
            id,
            "/127.0.0.1",
            "console-consumer",
            "2",
            "-",
            "t:0,1",
            "-",
            "-"
        ]
    );
    let offsets = broker.run("consumer-groups --describe --group g");
    let rows: Vec<Vec<&str>> = offsets
        .out
        .lines()
        .skip(2)
        .map(|line| line.split_whitespace().collect())
        .collect();
    let row = |partition, end| {
        vec![
            "g",
            "t",
            partition,
            end,
            end,
            "0",
            id,
            "/127.0.0.1",
            "console-consumer",
        ]
    };
    assert_eq!(rows, [row("0", "2"), row("1", "3")]);
    // Offsets of a group at work stay as they are, and so does the group.
    broker
        .run("consumer-groups --reset-offsets --group g --topic t --to-earliest --execute")
        .prints(&format!("\nError: Assignments can only be reset if the group 'g' is inactive, but the current state is Stable.\n{PLAN}"));
    let deleted = broker.run("consumer-groups --delete --group g");
    deleted.prints("\nError: Deletion of some consumer groups failed:\n* Group 'g' could not be deleted due to: org.apache.kafka.common.errors.GroupNotEmptyException: The group is not empty.\n");
    let subscribed = broker.run("consumer-groups --delete-offsets --group g --topic t:0");
    assert!(
        subscribed.out.starts_with(
            "\nError: Encountered some partition-level error, see the follow-up details.\n"
        ) && subscribed.out.contains("GroupSubscribedToTopicException"),
        "{subscribed:?}"
    );
    member.interrupt();
}

#[test]
fn offsets_are_moved_by_every_scenario() {
    let broker = with_group();
    let file = broker.file("plan.csv", "t,0,1\nt,1,2\n");
    let reset = "consumer-groups --reset-offsets --group g";
    // Each is first shown, then done: offsets of partitions 0 and 1 after it.
    let scenarios = [
        ("--topic t --to-earliest", (0, 0)),
        ("--all-topics --to-latest", (2, 3)),
        ("--all-topics --to-offset 1", (1, 1)),
        ("--all-topics --shift-by 1", (2, 2)),
        ("--all-topics --shift-by -100", (0, 0)),
        ("--all-topics --to-offset 100", (2, 3)),
        ("--all-topics --to-datetime 2020-01-01T00:00:00.000", (0, 0)),
        ("--all-topics --to-current", (0, 0)),
        (&format!("--from-file {file}"), (1, 2)),
        ("--all-topics --by-duration P1D", (0, 0)),
        ("--topic t:0,1 --to-latest", (2, 3)),
    ];
    let mut before = (2, 3);
    for (scenario, after) in scenarios {
        let expected = plan(&[("g", 0, after.0), ("g", 1, after.1)]);
        broker
            .run(&format!("{reset} {scenario} --dry-run"))
            .prints(&expected);
        broker
            .run("consumer-groups --describe --group g")
            .prints(&offsets(before.0, before.1));
        broker
            .run(&format!("{reset} {scenario} --execute"))
            .prints(&expected);
        broker
            .run("consumer-groups --describe --group g")
            .prints(&offsets(after.0, after.1));
        before = after;
    }
    // Only one partition, and a time that no record has.
    broker
        .run(&format!("{reset} --topic t:1 --to-earliest --execute"))
        .prints(&plan(&[("g", 1, 0)]));
    broker
        .run("consumer-groups --describe --group g")
        .prints(&offsets(2, 0));
    let late = plan(&[("g", 0, 2), ("g", 1, 3)]);
    broker
        .run(&format!("{reset} --topic t --to-datetime 2090-01-01T00:00:00.000+02:00 --dry-run"))
        .prints(&format!("\nWarn: Partition 0 from topic t is empty. Falling back to latest known offset.\n\nWarn: Partition 1 from topic t is empty. Falling back to latest known offset.\n{late}"));
    // What was exported can be brought back; a reader goes on where the plan says.
    let exported = broker.run(&format!(
        "{reset} --topic t --to-earliest --dry-run --export"
    ));
    exported.prints("t,0,0\nt,1,0\n\n");
    let file = broker.file("exported.csv", &exported.out);
    broker
        .run(&format!("{reset} --from-file {file} --execute"))
        .prints(&plan(&[("g", 0, 0), ("g", 1, 0)]));
    let read =
        broker.run("console-consumer --topic t --group g --max-messages 5 --timeout-ms 50000");
    assert_eq!(read.out.lines().count(), 5, "{read:?}");
}

#[test]
fn a_group_is_made_by_giving_it_offsets() {
    let broker = with_group();
    broker
        .run("consumer-groups --reset-offsets --group new --topic t --to-latest --execute")
        .prints(&plan(&[("new", 0, 2), ("new", 1, 3)]));
    broker
        .run("consumer-groups --reset-offsets --group other --topic t --to-current --dry-run")
        .prints(&plan(&[("other", 0, 2), ("other", 1, 3)]));
    broker
        .run("consumer-groups --reset-offsets --group other --topic t --shift-by 1 --dry-run")
        .is_refused(
            "Cannot shift offset for partition t-0 since there is no current committed offset",
        );
    broker.run("consumer-groups --list").prints("g\nnew\n");
    broker
        .run("consumer-groups --reset-offsets --all-groups --all-topics --to-earliest --dry-run")
        .prints(&plan(&[
            ("g", 0, 0),
            ("g", 1, 0),
            ("new", 0, 0),
            ("new", 1, 0),
        ]));
    broker
        .run("consumer-groups --reset-offsets --all-groups --all-topics --to-earliest --dry-run --export")
        .prints("g,t,0,0\ng,t,1,0\nnew,t,0,0\nnew,t,1,0\n\n");
}

#[test]
fn resets_that_cannot_be_are_refused_in_kafkas_words() {
    let broker = with_group();
    let failed = [
        (
            "--topic nope --to-earliest",
            "This server does not host this topic-partition.",
        ),
        (
            "--topic t:9 --to-earliest",
            "The partitions \"t-9\" do not exist",
        ),
        (
            "--topic t --by-duration xx",
            "Text cannot be parsed to a Duration",
        ),
        (
            "--topic t --to-datetime 2020-01-01",
            "java.text.ParseException: Error parsing timestamp. It does not contain a 'T' according to ISO8601 format",
        ),
    ];
    for (flags, reason) in failed {
        broker
            .run(&format!(
                "consumer-groups --reset-offsets --group g {flags} --dry-run"
            ))
            .prints(&format!(
                "\nError: Executing consumer group command failed due to {reason}\n"
            ));
    }
    let refused = [
        (
            "--reset-offsets --group g --topic t --to-earliest --to-latest --dry-run",
            "Option [reset-offsets] takes only one of the following scenarios: [from-file], [shift-by], [to-offset], [to-earliest], [to-current], [to-latest], [by-duration], [to-datetime]",
        ),
        (
            "--reset-offsets --group g --to-earliest --dry-run",
            "One of the reset scopes should be defined: --all-topics, --topic.",
        ),
        (
            "--reset-offsets --topic t --to-earliest --dry-run",
            "Option [reset-offsets] takes one of these options: [all-groups], [group]",
        ),
        (
            "--reset-offsets --group g --topic t --to-earliest --dry-run --execute",
            "Option [reset-offsets] only accepts one of [execute] and [dry-run]",
        ),
        (
            "--delete-offsets --group g",
            "Option [delete-offsets] takes the following options: [group], [topic]",
        ),
        (
            "--delete --group g --topic t",
            "The consumer does not support topic-specific offset deletion from a consumer group.",
        ),
        (
            "--delete",
            "Option [delete] takes one of these options: [all-groups], [group]",
        ),
        (
            "--describe",
            "Option [describe] takes one of these options: [all-groups], [group]",
        ),
        (
            "--describe --group g --members --offsets",
            "Option [describe] takes at most one of these options: [members], [offsets], [state]",
        ),
        (
            "--list --describe",
            "Command must include exactly one action: --list, --describe, --delete, --reset-offsets, --delete-offsets, --validate-regex",
        ),
    ];
    for (flags, reason) in refused {
        broker
            .run(&format!("consumer-groups {flags}"))
            .is_refused(reason);
    }
    millrace(&["consumer-groups", "--list"])
        .is_refused("Missing required argument \"[bootstrap-server]\"");
}

#[test]
fn offsets_and_groups_are_deleted() {
    let broker = with_group();
    let heading = "TOPIC           PARTITION  STATUS         \n";
    broker
        .run("consumer-groups --delete-offsets --group g --topic t:0")
        .prints(&format!("Request succeeded for deleting offsets from group g.\n\n{heading}t               0          Successful     \n"));
    let left = broker.run("consumer-groups --describe --group g").out;
    assert_eq!(left.lines().count(), 3, "{left}");
    broker
        .run("consumer-groups --delete-offsets --group nope --topic t:1")
        .prints(&format!("\nError: The group id does not exist.\n\n{heading}t               1          Error: org.apache.kafka.common.errors.GroupIdNotFoundException: The group id does not exist.\n"));
    broker
        .run("consumer-groups --delete --group g --group nope")
        .prints("\nError: Deletion of some consumer groups failed:\n* Group 'nope' could not be deleted due to: org.apache.kafka.common.errors.GroupIdNotFoundException: The group id does not exist.\n\nThese consumer groups were deleted successfully: 'g'\n");
    broker
        .run("consumer-groups --reset-offsets --group h --topic t --to-earliest --execute")
        .prints(&plan(&[("h", 0, 0), ("h", 1, 0)]));
    broker
        .run("consumer-groups --delete --all-groups")
        .prints("Deletion of requested consumer groups ('h') was successful.\n");
    broker.run("consumer-groups --list").prints("");
}

#[test]
fn regular_expressions_are_checked() {
    let check = |pattern| {
        millrace(&[
            "consumer-groups",
            "--bootstrap-server",
            "127.0.0.1:1",
            "--validate-regex",
            pattern,
        ])
    };
    check("a.*").prints("The regular expression `a.*` is valid.\n");
    let bad = check("a(");
    assert!(
        bad.out
            .starts_with("The regular expression `a(` is invalid: "),
        "{bad:?}"
    );
}
