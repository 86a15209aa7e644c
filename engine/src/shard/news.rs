//! Fetches of standing reads: what is due is looked up as any other fetch does it; what comes to nothing is left at rest
//! until something happens to it.

use super::command::{FetchNews, FetchPartition, Fetched, News, ReplySlot, StandingId};
use super::fetches::{FetchWork, Reply, Results, Terms};
use super::hosting::Slot;
use super::step::{Effects, Shard};
use crate::types::{Now, TopicIdPartition};

/// What a fetch of a standing read has taken on, and where its answer goes.
#[derive(Debug)]
pub(super) struct NewsReply {
    standing: StandingId,
    /// Place by place of the work's partitions.
    places: Vec<u64>,
    reply: ReplySlot<News>,
}

impl NewsReply {
    /// Answers with the results of the work's partitions, in the order of their places.
    pub(super) fn answer(self, results: Results) {
        let mut news: Vec<(u64, Result<Fetched, _>)> =
            self.places.into_iter().zip(results).collect();
        news.sort_unstable_by_key(|(place, _)| *place);
        // Whoever asked may have gone.
        let _ = self.reply.send(Some(news));
    }
}

impl Shard {
    pub(super) fn fetch_news(&mut self, fetch: FetchNews, now: Now, effects: &mut Effects) {
        let FetchNews {
            id,
            standing,
            begins,
            remove,
            put,
            bytes_max,
            bytes_min,
            deadline,
            reply,
        } = fetch;
        if begins {
            self.standings.begin(standing);
        }
        if !self.standings.change(standing, &remove, put) {
            self.forget_standing(standing);
            // Whoever asked may have gone.
            let _ = reply.send(None);
            return;
        }
        let number = self.next_serial();
        self.standings.engage(standing, number);
        let terms = Terms {
            bytes_max,
            bytes_min,
            deadline,
        };
        let reply = Reply::News(NewsReply {
            standing,
            places: Vec::new(),
            reply,
        });
        let work = FetchWork::new(id, Vec::new(), terms, reply, now);
        self.begin_fetch(number, work, now, effects);
    }

    /// Nobody goes on with a standing read.
    pub(super) fn forget_standing(&mut self, id: StandingId) {
        if let Some(number) = self.standings.forget(id) {
            self.fetch_timed_out(number);
        }
    }

    /// Puts what is due of a standing read to the work of its fetch.
    pub(super) fn take_news(&mut self, number: u64) {
        let Some(work) = self.fetches.work_mut(number) else {
            return;
        };
        let Reply::News(news) = &mut work.reply else {
            return;
        };
        let due = self.standings.take_due(news.standing);
        if due.is_empty() {
            return;
        }
        let mut added: Vec<TopicIdPartition> = Vec::with_capacity(due.len());
        for (place, partition) in due {
            news.places.push(place);
            work.partitions.push(partition);
            added.push(partition.partition);
        }
        for partition in added {
            self.fetches.read_by(number, partition);
        }
    }

    /// Brings the partitions of a fetch into the order of their places, in which they share its limits.
    pub(super) fn sort_news(&mut self, number: u64) {
        let Some(work) = self.fetches.work_mut(number) else {
            return;
        };
        let Reply::News(news) = &mut work.reply else {
            return;
        };
        if news.places.is_sorted() {
            return;
        }
        let mut order: Vec<usize> = (0..news.places.len()).collect();
        order.sort_by_key(|&index| news.places[index]);
        news.places.sort_unstable();
        work.arrange(&order);
    }

    /// Leaves what a fetch has looked at to rest, where its answer says all there is to say.
    pub(super) fn rest_news(&mut self, news: &NewsReply, work: &FetchWork) {
        let looked_at: Vec<(u64, bool)> = news
            .places
            .iter()
            .zip(&work.partitions)
            .enumerate()
            .map(|(index, (&place, wanted))| {
                (
                    place,
                    work.found_nothing(index) && self.has_nothing_for(wanted),
                )
            })
            .collect();
        self.standings.rest(news.standing, looked_at.into_iter());
    }

    /// Whether a reader is at the end of what it may see, and nothing but a change of the partition could change that.
    fn has_nothing_for(&self, wanted: &FetchPartition) -> bool {
        let Some(Slot::Leading(leader)) = self.slots.get(&wanted.partition) else {
            return false;
        };
        let diverges = leader.divergence(wanted.last_fetched_epoch, wanted.offset);
        leader.check_epoch(wanted.current_leader_epoch).is_ok()
            && matches!(diverges, Ok(None))
            && wanted.offset == leader.high_watermark()
            && leader.last_stable_offset() == leader.high_watermark()
    }

    /// Something readers are told with their next answer has happened to a partition; nobody is woken for it. A fetch that
    /// waits takes it on, so that it hears of what happens next.
    pub(super) fn stir_readers(&mut self, id: TopicIdPartition) {
        for number in self.standings.stir(id) {
            self.take_news(number);
        }
    }
}

#[cfg(test)]
mod tests;
