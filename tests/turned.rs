//! A camera that doesn't stand upright: everything that the program gives is of the upright picture, whatever the source.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use camera::jpeg::JpegDecoder;
use pixels::frame::Size;

use support::clips::{expect_areas, files, ppm, read_png, COLOURS};
use support::http::Web;
use support::{colours, finish, media, pspnetd, run, with, Running, Signal, LIMIT};

fn serve(camera: &str, settings: &[&str]) -> Web {
    let mut command = run(&colours(), camera);
    for setting in ["http.listen=127.0.0.1:0", "http.socket=off", "camera.loop=true"].iter().chain(settings) {
        command.args(["--set", setting]);
    }
    Web::start(command)
}

/// A folder with one picture of 96x64, with a colour in each quarter: red, green / blue, yellow.
fn quarters() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    ppm(&folder.path().join("picture.ppm"), 96, 64, |x, y| {
        COLOURS[2 + usize::from(x >= 48) + 2 * usize::from(y >= 32)]
    });
    folder
}

/// How a camera hangs (`rotate`, `flip`), the classes of the quarters of the upright picture, and its size.
type Turn = (&'static str, &'static str, [usize; 4], (usize, usize));
const TURNS: [Turn; 7] = [
    ("0", "off", [2, 3, 4, 5], (96, 64)),
    ("90", "off", [4, 2, 5, 3], (64, 96)),
    ("180", "off", [5, 4, 3, 2], (96, 64)),
    ("270", "off", [3, 5, 2, 4], (64, 96)),
    ("0", "horizontal", [3, 2, 5, 4], (96, 64)),
    ("0", "vertical", [4, 5, 2, 3], (96, 64)),
    // First turned, then mirrored.
    ("90", "horizontal", [2, 4, 3, 5], (64, 96)),
];

/// What stands in the middle of each quarter of a picture.
fn middles<T>((width, height): (usize, usize), at: impl Fn(usize, usize) -> T) -> [T; 4] {
    [(1, 1), (3, 1), (1, 3), (3, 3)].map(|(x, y)| at(x * width / 4, y * height / 4))
}

#[test]
fn what_a_turned_camera_sees_is_upright_in_every_output() {
    let folder = quarters();
    let source = format!("replay:{}", folder.path().display());
    for (rotate, flip, classes, size) in TURNS {
        let snapshots = tempfile::tempdir().unwrap();
        let dir = format!("publish.snapshot.dir={}", snapshots.path().display());
        let (rotate, flip) = (format!("camera.rotate={rotate}"), format!("camera.flip={flip}"));
        let web = serve(&source, &["camera.rate=20", &rotate, &flip, &dir, "publish.snapshot.interval=0.2"]);
        let what = format!("{rotate}, {flip}");
        let (mask_size, ids, _) = read_png(&support::file("mask.png", &web.get("/api/v1/mask.png").body).1);
        assert_eq!(mask_size, (size.0 as u32, size.1 as u32), "{what}");
        assert_eq!(middles(size, |x, y| usize::from(ids[y * size.0 + x])), classes, "{what}: mask");
        for target in ["frame.jpg", "overlay.jpg"] {
            let jpeg = web.get(&format!("/api/v1/{target}")).body;
            let (found, pixels) = JpegDecoder::new().unwrap().decode_rgb(&jpeg).unwrap();
            assert_eq!(found, Size::new(size.0, size.1), "{what}: {target}");
            expect_colours(&what, classes, middles(size, |x, y| pixel(&pixels, y * size.0 + x)));
        }
        let start = std::time::Instant::now();
        let snapshot = loop {
            match files(snapshots.path()).into_iter().find(|file| file.extension().is_some_and(|end| end == "png")) {
                Some(file) => break file,
                None => assert!(start.elapsed() < LIMIT, "no snapshot"),
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        };
        let (found, pixels, _) = read_png(&snapshot);
        assert_eq!(found, mask_size, "{what}: snapshot");
        expect_colours(&what, classes, middles(size, |x, y| pixel(&pixels, y * size.0 + x)));
        web.ends_well();
    }
}

fn pixel(pixels: &[u8], index: usize) -> [u8; 3] {
    pixels[index * 3..][..3].try_into().unwrap()
}

#[track_caller]
fn expect_colours(what: &str, classes: [usize; 4], found: [[u8; 3]; 4]) {
    for (class, pixel) in classes.into_iter().zip(found) {
        let is_near = pixel.iter().zip(COLOURS[class]).all(|(a, b)| a.abs_diff(b) < 16);
        assert!(is_near, "{what}: {pixel:?}, expected class {class}");
    }
}

#[test]
fn every_kind_of_source_is_turned() {
    let clip = |name: &str| media(name).display().to_string();
    let program = format!("command:sh -c 'while cat {}; do sleep 0.1; done'", clip("colours.mjpeg"));
    let sources = [
        (format!("replay:{}", clip("colours.y4m")), true),
        (format!("replay:{}", clip("colours.mjpeg")), true),
        (program, true),
        ("pattern:96x64".to_owned(), false),
    ];
    for (source, has_stripes) in sources {
        let web = serve(&source, &["camera.rotate=270"]);
        let (size, ids, _) = read_png(&support::file("mask.png", &web.get("/api/v1/mask.png").body).1);
        assert_eq!(size, (64, 96), "{source}");
        // The clips have stripes from top to bottom, which lie level now.
        if has_stripes {
            assert!(ids.chunks(64).all(|row| row.iter().all(|id| *id == row[0])), "{source}");
            assert!(ids.iter().any(|id| *id != ids[0]), "{source}");
        }
        web.ends_well();
    }
}

#[test]
fn a_fixed_mask_and_a_letterbox_are_of_the_upright_picture() {
    let folder = quarters();
    let source = format!("replay:{}", folder.path().display());
    let command = with(
        run(&colours(), &source),
        ["camera.loop=true", "camera.rate=20", "camera.rotate=90", "model.fit=letterbox", "segment.mask=32x48"],
    );
    let running = Running::start(command);
    running.stdout.wait_for_count(2);
    let mut areas = [0.0; 8];
    areas[2..6].fill(0.25);
    for record in running.stop(Signal::TERM).0.expect(0).records() {
        // The upright picture has 43 of the model's 96 columns, so its middle may be a column off.
        expect_areas(&record, &areas, 0.03);
    }
}

#[test]
fn check_says_how_pictures_are_turned_and_what_cannot_be_is_refused_with_the_list() {
    let check = |settings: &[&str]| {
        let mut command = pspnetd(["check", "--camera", "pattern:96x64"]);
        command.arg("--model").arg(colours());
        settings.iter().for_each(|setting| {
            command.args(["--set", setting]);
        });
        finish(command)
    };
    let good = check(&["camera.rotate=180", "camera.flip=vertical"]).expect(0);
    for words in ["rotate = 180", "flip = \"vertical\"", "turned clockwise by 180 degrees, top and bottom exchanged"] {
        assert!(good.stdout.contains(words), "{}", good.stdout);
    }
    let plain = check(&[]).expect(0).stdout;
    assert!(plain.contains("rotate = 0") && !plain.contains("turned clockwise"), "{plain}");
    check(&["camera.rotate=45"]).expect(78).says(["45", "0, 90, 180 or 270"]);
    check(&["camera.flip=both"]).expect(78).says(["both", "off", "horizontal", "vertical"]);
    let bench = with(pspnetd(["bench", "--seconds", "0.2", "--camera", "pattern:96x64"]), ["camera.rotate=90"]);
    let mut bench = bench;
    bench.arg("--model").arg(colours());
    assert!(finish(bench).expect(0).stdout.contains("preprocess"));
}
