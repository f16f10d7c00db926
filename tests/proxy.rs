//! The program behind a real nginx: its page in a folder of another site, its streams without delay, who may ask under which
//! name, and its page in the frames of others.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "page/browser.rs"]
mod browser;
#[path = "page/live.rs"]
mod live;
mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use browser::Browser;
use live::{expect_motion, open, HAS_PICTURE, RUNNING};
use support::clips::jpegs;
use support::film::Film;
use support::http::{exchange, Reply, Web};
use support::nginx::Nginx;
use support::{colours, replay, run, with, Signal, LIMIT};

/// The address that the examples of the documentation have.
const DOCUMENTED: &str = "127.0.0.1:8088";
/// A page of nginx's own. Its icon is empty, or the browser asks for one that isn't there.
const EMPTY: &str = "<!doctype html><title>site</title><link rel=icon href=\"data:,\"><body>";

/// The colour model on `camera`, with a page.
fn serve(camera: &str, settings: &[&str]) -> Web {
    let mut command = with(run(&colours(), camera), ["http.listen=127.0.0.1:0", "http.socket=off"]);
    for setting in settings {
        command.args(["--set", setting]);
    }
    Web::start(command)
}

/// A clip over and over.
fn serve_clip(settings: &[&str]) -> Web {
    serve(&replay("colours.mjpeg"), &[&["camera.loop=true"], settings].concat())
}

/// nginx's part of docs/proxy.md, without passwords: it has the program in the folder /cam/.
fn documented(web: &Web) -> String {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/proxy.md")).unwrap();
    let lines = page.lines().skip_while(|line| line.trim() != "location /cam/ {");
    let lines: Vec<&str> = lines.take_while(|line| !line.trim().is_empty()).collect();
    assert!(lines.len() > 2 && lines.iter().any(|line| line.contains(DOCUMENTED)), "no example: {lines:?}");
    let lines = lines.into_iter().filter(|line| !line.contains("auth_basic"));
    lines.map(|line| line.replace(DOCUMENTED, &web.address.to_string()) + "\n").collect()
}

/// A camera that takes one picture for each file `go-N` in its folder, and none by itself.
struct Shutter {
    folder: tempfile::TempDir,
    taken: u32,
}

impl Shutter {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("frame"), jpegs().swap_remove(0)).unwrap();
        let script = format!(
            "cd '{}'; n=1; while :; do if [ -e go-$n ]; then cat frame; n=$((n+1)); else sleep 0.01; fi; done",
            folder.path().display()
        );
        std::fs::write(folder.path().join("camera.sh"), script).unwrap();
        Self { folder, taken: 0 }
    }

    fn source(&self) -> String {
        format!("command:sh '{}'", self.folder.path().join("camera.sh").display())
    }

    fn take(&mut self) {
        self.taken += 1;
        std::fs::write(self.folder.path().join(format!("go-{}", self.taken)), "").unwrap();
    }
}

#[test]
fn every_picture_comes_through_nginx_before_the_next_one_is_taken() {
    let mut shutter = Shutter::new();
    // So slow on purpose that a picture that doesn't come is no reason to say that something is wrong.
    let slow = ["camera.silent_after=0", "camera.rate=0.01", "http.stream_fps=60"];
    let web = serve(&shutter.source(), &slow);
    let Some(nginx) = Nginx::start(&documented(&web)) else { return };
    shutter.take();
    let web = web.ready();
    let (mut film, _) = Film::over(nginx.connect(), "camera.example", "/cam/stream.mjpg");
    for _ in 0..6 {
        // So that it isn't too early for http.stream_fps.
        std::thread::sleep(Duration::from_millis(100));
        shutter.take();
        let part = film.part();
        assert_eq!(part.notice, None);
        assert!(part.jpeg.starts_with(&[0xFF, 0xD8]) && part.jpeg.ends_with(&[0xFF, 0xD9]));
    }
    web.running.stop_in_time(Signal::TERM).expect(0);
    film.expect_end();
}

#[test]
fn the_page_works_in_a_folder_of_another_site() {
    let web = serve_clip(&[]);
    // A proxy that takes the folder off, and doesn't care for the slash at its end.
    let bare = format!("location /bare {{ rewrite ^/bare/?(.*)$ /$1 break; proxy_pass http://{}; }}\n", web.address);
    let Some(nginx) = Nginx::start(&(documented(&web) + &bare)) else { return };
    let Some(browser) = Browser::start() else { return };
    let site = format!("http://127.0.0.1:{}", nginx.port);
    for (asked, folder) in [("/cam/", "/cam/"), ("/cam", "/cam/"), ("/bare", "/bare/"), ("/bare/?x=1", "/bare/?x=1")] {
        browser.open("about:blank");
        // What the page before was still asking for.
        browser.requests();
        browser.console();
        open(&browser, &format!("{site}{asked}"));
        browser.wait_for("the program to run", RUNNING);
        browser.wait_for("a picture", HAS_PICTURE);
        expect_motion(&browser);
        browser.wait_for("latency over time", "document.querySelector('#latency-chart path.second')");
        browser.wait_for("classes", "document.querySelector('#classes button')");
        browser.run("document.querySelector('#classes button').click()");
        browser.wait_for("the class to be lit", "!document.querySelector('#still-there').hidden");
        assert_eq!(browser.run("return location.pathname + location.search"), folder);

        let folder = folder.trim_end_matches("?x=1");
        let links = browser.run(
            "return Promise.all([...document.links].map(async link => {
               const answer = await fetch(link.href);
               return [new URL(link.href).pathname, answer.status];
             }))",
        );
        let links = links.as_array().unwrap();
        assert!(links.len() >= 6, "{links:?}");
        for link in links {
            assert!(link[0].as_str().unwrap().starts_with(folder) && link[1] == 200, "{link}");
        }
        let asked: Vec<String> = browser.requests();
        let inside = format!("{site}{}", folder.trim_end_matches('/'));
        let outside: Vec<&String> =
            asked.iter().filter(|url| url.starts_with(&site) && !url.starts_with(&inside)).collect();
        assert!(outside.is_empty() && asked.iter().any(|url| url.contains("stream.mjpg")), "{asked:?}");
        assert_eq!(browser.console(), Vec::<String>::new());
    }
    web.running.stop_in_time(Signal::TERM).expect(0);
}

#[test]
fn a_stream_in_a_browser_says_that_the_camera_is_gone_and_goes_on_in_the_same_connection() {
    let folder = tempfile::tempdir().unwrap();
    let there = folder.path().join("there");
    std::fs::write(&there, "").unwrap();
    let script = "while test -e there; do cat frame; sleep 0.1; done";
    std::fs::write(folder.path().join("frame"), jpegs().swap_remove(0)).unwrap();
    std::fs::write(folder.path().join("camera.sh"), format!("cd '{}'; {script}", folder.path().display())).unwrap();
    let web = serve(&format!("command:sh '{}'", folder.path().join("camera.sh").display()), &[]);
    let Some(nginx) = Nginx::start(&documented(&web)) else { return };
    let Some(browser) = Browser::start() else { return };
    std::fs::write(nginx.files().join("wall.html"), EMPTY).unwrap();
    browser.open(&format!("http://127.0.0.1:{}/files/wall.html", nginx.port));
    browser.run(
        "const image = document.createElement('img');
         image.src = '/cam/stream.mjpg';
         document.body.append(image);",
    );
    let width = |width: u32| format!("document.images[0].naturalWidth === {width}");
    browser.wait_for("the camera's picture", &width(96));
    std::fs::remove_file(&there).unwrap();
    // The picture of words is larger: the one of 96 x 64 is too small for them.
    browser.wait_for("the picture that says that it is gone", &width(384));
    std::fs::write(&there, "").unwrap();
    browser.wait_for("the camera's picture again", &width(96));
    let asked = browser.requests().into_iter().filter(|url| url.contains("stream.mjpg")).count();
    assert_eq!(asked, 1);
    web.running.stop_in_time(Signal::TERM).expect(0);
}

#[test]
fn host_says_which_name_was_asked_for_and_what_a_proxy_adds_says_nothing() {
    let web = serve_clip(&["http.hosts=[\"cam.example.org\", \"other.example\"]"]);
    let passed = format!(
        "location /passed/ {{ proxy_pass http://{}/; proxy_set_header Host $http_host; \
         proxy_set_header X-Forwarded-Host cam.example.org; }}\n",
        web.address
    );
    let Some(nginx) = Nginx::start(&(documented(&web) + &passed)) else { return };
    let ask = |path: &str, host: &str, lines: &str| -> Reply {
        exchange(nginx.connect(), format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n{lines}\r\n"))
    };
    for host in ["cam.example.org", "cam.example.org:8443", "OTHER.example", "localhost", "192.168.1.20:8088"] {
        assert_eq!(ask("/passed/api/v1/state", host, "").status, 200, "{host}");
    }
    for host in ["evil.example", "cam.example.org.evil.example", "example.org"] {
        ask("/passed/api/v1/state", host, "").is_problem(403, ["http.hosts", "http.token_file"]);
    }
    // Where it replaces Host it vouches for the name itself. The pages of others get nothing either way.
    assert_eq!(ask("/cam/api/v1/state", "evil.example", "").status, 200);
    for path in ["/cam/api/v1/state", "/passed/api/v1/state", "/cam/stream.mjpg"] {
        let foreign = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n";
        ask(path, "cam.example.org", foreign).is_problem(403, ["another site"]);
    }
    // Nothing leads out of the folder, and errors say what is wrong there too.
    let missing = ask("/cam/nothing", "cam.example.org", "");
    assert_eq!(missing.is_problem(404, ["openapi.json"]).field("location"), None);
    assert_eq!(ask("/cam/", "cam.example.org", "").field("location"), None);
    web.running.stop_in_time(Signal::TERM).expect(0);
}

#[test]
fn without_their_names_in_the_configuration_a_proxys_names_are_refused() {
    let web = serve_clip(&[]);
    let reply = web.ask("GET", "/api/v1/state", &["Host: cam.example.org"]);
    reply.is_problem(403, ["http.hosts", "http.token_file"]);
    assert_eq!(web.get("/").field("x-frame-options"), Some("deny"));
    web.ends_well();
}

/// Puts a frame with `url` into a page of `nginx` that is opened at `site`.
fn frame(browser: &Browser, nginx: &Nginx, site: &str, url: &str) {
    browser.enter_frame(false);
    std::fs::write(nginx.files().join("dashboard.html"), EMPTY).unwrap();
    browser.open(&format!("{site}/files/dashboard.html"));
    browser.console();
    let script = "const frame = document.createElement('iframe'); document.body.append(frame); frame.src =";
    browser.run(&format!("{script} {url:?};"));
}

/// Waits until the browser has said that it doesn't show a frame because of who is around it.
#[track_caller]
fn expect_refusal(browser: &Browser) {
    let start = Instant::now();
    while !browser.console().iter().any(|line| line.contains("frame-ancestors") || line.contains("X-Frame-Options")) {
        assert!(start.elapsed() < LIMIT, "it is shown");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_dashboard_shows_the_page_in_a_frame_where_it_is_named_and_no_other_site_does() {
    let Some(nginx) = Nginx::start("") else { return };
    let Some(browser) = Browser::start() else { return };
    // Two sites for a browser, and neither is the program's.
    let [named, other] = ["localhost", "127.0.0.1"].map(|host| format!("http://{host}:{}", nginx.port));
    let web = serve_clip(&[&format!("http.frame_ancestors={named}/")]);
    let url = format!("http://{}/", web.address);
    let reply = web.get("/");
    assert!(
        reply.field("content-security-policy").unwrap().ends_with(&format!("; frame-ancestors {named}")),
        "{}",
        reply.head
    );
    assert_eq!(reply.field("x-frame-options"), None);

    frame(&browser, &nginx, &named, &url);
    browser.enter_frame(true);
    browser.wait_for("the page in a frame", "document.querySelector('#status')?.textContent === 'Running'");
    browser.wait_for("its picture", "document.querySelector('#veil').hidden");
    browser.enter_frame(false);
    assert_eq!(browser.console(), Vec::<String>::new());
    let inside = "try { return window.frames[0].document.title } catch (error) { return error.name }";
    assert_eq!(browser.run(inside), json!("SecurityError"), "the page around it can look inside");

    frame(&browser, &nginx, &other, &url);
    expect_refusal(&browser);
    web.running.stop_in_time(Signal::TERM).expect(0);

    let web = serve_clip(&[]);
    frame(&browser, &nginx, &named, &format!("http://{}/", web.address));
    expect_refusal(&browser);
    web.running.stop_in_time(Signal::TERM).expect(0);
}

#[test]
fn a_site_that_is_none_ends_the_start_with_what_was_expected() {
    for (text, words) in [
        ("frame_ancestors = ['https://a.example', 'https://b.example; script-src *']", "http.frame_ancestors"),
        ("frame_ancestors = 'dash.example.org'", "http.frame_ancestors"),
        ("hosts = 'https://cam.example.org'", "http.hosts"),
    ] {
        let (said, _) = support::configured(&format!("[http]\n{text}\n"));
        assert!(said.contains(words) && said.contains(":2:") | said.contains("line 2"), "{said}");
    }
}
