//! One client of a conversation: what it sent, what it waits for, and whether what it hears is an answer.

use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{BufMut, Bytes, BytesMut};
use millrace_engine::record::{Batches, check_crc};
use millrace_wire::frame::{PREFIX_LENGTH, check_request, check_response};
use millrace_wire::message::fetch::{FetchResponse, Records};
use millrace_wire::message::produce::ProduceRequest;
use millrace_wire::{ApiKey, Message, Reader, RequestHeader, ResponseHeader, header};

use super::broker::{Broker, finding};
use super::known::Acquaintance;
use crate::api::{Answer, Client, Part, Parts, dispatch, request_budget, served};
use crate::net::{Closing, Frame, Refusal, RequestBudget};

/// A connection; when it ends, its client comes back with a new one.
pub(super) struct Connection {
    client: Rc<Client>,
    waiting: VecDeque<Waiting>,
}

/// A request that was taken.
struct Waiting {
    answer: Answer,
    request: Asked,
}

/// What is known of a request without asking the broker.
#[derive(Clone)]
struct Asked {
    /// As far as it has one.
    header: Option<RequestHeader>,
    /// It can be read to its end.
    is_sound: bool,
    /// A Produce with acks=0.
    is_silent: bool,
}

impl Asked {
    fn of(frame: &Bytes) -> Self {
        let budget_bytes = request_budget(frame.len());
        let header = header::open_request(frame.clone(), budget_bytes).ok();
        let is_sound = check_request(frame.clone(), budget_bytes).is_ok();
        let is_silent = header.clone().is_some_and(|(header, mut body)| {
            header.api_key == ApiKey::Produce.number()
                && ProduceRequest::decode(&mut body, header.api_version)
                    .is_ok_and(|request| request.acks == 0)
        });
        Self {
            header: header.map(|(header, _)| header),
            is_sound,
            is_silent,
        }
    }

    /// Its API, if that is served in its version.
    fn served(&self) -> Option<(ApiKey, i16)> {
        let header = self.header.as_ref()?;
        let key = served().find(|key| key.number() == header.api_key)?;
        let version = header.api_version;
        key.versions().contains(&version).then_some((key, version))
    }

    /// How its answer has to be read.
    fn answered_as(&self) -> (ApiKey, i16) {
        let from_the_future = (ApiKey::ApiVersions, 0);
        self.served().unwrap_or(from_the_future)
    }
}

impl Connection {
    pub(super) fn new(broker: &Broker) -> Self {
        Self {
            client: broker.client(),
            waiting: VecDeque::new(),
        }
    }

    /// Whether the broker would not read from it now.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= REQUESTS_MAX
    }

    /// Whether it waits for an answer.
    pub(super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Leaves without waiting for anything.
    pub(super) fn drop_all(&mut self) {
        self.waiting.clear();
    }

    /// Every request has been answered.
    pub(super) fn assert_answered(&self) {
        if let Some(waiting) = self.waiting.front() {
            let header = &waiting.request.header;
            finding(&format!("a request is never answered: {header:?}"));
        }
    }

    /// Sends a request.
    pub(super) fn send(&mut self, broker: &mut Broker, frame: Bytes) {
        let request = Asked::of(&frame);
        let client = Rc::clone(&self.client);
        let frame = Frame {
            reservation: RequestBudget::new(frame.len()).open(),
            body: frame,
        };
        let taken = async { dispatch(&client, frame)?.submission.done().await };
        let mut taken = std::pin::pin!(taken);
        let taken = loop {
            match poll(taken.as_mut()) {
                Poll::Ready(taken) => break taken,
                Poll::Pending if broker.turn() => {}
                Poll::Pending => finding("a request is never taken"),
            }
        };
        match taken {
            Ok(answer) => self.waiting.push_back(Waiting { answer, request }),
            Err(closing) => self.close(broker, &closing, &request),
        }
    }

    /// Takes the answers that are there, in order; true when there was one.
    pub(super) fn hear(&mut self, broker: &Broker, acquaintance: &mut Acquaintance) -> bool {
        let Some(first) = self.waiting.front_mut() else {
            return false;
        };
        let Poll::Ready(answer) = poll(first.answer.as_mut()) else {
            return false;
        };
        let request = first.request.clone();
        self.waiting.pop_front();
        match answer {
            Ok(parts) => {
                if let Some(answer) = judge(&request, &parts) {
                    let (key, version) = request.answered_as();
                    acquaintance.listen(key, version, answer);
                }
            }
            Err(closing) => self.close(broker, &closing, &request),
        }
        true
    }

    fn close(&mut self, broker: &Broker, closing: &Closing, request: &Asked) {
        judge_closing(request, closing);
        self.waiting.clear();
        self.client = broker.client();
    }
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// An answer is one frame, to this request, that reads to its end; none only if none was wanted. Gives back its message.
fn judge(request: &Asked, parts: &Parts) -> Option<Bytes> {
    let frame = gather(parts);
    if frame.is_empty() {
        assert!(request.is_silent, "no answer to {:?}", request.header);
        return None;
    }
    assert!(!request.is_silent, "an answer at acks=0");
    assert!(
        request.is_sound || request.served().is_none(),
        "an answer to what cannot be read: {:?}",
        request.header
    );
    let Some((prefix, body)) = frame.split_first_chunk::<PREFIX_LENGTH>() else {
        finding("an answer has no length");
    };
    let claimed = usize::try_from(i32::from_be_bytes(*prefix));
    assert_eq!(claimed, Ok(body.len()), "the length of an answer");
    let (key, version) = request.answered_as();
    let (header, left) = match check_response(frame.clone(), key, version, usize::MAX) {
        Ok(checked) => checked,
        Err(error) => finding(&format!("an answer to {key} {version} is none: {error}")),
    };
    assert_eq!(left, 0, "bytes behind the answer to {key} {version}");
    let asked = request.header.as_ref().map(|header| header.correlation_id);
    assert_eq!(Some(header.correlation_id), asked, "whose answer");
    let mut reader = Reader::new(frame.slice(PREFIX_LENGTH..), 0);
    ResponseHeader::decode(&mut reader, key, version).ok()?;
    let message = frame.slice(frame.len() - reader.remaining()..);
    if key == ApiKey::Fetch {
        judge_records(&message, version);
    }
    Some(message)
}

/// Fetched records are whole batches, and sound ones.
fn judge_records(message: &Bytes, version: i16) {
    let response = FetchResponse::decode(&mut Reader::new(message.clone(), usize::MAX), version);
    let topics = response.map(|response| response.responses);
    for topic in topics.unwrap_or_default() {
        for partition in topic.partitions {
            let Some(Records::Bytes(records)) = partition.records else {
                continue;
            };
            for batch in Batches::new(records) {
                match batch {
                    Ok(batch) => assert_eq!(check_crc(&batch.bytes), Ok(()), "a fetched batch"),
                    Err(error) => finding(&format!("what was fetched is no batch: {error}")),
                }
            }
        }
    }
}

/// A connection ends only for what its client did.
fn judge_closing(request: &Asked, closing: &Closing) {
    match closing {
        Closing::NoRequest(_) => assert!(!request.is_sound, "{closing}"),
        Closing::Refused(refusal) => {
            let Refusal { reason, .. } = refusal.as_ref();
            let malformed = reason.starts_with("malformed") && !request.is_sound;
            let silent = reason.starts_with("acks=0") && request.is_silent;
            let unserved = request.served().is_none();
            assert!(malformed || silent || unserved, "{closing}");
        }
        _ => finding(&format!("a connection ends: {closing}")),
    }
}

/// The bytes of an answer, those in files read from there.
fn gather(parts: &Parts) -> Bytes {
    let mut frame = BytesMut::new();
    for part in parts {
        match part {
            Part::Bytes(bytes) => frame.put_slice(bytes),
            Part::Room(_) => {}
            Part::Extent(extent) => {
                let mut bytes = vec![0; usize::try_from(extent.length).unwrap_or(0)];
                let read = extent.file.read_exact_at(extent.position, &mut bytes);
                assert!(read.is_ok(), "an extent lies outside of its file: {read:?}");
                frame.put_slice(&bytes);
            }
        }
    }
    frame.freeze()
}

/// As many as a connection may have in work.
const REQUESTS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use millrace_engine::record::BatchBuilder;
    use millrace_engine::types::Timestamp;
    use millrace_wire::frame::{request_frame, response_frame};
    use millrace_wire::message::delete_topics::DeleteTopicsRequest;
    use millrace_wire::message::metadata::MetadataRequestTopic;
    use millrace_wire::message::produce::{ProduceRequestPartition, ProduceRequestTopic};
    use millrace_wire::message::{HeartbeatRequest, HeartbeatResponse, MetadataRequest};
    use millrace_wire::{Request, Str};

    use super::*;

    /// Whether this is taken for the answer to a Heartbeat with the correlation id 7.
    fn is_accepted(answer: Bytes) -> bool {
        let request = HeartbeatRequest::default();
        let frame = request_frame(7, None, &request, 4).unwrap();
        let asked = Asked::of(&frame.slice(PREFIX_LENGTH..));
        judge(&asked, &Parts::from_iter([Part::Bytes(answer)])).is_some()
    }

    fn answer(correlation_id: i32) -> Bytes {
        response_frame(correlation_id, &HeartbeatResponse::default(), 4).unwrap()
    }

    fn body_of<R: Request>(request: &R, version: i16) -> Bytes {
        let frame = request_frame(7, None, request, version).unwrap();
        frame.slice(PREFIX_LENGTH..)
    }

    /// A Produce of a batch for each of these partitions.
    fn produce(partitions: impl IntoIterator<Item = i32>) -> Bytes {
        let mut builder = BatchBuilder::new();
        builder.push(Timestamp(1_700_000_000_000), None, Some(b"value"), &[]);
        let records = builder.build();
        let partition = |index| ProduceRequestPartition {
            index,
            records: Some(records.clone()),
        };
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 1_000,
            topic_data: vec![ProduceRequestTopic {
                name: Str::from("t"),
                partition_data: partitions.into_iter().map(partition).collect(),
                ..Default::default()
            }],
            ..Default::default()
        };
        body_of(&request, 9)
    }

    /// A broker with a topic `t` of two partitions.
    fn broker_with_topic() -> Broker {
        let mut broker = Broker::start();
        let mut connection = Connection::new(&broker);
        let topic = MetadataRequestTopic {
            name: Some(Str::from("t")),
            ..Default::default()
        };
        let create = MetadataRequest {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: true,
            ..Default::default()
        };
        connection.send(&mut broker, body_of(&create, 9));
        while connection.waits() {
            if !connection.hear(&broker, &mut Acquaintance::default()) && !broker.turn() {
                broker.pass();
            }
        }
        while broker.turn() {}
        broker
    }

    const BUDGET_BYTES: usize = 4_096;

    /// Whoever waits for memory has a timer.
    fn timers() -> tokio::runtime::Runtime {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().build().unwrap()
    }

    fn charged(body: Bytes, budget: &RequestBudget) -> Frame {
        let mut reservation = budget.open();
        assert!(poll(std::pin::pin!(reservation.cover(body.len()))).is_ready());
        Frame { body, reservation }
    }

    fn is_free(budget: &RequestBudget) -> bool {
        let mut all = budget.open();
        assert!(poll(std::pin::pin!(all.cover(BUDGET_BYTES))).is_ready());
        all.bytes() == BUDGET_BYTES
    }

    /// What a request has left behind keeps its memory until the broker is done with it.
    fn assert_kept_until_served(
        broker: &mut Broker,
        budget: &RequestBudget,
        left: Option<Pin<Box<dyn Future<Output = ()>>>>,
    ) {
        assert!(!is_free(budget), "it is in work");
        let mut letting_go = left.expect("somebody waits for it");
        assert!(poll(letting_go.as_mut()).is_pending());
        while broker.turn() {}
        assert!(poll(letting_go.as_mut()).is_ready());
        drop(letting_go);
        assert!(is_free(budget));
    }

    /// It waits for the controller, which may be busy; its client may come again with more.
    #[tokio::test(start_paused = true)]
    async fn a_change_whose_time_is_up_keeps_its_memory_until_the_controller_is_done_with_it() {
        let mut broker = Broker::start();
        let client = broker.client();
        let mut left_behind = client.frontend().take_over().unwrap();
        let budget = RequestBudget::new(BUDGET_BYTES);
        let delete = DeleteTopicsRequest {
            topic_names: vec![Str::from("t")],
            timeout_ms: 1,
            ..Default::default()
        };
        let body = body_of(&delete, 5);
        let submission = dispatch(&client, charged(body, &budget))
            .unwrap()
            .submission;
        let answer = submission.done().await.unwrap();
        assert_eq!(answer.await.unwrap().len(), 1, "it is told");
        assert_kept_until_served(&mut broker, &budget, left_behind.try_recv().ok());
    }

    /// A client that goes, or is told that its time is up, may come back with more.
    #[test]
    fn batches_keep_their_memory_until_the_shards_have_let_go_of_them() {
        let timers = timers();
        let _guard = timers.enter();
        let mut broker = broker_with_topic();
        let client = broker.client();
        let mut left_behind = client.frontend().take_over().unwrap();
        let budget = RequestBudget::new(BUDGET_BYTES);
        for body in [produce(0..1), produce(0..2)] {
            for is_told in [false, true] {
                let frame = charged(body.clone(), &budget);
                let dispatched = dispatch(&client, frame).unwrap();
                let taken = dispatched.submission.done();
                let Poll::Ready(Ok(mut answer)) = poll(std::pin::pin!(taken)) else {
                    panic!("a mailbox is full");
                };
                if is_told {
                    assert!(poll(answer.as_mut()).is_pending());
                }
                drop(answer);
                assert_kept_until_served(&mut broker, &budget, left_behind.try_recv().ok());
                assert!(left_behind.try_recv().is_err());
            }
        }
    }

    /// A client may go when some of its batches are at shards and the others not yet.
    #[test]
    fn batches_that_are_handed_over_in_part_keep_their_memory_likewise() {
        let timers = timers();
        let _guard = timers.enter();
        let mut broker = broker_with_topic();
        let client = broker.client();
        let mut left_behind = client.frontend().take_over().unwrap();
        let budget = RequestBudget::new(BUDGET_BYTES);
        // More than go out in one message.
        let frame = charged(produce([0; 1_100]), &budget);
        let dispatched = dispatch(&client, frame).unwrap();
        let mut taken = Box::pin(dispatched.submission.done());
        assert!(poll(taken.as_mut()).is_pending());
        drop(taken);
        assert_kept_until_served(&mut broker, &budget, left_behind.try_recv().ok());
    }

    #[test]
    fn an_answer_is_accepted() {
        assert!(is_accepted(answer(7)));
    }

    #[test]
    #[should_panic(expected = "whose answer")]
    fn an_answer_to_another_request_is_a_finding() {
        is_accepted(answer(8));
    }

    #[test]
    #[should_panic(expected = "no answer")]
    fn no_answer_is_a_finding() {
        is_accepted(Bytes::new());
    }

    #[test]
    #[should_panic(expected = "bytes behind the answer")]
    fn an_answer_with_more_behind_it_is_a_finding() {
        let mut longer = answer(7).to_vec();
        longer.push(0);
        longer[3] += 1;
        is_accepted(longer.into());
    }

    #[test]
    #[should_panic(expected = "is none")]
    fn an_answer_that_ends_early_is_a_finding() {
        let mut shorter = answer(7).to_vec();
        shorter.pop();
        shorter[3] -= 1;
        is_accepted(shorter.into());
    }

    #[test]
    #[should_panic(expected = "the broker is stopping")]
    fn a_connection_that_ends_for_no_fault_of_its_client_is_a_finding() {
        let frame = request_frame(7, None, &HeartbeatRequest::default(), 4).unwrap();
        let asked = Asked::of(&frame.slice(PREFIX_LENGTH..));
        judge_closing(&asked, &Closing::Stopping(millrace_engine::shard::Stopped));
    }
}
