//! Behaviour of the room as a whole.
