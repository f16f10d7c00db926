//! Reports from latency logs, and from the program's log as text: a table, JSON, a page with plots, and a comparison. One pass over the files, with memory that
//! doesn't grow with their length.

mod compare;
mod figures;
mod files;
mod hdr;
mod log_lines;
mod outages;
mod page;
mod plots;
mod record;
mod summary;
mod text;
mod timeline;

use std::path::PathBuf;

use base::failure::{Failure, Kind};
use serde::Serialize;

use figures::Figures;
pub use summary::Range;
use summary::Summary;

/// A log that was read.
pub struct Report {
    figures: Figures,
    timeline: timeline::Timeline,
}

impl Report {
    /// Reads the logs that `paths` name, with the files that were rotated away from them, as far as they lie in `range`.
    ///
    /// # Errors
    /// When a file isn't there, can't be read, or there is no record in it.
    pub fn read(paths: &[PathBuf], range: Range) -> Result<Self, Failure> {
        let mut summary = Summary::read(paths, range)?;
        let timeline = std::mem::take(&mut summary.timeline);
        Ok(Self { figures: Figures::new(summary), timeline })
    }

    /// The report as lines of text.
    pub fn text(&self) -> Vec<String> {
        text::lines(&self.figures)
    }

    /// The report as JSON.
    ///
    /// # Errors
    /// Never.
    pub fn json(&self) -> Result<String, Failure> {
        json(&self.figures)
    }

    /// The report as a page of HTML with plots, which needs nothing else.
    ///
    /// # Errors
    /// When a plot can't be drawn.
    pub fn page(&self) -> Result<String, Failure> {
        page::html(&self.figures, &self.timeline).map_err(|error| Failure::new(Kind::Software, error))
    }
}

/// What got better or worse from the first of `reports` to each of the others; they are called by `names`.
pub struct Comparison(Vec<compare::Pair>);

impl Comparison {
    /// Compares each further report with the first.
    pub fn new(names: &[String], reports: &[Report]) -> Self {
        let mut all = names.iter().zip(reports);
        let Some(first) = all.next() else { return Self(Vec::new()) };
        Self(all.map(|second| compare::Pair::new(first, second)).collect())
    }

    /// As lines of text.
    pub fn text(&self) -> Vec<String> {
        self.0.iter().flat_map(compare::Pair::lines).collect()
    }

    /// As JSON.
    ///
    /// # Errors
    /// Never.
    pub fn json(&self) -> Result<String, Failure> {
        json(&self.0)
    }
}

fn json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map_err(|error| Failure::new(Kind::Software, error.to_string()))
}

#[cfg(test)]
mod tests;
