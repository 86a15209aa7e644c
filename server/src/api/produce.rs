//! Produce (key 0): hands record batches to the partitions' shards on arrival, in order, and answers when they are as safe
//! as `acks` asks for.
//!
//! It looks at no record; the owner of the partition checks them once. Records stay slices of the received frame.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use millrace_engine::metadata::{MetadataImage, is_internal};
use millrace_engine::partition::{Acks, AppendError, Appended};
use millrace_engine::record::{BatchHeader, RecordError, Refused};
use millrace_engine::shard::command::{Command, Produce, ProducePartition, Produced, ReplySlot};
use millrace_engine::shard::{NotSent, Stopped};
use millrace_engine::types::TopicIdPartition;
use millrace_wire::message::lone_batch::{LoneAppended, LoneBatch, LoneTopic, NamedBy, Places};
use millrace_wire::message::produce::{
    ProduceCurrentLeader, ProduceNodeEndpoint, ProduceRecordError, ProduceRequest,
    ProduceRequestPartition, ProduceRequestTopic, ProduceResponse, ProduceResponsePartition,
    ProduceResponseTopic,
};
use millrace_wire::{ErrorCode, Str, Uuid};
use smallvec::{SmallVec, smallvec};
use tokio::sync::oneshot;

use super::brokers::LeaderHints;
use super::context::{Decoded, RequestContext};
use super::error::ToErrorCode;
use super::scatter::{Question, Scattered, Unsent, scatter, scatter_at_once};
use super::topics::{partition_by_id, partition_by_name};
use super::{Answer, Call, Closing, Part, Parts, Submission};
use crate::net::Pace;

/// The row's function: hands the batches over; yields the answer that waits for them.
pub(super) fn on_arrival(call: Call) -> Result<Submission, Closing> {
    if let Some(lone) = Lone::of(&call) {
        return lone.submit(call);
    }
    let (mut request, context) = match call.decode::<ProduceRequest>()? {
        Decoded::Short(request, context) => (request, context),
        Decoded::Long(call) => return Ok(Submission::Waiting(Box::pin(submit_long(call)))),
    };
    let (admitted, batches) = admit(&mut request, context.version(), &context.image());
    let unsent = match scatter_at_once(context.gateway(), batches, command(&request)) {
        Ok(sent) => {
            let at_shards = AtShards::new(context, Messages::of(sent));
            return Ok(Submission::Done(wait(request, at_shards, admitted)));
        }
        Err(unsent) => unsent,
    };
    Ok(Submission::Waiting(Box::pin(async move {
        match unsent {
            Unsent::Several(batches) => hand_over(request, context, admitted, batches).await,
            Unsent::One(shard, command, sent) => {
                context.gateway().send(shard, *command).await?;
                let at_shards = AtShards::new(context, Messages::of(sent));
                Ok(wait(request, at_shards, admitted))
            }
            Unsent::Stopped => Err(Stopped.into()),
        }
    })))
}

/// As [`on_arrival`] for a request of very many partitions.
async fn submit_long(call: Call) -> Result<Answer, Closing> {
    let (request, context) = call.decode_aside::<ProduceRequest>().await?;
    let (version, image) = (context.version(), Arc::clone(&context.image()));
    let admit = move |mut request| {
        let (admitted, batches) = admit(&mut request, version, &image);
        (request, admitted, batches)
    };
    let (request, admitted, batches) = context.in_peace(request, admit).await?;
    hand_over(request, context, admitted, batches).await
}

/// Hands batches over that may be several messages; yields the answer that waits for them.
async fn hand_over(
    request: ProduceRequest,
    context: RequestContext,
    admitted: Admitted,
    batches: Vec<ProducePartition>,
) -> Result<Answer, Closing> {
    // Once the first is out a shard has some of them, whether the others follow or not.
    let mut at_shards = AtShards::new(context, Messages::of(Scattered::default()));
    at_shards.hand_over(batches, command(&request)).await?;
    Ok(wait(request, at_shards, admitted))
}

/// Makes a shard's message of its batches.
fn command(request: &ProduceRequest) -> impl Fn(Vec<ProducePartition>, Slot) -> Command + use<> {
    let timeout = timeout(request.timeout_ms);
    let acks = acks(request.acks).unwrap_or(Acks::None);
    move |partitions, reply| {
        Command::Produce(Produce {
            partitions: SmallVec::from_vec(partitions),
            acks,
            timeout,
            reply,
        })
    }
}

/// How long the batches may take. Some clients give no time, for Kafka counts it only while other replicas are waited for:
/// told at once that the time is up, before the batch can have been written, they would send it again and have it twice.
fn timeout(timeout_ms: i32) -> Duration {
    match u64::try_from(timeout_ms) {
        Ok(given @ 1..) => Duration::from_millis(given),
        Ok(0) | Err(_) => TIMEOUT_DEFAULT,
    }
}

impl Question for ProducePartition {
    fn partition(&self) -> TopicIdPartition {
        self.partition
    }

    fn weight(&self) -> usize {
        1 + self.records.len() / BYTES_OF_A_QUESTION
    }
}

/// What the rules say of each batch, and those that they let in. The records leave the request, so that it can be kept for its
/// names while they are written.
fn admit(
    request: &mut ProduceRequest,
    version: i16,
    image: &MetadataImage,
) -> (Admitted, Vec<ProducePartition>) {
    let rules = Rules::of(request, version);
    let mut admitted = Admitted::new();
    let mut batches = Vec::new();
    for topic in &mut request.topic_data {
        for asked in &mut topic.partition_data {
            let (index, records) = (asked.index, asked.records.take().unwrap_or_default());
            let verdict = rules.admit(image, &topic.name, topic.topic_id, index, &records);
            if let Ok(partition) = verdict {
                batches.push(ProducePartition {
                    partition,
                    records,
                    zstd_allowed: version >= ZSTD_FIRST,
                });
            }
            admitted.push(verdict);
        }
    }
    (admitted, batches)
}

/// What the rules say of each batch, in the order of the request.
type Admitted = SmallVec<[Result<TopicIdPartition, Failure>; 1]>;

type Slot = ReplySlot<Produced>;

/// The answer to what was handed over.
fn wait(request: ProduceRequest, at_shards: AtShards<Messages>, admitted: Admitted) -> Answer {
    if let Some((context, messages)) = &at_shards.waiting {
        context.client().led_to(messages.sent.only_shard());
    }
    Box::pin(answer(request, at_shards, admitted))
}

/// Waits for the shards and tells the client.
async fn answer(
    request: ProduceRequest,
    mut at_shards: AtShards<Messages>,
    admitted: Admitted,
) -> Result<Parts, Closing> {
    let (context, results) = at_shards.results().await?;
    tell(request, context, admitted, results).await
}

/// A request whose batches are at shards. It may be answered that their time is up, or its client may go: until the shards have
/// let go of them, their memory is theirs. Others would fill it again and again.
struct AtShards<B: Batches> {
    /// Until it is answered.
    waiting: Option<(RequestContext, B)>,
}

/// What shards will answer.
trait Batches: 'static {
    /// Ends when no shard holds any of the batches.
    fn let_go(self) -> impl Future<Output = ()>;
}

impl Batches for oneshot::Receiver<Produced> {
    async fn let_go(self) {
        if let Ok(produced) = self.await {
            let_go(produced.left_behind).await;
        }
    }
}

/// The messages of a request, and what there is to wait for of those that were answered.
struct Messages {
    sent: Scattered<Produced>,
    left_behind: SmallVec<[oneshot::Receiver<()>; 1]>,
}

impl Messages {
    fn of(sent: Scattered<Produced>) -> Self {
        Self {
            sent,
            left_behind: SmallVec::new(),
        }
    }

    /// Waits for all shards. To be called once.
    async fn results(&mut self) -> Result<Vec<Result<Appended, AppendError>>, Stopped> {
        let Self { sent, left_behind } = self;
        let see = |produced: &mut Produced| left_behind.extend(produced.left_behind.take());
        sent.gather_and_see(see).await
    }
}

impl Batches for Messages {
    async fn let_go(self) {
        let_go(self.left_behind).await;
        for answer in self.sent.unanswered() {
            answer.let_go().await;
        }
    }
}

/// Ends when shards have let go of what was `left_behind`.
async fn let_go(left_behind: impl IntoIterator<Item = oneshot::Receiver<()>>) {
    for left in left_behind {
        // Its end is all there is to hear.
        let _ = left.await;
    }
}

impl<B: Batches> AtShards<B> {
    const fn new(context: RequestContext, batches: B) -> Self {
        Self {
            waiting: Some((context, batches)),
        }
    }

    /// The request, which is to be answered.
    fn end(&mut self) -> Result<RequestContext, Stopped> {
        let ended = self.waiting.take();
        ended.map(|(context, _)| context).ok_or(Stopped)
    }
}

impl<B: Batches> Drop for AtShards<B> {
    fn drop(&mut self) {
        if let Some((context, batches)) = self.waiting.take() {
            context.leaves_behind(batches.let_go());
        }
    }
}

impl AtShards<oneshot::Receiver<Produced>> {
    fn poll(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Result<(RequestContext, Produced), Stopped>> {
        let Some((_, result)) = &mut self.waiting else {
            return Poll::Ready(Err(Stopped));
        };
        let produced = ready!(Pin::new(result).poll(task)).map_err(|_| Stopped);
        let context = self.end();
        Poll::Ready(context.and_then(|context| Ok((context, produced?))))
    }
}

impl AtShards<Messages> {
    async fn hand_over(
        &mut self,
        batches: Vec<ProducePartition>,
        command: impl Fn(Vec<ProducePartition>, Slot) -> Command,
    ) -> Result<(), Stopped> {
        let Some((context, messages)) = &mut self.waiting else {
            return Err(Stopped);
        };
        scatter(context.gateway(), batches, command, &mut messages.sent).await
    }

    async fn results(
        &mut self,
    ) -> Result<(RequestContext, Vec<Result<Appended, AppendError>>), Stopped> {
        let Some((_, messages)) = &mut self.waiting else {
            return Err(Stopped);
        };
        let results = messages.results().await?;
        let left_behind = std::mem::take(&mut messages.left_behind);
        let context = self.end()?;
        if !left_behind.is_empty() {
            context.leaves_behind(let_go(left_behind));
        }
        Ok((context, results))
    }
}

/// Tells the client what became of its batches; there are as many `results` as were admitted.
async fn tell(
    request: ProduceRequest,
    context: RequestContext,
    admitted: Admitted,
    results: impl IntoIterator<Item = Result<Appended, AppendError>>,
) -> Result<Parts, Closing> {
    let mut results = results.into_iter();
    let mut hints = LeaderHints::default();
    let mut admitted = admitted.into_iter();
    let pace = Pace::of_elements();
    let mut responses = Vec::with_capacity(request.topic_data.len());
    for topic in request.topic_data {
        let mut partitions = Vec::with_capacity(topic.partition_data.len());
        for (asked, admitted) in topic.partition_data.iter().zip(admitted.by_ref()) {
            pace.after(1).await;
            let index = asked.index;
            let appended = match admitted {
                // As many results as batches were admitted; were one missing, its fate would be unknown.
                Ok(_) => results
                    .next()
                    .ok_or(Stopped)?
                    .map_err(|error| Failure::of(&error)),
                Err(ref failure) => Err(failure.clone()),
            };
            if let (Err(failure), 0) = (&appended, request.acks) {
                let name = if topic.topic_id.0 == 0 {
                    topic.name.to_string()
                } else {
                    topic.topic_id.to_string()
                };
                return Err(context.refuse(format!("acks=0 and {name}-{index}: {failure}")));
            }
            let mut response = describe(index, appended);
            if response.error_code == ErrorCode::NotLeaderOrFollower
                && let Ok(partition) = admitted
                && let Some((leader_id, leader_epoch)) =
                    hints.leader(&context, &context.image(), partition)
            {
                response.current_leader = ProduceCurrentLeader {
                    leader_id,
                    leader_epoch,
                };
            }
            partitions.push(response);
        }
        responses.push(ProduceResponseTopic {
            name: topic.name,
            topic_id: topic.topic_id,
            partition_responses: partitions,
        });
    }
    if request.acks == 0 {
        return Ok(Parts::new());
    }
    let node_endpoints = hints.endpoints().map(|broker| ProduceNodeEndpoint {
        node_id: broker.id,
        host: broker.host,
        port: broker.port,
        rack: broker.rack,
    });
    let response = ProduceResponse {
        responses,
        node_endpoints: node_endpoints.collect(),
        ..Default::default()
    };
    context.encode(response).await
}

/// A request of one batch, which may go to its shard: most small ones are such, and are not taken apart and put together as messages.
struct Lone {
    places: Places,
    index: i32,
    partition: TopicIdPartition,
    /// As it was sent, and as it is meant.
    acks: (i16, Acks),
    timeout: Duration,
}

impl Lone {
    /// `None` where it is another one, or is refused: then it has to be looked at in full.
    fn of(call: &Call) -> Option<Self> {
        let version = call.context.version();
        let batch = LoneBatch::read(call.body.rest(), version)?;
        let rules = Rules {
            by_id: matches!(batch.topic, NamedBy::Id(_)),
            acks: acks(batch.acks),
        };
        let (name, id) = match batch.topic {
            NamedBy::Name(name) => (name, Uuid::default()),
            NamedBy::Id(id) => ("", id),
        };
        let image = call.context.image();
        let verdict = rules.admit(&image, name, id, batch.index, batch.records);
        Some(Self {
            partition: verdict.ok()?,
            acks: (batch.acks, rules.acks.ok()?),
            places: batch.places(),
            index: batch.index,
            timeout: timeout(batch.timeout_ms),
        })
    }

    /// Hands the batch over.
    fn submit(self, call: Call) -> Result<Submission, Closing> {
        let Call { context, body } = call;
        let (partition, (asked_acks, acks)) = (self.partition, self.acks);
        let (records, topic) = self.places.cut(body.into_rest());
        let (reply, result) = oneshot::channel();
        let batch = ProducePartition {
            partition,
            records,
            zstd_allowed: context.version() >= ZSTD_FIRST,
        };
        let command = Command::Produce(Produce {
            partitions: [batch].into(),
            acks,
            timeout: self.timeout,
            reply,
        });
        let receipt = Receipt {
            topic,
            index: self.index,
            acks: asked_acks,
            partition,
        };
        let gateway = context.gateway();
        let shard = gateway.owner(partition);
        context.client().led_to(Some(shard));
        match gateway.try_send(shard, command) {
            Ok(()) => Ok(Submission::Done(answer_lone(receipt, context, result))),
            Err(NotSent::Full(command)) => Ok(Submission::Waiting(Box::pin(async move {
                context.gateway().send(shard, *command).await?;
                Ok(answer_lone(receipt, context, result))
            }))),
            Err(NotSent::Stopped) => Err(Stopped.into()),
        }
    }
}

/// What of a lone batch's request its answer needs.
struct Receipt {
    topic: LoneTopic,
    index: i32,
    acks: i16,
    partition: TopicIdPartition,
}

/// As [`answer`], for a lone batch. Not an async function: such a one keeps what it is given twice, as it came and as its locals.
fn answer_lone(
    receipt: Receipt,
    context: RequestContext,
    result: oneshot::Receiver<Produced>,
) -> Answer {
    let mut at_shard = AtShards::new(context, result);
    Box::pin(async move {
        let (context, produced) = poll_fn(|task| at_shard.poll(task)).await?;
        let Some(Ok(appended)) = produced.results.first() else {
            return Box::pin(tell_in_full(receipt, context, produced)).await;
        };
        if receipt.acks == 0 {
            return Ok(Parts::new());
        }
        let place = LoneAppended {
            base_offset: appended.base_offset.0,
            log_append_time_ms: appended.log_append_time.0,
            log_start_offset: appended.log_start_offset.0,
        };
        let (number, version) = (context.correlation_id(), context.version());
        let frame = receipt
            .topic
            .appended_frame(number, version, receipt.index, place);
        Ok(smallvec![Part::Bytes(frame)])
    })
}

/// A lone batch was not appended: the answer has more to say.
async fn tell_in_full(
    receipt: Receipt,
    context: RequestContext,
    produced: Produced,
) -> Result<Parts, Closing> {
    let Produced {
        results,
        left_behind,
    } = produced;
    if left_behind.is_some() {
        context.leaves_behind(let_go(left_behind));
    }
    let (name, topic_id) = match receipt.topic {
        LoneTopic::Name(name) => (name, Uuid::default()),
        LoneTopic::Id(id) => (Str::default(), id),
    };
    let partition = ProduceRequestPartition {
        index: receipt.index,
        records: None,
    };
    let request = ProduceRequest {
        acks: receipt.acks,
        topic_data: vec![ProduceRequestTopic {
            name,
            topic_id,
            partition_data: vec![partition],
        }],
        ..Default::default()
    };
    tell(request, context, smallvec![Ok(receipt.partition)], results).await
}

/// What of a request concerns all its batches.
struct Rules {
    by_id: bool,
    acks: Result<Acks, ErrorCode>,
}

impl Rules {
    const fn of(request: &ProduceRequest, version: i16) -> Self {
        Self {
            by_id: version >= TOPIC_IDS_FIRST,
            acks: acks(request.acks),
        }
    }

    /// Whether a batch may go to its shard, and where.
    fn admit(
        &self,
        image: &MetadataImage,
        name: &str,
        topic_id: Uuid,
        index: i32,
        records: &[u8],
    ) -> Result<TopicIdPartition, Failure> {
        let partition = if self.by_id {
            partition_by_id(image, topic_id, index)?
        } else {
            partition_by_name(image, name, index)?
        };
        let known = image.topic_by_id(partition.topic_id);
        if known.is_some_and(|topic| is_internal(topic.name.as_str())) {
            return Err(ErrorCode::InvalidTopicException.into());
        }
        if let Err(code) = self.acks {
            // Kafka opens the records before it looks at acks, and clients were seen to depend on which error comes.
            BatchHeader::parse(records)
                .map_err(|error| Failure::of(&AppendError::Record(error)))?;
            return Err(code.into());
        }
        Ok(partition)
    }
}

const fn acks(acks: i16) -> Result<Acks, ErrorCode> {
    match acks {
        0 => Ok(Acks::None),
        1 => Ok(Acks::Leader),
        -1 => Ok(Acks::All),
        _ => Err(ErrorCode::InvalidRequiredAcks),
    }
}

/// Why one partition's batch is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Failure {
    code: ErrorCode,
    message: Option<String>,
    records: Vec<ProduceRecordError>,
}

impl From<ErrorCode> for Failure {
    fn from(code: ErrorCode) -> Self {
        Self {
            code,
            ..Self::default()
        }
    }
}

impl Failure {
    fn of(error: &AppendError) -> Self {
        let records = match error {
            AppendError::Record(
                RecordError::InvalidRecords(refused) | RecordError::InvalidTimestamps(refused),
            ) => refused_records(refused),
            _ => Vec::new(),
        };
        Self {
            code: error.error_code(),
            message: Some(error.to_string()),
            records,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message.as_deref().unwrap_or(self.code.message()))
    }
}

fn refused_records(refused: &Refused) -> Vec<ProduceRecordError> {
    let records = refused.records.iter().map(|record| ProduceRecordError {
        batch_index: record.index,
        batch_index_error_message: Some(record.problem.to_string().into()),
    });
    records.collect()
}

fn describe(index: i32, appended: Result<Appended, Failure>) -> ProduceResponsePartition {
    match appended {
        Ok(appended) => ProduceResponsePartition {
            index,
            base_offset: appended.base_offset.0,
            log_append_time_ms: appended.log_append_time.0,
            log_start_offset: appended.log_start_offset.0,
            ..Default::default()
        },
        Err(failure) => ProduceResponsePartition {
            index,
            error_code: failure.code,
            base_offset: -1,
            record_errors: failure.records,
            error_message: failure.message.map(Into::into),
            ..Default::default()
        },
    }
}

/// What kafka-clients give, whose `request.timeout.ms` it is.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// So many bytes are checked and written in about the time of a small question.
const BYTES_OF_A_QUESTION: usize = 1_024;
/// The first version whose batches may be packed with zstd (KIP-110).
const ZSTD_FIRST: i16 = 7;
/// The first version that names topics by id.
const TOPIC_IDS_FIRST: i16 = 13;

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Waker;

    use millrace_engine::record::{RecordProblem, RefusedRecord};

    use super::*;

    fn is_over(future: Pin<&mut impl Future>) -> bool {
        let mut task = Context::from_waker(Waker::noop());
        future.poll(&mut task).is_ready()
    }

    /// One shard has answered that the time is up, the other not yet, when the client goes.
    #[test]
    fn what_one_shard_holds_is_waited_for_also_where_another_is_to_answer() {
        let mut messages = Messages::of(Scattered::default());
        let [first, second] = [0, 1].map(|place| {
            let (slot, answer) = oneshot::channel();
            messages.sent.add(vec![place], answer);
            slot
        });
        let late = |left_behind| Produced {
            results: smallvec![Err(AppendError::TimedOut)],
            left_behind,
        };
        let (held, left_behind) = oneshot::channel();
        first.send(late(Some(left_behind))).unwrap();
        assert!(!is_over(pin!(messages.results())));
        let mut letting_go = pin!(messages.let_go());
        second.send(late(None)).unwrap();
        assert!(!is_over(letting_go.as_mut()));
        drop(held);
        assert!(is_over(letting_go));
    }

    #[test]
    fn a_refused_batch_lists_its_refused_records() {
        let refused = Refused {
            records: vec![RefusedRecord {
                index: 2,
                problem: RecordProblem::NoKey,
            }],
            count: 1,
        };
        let failure = Failure::of(&AppendError::Record(RecordError::InvalidRecords(refused)));
        let response = describe(5, Err(failure));
        assert_eq!((response.index, response.base_offset), (5, -1));
        assert_eq!(response.error_code, ErrorCode::InvalidRecord);
        let text = "Compacted topic cannot accept message without key.";
        assert_eq!(response.record_errors[0].batch_index, 2);
        assert_eq!(
            response.record_errors[0].batch_index_error_message,
            Some(text.into())
        );
    }

    #[test]
    fn batches_of_a_client_that_gives_no_time_have_as_much_as_others() {
        assert_eq!([0, -1, i32::MIN].map(timeout), [TIMEOUT_DEFAULT; 3]);
        assert_eq!(
            [1, 60_000].map(timeout),
            [1, 60_000].map(Duration::from_millis)
        );
    }

    #[test]
    fn only_three_values_of_acks_are_known() {
        let acks = |acks| {
            Rules::of(
                &ProduceRequest {
                    acks,
                    ..Default::default()
                },
                9,
            )
            .acks
        };
        assert_eq!(acks(0), Ok(Acks::None));
        assert_eq!(acks(1), Ok(Acks::Leader));
        assert_eq!(acks(-1), Ok(Acks::All));
        assert_eq!(acks(2), Err(ErrorCode::InvalidRequiredAcks));
    }
}
