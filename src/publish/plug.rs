//! [`Plug`]: how something that listens to the pipeline is put in. `src/plugs.rs` has the table of all of them.

use std::io;
use std::sync::Arc;

use base::clock::Clock;
use base::failure::Failure;
use base::shutdown::Shutdown;
use model::{CurrentEdition, Edition};

use super::requests::Requests;
use super::{Journal, PictureGate, Sink};
use crate::config::Config;
use crate::telemetry::state::Observe;

/// Something that listens to the pipeline and can be put in: it is checked and built from its part of the configuration.
pub trait Plug: Sync {
    /// Its name in the output of `pspnetd check`. Those with the same name share one line there.
    fn name(&self) -> &'static str;

    /// Whether it could be built, told without making, changing or keeping anything. `edition` is the model, where there is one
    /// that can be used. Returns what is worth saying; None where it is turned off, or has nothing to say.
    ///
    /// # Errors
    /// Why `build` would fail.
    fn check(&self, config: &Config, edition: Option<&Edition>) -> Result<Option<String>, Failure>;

    /// Builds it; nothing where the configuration turns it off.
    ///
    /// # Errors
    /// What only another configuration can mend. What may come later, such as a broker or an address, is no error.
    fn build(&self, context: &Context<'_>) -> Result<Plugged, Failure>;
}

/// What a plug may use of the program.
pub struct Context<'a> {
    /// The whole configuration; a plug reads its own part.
    pub config: &'a Config,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Says when the program stops.
    pub shutdown: Shutdown,
    /// The model that runs now. Results name their own: [`Outcome::edition`](crate::scene::Outcome::edition).
    pub editions: CurrentEdition,
    /// What runs it: `cpu`, `edgetpu`, `delegate`.
    pub engine: &'static str,
    /// The state of the program, at any time.
    pub observe: Arc<dyn Observe>,
    /// What a plug may ask of the others.
    pub requests: Requests,
}

/// What a plug gives the pipeline, each only where it has one.
#[derive(Default)]
pub struct Plugged {
    /// Takes every result.
    pub sinks: Vec<Box<dyn Sink>>,
    /// Says when frames are to carry their picture.
    pub gate: Option<Arc<dyn PictureGate>>,
    /// Takes the records of each interval, and of what happens.
    pub journal: Option<Box<dyn Journal>>,
    /// Starts its own threads, once everything is built and the pipeline runs.
    pub start: Option<Start>,
}

/// Starts the threads of a plug. They end when the guard is dropped.
pub type Start = Box<dyn FnOnce() -> io::Result<Guard>>;

/// Kept until the end of the run.
pub type Guard = Box<dyn Send>;

impl Plugged {
    /// A sink alone.
    pub fn sink(sink: impl Sink + 'static) -> Self {
        Self { sinks: vec![Box::new(sink)], ..Self::default() }
    }
}
