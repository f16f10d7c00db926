//! The page while it lives: what says that it runs, and what its picture shows.
#![allow(dead_code, unreachable_pub)]

use super::browser::Browser;

/// The program runs and says so.
pub const RUNNING: &str = "document.querySelector('#status').textContent === 'Running'";
/// The live picture is shown.
pub const HAS_PICTURE: &str = "document.querySelector('#veil').hidden && pixels('#picture') !== ''";

/// Opens the page and gives later scripts `pixels(selector)`: a digest of what a canvas shows, empty while it is blank.
pub fn open(browser: &Browser, url: &str) {
    browser.open(url);
    browser.run(
        "window.pixels = selector => {
           const canvas = document.querySelector(selector);
           const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', { willReadFrequently: true });
           copy.drawImage(canvas, 0, 0);
           const data = copy.getImageData(0, 0, canvas.width, canvas.height).data;
           let [sum, isBlank] = [0, true];
           for (let i = 0; i < data.length; i++) {
             sum = (sum * 31 + data[i]) % 4294967291;
             if (i % 4 !== 3 && data[i] !== 0) isBlank = false;
           }
           return isBlank ? '' : String(sum);
         };",
    );
}

/// Waits until the picture changes.
#[track_caller]
pub fn expect_motion(browser: &Browser) {
    let before = browser.run("return pixels('#picture')");
    browser.wait_for("the picture to move", &format!("pixels('#picture') !== {before}"));
}
