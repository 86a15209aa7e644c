//! What administrative handlers share: refusing one part of a request, and proposing a change within the client's time.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use millrace_engine::control::ControlError;
use millrace_engine::metadata::{Command, Reply};
use millrace_engine::shard::Stopped;
use millrace_wire::{ErrorCode, Str};

use super::context::RequestContext;
use super::error::ToErrorCode;

/// Why one part of a request is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Denied {
    pub(super) code: ErrorCode,
    /// A sentence for people; `None` where Kafka has none.
    pub(super) message: Option<Str>,
}

impl Denied {
    pub(super) fn new(code: ErrorCode, message: impl Into<Str>) -> Self {
        Self {
            code,
            message: Some(message.into()),
        }
    }

    /// The engine's refusal, in its own words.
    pub(super) fn of(error: &(impl ToErrorCode + Display)) -> Self {
        Self::new(error.error_code(), error.to_string())
    }

    /// A code whose own sentence says it all.
    pub(super) fn plain(code: ErrorCode) -> Self {
        Self::new(code, Str::from_static(code.message()))
    }

    /// A code alone.
    pub(super) const fn silent(code: ErrorCode) -> Self {
        Self {
            code,
            message: None,
        }
    }
}

/// The two fields of an answer for one part of a request.
pub(super) fn outcome(result: Result<(), Denied>) -> (ErrorCode, Option<Str>) {
    match result {
        Ok(()) => (ErrorCode::None, None),
        Err(denied) => (denied.code, denied.message),
    }
}

/// Proposes a change and waits until it is durable, or until `timeout_ms` have passed; it may happen all the same then, if
/// the controller has it in hand.
///
/// # Errors
/// The broker is stopping.
pub(super) async fn propose(
    context: &RequestContext,
    command: Command,
    timeout_ms: i32,
) -> Result<Result<Reply, Denied>, Stopped> {
    match in_time(timeout_ms, context.propose(command)).await {
        None => Ok(Err(Denied::silent(ErrorCode::RequestTimedOut))),
        Some(Ok(reply)) => Ok(Ok(reply)),
        Some(Err(ControlError::Stopped)) => Err(Stopped),
        // What is wrong with the journal's files is the operator's to read, in the log.
        Some(Err(error)) => Ok(Err(Denied::plain(error.error_code()))),
    }
}

/// The result of `work`, or `None` when it takes longer than `timeout_ms`. A time that is none (clients send 0) sets no
/// bound: the work is a matter of milliseconds, and cutting it off at once would only hide how it went.
pub(super) async fn in_time<T>(timeout_ms: i32, work: impl Future<Output = T>) -> Option<T> {
    match u64::try_from(timeout_ms) {
        Ok(timeout_ms) if timeout_ms > 0 => {
            let timeout = Duration::from_millis(timeout_ms);
            tokio::time::timeout(timeout, work).await.ok()
        }
        _ => Some(work.await),
    }
}

/// Why rules about who may do what are neither made nor deleted, in Kafka's words.
pub(super) const NO_AUTHORIZER: &str = "No Authorizer is configured.";

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_timeout_of_zero_does_not_cut_off() {
        let slow = async {
            tokio::task::yield_now().await;
            5
        };
        assert_eq!(in_time(0, slow).await, Some(5));
        assert_eq!(in_time(1, std::future::pending::<()>()).await, None);
    }
}
