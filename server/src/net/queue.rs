//! A bounded queue between the two halves of one task.
//!
//! A channel would do as well, but keeps two kilobytes for each of thousands of quiet connections; this keeps nothing while
//! it is empty.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use super::signal::Signal;

/// At most so many things, first in, first out. One half pushes and closes, the other pops.
#[derive(Debug)]
pub(super) struct Queue<T> {
    things: RefCell<VecDeque<T>>,
    length_max: usize,
    closed: Cell<bool>,
    /// Something came, or nothing more will.
    came: Signal,
    /// There is room again.
    left: Signal,
}

impl<T> Queue<T> {
    /// An empty queue for `length_max` things, at least one.
    pub(super) fn new(length_max: usize) -> Self {
        Self {
            things: RefCell::default(),
            length_max: length_max.max(1),
            closed: Cell::new(false),
            came: Signal::default(),
            left: Signal::default(),
        }
    }

    /// Puts `thing` at the end, as soon as there is room. The half that pops has to be looked at after this one in each turn of
    /// their task: it is not woken.
    pub(super) async fn push(&self, thing: T) {
        while self.things.borrow().len() >= self.length_max {
            self.left.given().await;
        }
        let mut things = self.things.borrow_mut();
        if things.capacity() == 0 {
            // Whoever sends several at once has this filled again and again.
            things.reserve_exact(self.length_max);
        }
        things.push_back(thing);
        drop(things);
        self.came.leave();
    }

    /// Nothing more will be pushed.
    pub(super) fn close(&self) {
        self.closed.set(true);
        self.came.give();
    }

    /// Takes what is in front, as soon as something is; `None` once the queue is closed and empty.
    pub(super) async fn pop(&self) -> Option<T> {
        loop {
            if let Some(thing) = self.try_pop() {
                return Some(thing);
            }
            if self.closed.get() {
                return None;
            }
            self.came.given().await;
        }
    }

    /// Takes what is in front, if it is such.
    pub(super) fn try_pop_if(&self, is_such: impl FnOnce(&T) -> bool) -> Option<T> {
        let is_such = self.things.borrow().front().is_some_and(is_such);
        if is_such { self.try_pop() } else { None }
    }

    /// Takes what is in front.
    fn try_pop(&self) -> Option<T> {
        let mut things = self.things.borrow_mut();
        let thing = things.pop_front()?;
        if things.len() + 1 == self.length_max {
            self.left.give();
        }
        if things.is_empty() {
            *things = VecDeque::new();
        }
        Some(thing)
    }

    /// Whether all things in it are such.
    pub(super) fn all(&self, is_such: impl FnMut(&T) -> bool) -> bool {
        self.things.borrow().iter().all(is_such)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_in_front_stays_there_unless_it_is_asked_for() {
        let queue = Queue::new(2);
        queue.push(1).await;
        queue.push(2).await;
        assert_eq!(queue.try_pop_if(|&number| number == 2), None);
        assert_eq!(queue.try_pop_if(|&number| number == 1), Some(1));
        assert_eq!(queue.pop().await, Some(2));
    }

    #[tokio::test]
    async fn things_come_out_in_order_and_a_full_queue_makes_its_pusher_wait() {
        let queue = Queue::new(2);
        let pushing = async {
            for number in 0..100 {
                queue.push(number).await;
                assert!(queue.things.borrow().len() <= 2);
            }
            queue.close();
        };
        let popping = async {
            let mut popped = Vec::new();
            while let Some(number) = queue.pop().await {
                popped.push(number);
            }
            popped
        };
        let ((), popped) = tokio::join!(biased; pushing, popping);
        assert_eq!(popped, (0..100).collect::<Vec<_>>());
        assert!(queue.try_pop_if(|_| true).is_none());
        assert_eq!(
            queue.things.borrow().capacity(),
            0,
            "a quiet queue keeps nothing"
        );
    }
}
