//! Load on a broker from outside, and what the broker's process spends on it.
//!
//! One thread, frames encoded beforehand, non-blocking sockets: the generator shares the cores of the broker it measures,
//! so it does as little as it can. It works against any broker that speaks Kafka's protocol, and against the floor.

mod broker;
mod clock;
mod consumer;
mod figures;
mod floor;
mod frames;
mod goals;
mod overload;
mod process;
mod producer;
mod read_back;
mod round;
mod run;
mod scenario;
mod start;
mod target;

pub use broker::{Broker, Home, Housed, Program};
pub use clock::{nanos, rest, unix_millis};
pub use figures::{Figures, Short};
pub use floor::{FloorLayout, FloorSlot};
pub use goals::{Goal, Measure, Side};
pub use overload::OverloadTimes;
pub use process::{Process, Usage, allow_open_files};
pub use round::{RoundTimes, fill};
pub use scenario::{Durability, SCENARIOS, Scenario, Work, scenario_named};
pub use target::{Kind, Target};
