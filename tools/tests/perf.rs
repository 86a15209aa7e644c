//! The measuring commands as programs, against librdkafka's mock cluster: what they print, line by line.

use std::process::{Command, Output};

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use regex::Regex;

const PROGRAM: &str = env!("CARGO_BIN_EXE_millrace");

struct Cluster(MockCluster<'static, DefaultProducerContext>);

impl Cluster {
    fn with_topic(topic: &str) -> Self {
        let cluster = MockCluster::new(1).expect("a mock cluster starts");
        let created = cluster.create_topic(topic, 1, 1);
        created.expect("a mock topic is made");
        Self(cluster)
    }

    /// Runs a command; `BROKER` in its words stands for the cluster's address.
    fn run(&self, line: &str) -> Output {
        let line = line.replace("BROKER", &self.0.bootstrap_servers());
        let output = Command::new(PROGRAM).args(line.split(' ')).output();
        output.expect("the program runs")
    }

    /// The lines that a command prints, which must succeed.
    fn lines(&self, line: &str) -> Vec<String> {
        let output = self.run(line);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {errors}");
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().map(str::to_owned).collect()
    }
}

fn assert_matches(line: &str, pattern: &str) {
    let pattern = Regex::new(&format!("^{pattern}$")).expect("a sound pattern");
    assert!(pattern.is_match(line), "{line:?} is not {pattern}");
}

const RATES: &str =
    r"[\d.]+ records/sec \([\d.]+ MB/sec\), [\d.]+ ms avg latency, [\d.]+ ms max latency";
const PERCENTILES: &str = r"\d+ ms 50th, \d+ ms 95th, \d+ ms 99th, \d+ ms 99.9th\.";

#[test]
fn what_is_produced_is_consumed_and_both_say_how_much_it_was() {
    let cluster = Cluster::with_topic("t");
    let lines = cluster.lines(
        "producer-perf-test --topic t --num-records 3000 --record-size 512 --throughput 2000 --reporting-interval 500 --warmup-records 500 --producer-props bootstrap.servers=BROKER acks=all linger.ms=1",
    );
    assert_eq!(
        lines[0],
        "Warmup first 500 records. Steady state results will print after the complete test summary."
    );
    assert!(lines.contains(&"In steady state.".to_owned()), "{lines:?}");
    let windows = Regex::new(&format!(r"^\d+ records sent, {RATES}\.$")).unwrap();
    assert!(lines.iter().any(|line| windows.is_match(line)), "{lines:?}");
    let summary = &lines[lines.len() - 2];
    assert_matches(
        summary,
        &format!("3000 records sent, {RATES}, {PERCENTILES}"),
    );
    let rate: f64 = summary.split(' ').nth(3).unwrap().parse().unwrap();
    assert!(rate < 2100.0, "a limit of 2000 was passed: {rate}");
    let steady = &lines[lines.len() - 1];
    assert_matches(
        steady,
        &format!("2500 steady state records sent, {RATES}, {PERCENTILES}"),
    );

    let lines = cluster.lines(
        "consumer-perf-test --bootstrap-server BROKER --topic t --num-records 3000 --timeout 20000",
    );
    assert_eq!(
        lines[0],
        "start.time, end.time, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec"
    );
    let time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d:\d{3}";
    let rates = r"[\d.]+, \d+, \d+, [\d.]+, [\d.]+";
    // 3000 records of 512 bytes.
    assert_matches(
        &lines[1],
        &format!(r"{time}, {time}, 1\.4648, [\d.]+, 3000, {rates}"),
    );
    assert_eq!(lines.len(), 2);
}

#[test]
fn a_consumer_that_waits_in_vain_says_so_and_prints_what_it_has() {
    let cluster = Cluster::with_topic("t");
    let lines = cluster.lines(
        "consumer-perf-test --broker-list BROKER --topic t --messages 5 --timeout 300 --hide-header --date-format S",
    );
    assert_eq!(
        lines[0],
        "WARNING: Exiting before consuming the expected number of records: timeout (300 ms) exceeded. You can use the --timeout option to increase the timeout."
    );
    assert_matches(
        &lines[1],
        r"\d+, \d+, 0\.0000, 0\.0000, 0, 0\.0000, \d+, \d+, 0\.0000, 0\.0000",
    );
}

#[test]
fn records_travel_from_end_to_end() {
    let cluster = Cluster::with_topic("t");
    let lines = cluster.lines("e2e-latency BROKER t 20 all 100");
    assert_matches(&lines[0], r"0\t\d+\.\d+");
    assert_matches(&lines[1], r"Avg latency: \d+\.\d{4} ms");
    assert_matches(
        &lines[2],
        r"Percentiles: 50th = \d+, 99th = \d+, 99.9th = \d+",
    );
    let named = cluster.lines(
        "end-to-end-latency --bootstrap-server BROKER --topic t --num-records 3 --producer-acks 1 --record-size 10 --record-key-size 4 --num-headers 2 --record-header-key-size 3 --record-header-size -1",
    );
    assert_eq!(named.len(), 3, "{named:?}");
}

#[test]
fn records_that_are_not_delivered_are_a_failure() {
    let cluster = Cluster::with_topic("t");
    let output = cluster.run(
        "producer-perf-test --topic t --num-records 3 --record-size 2000 --throughput -1 --producer-props bootstrap.servers=BROKER max.request.size=1000",
    );
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("larger than the max message size"),
        "{errors}"
    );
}

#[test]
fn transactions_are_refused_with_one_sentence() {
    let cluster = Cluster::with_topic("t");
    let output = cluster.run(
        "producer-perf-test --topic t --num-records 3 --record-size 1 --throughput -1 --bootstrap-server BROKER --transaction-duration-ms 100",
    );
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(
        errors.starts_with("Transactions are not supported yet"),
        "{errors}"
    );
}
