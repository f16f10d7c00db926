//! The server as a plug: what it reads at the start, the pictures that it shows, and its thread.

use std::sync::Arc;

use base::failure::Failure;
use model::Edition;

use super::{Predictor, Server, Services};
use crate::config::Config;
use crate::publish::plug::{Context, Guard, Plug, Plugged, Start};
use crate::publish::view;

/// The web page, metrics and API as a plug.
#[derive(Debug)]
pub(crate) struct HttpPlug;

impl Plug for HttpPlug {
    fn name(&self) -> &'static str {
        "http"
    }

    fn check(&self, config: &Config, _edition: Option<&Edition>) -> Result<Option<String>, Failure> {
        Ok(Server::open(&config.http)?.map(|server| format!("good: {}", server.describe())))
    }

    fn build(&self, context: &Context<'_>) -> Result<Plugged, Failure> {
        let config = &context.config.http;
        let Some(server) = Server::open(config)? else { return Ok(Plugged::default()) };
        let mut plugged = Plugged::default();
        let mut gallery = None;
        if config.pictures {
            let (sink, gate, shown) = view::open(config, Arc::clone(&context.clock)).map_err(Failure::no_thread)?;
            plugged = Plugged { sinks: vec![sink], gate: Some(gate), ..plugged };
            gallery = Some(shown);
        }
        let predictor = config.predict.then(|| Arc::new(Predictor::new(context.config, context.editions.clone())));
        let services = Services { observed: Arc::clone(&context.observe), gallery, predictor };
        let shutdown = context.shutdown.clone();
        let start: Start =
            Box::new(move || server.start(services, &shutdown).map(|serving| Box::new(serving) as Guard));
        Ok(Plugged { start: Some(start), ..plugged })
    }
}
