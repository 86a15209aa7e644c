//! Waiting for several shards at once: the first that answers has the others answer with what they have.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use millrace_engine::shard::command::{Command, FetchId};
use millrace_engine::shard::{ShardIndex, Stopped};
use tokio::sync::oneshot;

use super::context::RequestContext;

/// A shard that has been asked for a `T`.
pub(super) struct Waiting<T> {
    id: FetchId,
    shard: ShardIndex,
    answer: oneshot::Receiver<T>,
    result: Option<Result<T, Stopped>>,
}

impl<T> Waiting<T> {
    /// For the fetch `id` of `shard`.
    pub(super) const fn new(id: FetchId, shard: ShardIndex, answer: oneshot::Receiver<T>) -> Self {
        Self {
            id,
            shard,
            answer,
            result: None,
        }
    }
}

/// All answers, in order. The first to answer wakes the others, and so does the stop of the broker.
pub(super) async fn all_of<T>(
    context: &RequestContext,
    mut waiting: Vec<Waiting<T>>,
) -> Result<Vec<T>, Stopped> {
    let mut stopping = context.client().stopping();
    tokio::select! {
        () = first_of(&mut waiting) => {}
        _ = stopping.wait_for(|&stopping| stopping) => {}
    }
    let gateway = context.gateway();
    for waiting in waiting.iter().filter(|waiting| waiting.result.is_none()) {
        gateway
            .send(waiting.shard, Command::WakeFetch(waiting.id))
            .await?;
    }
    let mut answers = Vec::with_capacity(waiting.len());
    for waiting in waiting {
        answers.push(match waiting.result {
            Some(result) => result?,
            None => waiting.answer.await.map_err(|_| Stopped)?,
        });
    }
    Ok(answers)
}

/// Ends when at least one has answered.
async fn first_of<T>(waiting: &mut [Waiting<T>]) {
    poll_fn(|cx| {
        let mut any = waiting.is_empty();
        for one in &mut *waiting {
            if one.result.is_none()
                && let Poll::Ready(answer) = Pin::new(&mut one.answer).poll(cx)
            {
                one.result = Some(answer.map_err(|_| Stopped));
                any = true;
            }
        }
        if any { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
