//! InitProducerId (key 22): gives an idempotent producer an id that nobody else has or had.
//!
//! Each thread takes ids from a block of its own and asks the controller only for blocks. Transactional ids are refused:
//! transactions do not exist yet.

use millrace_engine::control::ControlError;
use millrace_engine::metadata::{Command, ProducerIdBlock, Reply};
use millrace_engine::shard::Stopped;
use millrace_engine::types::ProducerId;
use millrace_wire::ErrorCode;
use millrace_wire::message::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

use super::context::RequestContext;

pub(super) async fn handle(
    request: InitProducerIdRequest,
    context: &RequestContext,
) -> Result<InitProducerIdResponse, Stopped> {
    let granted = match checked(&request) {
        Ok(()) => next_id(context).await?,
        Err(error) => Err(error),
    };
    Ok(match granted {
        Ok(id) => InitProducerIdResponse {
            producer_id: id.0,
            ..Default::default()
        },
        Err(error_code) => InitProducerIdResponse {
            error_code,
            producer_epoch: -1,
            ..Default::default()
        },
    })
}

fn checked(request: &InitProducerIdRequest) -> Result<(), ErrorCode> {
    match request.transactional_id.as_deref() {
        Some("") => Err(ErrorCode::InvalidRequest),
        Some(_) => Err(ErrorCode::UnsupportedVersion),
        // An id without its epoch, or the other way round.
        None if (request.producer_id == -1) != (request.producer_epoch == -1) => {
            Err(ErrorCode::InvalidRequest)
        }
        None => Ok(()),
    }
}

async fn next_id(context: &RequestContext) -> Result<Result<ProducerId, ErrorCode>, Stopped> {
    // Held while a block is on its way: whoever comes meanwhile waits for the same block.
    let mut ids = context.client().frontend().producer_ids().await;
    if let Some(id) = ids.next() {
        return Ok(Ok(id));
    }
    let broker = context.node_id();
    match context
        .propose(Command::AllocateProducerIds { broker })
        .await
    {
        Ok(Reply::AllocateProducerIds(block)) => {
            ids.refill(block);
            Ok(ids.next().ok_or(ErrorCode::UnknownServerError))
        }
        Ok(_) => Ok(Err(ErrorCode::UnknownServerError)),
        Err(ControlError::Stopped) => Err(Stopped),
        Err(error @ ControlError::Refused(_)) => {
            context.report(&format_args!(
                "no block of producer ids can be had: {error}"
            ));
            // Kafka's answer while it has none: clients try again.
            Ok(Err(ErrorCode::CoordinatorLoadInProgress))
        }
    }
}

/// The ids one thread may give out.
#[derive(Debug, Default)]
pub(super) struct ProducerIds {
    next: i64,
    end: i64,
}

impl ProducerIds {
    fn next(&mut self) -> Option<ProducerId> {
        let id = (self.next < self.end).then_some(ProducerId(self.next))?;
        self.next += 1;
        Some(id)
    }

    fn refill(&mut self, block: ProducerIdBlock) {
        self.next = block.first.0;
        self.end = block.first.0.saturating_add(block.count.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_gives_each_of_its_ids_once() {
        let mut ids = ProducerIds::default();
        assert_eq!(ids.next(), None);
        ids.refill(ProducerIdBlock {
            first: ProducerId(3000),
            count: 2,
        });
        assert_eq!(ids.next(), Some(ProducerId(3000)));
        assert_eq!(ids.next(), Some(ProducerId(3001)));
        assert_eq!(ids.next(), None);
    }

    #[test]
    fn transactional_ids_are_refused() {
        let request = |id: &str| InitProducerIdRequest {
            transactional_id: Some(id.into()),
            ..Default::default()
        };
        assert_eq!(checked(&request("")), Err(ErrorCode::InvalidRequest));
        assert_eq!(
            checked(&request("transfers")),
            Err(ErrorCode::UnsupportedVersion)
        );
        let half = InitProducerIdRequest {
            producer_id: 5,
            ..Default::default()
        };
        assert_eq!(checked(&half), Err(ErrorCode::InvalidRequest));
        assert_eq!(checked(&InitProducerIdRequest::default()), Ok(()));
    }
}
