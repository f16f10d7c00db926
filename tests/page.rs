//! The page in a headless Chromium, served by the real program: what it shows, that it comes back after everything that can
//! happen to the program and its camera, that nothing from outside runs in it, and that a keyboard is enough.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "page/browser.rs"]
mod browser;
#[path = "page/live.rs"]
mod live;
mod support;

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use browser::{Browser, ENTER, ESCAPE, RIGHT, TAB};
use live::{expect_motion, open, HAS_PICTURE, RUNNING};
use support::film::Film;
use support::{colours, colours_with, grouped_colours, media, needs, replay, run, with, Running, Signal, LIMIT};

/// A program that serves the page.
struct Daemon {
    running: Running,
    url: String,
}

impl Daemon {
    fn start(command: Command) -> Self {
        Self::start_at(command, "127.0.0.1:0")
    }

    fn start_at(command: Command, address: &str) -> Self {
        let running = Running::start(with(command, [&format!("http.listen={address}"), "http.socket=off"]));
        let line = running.stderr.wait_for("listening on http://");
        let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
        Self { running, url }
    }

    fn address(&self) -> String {
        self.url.trim_start_matches("http://").trim_end_matches('/').to_owned()
    }
}

/// The bundled clip over and over, with the default model.
fn street() -> Command {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/scene-fast/model.tflite");
    with(run(&model, &replay("walkway.mjpeg")), ["camera.loop=true", "publish.jsonl.path="])
}

/// A camera that is there while the file `plugged` is, and says `words` on standard error first.
struct Pluggable(tempfile::TempDir);

impl Pluggable {
    fn new(words: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("words"), format!("{words}\n")).unwrap();
        let script = format!(
            "cd '{}' || exit\ncat words >&2\n[ -e plugged ] || {{ echo 'no camera is plugged in' >&2; exit 1; }}\n\
             while [ -e plugged ]; do cat '{}'; sleep 0.2; done\necho 'the camera was unplugged' >&2\nexit 1\n",
            folder.path().display(),
            media("colours.mjpeg").display()
        );
        std::fs::write(folder.path().join("camera"), script).unwrap();
        let camera = Self(folder);
        camera.plug();
        camera
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn plug(&self) {
        std::fs::write(self.file("plugged"), "").unwrap();
    }

    fn unplug(&self) {
        std::fs::remove_file(self.file("plugged")).unwrap();
    }

    fn run(&self, model: &Path) -> Command {
        let source = format!("command:sh '{}'", self.file("camera").display());
        with(run(model, &source), ["publish.jsonl.path="])
    }
}

/// Asked of the program, or of nobody: the page's icon, and what Chromium shows before the page.
fn is_inside(url: &str, daemon: &str) -> bool {
    [daemon, "data:", "chrome:", "chrome-untrusted:", "chrome-extension:"].iter().any(|start| url.starts_with(start))
}

#[test]
fn the_page_shows_what_the_camera_sees_and_how_the_program_is() {
    let Some(browser) = Browser::start() else { return };
    let daemon = Daemon::start(street());
    open(&browser, &daemon.url);
    browser.wait_for("the program to run", RUNNING);
    browser.wait_for("a picture", HAS_PICTURE);
    expect_motion(&browser);

    browser.wait_for("classes", "document.querySelectorAll('#classes tbody tr').length > 0");
    let shares = browser.run(
        "return [...document.querySelectorAll('#classes tbody tr')].map(row => [row.cells[0].innerText, row.cells[2].innerText])",
    );
    let shares = shares.as_array().unwrap();
    assert!(shares.iter().any(|row| row[0] == "grass") && shares.iter().any(|row| row[0] == "road"), "{shares:?}");
    let percent = |row: &Value| row[1].as_str().unwrap().trim_end_matches(" %").parse().unwrap_or(0.0);
    let sum: f64 = shares.iter().map(percent).sum();
    assert!((97.0..=101.0).contains(&sum), "{shares:?}");

    browser.wait_for("frames per second", "Number(document.querySelector('#fps b').textContent) > 0");
    browser.wait_for("latency", "Number(document.querySelector('#latency b').textContent) > 0");
    browser.wait_for(
        "lines of latency over time",
        "document.querySelector('#latency-chart path.second')?.getAttribute('d')",
    );
    let stages = browser.run("return [...document.querySelectorAll('#stages tbody th')].map(cell => cell.textContent)");
    assert_eq!(stages, json!(["sensor", "convert", "queue", "infer", "decode", "publish", "end to end"]));
    assert!(browser.text("#lines").contains("listening on http://"), "{}", browser.text("#lines"));
    assert_eq!(browser.text("#model"), "scene-fast");
    let caption = browser.text("#caption");
    browser.wait_for("the next result", &format!("document.querySelector('#caption').textContent !== {caption:?}"));
    assert_eq!(browser.run("return document.querySelectorAll('table:not([hidden]) th:not([scope])').length"), json!(0));

    let silent: Vec<String> = Vec::new();
    assert_eq!(browser.console(), silent);
    let outside: Vec<String> = browser.requests().into_iter().filter(|url| !is_inside(url, &daemon.url)).collect();
    assert_eq!(outside, silent);
}

#[test]
fn nothing_but_the_pages_own_script_runs_in_it() {
    let Some(browser) = Browser::start() else { return };
    let daemon = Daemon::start(street());
    open(&browser, &daemon.url);
    browser.wait_for("the program to run", RUNNING);
    assert_eq!(browser.console(), Vec::<String>::new());
    let markup = "try { document.body.innerHTML = '<b>x</b>'; return 'was taken' } catch (error) { return error.name }";
    assert_eq!(browser.run(markup), "TypeError");
    // A style attribute, a picture from elsewhere and a form's target are stopped by the policy; each says so in the console.
    browser.run(
        "const node = document.createElement('p'); node.setAttribute('style', 'color: red'); document.body.append(node);
         const image = document.createElement('img'); image.setAttribute('src', 'http://127.0.0.1:1/x.png');
         document.body.append(image); fetch('http://127.0.0.1:1/').catch(() => {});",
    );
    let mut told = Vec::new();
    let start = Instant::now();
    while !["style-src", "img-src", "connect-src"]
        .iter()
        .all(|part| told.iter().any(|line: &String| line.contains(part)))
    {
        assert!(start.elapsed() < LIMIT, "{told:?}");
        told.extend(browser.console());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn the_page_comes_back_after_a_restart_of_the_program() {
    let Some(browser) = Browser::start() else { return };
    let first = Daemon::start(street());
    let address = first.address();
    open(&browser, &first.url);
    browser.wait_for("a picture", HAS_PICTURE);
    let process = first.running.id();
    assert!(browser.text("#version").contains(&format!("process {process}")), "{}", browser.text("#version"));

    first.running.stop(Signal::TERM).0.expect(0);
    browser.wait_for("the loss", "document.querySelector('#status').textContent.startsWith('Connection lost')");
    assert_eq!(browser.text("#veil strong"), "Connection lost");
    assert!(browser.text("#spoken").starts_with("Connection lost"), "{}", browser.text("#spoken"));
    assert!(browser.text("#notices").contains("No answer from the daemon"), "{}", browser.text("#notices"));

    let second = Daemon::start_at(street(), &address);
    browser.wait_for("the program to run", RUNNING);
    browser.wait_for("a picture", HAS_PICTURE);
    expect_motion(&browser);
    assert!(browser.text("#version").contains(&format!("process {}", second.running.id())));
    assert_eq!(browser.text("#spoken"), "Running");
}

#[test]
fn the_page_says_why_there_is_no_camera_and_goes_on_when_it_is_back() {
    let Some(browser) = Browser::start() else { return };
    let camera = Pluggable::new("starting");
    let daemon = Daemon::start(camera.run(&colours()));
    open(&browser, &daemon.url);
    browser.wait_for("a picture", HAS_PICTURE);

    camera.unplug();
    browser.wait_for(
        "the camera to go",
        "document.querySelector('#veil strong').textContent === 'Waiting for the camera'",
    );
    browser.wait_for("the reason", "document.querySelector('#veil p').textContent.includes('plugged')");
    assert_eq!(browser.run("return document.querySelector('figure').classList.contains('away')"), json!(true));
    assert!(browser.text("#spoken").contains("Waiting for the camera"), "{}", browser.text("#spoken"));
    let last = browser.run("return pixels('#picture')");
    assert_ne!(last, "", "the last picture is gone");
    // The stream's pictures of words are for those who have nothing else to say it with.
    let host = daemon.address();
    let (mut film, _) = Film::over(TcpStream::connect(&host).unwrap(), &host, "/stream.mjpg");
    assert_eq!([film.part(), film.part()].map(|part| part.notice.unwrap()), ["waiting"; 2]);
    assert_eq!(browser.run("return pixels('#picture')"), last);
    drop(film);

    camera.plug();
    browser.wait_for("the program to run", RUNNING);
    browser.wait_for("a picture", HAS_PICTURE);
    expect_motion(&browser);
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn a_keyboard_is_enough() {
    let Some(browser) = Browser::start() else { return };
    let folder = grouped_colours();
    let camera = replay("colours.mjpeg");
    let command = with(run(&folder.path().join("model.tflite"), &camera), ["camera.loop=true", "publish.jsonl.path="]);
    let daemon = Daemon::start(command);
    open(&browser, &daemon.url);
    browser.wait_for("a picture", HAS_PICTURE);
    browser.wait_for("classes", "document.querySelector('#classes button')");
    let focused =
        || browser.run("const at = document.activeElement; return at.id || at.value || at.textContent.trim()");

    browser.press(&[TAB]);
    assert_eq!(focused(), "pause");
    let outline = browser.run("return getComputedStyle(document.activeElement).outlineStyle");
    assert_eq!(outline, "solid", "the focus can't be seen");
    browser.press(&[ENTER]);
    assert_eq!(browser.run("return document.querySelector('#pause').getAttribute('aria-pressed')"), "true");
    browser.press(&[ENTER]);
    expect_motion(&browser);

    browser.requests();
    let start = Instant::now();
    while focused() != "opacity" {
        assert!(start.elapsed() < LIMIT, "no way to the slider");
        browser.press(&[TAB]);
    }
    browser.press(&[RIGHT]);
    assert_eq!(browser.text("output"), "75 %");
    let mut asked = Vec::new();
    while !asked.iter().any(|url: &String| url.ends_with("/stream.mjpg?opacity=75")) {
        assert!(start.elapsed() < LIMIT, "{asked:?}");
        asked.extend(browser.requests());
    }
    expect_motion(&browser);

    // The links to save pictures, then classes or groups, then the classes.
    browser.press(&[TAB, TAB, TAB, TAB]);
    assert_eq!(focused(), "classes");
    browser.press(&[RIGHT]);
    browser.wait_for("groups", "document.querySelector('#classes').innerText.includes('primary')");
    browser.press(&["\u{e012}"]);
    browser.wait_for("classes", "document.querySelector('#classes button')");
    browser.press(&[TAB]);
    let class = focused();
    browser.press(&[ENTER]);
    browser.wait_for("the class to be lit", "!document.querySelector('#still-there').hidden");
    assert_eq!(browser.text("#classes button[aria-pressed=true]"), class);
    assert_eq!(browser.text("#spoken"), format!("{} is lit up in the picture", class.as_str().unwrap()));
    browser.press(&[ESCAPE]);
    browser.wait_for("the whole picture", "document.querySelector('#still-there').hidden");

    // Everything else that can be used is reached as well.
    let mut reached = Vec::new();
    for _ in 0..40 {
        browser.press(&[TAB]);
        reached.push(focused());
    }
    for wanted in ["lines", "State as JSON", "Metrics", "API"] {
        assert!(reached.iter().any(|one| one == wanted), "{wanted} is not in {reached:?}");
    }
}

#[test]
fn names_and_log_lines_are_text_whatever_is_in_them() {
    let Some(browser) = Browser::start() else { return };
    let hostile = "<img src=x onerror=window.hit=1><script>window.hit=1</script>";
    let folder = colours_with(|text| text.replace("name = \"white\"", &format!("name = \"{hostile}\"")));
    let camera = Pluggable::new(&format!("{hostile} {}", "long".repeat(200)));
    let daemon = Daemon::start(camera.run(&folder.path().join("model.tflite")));
    browser.look(360, 740, "dark");
    open(&browser, &daemon.url);
    browser.wait_for("the class", &format!("document.querySelector('#classes').textContent.includes({hostile:?})"));
    browser.wait_for("the line", &format!("document.querySelector('#lines').textContent.includes({hostile:?})"));
    assert_eq!(browser.run("return document.querySelectorAll('script, img').length"), json!(1));
    assert_eq!(browser.run("return window.hit === undefined"), json!(true));
    assert_eq!(browser.run("return document.documentElement.scrollWidth"), json!(360), "it is wider than the window");
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn without_pictures_the_figures_are_there() {
    let Some(browser) = Browser::start() else { return };
    let daemon = Daemon::start(with(street(), ["http.pictures=false"]));
    open(&browser, &daemon.url);
    browser.wait_for("the reason", "document.querySelector('#veil p').textContent.includes('http.pictures')");
    browser.wait_for("the program to run", RUNNING);
    browser.wait_for("classes", "document.querySelectorAll('#classes tbody tr').length > 3");
    assert_eq!(browser.run("return document.querySelector('#opacity').checkVisibility()"), json!(false));
    // It does not ask again and again.
    browser.requests();
    std::thread::sleep(Duration::from_secs(3));
    assert!(!browser.requests().iter().any(|url| url.contains("stream")));
}

#[test]
fn the_page_asks_for_the_token_once_and_everything_in_it_works() {
    let Some(browser) = Browser::start() else { return };
    let (_folder, file) = support::file("token", b"0123456789abcdef0123456789abcdef\n");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let daemon = Daemon::start(with(street(), [&format!("http.token_file={}", file.display())]));
    let with_token = daemon.url.replace("http://", "http://me:0123456789abcdef0123456789abcdef@");
    open(&browser, &with_token);
    browser.wait_for("a picture", HAS_PICTURE);
    browser.wait_for("the program to run", RUNNING);
    browser.wait_for("latency over time", "document.querySelector('#latency-chart path.second')");
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn the_page_fits_every_window() {
    let Some(browser) = Browser::start() else { return };
    let daemon = Daemon::start(street());
    for (width, height) in [(320, 640), (360, 740), (800, 1100), (1280, 800), (1600, 1000)] {
        browser.look(width, height, "light");
        open(&browser, &daemon.url);
        browser.wait_for("a picture", HAS_PICTURE);
        browser.wait_for("classes", "document.querySelectorAll('#classes tbody tr').length > 3");
        assert_eq!(
            browser.run("return document.documentElement.scrollWidth"),
            json!(width),
            "it is wider than the window"
        );
    }
}

/// What a machine can check of accessibility, by axe-core, where scripts/page-tools put it: on a phone and on a desk, light and
/// dark, all well and with the camera gone.
#[test]
fn the_page_has_no_barrier_that_a_machine_can_find() {
    let axe = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/axe-core/package/axe.min.js");
    if !needs::fetched(&axe, "scripts/page-tools") {
        return;
    }
    let Some(browser) = Browser::start() else { return };
    let axe = std::fs::read_to_string(axe).unwrap();
    let camera = Pluggable::new("starting");
    let folder = grouped_colours();
    let daemon = Daemon::start(camera.run(&folder.path().join("model.tflite")));
    // As a debugger does: the page's own policy would not let it in.
    browser.chromium("Page.setBypassCSP", &json!({ "enabled": true }));
    let check = |state: &str| {
        for (width, height, scheme) in
            [(360, 740, "light"), (360, 740, "dark"), (1600, 1000, "light"), (1600, 1000, "dark")]
        {
            browser.look(width, height, scheme);
            open(&browser, &daemon.url);
            browser.wait_for("classes", "document.querySelectorAll('#classes tbody tr').length > 3");
            browser.chromium("Runtime.evaluate", &json!({ "expression": axe }));
            let found =
                "return axe.run().then(all => all.violations.map(one => [one.id, one.nodes.map(node => node.html)]))";
            assert_eq!(browser.run(found), json!([]), "{state} {width} {scheme}");
        }
    };
    open(&browser, &daemon.url);
    browser.wait_for("a picture", HAS_PICTURE);
    check("running");
    camera.unplug();
    browser.wait_for(
        "the camera to go",
        "document.querySelector('#veil strong').textContent === 'Waiting for the camera'",
    );
    check("no camera");
}

/// Not a test: scripts/readme-pictures names the file.
#[test]
#[ignore = "makes the picture for the README: scripts/readme-pictures"]
fn the_picture_for_the_readme() {
    let file = std::env::var_os("PAGE_PICTURE").expect("PAGE_PICTURE names the file");
    let browser = Browser::start().expect("a browser");
    let daemon = Daemon::start(street());
    std::thread::sleep(Duration::from_secs(100));
    browser.look(1360, 960, "light");
    open(&browser, &daemon.url);
    browser.wait_for("a picture", HAS_PICTURE);
    // Until the camera's rate is known.
    std::thread::sleep(Duration::from_secs(8));
    std::fs::write(file, browser.picture()).unwrap();
}
