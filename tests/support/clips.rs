//! Clips and pictures that the tests make, and what the colour models must see in them.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::area;

/// Class names of the colour models by class id.
pub const CLASSES: [&str; 8] = ["black", "white", "red", "green", "blue", "yellow", "cyan", "magenta"];

/// The colours of [`CLASSES`].
pub const COLOURS: [[u8; 3]; 8] =
    [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [0, 255, 255], [255, 0, 255]];

/// Area of every class in frame `frame` of the colour clips: six stripes of the width's sixth.
pub fn stripes(frame: u64) -> [f64; 8] {
    let mut areas = [0.0; 8];
    for stripe in 0..6 {
        areas[((frame + stripe) % 8) as usize] = 1.0 / 6.0;
    }
    areas
}

/// Fails unless `record` has `areas`, up to `slack`. Classes may have the colours' names or `class_N`.
#[track_caller]
pub fn expect_areas(record: &Value, areas: &[f64; 8], slack: f64) {
    for (id, (name, expected)) in CLASSES.iter().zip(areas).enumerate() {
        let classes = &record["classes"];
        let numbered = format!("class_{id}");
        // Class ids without a known number of classes are only named where they occur.
        let found = match (classes.get(name), classes.get(&numbered)) {
            (Some(_), _) => area(record, name),
            (None, Some(_)) => area(record, &numbered),
            (None, None) => 0.0,
        };
        assert!((found - expected).abs() <= slack, "{name}: {found}, expected {expected}, in {record}");
    }
}

/// The JPEGs of the colour clip, one by one.
pub fn jpegs() -> Vec<Vec<u8>> {
    let clip = std::fs::read(super::media("colours.mjpeg")).unwrap();
    let starts: Vec<usize> =
        (0..clip.len() - 2).filter(|&at| clip[at..at + 3] == [0xFF, 0xD8, 0xFF]).chain([clip.len()]).collect();
    starts.windows(2).map(|pair| clip[pair[0]..pair[1]].to_vec()).collect()
}

/// Writes a PPM of `width` x `height` pixels, each as `pixel(x, y)` says.
pub fn ppm(path: &Path, width: usize, height: usize, pixel: impl Fn(usize, usize) -> [u8; 3]) {
    let mut bytes = format!("P6 {width} {height} 255\n").into_bytes();
    for y in 0..height {
        bytes.extend((0..width).flat_map(|x| pixel(x, y)));
    }
    std::fs::write(path, bytes).unwrap();
}

/// Writes a PPM of one of [`COLOURS`].
pub fn plain(path: &Path, width: usize, height: usize, class: usize) {
    ppm(path, width, height, |_, _| COLOURS[class]);
}

/// Size and pixels of a PNG as they are stored, and its colour type.
pub fn read_png(path: &Path) -> ((u32, u32), Vec<u8>, png::ColorType) {
    let file = std::fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut decoder = png::Decoder::new(std::io::BufReader::new(file));
    decoder.set_transformations(png::Transformations::IDENTITY);
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    let info = reader.info();
    ((info.width, info.height), pixels, info.color_type)
}

/// Files in `folder`, by name.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}
