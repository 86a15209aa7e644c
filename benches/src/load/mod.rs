//! Load on a broker from outside, and what the broker's process spends on it.
//!
//! One thread, frames encoded beforehand, non-blocking sockets: the generator shares the cores of the broker it measures,
//! so it does as little as it can. It works against any broker that speaks Kafka's protocol, and against the floor.

mod broker;
mod clock;
mod cold;
mod consumer;
mod figures;
mod floor;
mod frames;
mod goals;
mod idle;
mod overload;
mod parked;
mod process;
mod producer;
mod read_back;
mod round;
mod run;
mod scenario;
mod session;
mod start;
mod system_calls;
mod target;
mod write_back;

pub use broker::{Broker, Home, Housed, Program};
pub use clock::{nanos, rest, unix_millis};
pub use figures::{Figures, Short, median};
pub use floor::{FloorLayout, FloorSlot};
pub use goals::{Goal, Measure, Side};
pub use idle::settle;
pub use overload::OverloadTimes;
pub use process::{Process, Usage, allow_open_files};
pub(crate) use read_back::read_on;
pub use round::{RoundTimes, fill};
pub use scenario::{Durability, SCENARIOS, Scenario, Work, scenario_named};
pub use system_calls::SystemCalls;
pub use target::{Kind, Target};
pub use write_back::{PENDING_KIBIBYTES_MAX, room_before_write_back, wait_for_write_back};
