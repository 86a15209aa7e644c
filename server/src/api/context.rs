//! Who asks, and what a handler may reach on its behalf: settings, metadata, the shards.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use millrace_engine::control::ControlError;
use millrace_engine::metadata;
use millrace_engine::shard::{Gateway, ShardIndex, Stopped, ThreadImage};
use millrace_wire::frame::response_frame;
use millrace_wire::{
    ApiKey, DecodeError, DecodeFault, EncodeError, Request, RequestHeader, Response,
};
use smallvec::smallvec;
use tokio::sync::watch;

use super::course::{Bearing, Course};
use super::fetch_session::Session;
use super::frontend::{Effective, Frontend, License};
use super::{Call, Closing, Part, Parts, Refusal};
use crate::config::{Endpoint, Listener};
use crate::net::{OneLine, Parking, Reservation};

/// One connection's other side. Lives as long as the connection.
pub(crate) struct Client {
    frontend: Rc<Frontend>,
    listener: Arc<Listener>,
    peer: SocketAddr,
    local: SocketAddr,
    software: RefCell<Option<Software>>,
    /// The id of its fetch session; 0 is none.
    session: Cell<i32>,
    course: Course,
    parking: Parking,
    stopping: watch::Receiver<bool>,
}

/// What a connection takes along to another thread.
#[derive(Debug, Default)]
pub(crate) struct Belongings {
    software: Option<Software>,
    /// Boxed, because every connection keeps room for what it came with.
    session: Option<Box<Session>>,
}

/// What a client said it is (ApiVersions 3 and later).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Software {
    /// Such as `apache-kafka-java`.
    pub(crate) name: String,
    /// Such as `4.3.1`.
    pub(crate) version: String,
}

impl fmt::Display for Software {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

impl Client {
    /// A client at `peer` that reached `listener` at its address `local`. `stopping` turns true when the broker stops.
    pub(crate) fn new(
        frontend: Rc<Frontend>,
        listener: Arc<Listener>,
        peer: SocketAddr,
        local: SocketAddr,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Self {
            frontend,
            listener,
            peer,
            local,
            software: RefCell::new(None),
            session: Cell::new(0),
            course: Course::default(),
            parking: Parking::default(),
            stopping,
        }
    }

    /// What is shared by the connections of this thread.
    pub(crate) fn frontend(&self) -> &Rc<Frontend> {
        &self.frontend
    }

    /// Where it connects from.
    pub(crate) const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The name of the listener it came in on.
    pub(crate) fn listener(&self) -> &str {
        &self.listener.name
    }

    /// Where it, and everybody on its listener, should connect to for this broker.
    pub(crate) fn advertised(&self) -> Endpoint {
        let advertised = self.listener.advertised.as_ref();
        let port = advertised.map_or(self.local.port(), |advertised| advertised.port);
        // A socket for both families shows IPv4 addresses in IPv6 clothes, which few clients could use.
        let reached = || self.local.ip().to_canonical().to_string();
        let host = advertised.and_then(|advertised| advertised.host.clone());
        Endpoint {
            host: host.unwrap_or_else(reached),
            port,
        }
    }

    /// Notes what the client says it is.
    pub(crate) fn set_software(&self, software: Software) {
        self.software.replace(Some(software));
    }

    /// What the client said it is.
    pub(crate) fn software(&self) -> Option<Software> {
        self.software.borrow().clone()
    }

    /// Its requests that may wait for long.
    pub(crate) const fn parking(&self) -> &Parking {
        &self.parking
    }

    /// Notes the shard that a read or a write was about, if it was one.
    pub(super) fn led_to(&self, shard: Option<ShardIndex>) {
        self.course.note(shard);
    }

    /// Which shards its reads and writes are about.
    pub(crate) fn bearing(&self) -> Bearing {
        self.course.bearing()
    }

    /// Notes the fetch session that the client goes on with.
    pub(super) fn set_session(&self, id: i32) {
        self.session.set(id);
    }

    /// What has to go where the connection goes.
    pub(crate) fn pack(&self) -> Belongings {
        let session = self.frontend.sessions().take(self.session.get());
        Belongings {
            software: self.software.take(),
            session: session.map(Box::new),
        }
    }

    /// What came with the connection.
    pub(crate) fn unpack(&self, belongings: Belongings) {
        let Belongings { software, session } = belongings;
        self.software.replace(software);
        if let Some(session) = session {
            self.session.set(session.id());
            let now = self.frontend.gateway().now().monotonic;
            self.frontend.sessions().adopt(*session, now);
        }
    }

    /// Whether the broker has begun to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        // An error says that the broker is gone.
        self.stopping.has_changed().unwrap_or(true)
    }

    /// Turns true when the broker stops: parked requests answer with what there is.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.clone()
    }
}

/// One request's surroundings.
pub(crate) struct RequestContext {
    client: Rc<Client>,
    header: RequestHeader,
    /// The memory that its frame takes.
    memory: Cell<Option<Reservation>>,
    /// Whether nothing behind it is read until it is answered.
    holds_up: bool,
    /// Whether it, or its answer, has very many elements.
    is_long: Cell<bool>,
    /// The memory set aside for it then.
    room: Cell<Option<Box<Reservation>>>,
    /// The right to an answer of any length.
    license: Cell<Option<License>>,
}

impl RequestContext {
    pub(super) fn new(
        client: Rc<Client>,
        header: RequestHeader,
        memory: Reservation,
        holds_up: bool,
    ) -> Self {
        if holds_up {
            client.parking.begin();
        }
        Self {
            client,
            header,
            memory: Cell::new(Some(memory)),
            holds_up,
            is_long: Cell::new(false),
            room: Cell::new(None),
            license: Cell::new(None),
        }
    }

    /// Whether the request was a long one.
    pub(super) fn is_long(&self) -> bool {
        self.is_long.get()
    }

    /// Nothing of the frame is needed any more: others may have its memory.
    pub(super) fn frame_is_gone(&self) {
        self.memory.take();
    }

    /// What was sent is with shards, or the controller, for as long as `letting_go` takes, however soon the request is
    /// answered or its client gone. Its memory is kept so long.
    pub(super) fn leaves_behind(&self, letting_go: impl Future<Output = ()> + 'static) {
        let memory = self.memory.take();
        self.client.frontend.leave_behind(Box::pin(async move {
            letting_go.await;
            drop(memory);
        }));
    }

    /// The request, whose message must have been dropped, may wait for minutes from here on: it holds no memory that others want
    /// for their requests.
    pub(super) fn parks(&self) {
        self.client.parking.begin_to_wait();
        self.frame_is_gone();
        self.room.take();
    }

    /// Says that an answer will have so many elements at its top. If they are very many, waits until there is room for them.
    pub(super) async fn answers_many(&self, elements: usize) {
        if elements < MANY_ELEMENTS {
            return;
        }
        self.is_long.set(true);
        let bytes = elements.saturating_mul(ELEMENT_BYTES);
        let held = self.room.take();
        if held.as_ref().is_some_and(|room| room.bytes() >= bytes) {
            self.room.set(held);
        } else {
            // What a long request has is given back first: two that hold some and want more would wait for each other.
            drop(held);
            self.make_room(bytes).await;
        }
    }

    /// As [`Self::answers_many`], for an answer whose elements differ in size, of so many bytes in all.
    pub(super) async fn answers_bytes(&self, bytes: usize) {
        self.answers_many(bytes / ELEMENT_BYTES).await;
    }

    /// Says that so many partitions will be remembered while the request waits for records. Waits until there is room for them.
    pub(super) async fn waits_for_many(&self, partitions: usize) {
        // A long request has more than that.
        if !self.is_long.get() {
            self.make_room(partitions.saturating_mul(WAITING_BYTES))
                .await;
        }
    }

    /// Says that the answer may be many times its request. Such answers are made a few at a time, until they are frames.
    ///
    /// Who may make one may wait for room, so nobody who has room waits for that: a long request has come with it.
    pub(super) async fn answers_much(&self) {
        let held = self.license.take();
        debug_assert!(
            held.is_some() || !self.is_long.get(),
            "API {} is none of those that answer much",
            self.header.api_key
        );
        let license = match held {
            None => self.client.frontend.license_for_much().await,
            held => held,
        };
        self.license.set(license);
    }

    /// As [`Self::answers_much`], if it may at once.
    fn answers_much_at_once(&self) -> bool {
        let license = self.client.frontend.license_at_hand();
        let is_held = license.is_some();
        self.license.set(license);
        is_held
    }

    async fn make_room(&self, bytes: usize) {
        let room = self.client.frontend.room_for_long_request(bytes).await;
        self.room.set(Some(Box::new(room)));
    }

    /// The version of the request, one of those its API is served in.
    pub(crate) const fn version(&self) -> i16 {
        self.header.api_version
    }

    /// The name the client gave itself; "" when it gave none.
    pub(crate) fn client_id(&self) -> &str {
        self.header.client_id.as_deref().unwrap_or_default()
    }

    /// A line for whoever looks after the broker about what the client was refused, unless there were too many about its address.
    pub(super) fn report(&self, refusal: &impl fmt::Display) {
        let address = self.client.peer;
        if let Some(left_out) = self.client.frontend.admit_line(address.ip()) {
            let (client_id, reason) = (self.client_id(), OneLine(refusal));
            tracing::warn!(%address, client_id, left_out, "refused: {reason}");
        }
    }

    /// The connection's other side.
    pub(crate) const fn client(&self) -> &Rc<Client> {
        &self.client
    }

    /// The door to the engine.
    pub(crate) fn gateway(&self) -> &Gateway {
        self.client.frontend.gateway()
    }

    /// The newest metadata. A handler takes it once, so that its answer agrees with itself.
    pub(crate) fn image(&self) -> ThreadImage {
        self.gateway().image()
    }

    /// Proposes a metadata change and waits until it is durable; a later [`Self::image`] shows it.
    ///
    /// # Errors
    /// As [`Gateway::propose`].
    pub(crate) async fn propose(
        &self,
        command: metadata::Command,
    ) -> Result<metadata::Reply, ControlError> {
        let handed_in = self.gateway().hand_in(command).await?;
        let gateway = self.gateway().clone();
        let at_controller = AtController {
            context: self,
            outcome: Some(Box::pin(async move { gateway.outcome(handed_in).await })),
        };
        at_controller.outcome().await
    }

    /// Whether the broker is stopping.
    pub(super) fn is_stopping(&self) -> bool {
        *self.client.stopping.borrow()
    }

    /// The settings that hold now, those changed while running included.
    pub(crate) fn settings(&self) -> Rc<Effective> {
        self.client.frontend.settings()
    }

    /// The message as a frame; a long one is made aside.
    ///
    /// # Errors
    /// A message that its version cannot express: a bug of ours, which costs this connection only.
    pub(super) async fn encode<R: Response>(&self, response: R) -> Result<Parts, Closing> {
        let (correlation_id, version) = (self.header.correlation_id, self.version());
        let encode = move |response: R| response_frame(correlation_id, &response, version);
        let frame = self.in_peace(response, encode).await?;
        let bytes = frame.as_ref().map_or(0, Bytes::len);
        let mut parts = self.as_parts(frame)?;
        // It is in memory until the client has taken it; what it was made of is not.
        if let Some(mut room) = self.room.take() {
            room.shrink(bytes);
            parts.push(Part::Room(room));
        }
        Ok(parts)
    }

    /// The message as a frame of another version than that of the request.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub(super) fn encode_as<R: Response>(
        &self,
        response: &R,
        version: i16,
    ) -> Result<Parts, Closing> {
        self.as_parts(response_frame(
            self.header.correlation_id,
            response,
            version,
        ))
    }

    fn as_parts(&self, frame: Result<Bytes, EncodeError>) -> Result<Parts, Closing> {
        let frame = frame.map_err(|error| self.formless(&error))?;
        Ok(smallvec![Part::Bytes(frame)])
    }

    /// The end of a connection whose answer cannot be written down.
    pub(super) fn formless(&self, error: &EncodeError) -> Closing {
        self.refuse(format!("the answer has no form: {error}"))
    }

    /// What `work` makes of a message of this request, or of its answer: here, or aside if it is long.
    ///
    /// # Errors
    /// The broker is stopping.
    pub(super) async fn in_peace<M: Send + 'static, T: Send + 'static>(
        &self,
        message: M,
        work: impl FnOnce(M) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        if !self.is_long.get() {
            return Ok(work(message));
        }
        // The message is dropped there, too, which takes as long as making it.
        self.gateway().aside(move || work(message)).await
    }

    /// The number that ties an answer to its request.
    pub(super) const fn correlation_id(&self) -> i32 {
        self.header.correlation_id
    }

    fn malformed(&self, error: &DecodeError) -> Closing {
        self.refuse(format!("malformed: {error}"))
    }

    /// The end of a connection on which this request cannot be answered.
    pub(super) fn refuse(&self, reason: impl Into<String>) -> Closing {
        Closing::Refused(Box::new(Refusal {
            api_key: self.header.api_key,
            api_version: self.header.api_version,
            client_id: self.header.client_id.as_deref().map(str::to_owned),
            reason: reason.into(),
        }))
    }
}

/// A change that the controller has in hand. The request may be answered that its time is up, or its client may go: until
/// the controller is done with the change, its memory is taken. Others would fill it again and again.
struct AtController<'a> {
    context: &'a RequestContext,
    /// Until it is known.
    outcome: Option<Pin<Box<dyn Future<Output = Outcome>>>>,
}

type Outcome = Result<metadata::Reply, ControlError>;

impl AtController<'_> {
    async fn outcome(mut self) -> Outcome {
        let Some(outcome) = &mut self.outcome else {
            return Err(ControlError::Stopped);
        };
        let known = outcome.as_mut().await;
        self.outcome = None;
        known
    }
}

impl Drop for AtController<'_> {
    fn drop(&mut self) {
        if let Some(outcome) = self.outcome.take() {
            let room = self.context.room.take();
            self.context.leaves_behind(async move {
                // The change stands, whatever its client was told.
                let _ = outcome.await;
                drop(room);
            });
        }
    }
}

impl Drop for RequestContext {
    fn drop(&mut self) {
        if self.holds_up {
            self.client.parking.end();
        }
    }
}

impl Call {
    /// The body as a message, if it is not a long one; see [`Self::decode_aside`] for those. Bytes behind it are ignored, as Kafka does.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn decode<R: Request>(mut self) -> Result<Decoded<R>, Closing> {
        let version = self.context.version();
        let may_be_long = self.body.budget_bytes() > SHORT_BYTES;
        let decoded = if may_be_long {
            R::decode(&mut self.body.within(SHORT_BYTES), version)
        } else {
            R::decode(&mut self.body, version)
        };
        match decoded {
            Ok(request) => Ok(Decoded::Short(request, self.context)),
            Err(DecodeError {
                fault: DecodeFault::TooLarge { .. },
                ..
            }) if may_be_long => Ok(Decoded::Long(self)),
            Err(error) => Err(self.context.malformed(&error)),
        }
    }

    /// The body as a message; of any length, without holding up the other clients of this thread.
    ///
    /// # Errors
    /// It is none, or the broker is stopping.
    pub(super) async fn decode_of_any_length<R: Request>(
        self,
    ) -> Result<(R, RequestContext), Closing> {
        match self.decode()? {
            Decoded::Short(request, context) => Ok((request, context)),
            Decoded::Long(call) => call.decode_aside().await,
        }
    }

    /// The body as a message, decoded on another thread when there is room for it.
    ///
    /// # Errors
    /// It is none, or the broker is stopping.
    pub(super) async fn decode_aside<R: Request>(self) -> Result<(R, RequestContext), Closing> {
        let Self { context, mut body } = self;
        let version = context.version();
        let bytes = body.budget_bytes().saturating_mul(LONG_TIMES);
        context.make_room(bytes).await;
        if ANSWER_MUCH.contains(&R::KEY) && !context.answers_much_at_once() {
            // All who may are at it, and some of them may wait for this very room.
            context.room.take();
            context.answers_much().await;
            context.make_room(bytes).await;
        }
        context.is_long.set(true);
        let decode = move || R::decode(&mut body, version);
        match context.gateway().aside(decode).await? {
            Ok(request) => Ok((request, context)),
            Err(error) => Err(context.malformed(&error)),
        }
    }
}

/// A request's body.
pub(super) enum Decoded<R> {
    /// As a message.
    Short(R, RequestContext),
    /// It has so many elements that this takes a while.
    Long(Call),
}

/// Memory for the arrays of a message that is decoded where it arrives: it takes some hundred microseconds at most.
const SHORT_BYTES: usize = 256 * 1024;

/// What a request and its answer take, at most about this many times the decoded request: an element of a Fetch is 56 bytes and
/// its answer 250.
const LONG_TIMES: usize = 4;

/// What calls [`RequestContext::answers_much`].
const ANSWER_MUCH: [ApiKey; 5] = [
    ApiKey::OffsetFetch,
    ApiKey::DescribeGroups,
    ApiKey::ListGroups,
    ApiKey::DescribeLogDirs,
    ApiKey::DescribeProducers,
];

/// A partition of a Fetch that waits, with what its shard keeps about it.
const WAITING_BYTES: usize = 512;

/// An answer with so many topics at its top is made aside.
const MANY_ELEMENTS: usize = 1_000;

/// A topic of a few partitions in an answer, and written down.
const ELEMENT_BYTES: usize = 1_024;
