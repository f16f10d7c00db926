//! What leaves the pipeline by a thread of its own: how it is told to end, and what it has lost.

use std::time::Duration;

/// How much time an outbox gets to finish what it has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// As long as it makes progress: a replayed source came to its end.
    Drain,
    /// This long: the program was told to stop.
    Within(Duration),
}

/// How an outbox is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxHealth {
    /// Items that were not taken or got lost on the way, so far.
    pub dropped: u64,
    /// Nothing will ever arrive there again.
    pub gone: bool,
}
