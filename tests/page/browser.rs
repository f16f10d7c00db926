//! A headless Chromium, driven by WebDriver: as much of the protocol as the page's tests need.
#![allow(dead_code, unreachable_pub)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::engine::general_purpose::STANDARD;
use base64::Engine as _;
use serde_json::{json, Value};

use super::support::{needs, Running, LIMIT};

/// Keys by their WebDriver code points.
pub const TAB: &str = "\u{e004}";
pub const ENTER: &str = "\u{e007}";
pub const ESCAPE: &str = "\u{e00c}";
pub const RIGHT: &str = "\u{e014}";

/// A browser with one window; it ends with this value.
pub struct Browser {
    session: String,
    port: u16,
    _driver: Running,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// None where there is no Chromium: the test is left out.
    #[track_caller]
    pub fn start() -> Option<Self> {
        if !needs::program("chromium", "chromium") || !needs::program("chromedriver", "chromium-driver") {
            return None;
        }
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdin(Stdio::null());
        let driver = Running::start(command);
        let line = driver.stdout.wait_for("started successfully on port");
        let port = line.trim_end().trim_end_matches('.').rsplit(' ').next().unwrap().parse().unwrap();
        let profile = tempfile::tempdir().unwrap();
        let folder = format!("--user-data-dir={}", profile.path().display());
        let switches = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"];
        let switches: Vec<&str> = switches.into_iter().chain(["--hide-scrollbars", folder.as_str()]).collect();
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "binary": on_path("chromium"), "args": switches },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } });
        let answer = exchange(port, "POST", "/session", &wanted);
        let session = answer["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {answer}")).to_owned();
        Some(Self { session, port, _driver: driver, _profile: profile })
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let answer = exchange(self.port, "POST", &format!("/session/{}/{path}", self.session), body);
        assert!(answer.get("error").is_none(), "{path}: {answer}");
        answer
    }

    /// Loads a page.
    pub fn open(&self, url: &str) {
        self.post("url", &json!({ "url": url }));
    }

    /// What `script`, the body of a function, returns; also what a promise gives that it returns.
    pub fn run(&self, script: &str) -> Value {
        self.post("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Later scripts run in the window's first frame, or in the window itself again.
    pub fn enter_frame(&self, is_inside: bool) {
        self.post("frame", &json!({ "id": if is_inside { json!(0) } else { Value::Null } }));
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub fn wait_for(&self, what: &str, expression: &str) {
        let start = Instant::now();
        while self.run(&format!("return Boolean({expression})")) != json!(true) {
            let page = || self.run("return document.body.innerText");
            assert!(start.elapsed() < LIMIT, "waited in vain for {what}: {expression}\n{}", page());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The text of the first element that `selector` finds.
    #[track_caller]
    pub fn text(&self, selector: &str) -> String {
        let text = self.run(&format!("return document.querySelector({selector:?}).textContent"));
        text.as_str().unwrap_or_else(|| panic!("no text in {selector}")).to_owned()
    }

    /// Presses and releases each key in turn.
    pub fn press(&self, keys: &[&str]) {
        let press = |key: &&str| [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })];
        let actions: Vec<Value> = keys.iter().flat_map(press).collect();
        self.post("actions", &json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] }));
    }

    /// A command of Chromium's own protocol.
    pub fn chromium(&self, command: &str, parameters: &Value) -> Value {
        self.post("goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    /// The window's inner size, and `light` or `dark`.
    pub fn look(&self, width: u32, height: u32, scheme: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.chromium("Emulation.setDeviceMetricsOverride", &size);
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.chromium("Emulation.setEmulatedMedia", &media);
    }

    /// What the window shows, as PNG.
    pub fn picture(&self) -> Vec<u8> {
        let answer = self.chromium("Page.captureScreenshot", &json!({ "format": "png" }));
        STANDARD.decode(answer["data"].as_str().unwrap()).unwrap()
    }

    /// What the console got since the last call: errors of scripts, of the network, and everything that the policy forbade.
    pub fn console(&self) -> Vec<String> {
        let entries = self.post("se/log", &json!({ "type": "browser" }));
        entries.as_array().unwrap().iter().map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }

    /// Addresses that were asked for since the last call.
    pub fn requests(&self) -> Vec<String> {
        let entries = self.post("se/log", &json!({ "type": "performance" }));
        let sent = entries.as_array().unwrap().iter().filter_map(|entry| {
            let event: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let message = &event["message"];
            let is_request = message["method"] == "Network.requestWillBeSent";
            is_request.then(|| message["params"]["request"]["url"].as_str().map(str::to_owned))?
        });
        sent.collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium ends with its session; the driver is killed after that. No panic here: a test may have failed already.
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) {
            let _ = write!(stream, "DELETE /session/{} HTTP/1.1\r\nHost: localhost\r\n\r\n", self.session);
            let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
            let _ = stream.read(&mut [0; 64]);
        }
    }
}

/// One request to the driver and the `value` of its answer.
fn exchange(port: u16, method: &str, path: &str, body: &Value) -> Value {
    let body = body.to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect to chromedriver");
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).expect("write to chromedriver");
    // It leaves the connection open.
    let mut stream = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).expect("read from chromedriver");
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().unwrap();
            }
            None if line.trim_end().is_empty() => break,
            _ => {}
        }
    }
    let mut text = vec![0; length];
    stream.read_exact(&mut text).expect("read from chromedriver");
    let text = String::from_utf8(text).expect("an answer in UTF-8");
    let answer: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    answer["value"].clone()
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder: PathBuf| Path::new(&folder).join(name)).find(|file| file.is_file())
}
