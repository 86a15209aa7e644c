//! Fetch sessions (KIP-227): what a client reads, remembered, so that it names only what changes and hears only what is
//! new. Plain state of one shard's thread; it reads nothing, and of the metadata sees only whether its topics are others.
//!
//! What a session costs per request is what changes: its [`Standing`] part says what the shards know of it already, and they
//! look only at partitions that something happened to.
//!
//! An id carries the index of the thread that gave it. A session follows its connection to another thread; a client whose new
//! connection landed on another thread is told that the session is unknown, and opens another.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use millrace_engine::metadata::MetadataImage;
use millrace_engine::partition::Isolation;
use millrace_engine::shard::ShardIndex;
use millrace_engine::shard::command::{FetchPartition, StandingId};
use millrace_engine::types::{Monotonic, TopicName};
use millrace_wire::message::fetch::{
    FetchRequest, FetchRequestPartition, FetchRequestTopic, FetchResponsePartition,
};
use millrace_wire::{ErrorCode, Uuid};

mod standing;

pub(super) use standing::{Ask, Standing};

/// A topic as the request names it.
#[derive(Clone, Debug, Eq, PartialOrd, Ord)]
pub(super) enum TopicKey {
    /// By name: versions up to 12.
    Name(Arc<str>),
    /// By id: versions from 13.
    Id(Uuid),
}

impl PartialEq for TopicKey {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            // The partitions of a topic share its name, which may be long.
            (Self::Name(one), Self::Name(other)) => Arc::ptr_eq(one, other) || one == other,
            (Self::Id(one), Self::Id(other)) => one == other,
            (Self::Name(_), Self::Id(_)) | (Self::Id(_), Self::Name(_)) => false,
        }
    }
}

/// A read of one partition as the client wants it.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    /// The topic.
    pub(super) topic: TopicKey,
    /// Partition, offset, epochs, limit.
    pub(super) read: FetchRequestPartition,
    /// The name that the topic's id had when the session first met it.
    pub(super) known_as: Option<TopicName>,
}

/// What a request amounts to once its session is found.
pub(super) enum Scope {
    /// These partitions, all to be answered; nothing is remembered.
    Once(Vec<Wish>),
    /// These partitions, all to be answered; a session shall be made of them.
    First(Vec<Wish>),
    /// All partitions of the session; those with news are answered.
    Next {
        /// The session.
        session: Rc<RefCell<Session>>,
        /// The epoch that the session has while this request is in work.
        epoch: i32,
    },
}

/// One client's session.
#[derive(Debug)]
pub(super) struct Session {
    id: i32,
    /// The number the next request must carry.
    epoch: i32,
    by_id: bool,
    places: BTreeMap<(TopicKey, i32), u64>,
    /// In the order of reading: who got records goes to the end, so that all have their turn when limits are tight.
    entries: BTreeMap<u64, Entry>,
    next_place: u64,
    /// Places that came, went or changed since the shards were told last.
    touched: BTreeSet<u64>,
    /// What the shards were told; a request takes it along while it is in work.
    standing: Option<Standing>,
    is_ended: bool,
    created: Monotonic,
    used: Monotonic,
}

#[derive(Debug)]
struct Entry {
    wish: Wish,
    /// As the client last heard; -1 makes sure that it hears again.
    high_watermark: i64,
    log_start_offset: i64,
}

/// The sessions of one thread.
#[derive(Debug)]
pub(super) struct FetchSessions {
    sessions: BTreeMap<i32, Rc<RefCell<Session>>>,
    /// Those that have ended while a request was at work with them, and their partitions: they take memory until it is answered.
    ending: Vec<(Weak<RefCell<Session>>, usize)>,
    /// How many partitions all of them have, [`PARTITIONS_MAX`] at most.
    partitions: usize,
    /// What shards still remember of sessions that are no more.
    left_behind: Vec<(ShardIndex, StandingId)>,
    slots: usize,
    thread: u32,
    threads: u32,
}

impl FetchSessions {
    /// At most `slots` sessions, on thread number `thread` of `threads`.
    pub(super) fn new(slots: usize, thread: usize, threads: usize) -> Self {
        Self {
            sessions: BTreeMap::new(),
            ending: Vec::new(),
            partitions: 0,
            left_behind: Vec::new(),
            slots,
            thread: u32::try_from(thread).unwrap_or(0),
            threads: u32::try_from(threads).unwrap_or(1).max(1),
        }
    }

    /// Finds what `request` is about, and takes its changes, which are its [`wishes`], into its session.
    ///
    /// # Errors
    /// The session is unknown, elsewhere, at another epoch, or names topics the other way. It stays as it was.
    pub(super) fn enter(
        &mut self,
        request: &FetchRequest,
        wishes: Vec<Wish>,
        version: i16,
        now: Monotonic,
    ) -> Result<Scope, ErrorCode> {
        match request.session_epoch {
            EPOCH_FIRST | EPOCH_LAST => {
                // A full request ends the session it names.
                self.end(request.session_id);
                if request.session_epoch == EPOCH_LAST {
                    return Ok(Scope::Once(wishes));
                }
                Ok(Scope::First(wishes))
            }
            epoch => self.continue_with(request, epoch, wishes, version >= TOPIC_IDS_FIRST, now),
        }
    }

    fn continue_with(
        &mut self,
        request: &FetchRequest,
        epoch: i32,
        wishes: Vec<Wish>,
        by_id: bool,
        now: Monotonic,
    ) -> Result<Scope, ErrorCode> {
        let session = self.sessions.get(&request.session_id);
        let session = Rc::clone(session.ok_or(ErrorCode::FetchSessionIdNotFound)?);
        let mut state = session.borrow_mut();
        if state.epoch != epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if state.by_id != by_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        let forgotten = request.forgotten_topics_data.iter();
        let forgotten: usize = forgotten.map(|topic| topic.partitions.len()).sum();
        if forgotten > state.entries.len() {
            // Clients forget what they have. Whoever sends more wants every one of them to be looked for.
            drop(state);
            self.end(request.session_id);
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        let before = state.entries.len();
        state.change(wishes, request);
        let size = state.entries.len();
        self.partitions = self.partitions - before + size;
        if size == 0 || (size > before && !self.have_room_for(0)) {
            drop(state);
            self.end(request.session_id);
            return match size {
                0 => Ok(Scope::Once(Vec::new())),
                _ => Err(ErrorCode::FetchSessionIdNotFound),
            };
        }
        state.used = now;
        state.epoch = epoch_after(epoch);
        let epoch = state.epoch;
        drop(state);
        Ok(Scope::Next { session, epoch })
    }

    /// Lets go of a session, if it is there.
    pub(super) fn end(&mut self, id: i32) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        let mut state = session.borrow_mut();
        state.is_ended = true;
        if let Some(standing) = state.standing.take() {
            self.leave(standing);
        }
        let size = state.entries.len();
        drop(state);
        self.ending.push((Rc::downgrade(&session), size));
        drop(session);
        self.forget_ended();
    }

    /// Nobody goes on with what shards remember.
    pub(super) fn leave(&mut self, standing: Standing) {
        self.left_behind.extend(standing.into_ids());
    }

    /// What shards are to forget.
    pub(super) fn take_left_behind(&mut self) -> Vec<(ShardIndex, StandingId)> {
        std::mem::take(&mut self.left_behind)
    }

    /// Makes a session of a full request and what it was answered; `random` is any number. 0 when there is no room.
    pub(super) fn create<'a>(
        &mut self,
        answered: impl ExactSizeIterator<Item = (Wish, &'a FetchResponsePartition)>,
        by_id: bool,
        now: Monotonic,
        random: u128,
    ) -> i32 {
        if !self.have_room_for(answered.len()) || !self.make_room(answered.len(), now) {
            return NO_SESSION;
        }
        let Some(id) = self.free_id(random) else {
            return NO_SESSION;
        };
        let mut session = Session {
            id,
            epoch: epoch_after(EPOCH_FIRST),
            by_id,
            places: BTreeMap::new(),
            entries: BTreeMap::new(),
            next_place: 0,
            touched: BTreeSet::new(),
            standing: None,
            is_ended: false,
            created: now,
            used: now,
        };
        for (wish, response) in answered {
            let place = session.put(wish);
            session.note(place, response);
        }
        self.insert(session);
        id
    }

    /// Gives a session up, for another thread; none that a request is still at work with.
    pub(super) fn take(&mut self, id: i32) -> Option<Session> {
        let session = self.sessions.remove(&id)?;
        match Rc::try_unwrap(session) {
            Ok(session) => {
                let session = session.into_inner();
                self.partitions -= session.entries.len();
                Some(session)
            }
            Err(session) => {
                self.sessions.insert(id, session);
                None
            }
        }
    }

    /// Takes a session of another thread in. Without room for it, its client will be told that it is unknown.
    pub(super) fn adopt(&mut self, mut session: Session, now: Monotonic) {
        let size = session.entries.len();
        if self.have_room_for(size) && self.make_room(size, now) {
            self.insert(session);
        } else if let Some(standing) = session.standing.take() {
            self.leave(standing);
        }
    }

    fn insert(&mut self, session: Session) {
        // The thread that a session comes from may have given its id out again before.
        self.end(session.id);
        self.partitions += session.entries.len();
        let (id, session) = (session.id, Rc::new(RefCell::new(session)));
        self.sessions.insert(id, session);
    }

    /// Whether sessions may have so many partitions more.
    fn have_room_for(&mut self, size: usize) -> bool {
        self.forget_ended();
        self.partitions.saturating_add(size) <= PARTITIONS_MAX
    }

    /// Takes sessions that have ended off the account, but for those that a request is still at work with.
    fn forget_ended(&mut self) {
        let partitions = &mut self.partitions;
        self.ending.retain(|(session, size)| {
            let is_held = session.strong_count() > 0;
            if !is_held {
                *partitions -= size;
            }
            is_held
        });
    }

    /// Whether there is a free slot, or an old session that is worth less than one of `size` partitions. Kafka's rules: one
    /// that was not used for two minutes goes first, then the smallest that is at least two minutes old, if smaller.
    fn make_room(&mut self, size: usize, now: Monotonic) -> bool {
        if self.sessions.len() < self.slots {
            return true;
        }
        let facts = || {
            self.sessions.values().map(|session| {
                let session = session.borrow();
                (
                    session.used,
                    session.created,
                    session.entries.len(),
                    session.id,
                )
            })
        };
        let is_old = |moment: Monotonic| moment.until(now) > PROTECTED;
        let stale = facts()
            .min()
            .filter(|&(used, ..)| is_old(used))
            .map(|(.., id)| id);
        let small = || {
            let old = facts().filter(|&(_, created, ..)| is_old(created));
            old.map(|(.., size, id)| (size, id))
                .min()
                .filter(|&(least, _)| least < size)
        };
        let Some(victim) = stale.or_else(|| small().map(|(_, id)| id)) else {
            return false;
        };
        self.end(victim);
        true
    }

    /// An id above 0 that nobody has, whose remainder by the number of threads is this thread.
    fn free_id(&self, random: u128) -> Option<i32> {
        let turns = (i32::MAX.unsigned_abs() / self.threads)
            .saturating_sub(1)
            .max(1);
        let start = u32::try_from(random % u128::from(turns)).unwrap_or(0);
        (0..ID_TRIES).find_map(|step| {
            let turn = start.wrapping_add(step) % turns;
            let id = turn.checked_mul(self.threads)?.checked_add(self.thread)?;
            let id = i32::try_from(id).ok().filter(|&id| id != NO_SESSION)?;
            (!self.sessions.contains_key(&id)).then_some(id)
        })
    }
}

impl Session {
    /// Its id.
    pub(super) const fn id(&self) -> i32 {
        self.id
    }

    /// The number the next request must carry.
    pub(super) const fn epoch(&self) -> i32 {
        self.epoch
    }

    /// What the shards are to be told before they are asked, and what they were told. `resolve` says where a wish is read, in
    /// the metadata of `image`. Who takes it gives it back with [`Self::return_standing`].
    ///
    /// What is of no use any more goes to `left_behind`.
    pub(super) fn lend_standing(
        &mut self,
        isolation: Isolation,
        image: &MetadataImage,
        mut resolve: impl FnMut(&mut Wish) -> Result<(ShardIndex, FetchPartition), ErrorCode>,
        left_behind: &mut Vec<Standing>,
    ) -> Standing {
        let kept = self.standing.take();
        let mut standing = match kept {
            Some(standing) if standing.isolation() == isolation => standing,
            other => {
                left_behind.extend(other);
                self.touched.extend(self.entries.keys());
                Standing::new(isolation)
            }
        };
        if standing.follow(image) {
            for (&place, entry) in &mut self.entries {
                if !self.touched.contains(&place) {
                    match resolve(&mut entry.wish) {
                        Ok((_, read)) if standing.stands(place, read.partition) => {}
                        found => standing.put(place, found),
                    }
                }
            }
        }
        for place in std::mem::take(&mut self.touched) {
            match self.entries.get_mut(&place) {
                Some(entry) => standing.put(place, resolve(&mut entry.wish)),
                None => standing.remove(place),
            }
        }
        standing
    }

    /// Gives back what was lent; the rest of it when the session is no more, or has another by now.
    pub(super) fn return_standing(&mut self, standing: Standing) -> Option<Standing> {
        if self.is_ended || self.standing.is_some() {
            return Some(standing);
        }
        self.standing = Some(standing);
        None
    }

    /// What is read at a place.
    pub(super) fn wish(&self, place: u64) -> Option<&Wish> {
        Some(&self.entries.get(&place)?.wish)
    }

    /// Adds and changes partitions, then forgets some.
    fn change(&mut self, wishes: Vec<Wish>, request: &FetchRequest) {
        for wish in wishes {
            let key = (wish.topic.clone(), wish.read.partition);
            let place = self.places.get(&key).copied();
            match place.and_then(|place| self.entries.get_mut(&place)) {
                Some(entry) => {
                    entry.wish.read = wish.read;
                    self.touched.extend(place);
                }
                None => {
                    self.put(wish);
                }
            }
        }
        let forgotten = request.forgotten_topics_data.iter();
        for topic in forgotten.filter(|topic| !topic.partitions.is_empty()) {
            let key = if self.by_id {
                TopicKey::Id(topic.topic_id)
            } else {
                TopicKey::Name(Arc::from(&*topic.topic))
            };
            for &partition in &topic.partitions {
                if let Some(place) = self.places.remove(&(key.clone(), partition)) {
                    self.entries.remove(&place);
                    self.touched.insert(place);
                }
            }
        }
    }

    fn put(&mut self, wish: Wish) -> u64 {
        let place = self.next_place;
        self.next_place += 1;
        self.touched.insert(place);
        let key = (wish.topic.clone(), wish.read.partition);
        // A partition named twice is read as it was named last.
        if let Some(before) = self.places.insert(key, place) {
            self.entries.remove(&before);
            self.touched.insert(before);
        }
        self.entries.insert(
            place,
            Entry {
                wish,
                high_watermark: -1,
                log_start_offset: -1,
            },
        );
        place
    }

    /// Takes in what the wish at `place` is answered, and says whether the client has to hear it.
    pub(super) fn note(&mut self, place: u64, response: &FetchResponsePartition) -> bool {
        // Forgotten by a request on another connection in the meantime: this one asked, so it is told.
        let Some(entry) = self.entries.get_mut(&place) else {
            return true;
        };
        let has_records = response
            .records
            .as_ref()
            .is_some_and(|records| records.length() > 0);
        let has_error = response.error_code.is_error();
        let moved = entry.high_watermark != response.high_watermark
            || entry.log_start_offset != response.log_start_offset;
        entry.high_watermark = if has_error {
            -1
        } else {
            response.high_watermark
        };
        entry.log_start_offset = response.log_start_offset;
        let diverges = response.diverging_epoch.end_offset >= 0;
        let is_elsewhere = response.preferred_read_replica >= 0;
        if has_records {
            self.move_to_end(place);
        }
        has_records || has_error || moved || diverges || is_elsewhere
    }

    fn move_to_end(&mut self, place: u64) {
        let Some(entry) = self.entries.remove(&place) else {
            return;
        };
        let end = self.next_place;
        self.next_place += 1;
        let key = (entry.wish.topic.clone(), entry.wish.read.partition);
        self.places.insert(key, end);
        self.entries.insert(end, entry);
        self.touched.extend([place, end]);
    }
}

/// The partitions that a request's topics name.
pub(super) fn wishes(topics: Vec<FetchRequestTopic>, version: i16) -> Vec<Wish> {
    let count = topics.iter().map(|topic| topic.partitions.len()).sum();
    let mut wishes = Vec::with_capacity(count);
    for topic in topics {
        // The text is copied: as it stands it would keep the whole frame in memory for the life of a session.
        let key = if version >= TOPIC_IDS_FIRST {
            TopicKey::Id(topic.topic_id)
        } else {
            TopicKey::Name(Arc::from(&*topic.topic))
        };
        wishes.extend(topic.partitions.into_iter().map(|read| Wish {
            topic: key.clone(),
            read,
            known_as: None,
        }));
    }
    wishes
}

/// Of wishes for the same partition the last, in the place of the first, as Kafka has it.
pub(super) fn last_of_each(wishes: Vec<Wish>) -> Vec<Wish> {
    let topics = topic_numbers(&wishes);
    let mut placed: Vec<_> = (0_usize..).zip(topics).zip(wishes).collect();
    placed.sort_unstable_by_key(|((place, topic), wish)| (wish.read.partition, *topic, *place));
    placed.dedup_by(|((_, topic), later), ((_, first_topic), first)| {
        let is_same = later.read.partition == first.read.partition && topic == first_topic;
        if is_same {
            std::mem::swap(later, first);
        }
        is_same
    });
    placed.sort_unstable_by_key(|((place, _), _)| *place);
    placed.into_iter().map(|(_, wish)| wish).collect()
}

/// For each wish a number that stands for its topic. A name may be long: it is compared once for all partitions behind it.
fn topic_numbers(wishes: &[Wish]) -> Vec<usize> {
    let mut known: BTreeMap<&TopicKey, usize> = BTreeMap::new();
    let mut numbers = Vec::with_capacity(wishes.len());
    for of_one in wishes.chunk_by(|one, next| one.topic == next.topic) {
        let next = known.len();
        let topic = of_one.first().map(|wish| &wish.topic);
        let number = topic.map_or(next, |topic| *known.entry(topic).or_insert(next));
        numbers.extend(of_one.iter().map(|_| number));
    }
    numbers
}

/// The number after `epoch`: never 0 or less, which mean something else.
const fn epoch_after(epoch: i32) -> i32 {
    match epoch {
        i32::MAX => 1,
        _ if epoch < 0 => EPOCH_LAST,
        _ => epoch + 1,
    }
}

/// The id of no session.
pub(super) const NO_SESSION: i32 = 0;
/// Opens a session.
const EPOCH_FIRST: i32 = 0;
/// Closes a session, or does without.
const EPOCH_LAST: i32 = -1;
/// The first version that names topics by id.
pub(super) const TOPIC_IDS_FIRST: i16 = 13;
/// How long a session is safe from those that would be worth more.
const PROTECTED: Duration = Duration::from_secs(120);
/// The most partitions that all sessions of one thread may have: about 50 MB.
const PARTITIONS_MAX: usize = 200_000;
/// Partitions that cannot be read are answered again and again, so this is how many of them a session may have: one that gets more
/// is given up, and its client names what it wants with every request.
pub(super) const REFUSED_MAX: usize = 1_000;
/// How often another id is tried; ids are as good as free.
const ID_TRIES: u32 = 64;

#[cfg(test)]
mod tests;
