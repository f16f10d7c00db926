//! A camera whose frames are all damaged: the log, `/readyz`, the state and the metrics say so, until a frame is whole.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};

use support::clips::jpegs;
use support::http::Web;
use support::{colours, run, with, Signal, LIMIT};

#[test]
fn a_camera_that_gives_only_damaged_frames_is_said_everywhere_and_is_well_again_with_a_whole_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let whole = jpegs().swap_remove(0);
    // Half of the scan, and a proper end.
    let cut = [&whole[..whole.len() - whole.len() / 4], &[0xFF, 0xD9]].concat();
    std::fs::write(path("whole"), &whole).unwrap();
    std::fs::write(path("cut"), cut).unwrap();
    let script = format!(
        "cd '{}'; while :; do if [ -e mended ]; then cat whole; else cat cut; fi; sleep 0.05; done",
        folder.path().display()
    );
    std::fs::write(path("camera.sh"), script).unwrap();
    let camera = format!("command:sh '{}'", path("camera.sh").display());
    let settings = ["http.listen=127.0.0.1:0", "http.socket=off", "telemetry.interval=1s"];
    let web = Web::start(with(run(&colours(), &camera), settings));
    let wait_for = |path: &str, is_so: &dyn Fn(&str) -> bool| {
        let start = Instant::now();
        loop {
            let reply = web.get(path);
            let text = String::from_utf8_lossy(&reply.body).into_owned();
            if is_so(&text) {
                return (reply.status, text);
            }
            assert!(start.elapsed() < LIMIT, "{text}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };

    web.running.stderr.wait_for("camera: frame skipped: ");
    let line = web.running.stderr.wait_for("camera: damaged: ");
    let reason = line.split(" frames damaged: ").nth(1).unwrap().trim().to_owned();
    assert!(!reason.is_empty());
    let (status, text) = wait_for("/readyz", &|text| text.contains("camera: damaged: "));
    assert_eq!(status, 503);
    assert!(text.contains(&format!(" frames damaged: {reason}")), "{text}");
    let (_, state) = wait_for("/api/v1/state", &|text| text.contains("\"damaged\""));
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    let words = state["camera"]["text"].as_str().unwrap();
    let counts: Vec<u64> = words.split(' ').filter_map(|word| word.parse().ok()).collect();
    assert!(state["camera"]["state"] == "damaged" && counts[0] >= 3 && counts[0] == counts[1], "{words}");
    let (_, metrics) = wait_for("/metrics", &|text| text.contains("pspnetd_camera_state{state=\"damaged\"} 1"));
    assert!(metrics.contains("pspnetd_camera_up 1"), "{metrics}");

    std::fs::write(path("mended"), "").unwrap();
    web.running.stderr.wait_for("camera: frames are whole again after ");
    let (status, _) = wait_for("/readyz", &|text| !text.contains("damaged"));
    assert!(status == 200 || status == 503);
    wait_for("/api/v1/state", &|text| text.contains("\"running\""));
    let finished = web.running.stop(Signal::TERM).0.expect(0);
    assert_eq!(finished.stderr.matches("frame skipped").count(), 1, "{}", finished.stderr);
    assert!(finished.count("corrupt") > 3 && finished.count("published") > 0, "{}", finished.stderr);
}
