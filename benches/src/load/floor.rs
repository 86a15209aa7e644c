//! What the floor has to be told, since it understands no requests: where things lie in the frames it will get.

use crate::Outcome;

/// The layout of one round's requests and answers, sent as the first frame of a connection of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FloorLayout {
    /// Names the files of the round.
    pub round: u64,
    /// Whether answers wait for the device.
    pub durable: bool,
    /// The length of a Produce, prefix included; whatever has another length is a Fetch.
    pub produce_length: usize,
    /// A whole answer to a Produce; the correlation id is put in.
    pub produce_answer: Vec<u8>,
    /// The batches of a Produce.
    pub slots: Vec<FloorSlot>,
    /// Length of each batch.
    pub batch_length: usize,
    /// Records in each.
    pub records_per_batch: i64,
    /// The start of an answer to a Fetch, up to the records; the correlation id is put in.
    pub fetch_head: Vec<u8>,
    /// What follows the records in it.
    pub fetch_tail: Vec<u8>,
    /// The bytes of records in each answer: whole batches.
    pub fetch_bytes: usize,
    /// Place of the fetch offset in a Fetch.
    pub fetch_offset: usize,
}

/// Places within a Produce, prefix included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloorSlot {
    /// Of the partition's number.
    pub index: usize,
    /// Of the batch.
    pub batch: usize,
}

impl FloorLayout {
    /// The frame that says all this.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend_from_slice(&FLOOR_LAYOUT_KEY.to_be_bytes());
        let mut number = |value: u64| body.extend_from_slice(&value.to_be_bytes());
        number(self.round);
        number(u64::from(self.durable));
        number(self.produce_length as u64);
        number(self.batch_length as u64);
        number(self.records_per_batch.unsigned_abs());
        number(self.fetch_bytes as u64);
        number(self.fetch_offset as u64);
        number(self.slots.len() as u64);
        for slot in &self.slots {
            number(slot.index as u64);
            number(slot.batch as u64);
        }
        for bytes in [&self.produce_answer, &self.fetch_head, &self.fetch_tail] {
            body.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
            body.extend_from_slice(bytes);
        }
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        [&length.to_be_bytes()[..], &body].concat()
    }

    /// Reads such a frame (prefix included); none if it is another kind of frame.
    ///
    /// # Errors
    /// It ends early.
    pub fn decode(frame: &[u8]) -> Outcome<Option<Self>> {
        let Some(body) = frame[4..].strip_prefix(&FLOOR_LAYOUT_KEY.to_be_bytes()) else {
            return Ok(None);
        };
        let mut rest = body;
        let mut layout = Self {
            round: number(&mut rest)?,
            durable: number(&mut rest)? != 0,
            produce_length: size(&mut rest)?,
            batch_length: size(&mut rest)?,
            records_per_batch: i64::try_from(number(&mut rest)?)?,
            fetch_bytes: size(&mut rest)?,
            fetch_offset: size(&mut rest)?,
            ..Default::default()
        };
        for _ in 0..number(&mut rest)? {
            layout.slots.push(FloorSlot {
                index: size(&mut rest)?,
                batch: size(&mut rest)?,
            });
        }
        layout.produce_answer = bytes(&mut rest)?;
        layout.fetch_head = bytes(&mut rest)?;
        layout.fetch_tail = bytes(&mut rest)?;
        Ok(Some(layout))
    }
}

fn number(rest: &mut &[u8]) -> Outcome<u64> {
    let (number, after) = rest.split_first_chunk().ok_or("a layout that ends early")?;
    *rest = after;
    Ok(u64::from_be_bytes(*number))
}

fn size(rest: &mut &[u8]) -> Outcome<usize> {
    Ok(usize::try_from(number(rest)?)?)
}

fn bytes(rest: &mut &[u8]) -> Outcome<Vec<u8>> {
    let length = size(rest)?;
    let (bytes, after) = rest
        .split_at_checked(length)
        .ok_or("a layout that ends early")?;
    *rest = after;
    Ok(bytes.to_vec())
}

/// An API key that Kafka does not have.
const FLOOR_LAYOUT_KEY: i16 = 0x7f10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_reads_as_it_was_written() {
        let layout = FloorLayout {
            round: 7,
            durable: true,
            produce_length: 200,
            produce_answer: vec![1, 2, 3],
            slots: vec![FloorSlot {
                index: 40,
                batch: 46,
            }],
            batch_length: 150,
            records_per_batch: 16,
            fetch_head: vec![4; 90],
            fetch_tail: vec![0; 3],
            fetch_bytes: 1 << 20,
            fetch_offset: 77,
        };
        let frame = layout.encode();
        assert_eq!(FloorLayout::decode(&frame).unwrap(), Some(layout));
        assert!(FloorLayout::decode(&frame[..frame.len() - 1]).is_err());
    }

    #[test]
    fn a_produce_is_no_layout() {
        assert_eq!(FloorLayout::decode(&[0, 0, 0, 2, 0, 0]).unwrap(), None);
    }
}
