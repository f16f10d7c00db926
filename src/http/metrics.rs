//! `/metrics`: what [`Observe`] tells, as OpenMetrics or in Prometheus' older text format, whichever the scraper asks for.
//!
//! What is told, under which names, stands in `families.rs`; docs/metrics.md explains it to users.

mod families;

use std::collections::HashSet;
use std::fmt;

use base::text::shown;
use hyper::header::{HeaderValue, CACHE_CONTROL};
use hyper::{Response, StatusCode};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{text, DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::registry::Registry;

use self::families::{Family, Kind, Samples, BOUNDS, FAMILIES};
use super::body::{whole, Body, Problem};
use crate::telemetry::state::{Observe, StageBuckets, State};

/// Every name starts with this.
const PREFIX: &str = "pspnetd";

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers `/metrics`. `accept` is the request's header; without one, and for whoever asks for neither format, the older one
/// is sent, which everybody reads.
pub(super) fn reply(observed: &dyn Observe, accept: Option<&str>) -> Response<Body> {
    let Ok(text) = open_metrics(Snapshot::take(observed)) else {
        return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the metrics can't be written").response();
    };
    let mut response =
        if wants_open_metrics(accept) { whole(OPEN_METRICS, text) } else { whole(PLAIN, older_format(&text)) };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Everything of one scrape, so that all of it is of one moment.
#[derive(Debug)]
struct Snapshot {
    state: State,
    stages: Vec<StageBuckets>,
    is_live: bool,
}

impl Snapshot {
    fn take(observed: &dyn Observe) -> Self {
        Self { state: observed.state(), stages: observed.buckets(&BOUNDS), is_live: observed.liveness().is_ok() }
    }
}

fn open_metrics(snapshot: Snapshot) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(snapshot));
    let mut text = String::with_capacity(32 << 10);
    text::encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        FAMILIES.iter().try_for_each(|family| family.encode(self, &mut encoder))
    }
}

impl Family {
    /// Writes its samples; nothing where there are none.
    fn encode(&self, snapshot: &Snapshot, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let samples = (self.samples)(snapshot);
        if samples.is_empty() {
            return Ok(());
        }
        let unit = self.unit();
        let mut metric = encoder.encode_descriptor(self.name, self.help, unit.as_ref(), self.kind.metric_type())?;
        // A scraper refuses a page that has a sample twice: the first counts.
        let mut seen = HashSet::new();
        match samples {
            Samples::Values(values) => {
                for (labels, value) in values {
                    let labels: Vec<_> =
                        labels.into_iter().map(|(name, value)| (name, shown(&value).into_owned())).collect();
                    if !seen.insert(labels.clone()) {
                        continue;
                    }
                    match self.kind {
                        Kind::Info => metric.encode_info(&labels)?,
                        // A family without labels would be written with empty braces.
                        _ if labels.is_empty() => self.encode_value(&mut metric, value)?,
                        _ => self.encode_value(&mut metric.encode_family(&labels)?, value)?,
                    }
                }
            }
            Samples::Histograms(histograms) => {
                for stage in histograms {
                    let bounds = BOUNDS.iter().copied().chain([f64::INFINITY]);
                    let buckets: Vec<(f64, u64)> = bounds.zip(stage.counts.iter().copied()).collect();
                    metric.encode_family(&[("stage", stage.stage)])?.encode_histogram::<NoLabelSet>(
                        stage.sum_seconds,
                        stage.count,
                        &buckets,
                        None,
                    )?;
                }
            }
        }
        Ok(())
    }

    fn encode_value(&self, sample: &mut MetricEncoder<'_>, value: f64) -> fmt::Result {
        match self.kind {
            Kind::Counter => sample.encode_counter::<NoLabelSet, _, f64>(&value, None),
            _ => sample.encode_gauge(&value),
        }
    }
}

/// Whether OpenMetrics is what an Accept header likes best, at the version that is written here.
fn wants_open_metrics(accept: Option<&str>) -> bool {
    let (mut open, mut plain) = (0.0_f64, 0.0_f64);
    for range in accept.unwrap_or_default().split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let (mut quality, mut is_our_version) = (1.0, true);
        for (name, value) in parts.filter_map(|parameter| parameter.split_once('=')) {
            match name.trim().to_ascii_lowercase().as_str() {
                "q" => quality = value.trim().parse().ok().filter(|q| (0.0..=1.0).contains(q)).unwrap_or(0.0),
                "version" => is_our_version = value.trim().trim_matches('"') == "1.0.0",
                _ => {}
            }
        }
        match media.as_str() {
            "application/openmetrics-text" if is_our_version => open = open.max(quality),
            "text/plain" | "text/*" | "*/*" => plain = plain.max(quality),
            _ => {}
        }
    }
    open > 0.0 && open >= plain
}

/// The same page in text format 0.0.4: there a counter's family bears the name of its sample, an info is a gauge, and units and
/// the end have no line.
fn older_format(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    // A family's description comes before its type, which says what the family is called.
    let mut help = None;
    // Not lines(), which would take a carriage return of a label along.
    for line in open_metrics.split_terminator('\n') {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ').map(|(_, words)| words);
        } else if let Some((family, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            let help = help.take().unwrap_or_default();
            text.push_str(&format!("# HELP {family}{suffix} {help}\n# TYPE {family}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::telemetry::example::{self, Example};

    const DOCS: &str = include_str!("../../docs/metrics.md");

    fn body(response: Response<Body>) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let bytes = runtime.block_on(response.into_body().collect()).unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn plain(state: State) -> String {
        body(reply(&Example(state), None))
    }

    /// The name of a family's samples, but for what a histogram appends.
    fn sample_name(family: &Family) -> String {
        let unit = if family.unit.is_empty() { String::new() } else { format!("_{}", family.unit) };
        let suffix = match family.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        format!("{PREFIX}_{}{unit}{suffix}", family.name)
    }

    #[test]
    fn whoever_asks_for_open_metrics_gets_it_and_everybody_else_the_older_format() {
        let of = |accept: Option<&str>| {
            let response = reply(&Example(example::state()), accept);
            let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
            let text = body(response);
            assert_eq!(content_type == OPEN_METRICS, text.ends_with("\n# EOF\n"), "{content_type}");
            assert_eq!(content_type == PLAIN, text.contains("# TYPE pspnetd_frames_total counter"), "{text}");
            content_type
        };
        // What Prometheus 2.42 and 3 send.
        let older = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                     text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let newer = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                     text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,*/*;q=0.2";
        for accept in [older, newer, "application/openmetrics-text", "Application/OpenMetrics-Text; Version=\"1.0.0\""]
        {
            assert_eq!(of(Some(accept)), OPEN_METRICS, "{accept}");
        }
        let others = [
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "text/plain",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;q=0.2,text/plain;q=0.9",
            "application/openmetrics-text;q=many",
            ";;,=,;q=,\u{1}",
            "",
        ];
        assert_eq!(of(None), PLAIN);
        for accept in others {
            assert_eq!(of(Some(accept)), PLAIN, "{accept}");
        }
    }

    #[test]
    fn every_value_of_the_state_is_there() {
        let text = plain(example::state());
        for line in [
            "pspnetd_build_info{version=\"0.1.0\"} 1",
            "pspnetd_ready 1.0",
            "pspnetd_camera_state{state=\"running\"} 1.0",
            "pspnetd_camera_state{state=\"damaged\"} 0.0",
            "pspnetd_camera_state{state=\"paused\"} 0.0",
            "pspnetd_frames_total{fate=\"replaced\"} 88.0",
            "pspnetd_sink_dropped_total{sink=\"jsonl\"} 3.0",
            "pspnetd_class_area_ratio{class=\"road\"} 0.412",
            "pspnetd_stage_duration_seconds_bucket{le=\"0.05\",stage=\"infer\"} 210",
            "pspnetd_stage_duration_seconds_bucket{le=\"+Inf\",stage=\"infer\"} 212",
            "pspnetd_stage_duration_seconds_count{stage=\"infer\"} 212",
            "pspnetd_power_watts{rail=\"vdd_in\"} 4.143",
            "pspnetd_energy_joules_total{rail=\"vdd_in\"} 1294.5",
            "pspnetd_temperature_celsius{sensor=\"soc\"} 52.1",
            "pspnetd_throttled{cause=\"under_voltage\",when=\"has_occurred\"} 1.0",
            "pspnetd_process_resident_memory_bytes 40055603.0",
        ] {
            assert!(text.lines().any(|written| written == line), "no {line} in\n{text}");
        }
        // All of the table occurs in the example, in both formats.
        for family in FAMILIES {
            let name = sample_name(family);
            assert!(text.contains(&format!("# HELP {name} {}\n", family.help)), "{name}");
            assert!(text.lines().any(|line| line.starts_with(&name)), "{name}");
        }
    }

    #[test]
    fn every_sample_of_a_state_whose_values_all_differ_is_right() {
        let mut state = example::state();
        (state.ready, state.camera.opens, state.engine.faults) = (false, 4, 6);
        state.program.started = jiff::Timestamp::from_millisecond(1_795_334_400_250).unwrap();
        let frames = &mut state.frames;
        (frames.skipped, frames.corrupt, frames.failed, frames.published) = (5, 7, 9, 191);
        let throttle = state.board.as_mut().unwrap().throttle.as_mut().unwrap();
        (throttle.now.throttled, throttle.has_occurred.frequency_capped) = (true, true);
        let board = state.board.as_mut().unwrap();
        (board.watts, board.joules) = (Some(4.25), Some(1300.5));
        let text = plain(state);
        // Histograms of all stages look alike.
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let samples: Vec<&str> =
            samples.filter(|line| !line.contains("stage=") || line.contains("\"infer\"")).collect();
        assert_eq!(samples.join("\n") + "\n", include_str!("metrics/example.txt"));
    }

    #[test]
    fn what_is_unknown_has_no_sample() {
        let mut state = example::state();
        let board = state.board.as_mut().unwrap();
        (board.watts, board.cpu_hertz, board.throttle) = (None, None, None);
        board.rails[0].watts = None;
        board.rails[0].joules = Some(f64::NAN);
        board.temperatures[1].celsius = None;
        (state.result, state.joules_per_frame) = (None, None);
        let text = plain(state.clone());
        for absent in
            ["board_power_watts", "cpu_frequency", "throttled", "class_area", "result_age", "frame_energy", "NaN"]
        {
            assert!(!text.contains(absent), "{absent} in\n{text}");
        }
        assert!(
            !text.contains("power_watts{rail=\"vdd_in\"}") && !text.contains("energy_joules_total{rail=\"vdd_in\"}")
        );
        assert!(!text.contains("celsius{sensor=\"apex_0\"}"));
        assert!(
            text.contains("pspnetd_temperature_fault{sensor=\"apex_0\"} 1.0") && text.contains("rail_volts{"),
            "{text}"
        );
        state.board = None;
        let text = plain(state);
        assert!(!text.contains("process_cpu") && text.contains("pspnetd_uptime_seconds"), "{text}");
    }

    #[test]
    fn a_class_may_be_called_anything() {
        let mut state = example::state();
        let classes = &mut state.result.as_mut().unwrap().classes;
        let odd = "a\"b\\c\nd\re{}, # TYPE x y\u{1b}[2Jλ";
        classes[0].name = odd.to_owned();
        (classes[1].name, classes[1].share) = ("void".to_owned(), 0.25);
        (classes[2].name, classes[2].share) = ("void".to_owned(), 0.5);
        classes.truncate(3);
        let text = plain(state);
        let line = "pspnetd_class_area_ratio{class=\"a\\\"b\\\\c\\\\nd\\\\re{}, # TYPE x y\\\\u{1b}[2Jλ\"} 0.412\n";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("pspnetd_class_area_ratio{class=\"void\"} 0.75\n"), "{text}");
        promtool(&text);
    }

    #[track_caller]
    fn promtool(text: &str) {
        use std::io::Write as _;
        use std::process::{Command, Stdio};
        if !crate::needs::program("promtool", "prometheus") {
            return;
        }
        let mut child = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
    }

    #[test]
    fn promtool_has_nothing_to_say() {
        promtool(&plain(example::state()));
    }

    #[test]
    fn the_documentation_has_every_metric_with_its_type_and_labels_and_no_other() {
        let mut rows: Vec<Vec<&str>> = DOCS
            .lines()
            .filter(|line| line.starts_with("| `pspnetd_"))
            .map(|line| line.trim_matches('|').split(" | ").map(str::trim).take(3).collect())
            .collect();
        let mut expected: Vec<Vec<String>> = FAMILIES
            .iter()
            .map(|family| {
                let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
                let kind = format!("{:?}", family.kind).to_lowercase();
                vec![format!("`{}`", sample_name(family)), kind, labels.join(", ")]
            })
            .collect();
        rows.sort_unstable();
        expected.sort_unstable();
        assert_eq!(rows, expected);
    }

    #[test]
    fn samples_have_the_labels_that_the_table_says() {
        let snapshot = Snapshot::take(&Example(example::state()));
        for family in FAMILIES {
            match (family.samples)(&snapshot) {
                Samples::Histograms(_) => assert_eq!(family.labels, ["stage"]),
                Samples::Values(values) => {
                    for (labels, _) in values {
                        let names: Vec<&str> = labels.iter().map(|(name, _)| *name).collect();
                        assert_eq!(names, family.labels, "{}", family.name);
                    }
                }
            }
        }
    }

    #[test]
    fn the_dashboard_asks_for_metrics_that_exist() {
        let dashboard: serde_json::Value = serde_json::from_str(include_str!("../../docs/grafana.json")).unwrap();
        let panels = dashboard["panels"].as_array().unwrap();
        let mut ids: Vec<i64> = panels.iter().map(|panel| panel["id"].as_i64().unwrap()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), panels.len(), "every panel has an id of its own");
        let names: Vec<String> = FAMILIES
            .iter()
            .flat_map(|family| match family.kind {
                Kind::Histogram => ["_bucket", "_sum", "_count"].map(|part| sample_name(family) + part).to_vec(),
                _ => vec![sample_name(family)],
            })
            .collect();
        let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
        let mut asked = 0;
        for expression in targets.map(|target| target["expr"].as_str().unwrap()) {
            let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            for name in words.filter(|word| word.starts_with(PREFIX)) {
                assert!(names.iter().any(|known| known == name), "{name} in {expression}");
                asked += 1;
            }
        }
        assert!(asked >= 20, "{asked}");
    }
}
