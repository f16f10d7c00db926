//! The table of plugs, which `run`, `check` and `bench` walk in this order. A new one is a file that implements
//! [`Plug`], a line here, and its part of the configuration.

use crate::http::HttpPlug;
use crate::publish::gpio::GpioPlug;
use crate::publish::jsonl::JsonlPlug;
use crate::publish::latency_log::LatencyLogPlug;
use crate::publish::plug::Plug;
use crate::publish::snapshot::SnapshotPlug;

/// Every plug.
pub const PLUGS: &[&dyn Plug] = &[&JsonlPlug, &SnapshotPlug, &LatencyLogPlug, &HttpPlug, &GpioPlug];
