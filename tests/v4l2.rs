//! V4L2 cameras of every kind through the real binary: USB cameras, the nodes of a board's own camera, devices that fail, and
//! multi-planar ones. The devices are those of `support/fake_v4l2.rs`, which a program reaches only by functions of the C
//! library that a preloaded library such as libcamerify wraps.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::process::Command;

use support::clips::jpegs;
use support::fake_v4l2::FakeV4l2;
use support::{area, colours, finish, pspnetd, run, Finished, Running, Signal};

/// A USB camera that sends YUYV.
const USB: &str = "format YUYV 64x48 30\n";
/// One that can't start its stream.
const BROKEN: &str = "card Broken Cam\nformat YUYV 64x48 30\nfail STREAMON 5\n";
/// The receiver of a Pi's ribbon cable.
const CSI: &str = "caps 24000001\nformat YUYV 64x48 30\nformat pBAA 64x48 30\nwithout rates parm\nfail STREAMON 22\n";

fn driver(name: &str, description: &str) -> String {
    format!("driver {name}\ncard {name}\n{description}")
}

/// `pspnetd ARGUMENTS` among these devices, to its end. None where this machine has no mounts for it.
#[track_caller]
fn among(fake: &FakeV4l2, arguments: &[&str]) -> Option<Finished> {
    Some(finish(fake.command(&pspnetd(arguments))?))
}

/// `pspnetd check` of a camera, with settings.
#[track_caller]
fn check(fake: &FakeV4l2, camera: &str, settings: &[&str]) -> Option<Finished> {
    let mut arguments = vec!["check", "--camera", camera, "--model"];
    let model = colours();
    arguments.push(model.to_str().unwrap());
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    among(fake, &arguments)
}

/// `pspnetd run` of a camera.
#[track_caller]
fn start(fake: &FakeV4l2, camera: &str, settings: &[&str]) -> Option<Running> {
    let mut command: Command = run(&colours(), camera);
    command.args(settings.iter().flat_map(|setting| ["--set", setting]));
    fake.command(&command).map(Running::start)
}

#[track_caller]
fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no {word:?} in\n{text}");
    }
}

/// A YUYV picture of one colour: BT.601, limited range.
fn yuyv(y: u8, u: u8, v: u8) -> Vec<u8> {
    [y, u, y, v].repeat(64 * 48 / 2)
}

#[test]
fn frames_come_by_functions_that_libcamerify_wraps() {
    let fake = FakeV4l2::new();
    let red = fake.frame("red", &yuyv(81, 90, 240));
    fake.plug(0, &format!("{USB}{red}"));
    let Some(running) = start(&fake, "v4l2:/dev/video0", &[]) else { return };
    running.stdout.wait_for_count(10);
    let finished = running.stop(Signal::TERM).0.expect(0);
    for record in &finished.records()[..10] {
        assert!(area(record, "red") > 0.99, "{record}");
    }
    let log = fake.log(0);
    let expected = ["open", "S_FMT YUYV 64x48", "S_PARM 1/30", "STREAMON", "STREAMOFF", "close"];
    assert_eq!(log.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_pis_csi_nodes_are_refused_with_advice_and_auto_takes_the_usb_camera() {
    let fake = FakeV4l2::new();
    for (number, name) in ["unicam", "rp1-cfe", "bcm2835-unicam-legacy"].into_iter().enumerate() {
        fake.plug(number as u8, &driver(name, CSI));
    }
    // The legacy driver needs no media controller, and offers what the sensor has.
    fake.plug(3, &driver("unicam", "format pBAA 64x48 30\n"));
    fake.plug(8, USB);
    fake.link("by-path/platform-1f00110000.csi-video-index0", 0);
    fake.link("by-path/platform-xhci-hcd.0-usb-0:1:1.0-video-index0", 8);
    let Some(devices) = among(&fake, &["devices"]) else { return };
    let devices = devices.expect(0).stdout;
    let advice = "this is the Pi's CSI camera: use command:rpicam-vid ";
    assert_eq!(devices.matches(advice).count(), 4, "{devices}");
    says(&devices, &["/dev/video8  Test Webcam", "usable"]);
    let finished = check(&fake, "auto", &[]).unwrap().expect(0);
    says(&finished.stdout, &["# camera: good: /dev/video8 (Test Webcam"]);
    for number in 0..4 {
        let finished = check(&fake, &format!("v4l2:/dev/video{number}"), &[]).unwrap().expect(69);
        says(&finished.stdout, &[advice, "docs/csi-cameras.md"]);
        assert!(!fake.log(number).contains("S_FMT"), "{}", fake.log(number));
    }
}

#[test]
fn what_is_no_camera_is_passed_over_with_its_reason() {
    let fake = FakeV4l2::new();
    for (number, name, caps) in [
        (10, "bcm2835-codec", "4004000"), // VIDEO_M2M_MPLANE
        (13, "bcm2835-isp", "4000002"),   // VIDEO_OUTPUT
        (14, "bcm2835-isp", "4000001"),   // VIDEO_CAPTURE
        (19, "rpivid", "4004000"),
        (20, "pispbe", "24001000"),  // VIDEO_CAPTURE_MPLANE and IO_MC
        (30, "rp1-cfe", "24800000"), // META_CAPTURE and IO_MC
        (31, "rkisp1", "24001000"),
        (32, "sun6i-csi", "24000001"),
        (33, "v4l2 loopback", "4000002"),
    ] {
        fake.plug(number, &driver(name, &format!("caps {caps}\nformat NV12 64x48 30\n")));
    }
    let Some(finished) = check(&fake, "auto", &[]) else { return };
    let said = finished.expect(69).stdout;
    for (number, reason) in [
        (10, "not a capture device: a codec or converter"),
        (13, "not a capture device: an image processor"),
        (14, "not a capture device: an image processor"),
        (19, "not a capture device: a codec or converter"),
        (20, "not a capture device: an image processor"),
        (30, "not a capture device: metadata only"),
        (31, "part of a camera pipeline, which sends nothing until a program has set it up"),
        (32, "part of a camera pipeline, which sends nothing until a program has set it up"),
        (33, "not a capture device"),
    ] {
        says(&said, &[&format!("/dev/video{number}: {reason}")]);
    }
    // Once it is set up, such a device may be named.
    for number in [31, 32] {
        let finished = check(&fake, &format!("v4l2:/dev/video{number}"), &[]).unwrap().expect(0);
        says(&finished.stdout, &["# camera: good: ", "NV12 64x48 at 30 fps"]);
    }
}

#[test]
fn auto_goes_on_to_the_next_device_when_one_fails_and_says_so_once() {
    for (call, errno) in
        [("STREAMON", 5), ("STREAMON", 32), ("S_FMT", 16), ("REQBUFS", 12), ("QUERYBUF", 22), ("open", 13)]
    {
        let fake = FakeV4l2::new();
        fake.plug(0, &format!("{USB}fail {call} {errno}\n"));
        fake.plug(1, USB);
        let Some(finished) = check(&fake, "auto", &[]) else { return };
        let finished = finished.expect(0);
        says(&finished.stdout, &["# camera: good: /dev/video1 "]);
        if call != "open" {
            says(&finished.stderr, &["auto: /dev/video0 is passed over: VIDIOC_", call]);
        }
    }
    let fake = FakeV4l2::new();
    fake.plug(0, BROKEN);
    fake.plug(1, &format!("{USB}fail DQBUF 5\n"));
    let running = start(&fake, "auto", &[]).unwrap();
    fake.wait_for(1, "STREAMON", 3);
    let finished = running.stop(Signal::TERM).0.expect(0);
    assert_eq!(finished.stderr.matches("/dev/video0 is passed over").count(), 1, "{}", finished.stderr);
}

#[test]
fn auto_goes_on_from_a_device_that_sends_no_frame_and_back_to_it_last() {
    let fake = FakeV4l2::new();
    fake.plug(0, &format!("{USB}fps 0.001\n"));
    fake.plug(1, USB);
    let Some(running) = start(&fake, "auto", &["camera.silent_after=500ms"]) else { return };
    fake.wait_for(1, "STREAMON", 1);
    running.stdout.wait_until("records", |lines| lines.len() > 5);
    let finished = running.stop(Signal::TERM).0.expect(0);
    says(&finished.stderr, &["auto: /dev/video0 is passed over: silent: no frame for 0.5 s"]);
    assert_eq!(fake.log(0).matches("STREAMON").count(), 1);
}

#[test]
fn auto_takes_the_device_that_the_controls_fit() {
    let fake = FakeV4l2::new();
    fake.plug(0, USB);
    fake.plug(1, &format!("{USB}control 980913 1 0 255 1 16 0 Gain\n"));
    let setting = ["camera.controls.gain=20"];
    let Some(finished) = check(&fake, "auto", &setting) else { return };
    says(&finished.expect(0).stdout, &["# camera: good: /dev/video1 "]);
    fake.unplug(1);
    let finished = check(&fake, "auto", &setting).unwrap();
    says(&finished.expect(78).stdout, &["/dev/video0", "has no controls"]);
}

#[test]
fn an_interlaced_camera_is_told_and_half_pictures_are_refused() {
    let fake = FakeV4l2::new();
    fake.plug(0, &format!("{USB}field 4\n"));
    let Some(finished) = check(&fake, "auto", &[]) else { return };
    says(&finished.expect(0).stderr, &["/dev/video0: the picture is interlaced"]);
    for field in [5, 6, 7] {
        fake.plug(0, &format!("{USB}field {field}\n"));
        fake.plug(1, USB);
        let finished = check(&fake, "auto", &[]).unwrap().expect(0);
        says(&finished.stdout, &["# camera: good: /dev/video1 "]);
        says(&finished.stderr, &["auto: /dev/video0 is passed over: sends half pictures"]);
    }
}

/// Earlier versions of v4l2loopback say that they are memory to memory as well.
#[test]
fn a_loopback_device_is_a_camera_whatever_else_it_says() {
    let fake = FakeV4l2::new();
    fake.plug(0, &driver("v4l2 loopback", &format!("{USB}caps 5208003\n")));
    let Some(finished) = check(&fake, "auto", &[]) else { return };
    says(&finished.expect(0).stdout, &["# camera: good: /dev/video0 "]);
}

#[test]
fn auto_tells_every_reason_where_no_device_will_do() {
    let fake = FakeV4l2::new();
    fake.plug(0, &driver("rp1-cfe", CSI));
    fake.plug(1, BROKEN);
    fake.plug(2, &format!("{USB}fail REQBUFS 16\n"));
    fake.plug(3, "caps 800000\n"); // META_CAPTURE
    fake.plug(4, "format H264 64x48 30\n");
    fake.plug(5, &format!("{USB}fail S_FMT 28\n"));
    fake.plug(6, &format!("{USB}fail open 13\n"));
    let Some(finished) = check(&fake, "auto", &[]) else { return };
    let said = finished.expect(69).stdout;
    says(
        &said,
        &[
            "camera auto: no device can be used: ",
            "/dev/video0: this is the Pi's CSI camera: use command:rpicam-vid ",
            "/dev/video1: VIDIOC_STREAMON: Input/output error (os error 5) (the transfer failed",
            "/dev/video2: another program uses the camera",
            "/dev/video3: not a capture device: metadata only",
            "/dev/video4: offers only formats that pspnetd doesn't take: H264",
            "/dev/video5: VIDIOC_S_FMT: No space left on device",
            "/dev/video6: permission denied",
        ],
    );
    let fake = FakeV4l2::new();
    let finished = check(&fake, "auto", &[]).unwrap().expect(69);
    says(&finished.stdout, &["there are no V4L2 devices"]);
}

#[test]
fn a_pipeline_that_is_not_set_up_is_told_from_a_transfer_that_fails() {
    let fake = FakeV4l2::new();
    fake.plug(0, &driver("sun6i-csi", "format UYVY 64x48 30\nfail STREAMON 67\n")); // ENOLINK
    let Some(finished) = check(&fake, "v4l2:/dev/video0", &[]) else { return };
    says(&finished.expect(69).stdout, &["VIDIOC_STREAMON: Link has been severed", "media-ctl", "libcamera"]);
}

#[test]
fn a_multi_planar_device_is_read_where_one_piece_of_memory_holds_a_picture() {
    let fake = FakeV4l2::new();
    // Rows of 80 bytes, of which 64 are the picture, all red: BT.601, limited range.
    let mut picture = [[81; 64].as_slice(), &[7; 16]].concat().repeat(48);
    picture.extend([[90, 240].repeat(32).as_slice(), &[7; 16]].concat().repeat(24));
    let red = fake.frame("red", &picture);
    let description = "caps 4001000\npadding 16\noffset 64\nformat NM12 64x48 30\nformat NV12 64x48 30\n";
    fake.plug(0, &format!("{}{red}", driver("rk_hdmirx", description)));
    let Some(running) = start(&fake, "auto", &[]) else { return };
    running.stdout.wait_for_count(5);
    let finished = running.stop(Signal::TERM).0.expect(0);
    for record in &finished.records()[..5] {
        assert!(area(record, "red") > 0.99, "{record}");
    }
    says(&fake.log(0), &["S_FMT NV12 64x48", "S_PARM 1/30"]);
    let devices = among(&fake, &["devices"]).unwrap().expect(0).stdout;
    says(&devices, &["(rk_hdmirx, usb-0000:01:00.0-0): usable", "NM12 format 0 (not taken)"]);
}

#[test]
fn a_multi_planar_device_that_needs_several_pieces_is_refused_by_name() {
    let fake = FakeV4l2::new();
    fake.plug(0, "caps 4001000\nplanes 2\nformat NM12 64x48 30\nformat YM12 64x48 30\n");
    fake.plug(1, "caps 4001000\nplanes 2\nformat NV12 64x48 30\n");
    let Some(finished) = check(&fake, "auto", &[]) else { return };
    says(
        &finished.expect(69).stdout,
        &[
            "/dev/video0: offers only formats that pspnetd doesn't take: NM12 (in several pieces of memory), YM12",
            "/dev/video1: the driver puts NV12 into 2 pieces of memory; pspnetd reads one",
        ],
    );
}

#[test]
fn damaged_jpegs_of_a_camera_are_counted_and_the_others_are_seen() {
    let fake = FakeV4l2::new();
    let jpegs = jpegs();
    let good = fake.frame("good", &jpegs[0]);
    let half = fake.frame("half", &jpegs[1][..jpegs[1].len() / 2]);
    let noise = fake.frame("noise", &[0x5a; 900]);
    fake.plug(0, &format!("format MJPG 96x64 30\n{good}{half}{good}{noise}"));
    let Some(running) = start(&fake, "v4l2:/dev/video0", &["telemetry.interval=1s"]) else { return };
    running.stdout.wait_for_count(20);
    let finished = running.stop(Signal::TERM).0.expect(0);
    // Every second frame is one that can't be used.
    let (good, corrupt) = (finished.count("in"), finished.count("corrupt"));
    assert!(good >= 20 && corrupt >= 15, "{good} good, {corrupt} corrupt:\n{}", finished.stderr);
    says(&finished.stderr, &["camera: frame skipped: "]);
}

#[test]
fn a_camera_that_sends_fewer_frames_than_set_is_told_once() {
    let fake = FakeV4l2::new();
    fake.plug(0, &format!("{USB}fps 15\n"));
    let Some(running) = start(&fake, "v4l2:/dev/video0", &[]) else { return };
    let line = running.stderr.wait_for("frames per second where 30.0 are set");
    assert!(line.contains("WARN") && line.contains("/dev/video0: the camera sends 1"), "{line}");
    running.stop(Signal::TERM).0.expect(0).says(["exposure_dynamic_framerate"]);
}

#[test]
fn a_camera_that_is_unplugged_comes_back_by_its_link() {
    let fake = FakeV4l2::new();
    fake.plug(0, USB);
    let link = fake.link("by-id/usb-Maker_Test_Webcam-video-index0", 0);
    let Some(running) = start(&fake, &format!("v4l2:{link}"), &[]) else { return };
    running.stdout.wait_for_count(3);
    fake.unplug(0);
    running.stderr.wait_for("camera: waiting: ");
    let seen = running.stdout.count();
    fake.plug(0, USB);
    running.stdout.wait_for_count(seen + 3);
    running.stop(Signal::TERM).0.expect(0).says(["unplugged", "stable"]);
}
