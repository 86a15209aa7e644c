//! The server's door for fuzzing: any bytes as what clients say to a broker, one request after the other.
//!
//! The broker is the real one from the dispatch table down to the files, but without threads and on a simulated machine:
//! the same bytes are the same conversation. What is judged is what every client may rely on, whatever it sent.

mod broker;
mod connection;
mod known;

use bytes::Bytes;
use millrace_wire::ApiKey;
use millrace_wire::frame::sample_request;
use millrace_wire::sample::Source;

use broker::Broker;
use connection::Connection;
use known::Acquaintance;

/// Has the conversation that `data` describes, entry by entry. The low three bits of an entry's first byte say what it is,
/// the fourth on which of two connections it happens:
///
/// - 0, 1: a frame as it is, behind its length in two bytes.
/// - 2 to 4: a request that is made up: index of the API, index of the version, and choices behind their number in one
///   byte. Every second value is one that means something to this broker.
/// - 5: time passes, until as many things were due as the next byte says.
/// - 6: the broker stops in order and starts again.
/// - 7: the power fails.
///
/// # Panics
/// A request that gets no answer, an answer that is none or another request's, a connection that ends without a reason, a
/// broker that does not stop or start: those are the findings.
pub fn converse(data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let Ok(runtime) = runtime else {
        return;
    };
    // Timeouts are made in it and never become due: only the simulated clock passes.
    let _context = runtime.enter();
    let mut conversation = Conversation::new();
    let mut entries = Entries { rest: data };
    for _ in 0..ENTRIES_MAX {
        let Some(entry) = entries.next() else {
            break;
        };
        conversation.take(entry);
    }
    conversation.end();
}

/// A broker and those who talk to it.
struct Conversation {
    broker: Broker,
    connections: [Connection; CONNECTIONS],
    acquaintance: Acquaintance,
    correlation_id: i32,
}

/// What `data` says should happen next.
enum Entry<'a> {
    Frame(usize, &'a [u8]),
    MadeUp {
        connection: usize,
        api: u8,
        version: u8,
        choices: &'a [u8],
    },
    Time(u8),
    Restart,
    PowerCut,
}

struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Entries<'a> {
    fn next(&mut self) -> Option<Entry<'a>> {
        let kind = self.byte()?;
        let connection = usize::from(kind >> 3 & 1);
        Some(match kind & 7 {
            0 | 1 => {
                let length = u16::from_be_bytes([self.byte()?, self.byte()?]);
                Entry::Frame(connection, self.bytes(length.into()))
            }
            2..=4 => {
                let (api, version, length) = (self.byte()?, self.byte()?, self.byte()?);
                let choices = self.bytes(length.into());
                Entry::MadeUp {
                    connection,
                    api,
                    version,
                    choices,
                }
            }
            5 => Entry::Time(self.byte()?),
            6 => Entry::Restart,
            _ => Entry::PowerCut,
        })
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// So many bytes, or all there are.
    fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (bytes, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        bytes
    }
}

impl Conversation {
    fn new() -> Self {
        let broker = Broker::start();
        Self {
            connections: std::array::from_fn(|_| Connection::new(&broker)),
            broker,
            acquaintance: Acquaintance::default(),
            correlation_id: 0,
        }
    }

    fn take(&mut self, entry: Entry<'_>) {
        match entry {
            Entry::Frame(connection, frame) => {
                self.send(connection, Bytes::copy_from_slice(frame));
            }
            Entry::MadeUp {
                connection,
                api,
                version,
                choices,
            } => {
                if let Some(frame) = self.make_up(api, version, choices) {
                    self.send(connection, frame);
                }
            }
            Entry::Time(count) => {
                for _ in 0..=count % 8 {
                    self.broker.pass();
                    self.settle();
                }
            }
            Entry::Restart => {
                self.hang_up();
                self.broker.restart();
                self.connect();
            }
            Entry::PowerCut => {
                for connection in &mut self.connections {
                    connection.drop_all();
                }
                self.broker.cut_power();
                self.connect();
            }
        }
    }

    fn make_up(&mut self, api: u8, version: u8, choices: &[u8]) -> Option<Bytes> {
        let key = *ApiKey::ALL.get(usize::from(api) % ApiKey::ALL.len())?;
        let versions: Vec<i16> = key.versions().collect();
        let version = *versions.get(usize::from(version) % versions.len())?;
        self.correlation_id += 1;
        let known = self.acquaintance.known(&self.broker.image());
        let mut source = Source::new(choices).knowing(&known);
        // What was made up may have no form in its version, such as a null.
        sample_request(key, version, self.correlation_id, &mut source).ok()
    }

    fn send(&mut self, connection: usize, frame: Bytes) {
        let Some(connection) = self.connections.get_mut(connection) else {
            return;
        };
        if connection.is_full() {
            return;
        }
        connection.send(&mut self.broker, frame);
        self.settle();
    }

    /// Goes on until nothing moves but for the clock.
    fn settle(&mut self) {
        loop {
            let mut busy = self.broker.turn();
            for connection in &mut self.connections {
                busy |= connection.hear(&self.broker, &mut self.acquaintance);
            }
            // Who was asked for an answer may have handed something over first.
            if !busy && !self.broker.turn() {
                return;
            }
        }
    }

    /// Waits for the answers for a while, and lets the broker hurry those that are left.
    fn hang_up(&mut self) {
        let mut rounds = 0;
        while rounds < ROUNDS_OF_PATIENCE && self.connections.iter().any(Connection::waits) {
            self.broker.pass();
            self.settle();
            rounds += 1;
        }
        self.broker.announce_stop();
        self.settle();
        for connection in &self.connections {
            connection.assert_answered();
        }
        for connection in &mut self.connections {
            connection.drop_all();
        }
    }

    fn connect(&mut self) {
        for connection in &mut self.connections {
            *connection = Connection::new(&self.broker);
        }
        self.settle();
    }

    fn end(mut self) {
        self.hang_up();
        drop(self.connections);
        self.broker.stop();
    }
}

/// More make a run long, not interesting.
const ENTRIES_MAX: usize = 64;
const CONNECTIONS: usize = 2;
/// How many times something may become due before the answers still missing are called for.
const ROUNDS_OF_PATIENCE: usize = 20;

#[cfg(test)]
mod tests {
    use millrace_wire::message::InitProducerIdRequest;
    use millrace_wire::message::create_topics::{CreateTopicsRequest, CreateTopicsRequestTopic};
    use millrace_wire::{Request, frame};

    use super::*;

    fn say<R: Request>(conversation: &mut Conversation, request: &R) {
        let frame = frame::request_frame(1, None, request, *R::VERSIONS.end()).unwrap();
        conversation.take(Entry::Frame(0, &frame[frame::PREFIX_LENGTH..]));
    }

    #[tokio::test]
    async fn what_is_said_has_consequences_that_outlive_the_broker() {
        let mut conversation = Conversation::new();
        let topic = CreateTopicsRequestTopic {
            name: "t".into(),
            num_partitions: 1,
            replication_factor: 1,
            ..Default::default()
        };
        let create = CreateTopicsRequest {
            topics: vec![topic],
            timeout_ms: 1_000,
            ..Default::default()
        };
        say(&mut conversation, &create);
        let has_topic = |conversation: &Conversation| {
            let image = conversation.broker.image();
            image.topic("t").is_some()
        };
        assert!(has_topic(&conversation), "it was created");
        say(&mut conversation, &InitProducerIdRequest::default());
        conversation.take(Entry::Restart);
        assert!(has_topic(&conversation), "it outlives a stop");
        conversation.take(Entry::PowerCut);
        assert!(has_topic(&conversation), "it outlives a power cut");
        let image = conversation.broker.image();
        let known = conversation.acquaintance.known(&image);
        assert_eq!(known.ids.len(), 3, "the topic's and two that are nobody's");
        assert!(known.numbers.contains(&0), "the producer's id");
        conversation.end();
    }

    #[test]
    fn bytes_are_read_as_entries_and_a_cut_one_is_left_out() {
        let entries = [0, 0, 3, 1, 2, 3, 12, 9, 0, 2, 1, 1, 5, 3, 6, 7, 0];
        let mut read = Vec::new();
        let mut left = Entries { rest: &entries };
        while let Some(entry) = left.next() {
            read.push(match entry {
                Entry::Frame(connection, frame) => format!("frame {connection} {frame:?}"),
                Entry::MadeUp {
                    connection,
                    api,
                    version,
                    choices,
                } => format!("made up {connection} {api} {version} {choices:?}"),
                Entry::Time(count) => format!("time {count}"),
                Entry::Restart => "restart".to_owned(),
                Entry::PowerCut => "power cut".to_owned(),
            });
        }
        let expected = [
            "frame 0 [1, 2, 3]",
            "made up 1 9 0 [1, 1]",
            "time 3",
            "restart",
            "power cut",
        ];
        assert_eq!(read, expected);
    }
}
