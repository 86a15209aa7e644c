//! One consuming connection: one Fetch of one partition at a time. Records are counted by their bytes, not read.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use hdrhistogram::Histogram;

use super::frames::{FetchFrame, FetchHead};
use crate::Outcome;

/// A connection that fetches.
pub(super) struct Consumer {
    pub(super) stream: TcpStream,
    frame: FetchFrame,
    correlation: i32,
    batch_bytes: usize,
    records_per_batch: i64,
    /// Where to begin again, if ever.
    pub(super) rewind_at: Option<i64>,
    pub(super) offset: i64,
    answer: Answer,
    /// Bytes of whole batches received.
    pub(super) batches: u64,
    pub(super) answers: u64,
    pub(super) waiting: bool,
}

/// How far the present answer came.
#[derive(Default)]
struct Answer {
    /// The prefix and then the first bytes behind it.
    head: Vec<u8>,
    /// Bytes of the frame that are still to come, known once the prefix is.
    left: Option<usize>,
}

impl Consumer {
    pub(super) fn new(
        stream: TcpStream,
        frame: FetchFrame,
        batch_bytes: usize,
        records_per_batch: i64,
    ) -> Outcome<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            frame,
            correlation: 0,
            batch_bytes,
            records_per_batch,
            rewind_at: None,
            offset: 0,
            answer: Answer::default(),
            batches: 0,
            answers: 0,
            waiting: false,
        })
    }

    /// Sends the next Fetch; it is short, so the socket takes it at once.
    pub(super) fn ask(&mut self) -> Outcome<()> {
        if self.rewind_at.is_some_and(|end| self.offset >= end) {
            self.offset = 0;
        }
        self.correlation = self.correlation.wrapping_add(1);
        self.frame.set(self.correlation, self.offset);
        self.stream.write_all(&self.frame.bytes)?;
        self.waiting = true;
        Ok(())
    }

    /// Takes what is there and asks for more unless `stopped`. Ages of records go to `age`: with `timeline`, the moments at
    /// which their batches should have been sent.
    pub(super) fn receive(
        &mut self,
        scratch: &mut [u8],
        stopped: bool,
        now: impl Fn() -> u64,
        timeline: Option<&Vec<u64>>,
        mut age: Option<&mut Histogram<u64>>,
    ) -> Outcome<()> {
        loop {
            let count = match self.stream.read(scratch) {
                Ok(0) => return Err("the broker closed a connection".into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            if self.answer.take(&scratch[..count])? {
                let first = self.offset;
                self.finish()?;
                if let (Some(timeline), Some(age)) = (timeline, &mut age) {
                    let arrived = now();
                    let batch = |offset: i64| usize::try_from(offset / self.records_per_batch);
                    for sent in &timeline[batch(first)?..batch(self.offset)?] {
                        age.saturating_record(arrived.saturating_sub(*sent));
                    }
                }
                self.waiting = false;
                if !stopped {
                    self.ask()?;
                }
            }
            if count < scratch.len() || !self.waiting {
                return Ok(());
            }
        }
    }

    fn finish(&mut self) -> Outcome<()> {
        let (correlation, _) = self.answer.head[4..]
            .split_first_chunk()
            .ok_or("an answer without a header")?;
        if *correlation != self.correlation.to_be_bytes() {
            return Err("an answer to another question".into());
        }
        let head = FetchHead::parse(&self.answer.head[4..])?;
        // All batches are alike; a last one may be cut.
        let batches = head.records_bytes / self.batch_bytes;
        if batches == 0 && head.records_bytes > 0 {
            return Err(
                "less than a batch: the stored batches are not those that were sent".into(),
            );
        }
        self.offset += i64::try_from(batches)? * self.records_per_batch;
        self.batches += u64::try_from(batches)?;
        self.answers += 1;
        self.answer = Answer {
            head: std::mem::take(&mut self.answer.head),
            left: None,
        };
        self.answer.head.clear();
        Ok(())
    }
}

impl Answer {
    /// Takes bytes of one answer; true when it is complete. There is never a second one behind it.
    fn take(&mut self, mut bytes: &[u8]) -> Outcome<bool> {
        let wanted = (4 + FetchHead::LENGTH_MAX).saturating_sub(self.head.len());
        let copied = &bytes[..wanted.min(bytes.len())];
        let known = self.head.len();
        self.head.extend_from_slice(copied);
        let left = match self.left {
            Some(left) => left,
            None => {
                let Some((prefix, _)) = self.head.split_first_chunk::<4>() else {
                    return Ok(false);
                };
                bytes = &bytes[4 - known..];
                usize::try_from(u32::from_be_bytes(*prefix))?
            }
        };
        let left = left
            .checked_sub(bytes.len())
            .ok_or("more bytes than the answer has")?;
        self.left = Some(left);
        Ok(left == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_however_its_bytes_arrive() {
        let mut frame = 500_u32.to_be_bytes().to_vec();
        frame.resize(504, 9);
        for piece in [1, 3, 4, 5, 99, 100, 101, 503, 504] {
            let mut answer = Answer::default();
            let pieces = frame.chunks(piece);
            let last = pieces.len() - 1;
            for (index, bytes) in pieces.enumerate() {
                let complete = answer.take(bytes).unwrap();
                assert_eq!(complete, index == last, "pieces of {piece}, number {index}");
            }
            assert_eq!(answer.head, frame[..4 + FetchHead::LENGTH_MAX]);
        }
    }

    #[test]
    fn bytes_behind_an_answer_are_refused() {
        let mut answer = Answer::default();
        assert!(answer.take(&[0, 0, 0, 1, 5, 6]).is_err());
    }
}
