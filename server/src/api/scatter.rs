//! Asks every shard concerned about its part of a request and puts the results back into the order of the request.
//!
//! One message per shard goes out, one answer comes back; all shards work at the same time. Very many questions, or very large
//! ones, go in several messages, so that a shard has other clients' turns between them.

use std::iter::Peekable;

use millrace_engine::shard::command::{Command, ReplySlot};
use millrace_engine::shard::{Gateway, NotSent, ShardIndex, Stopped};
use millrace_engine::types::TopicIdPartition;
use millrace_wire::ErrorCode;
use tokio::sync::oneshot;

use super::context::RequestContext;
use super::error::ToErrorCode;

/// Questions on their way. A shard answers with `R`, a result for each.
pub(crate) struct Scattered<R> {
    count: usize,
    /// The shard that was asked, if it was one.
    shard: Option<ShardIndex>,
    asked: Asked<R>,
}

/// In how many messages.
enum Asked<R> {
    /// One: nothing has to be put back into order.
    AtOnce(oneshot::Receiver<R>),
    /// Several, or none.
    InParts(Vec<Part<R>>),
}

/// One message of several.
struct Part<R> {
    /// Place in the request, question by question.
    places: Vec<usize>,
    answer: oneshot::Receiver<R>,
}

/// What is asked about one partition.
pub(crate) trait Question {
    /// Which one.
    fn partition(&self) -> TopicIdPartition;

    /// How many small questions it takes as long as.
    fn weight(&self) -> usize {
        1
    }
}

impl Question for TopicIdPartition {
    fn partition(&self) -> TopicIdPartition {
        *self
    }
}

/// Sends each of `questions` to the shard that owns its partition. `command` makes a shard's message out of its questions and
/// the slot for as many results, in their order. Ends when all messages are in their mailboxes; those that are stand in `scattered`,
/// where nothing was before, also if it is dropped sooner.
///
/// # Errors
/// The broker is stopping; some of it may have been asked.
pub(crate) async fn scatter<Q: Question, R>(
    gateway: &Gateway,
    questions: Vec<Q>,
    command: impl Fn(Vec<Q>, ReplySlot<R>) -> Command,
    scattered: &mut Scattered<R>,
) -> Result<(), Stopped> {
    let owner = |question: &Q| gateway.owner(question.partition());
    let (count, shard) = (questions.len(), only_owner(&questions, owner));
    scattered.shard = shard;
    if let Some(only) = shard
        && fit_one_turn(&questions)
    {
        let (slot, answer) = oneshot::channel();
        gateway.send(only, command(questions, slot)).await?;
        (scattered.count, scattered.asked) = (count, Asked::AtOnce(answer));
        return Ok(());
    }
    let mut questions = questions.into_iter().enumerate().peekable();
    while questions.len() > 0 {
        let some = of_one_turn(&mut questions);
        for (shard, group) in group(some, owner, gateway.shard_count()) {
            let (slot, answer) = oneshot::channel();
            gateway.send(shard, command(group.questions, slot)).await?;
            scattered.add(group.places, answer);
        }
        if questions.len() > 0 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// As [`scatter`], without waiting, where all `questions` are one message for one shard, and its mailbox has room: the common case.
pub(crate) fn scatter_at_once<Q: Question, R>(
    gateway: &Gateway,
    questions: Vec<Q>,
    command: impl Fn(Vec<Q>, ReplySlot<R>) -> Command,
) -> Result<Scattered<R>, Unsent<Q, R>> {
    let owner = |question: &Q| gateway.owner(question.partition());
    let count = questions.len();
    let shard = match only_owner(&questions, owner) {
        Some(shard) if fit_one_turn(&questions) => shard,
        _ => return Err(Unsent::Several(questions)),
    };
    let (slot, answer) = oneshot::channel();
    let scattered = Scattered {
        count,
        shard: Some(shard),
        asked: Asked::AtOnce(answer),
    };
    match gateway.try_send(shard, command(questions, slot)) {
        Ok(()) => Ok(scattered),
        Err(NotSent::Full(command)) => Err(Unsent::One(shard, command, scattered)),
        Err(NotSent::Stopped) => Err(Unsent::Stopped),
    }
}

/// Questions that could not be sent at once.
pub(crate) enum Unsent<Q, R> {
    /// They are several messages, or none: to be sent by [`scatter`].
    Several(Vec<Q>),
    /// One shard has no room yet.
    One(ShardIndex, Box<Command>, Scattered<R>),
    /// The broker is stopping.
    Stopped,
}

/// The shard that all questions are for, if it is one: the common case, which needs no sorting.
fn only_owner<Q>(questions: &[Q], owner: impl Fn(&Q) -> ShardIndex) -> Option<ShardIndex> {
    let (first, others) = questions.split_first()?;
    let shard = owner(first);
    others
        .iter()
        .all(|question| owner(question) == shard)
        .then_some(shard)
}

/// Asks the questions that are some, and leaves the others as the errors they are: as many results as `questions`, in their
/// order. Otherwise as [`scatter`], waiting for the answers.
///
/// # Errors
/// The broker is stopping.
pub(super) async fn ask<Q, T, E>(
    context: &RequestContext,
    questions: Vec<Result<Q, ErrorCode>>,
    command: impl Fn(Vec<Q>, ReplySlot<Vec<Result<T, E>>>) -> Command,
) -> Result<Vec<Result<T, ErrorCode>>, Stopped>
where
    Q: Question + Send + 'static,
    T: Send + 'static,
    E: ToErrorCode + Send + 'static,
{
    let (good, refused) = context.in_peace(questions, told_apart).await?;
    let mut scattered = Scattered::default();
    scatter(context.gateway(), good, command, &mut scattered).await?;
    let answers = scattered.gather().await?;
    context.in_peace((refused, answers), joined).await?
}

/// The questions that are some, and for each of all what it is refused with, if it is.
fn told_apart<Q>(questions: Vec<Result<Q, ErrorCode>>) -> (Vec<Q>, Vec<Option<ErrorCode>>) {
    let mut good = Vec::with_capacity(questions.len());
    let refused = questions.into_iter().map(|question| match question {
        Ok(question) => {
            good.push(question);
            None
        }
        Err(error) => Some(error),
    });
    let refused = refused.collect();
    (good, refused)
}

/// The answers in their places between the refusals.
fn joined<T, E: ToErrorCode>(
    (refused, answers): (Vec<Option<ErrorCode>>, Vec<Result<T, E>>),
) -> Result<Vec<Result<T, ErrorCode>>, Stopped> {
    let mut answers = answers
        .into_iter()
        .map(|answer| answer.map_err(|error| error.error_code()));
    let results = refused.into_iter().map(|refused| match refused {
        Some(error) => Ok(Err(error)),
        None => answers.next().ok_or(Stopped),
    });
    results.collect()
}

impl<R: IntoIterator> Scattered<R> {
    /// The shard that was asked, if it was one.
    pub(crate) const fn only_shard(&self) -> Option<ShardIndex> {
        self.shard
    }

    /// Waits for all shards; as many results as questions, in their order. To be called once.
    ///
    /// # Errors
    /// The broker is stopping.
    pub(crate) async fn gather(&mut self) -> Result<Vec<R::Item>, Stopped> {
        self.gather_and_see(|_| ()).await
    }

    /// As [`Self::gather`]; `see` is shown each answer first.
    ///
    /// # Errors
    /// The broker is stopping.
    pub(crate) async fn gather_and_see(
        &mut self,
        mut see: impl FnMut(&mut R),
    ) -> Result<Vec<R::Item>, Stopped> {
        let parts = match &mut self.asked {
            Asked::AtOnce(answer) => {
                let mut answers = answer.await.map_err(|_| Stopped)?;
                see(&mut answers);
                return Some(Vec::from_iter(answers))
                    .filter(|answers| answers.len() == self.count)
                    .ok_or(Stopped);
            }
            Asked::InParts(parts) => parts,
        };
        let mut results: Vec<Option<R::Item>> = Vec::new();
        results.resize_with(self.count, || None);
        for Part { places, answer } in parts {
            let mut answers = answer.await.map_err(|_| Stopped)?;
            see(&mut answers);
            for (&mut place, answer) in places.iter_mut().zip(answers) {
                if let Some(result) = results.get_mut(place) {
                    *result = Some(answer);
                }
            }
        }
        // A shard that answers less than it was asked has lost its way; what became of the rest is unknown.
        results.into_iter().collect::<Option<_>>().ok_or(Stopped)
    }
}

impl<R> Default for Scattered<R> {
    /// Nothing is asked yet.
    fn default() -> Self {
        Self {
            count: 0,
            shard: None,
            asked: Asked::InParts(Vec::new()),
        }
    }
}

impl<R> Scattered<R> {
    /// One more message is out, with the questions of these places.
    pub(super) fn add(&mut self, places: Vec<usize>, answer: oneshot::Receiver<R>) {
        self.count += places.len();
        let part = Part { places, answer };
        match &mut self.asked {
            Asked::InParts(parts) => parts.push(part),
            Asked::AtOnce(_) => self.asked = Asked::InParts(vec![part]),
        }
    }

    /// The answers that nobody has waited for yet.
    pub(crate) fn unanswered(self) -> impl Iterator<Item = oneshot::Receiver<R>> {
        let (one, parts) = match self.asked {
            Asked::AtOnce(answer) => (Some(answer), Vec::new()),
            Asked::InParts(parts) => (None, parts),
        };
        let answers = one
            .into_iter()
            .chain(parts.into_iter().map(|part| part.answer));
        answers.filter(|answer| !answer.is_terminated())
    }
}

/// The questions for one shard with their places in the request.
struct Group<Q> {
    places: Vec<usize>,
    questions: Vec<Q>,
}

/// The questions of each shard that has any, out of questions with their places.
fn group<Q>(
    questions: impl IntoIterator<Item = (usize, Q)>,
    owner: impl Fn(&Q) -> ShardIndex,
    shard_count: usize,
) -> Vec<(ShardIndex, Group<Q>)> {
    let mut groups: Vec<Option<Group<Q>>> = Vec::new();
    groups.resize_with(shard_count, || None);
    for (place, question) in questions {
        if let Some(group) = groups.get_mut(owner(&question).0) {
            let group = group.get_or_insert_with(|| Group {
                places: Vec::new(),
                questions: Vec::new(),
            });
            group.places.push(place);
            group.questions.push(question);
        }
    }
    let groups = (0..).map(ShardIndex).zip(groups);
    groups
        .filter_map(|(shard, group)| Some((shard, group?)))
        .collect()
}

/// Whether all of `questions` may go out in one turn.
fn fit_one_turn(questions: &[impl Question]) -> bool {
    questions.len() == 1 || questions.iter().map(Question::weight).sum::<usize>() <= WEIGHT_PER_TURN
}

/// The next questions, as many as may go out before others have their turn; one may always.
fn of_one_turn<Q: Question>(
    questions: &mut Peekable<impl Iterator<Item = (usize, Q)>>,
) -> Vec<(usize, Q)> {
    let mut some = Vec::new();
    let mut weight = 0;
    while let Some(next) = questions.next_if(|(_, question)| {
        weight += question.weight();
        weight <= WEIGHT_PER_TURN || some.is_empty()
    }) {
        some.push(next);
    }
    some
}

/// Small questions that go out before others have their turn: some hundred microseconds' worth of lookups, or about a millisecond's of
/// bytes to append.
const WEIGHT_PER_TURN: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn scattered<R>(count: usize, asked: Asked<R>) -> Scattered<R> {
        Scattered {
            count,
            shard: None,
            asked,
        }
    }

    #[test]
    fn questions_go_to_their_owners_with_their_places() {
        let questions = (0..).zip([4, 1, 3, 6]);
        let groups = group(questions, |number| ShardIndex(number % 2), 3);
        let groups: Vec<_> = groups
            .into_iter()
            .map(|(shard, group)| (shard.0, group.places, group.questions))
            .collect();
        assert_eq!(
            groups,
            [(0, vec![0, 3], vec![4, 6]), (1, vec![1, 2], vec![1, 3])]
        );
    }

    impl Question for usize {
        fn partition(&self) -> TopicIdPartition {
            unreachable!("nobody is asked")
        }

        fn weight(&self) -> usize {
            *self
        }
    }

    #[test]
    fn a_turn_takes_what_fits_and_one_question_always() {
        let weights = [1, 998, 1, 1, 5_000, 1_000, 999, 2];
        let mut questions = weights.into_iter().enumerate().peekable();
        let mut turns = Vec::new();
        while questions.len() > 0 {
            let turn = of_one_turn(&mut questions).into_iter();
            turns.push(turn.map(|(_, weight)| weight).collect::<Vec<_>>());
        }
        let expected: [&[usize]; 6] = [&[1, 998, 1], &[1], &[5_000], &[1_000], &[999], &[2]];
        assert_eq!(turns, expected);
        let fitting = [&[5_000][..], &[1; 1_000], &[998, 3], &[]].map(fit_one_turn);
        assert_eq!(fitting, [true, true, false, true]);
    }

    #[tokio::test]
    async fn results_come_back_in_the_order_of_the_questions() {
        let part = |places: &[usize], answers: &[&'static str]| {
            let (slot, answer) = oneshot::channel();
            slot.send(answers.to_vec()).unwrap();
            Part {
                places: places.to_vec(),
                answer,
            }
        };
        let parts = vec![part(&[0, 3], &["a", "d"]), part(&[1, 2], &["b", "c"])];
        let asked = Asked::InParts(parts);
        let results = scattered(4, asked).gather().await;
        assert_eq!(results, Ok(vec!["a", "b", "c", "d"]));
        let asked = Asked::InParts(vec![part(&[0, 1], &["only one"])]);
        assert_eq!(scattered(2, asked).gather().await, Err(Stopped));
    }

    #[tokio::test]
    async fn a_shard_that_owns_everything_is_asked_once_and_held_to_the_count() {
        let owner = |number: &usize| ShardIndex(number % 2);
        assert_eq!(only_owner(&[1, 3, 5], owner), Some(ShardIndex(1)));
        assert_eq!(only_owner(&[1, 2], owner), None);
        assert_eq!(only_owner(&[], owner), None);
        for (count, expected) in [(2, Ok(vec!["a", "b"])), (3, Err(Stopped))] {
            let (slot, answer) = oneshot::channel();
            slot.send(vec!["a", "b"]).unwrap();
            let asked = Asked::AtOnce(answer);
            assert_eq!(scattered(count, asked).gather().await, expected);
        }
    }
}
