//! `/metrics` of the real program, read by Prometheus' own tools: promtool, and a Prometheus that scrapes it. Both are in
//! Debian's package `prometheus`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use support::http::Web;
use support::{colours, needs, run, with, Running, LIMIT};

/// A running daemon and its address.
fn daemon() -> (Running, String) {
    let settings = ["camera.rate=20", "telemetry.interval=1", "http.listen=127.0.0.1:0", "http.socket=off"];
    let Web { running, address } = Web::start(with(run(&colours(), "pattern:96x64"), settings));
    running.stdout.wait_for_count(3);
    (running, address.to_string())
}

/// Head and body of the answer to a GET. HTTP/1.0, so that the body comes as it is, to the end of the connection.
fn get(address: &str, target: &str, accept: &str) -> std::io::Result<(String, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(stream, "GET {target} HTTP/1.0\r\nHost: {address}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8(answer).expect("UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    Ok((head.to_owned(), body.to_owned()))
}

#[test]
fn promtool_finds_nothing_wrong_and_every_metric_is_documented() {
    if !needs::program("promtool", "prometheus") {
        return;
    }
    let (_running, address) = daemon();
    let (head, text) = get(&address, "/metrics", "*/*").unwrap();
    assert!(head.starts_with("HTTP/1.1 200") || head.starts_with("HTTP/1.0 200"), "{head}");
    assert!(head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}\n{text}", String::from_utf8_lossy(&said));
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md")).unwrap();
    let families: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(families.len() > 15, "{text}");
    for family in families {
        assert!(docs.contains(&format!("| `{family}` |")), "{family} is not documented");
    }
    let (head, text) = get(&address, "/metrics", "application/openmetrics-text").unwrap();
    assert!(head.to_lowercase().contains("content-type: application/openmetrics-text"), "{head}");
    assert!(text.ends_with("\n# EOF\n"), "{text}");
}

/// Prometheus, scraping `target` every second; it keeps its data in `folder`.
fn prometheus(folder: &Path, target: &str) -> (Running, String) {
    let config = format!(
        "scrape_configs:\n- job_name: pspnetd\n  scrape_interval: 1s\n  static_configs:\n  - targets: ['{target}']\n"
    );
    std::fs::write(folder.join("prometheus.yml"), config).unwrap();
    // It can't choose a port by itself; this one was free just now.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address={address}"))
        .stdin(Stdio::null());
    (Running::start(command), address)
}

/// What Prometheus finds for `expression` now.
fn query(prometheus: &str, expression: &str) -> Option<Value> {
    let escaped: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let (_, body) = get(prometheus, &format!("/api/v1/query?query={escaped}"), "*/*").ok()?;
    serde_json::from_str(&body).ok()
}

/// The first sample for `expression`, which must come in time.
#[track_caller]
fn wait_for(prometheus: &str, expression: &str, is_it: impl Fn(f64) -> bool) -> Value {
    let end = Instant::now() + LIMIT;
    loop {
        let answer = query(prometheus, expression);
        let sample = answer.as_ref().map(|answer| answer["data"]["result"][0].clone()).unwrap_or_default();
        if sample["value"][1].as_str().and_then(|value| value.parse().ok()).is_some_and(&is_it) {
            return sample;
        }
        assert!(Instant::now() < end, "{expression}: {answer:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_real_prometheus_scrapes_it_and_answers_every_query_of_the_dashboard() {
    if !needs::program("prometheus", "prometheus") {
        return;
    }
    let (running, address) = daemon();
    let folder = tempfile::tempdir().unwrap();
    let (scraper, prometheus) = prometheus(folder.path(), &address);
    wait_for(&prometheus, "up{job=\"pspnetd\"}", |up| up == 1.0);
    wait_for(&prometheus, "pspnetd_ready", |ready| ready == 1.0);
    let info = wait_for(&prometheus, "pspnetd_build_info", |one| one == 1.0);
    assert_eq!(info["metric"]["version"], env!("CARGO_PKG_VERSION"), "{info}");
    wait_for(&prometheus, "pspnetd_class_area_ratio{class=\"red\"}", |share| (0.1..0.15).contains(&share));
    wait_for(&prometheus, "rate(pspnetd_frames_total{fate=\"published\"}[10s])", |rate| rate > 1.0);
    let p99 = "histogram_quantile(0.99, rate(pspnetd_stage_duration_seconds_bucket{stage=\"end_to_end\"}[10s]))";
    wait_for(&prometheus, p99, |seconds| seconds > 0.0 && seconds <= 10.0);
    wait_for(&prometheus, "pspnetd_process_start_time_seconds", |time| time > 1.7e9);

    let dashboard = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/grafana.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let expressions: Vec<&str> = targets.map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(expressions.len() >= 20);
    for expression in expressions {
        // What Grafana fills in.
        let filled = expression.replace("$__rate_interval", "1m").replace("$instance", ".+");
        let answer = query(&prometheus, &filled).expect("an answer");
        assert_eq!(answer["status"], "success", "{filled}: {answer}");
    }
    assert!(!scraper.stderr.text().contains("Error on ingesting"), "{}", scraper.stderr.text());
    drop((running, scraper));
}
