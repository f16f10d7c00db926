//! `pspnetd predict` and `pspnetd eval`: the right classes in every pixel, the right figures, the right exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};

use pixels::score::load_labels;
use serde_json::Value;

use support::clips::{files, plain, read_png, CLASSES, COLOURS};
use support::{colours, finish, grouped_colours, media, model, pspnetd, Finished};

/// `predict` with the colour model.
fn predict(images: &[PathBuf], rest: &[&str]) -> Finished {
    let mut command = pspnetd(["predict", "--set", "model.threads=1"]);
    command.args(images).args(rest).arg("--model").arg(colours());
    finish(command)
}

/// `eval` of `images` against `labels` with the colour model.
fn eval(images: &Path, labels: &Path, rest: &[&str]) -> Finished {
    let mut command = pspnetd(["eval", "--set", "model.threads=1"]);
    command.arg("--images").arg(images).arg("--labels").arg(labels).args(rest).arg("--model").arg(colours());
    finish(command)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Writes class ids as a grey PNG.
fn label_png(path: &Path, width: u32, height: u32, id: u8) {
    let mut encoder = png::Encoder::new(std::fs::File::create(path).unwrap(), width, height);
    encoder.set_color(png::ColorType::Grayscale);
    let ids = vec![id; (width * height) as usize];
    encoder.write_header().unwrap().write_image_data(&ids).unwrap();
}

#[test]
fn a_mask_has_the_pictures_size_and_the_right_class_in_every_pixel() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("made/here");
    let images = files(&media("colours"));
    let finished = predict(&images, &["-o", text(&out)]).expect(0);
    assert_eq!(finished.stdout, "");
    assert_eq!(files(&out).len(), 2 * images.len());
    for image in images {
        let stem = image.file_stem().unwrap().to_str().unwrap().to_owned();
        let truth = load_labels(&media("colours-labels").join(format!("{stem}.png"))).unwrap();
        let (size, mask, kind) = read_png(&out.join(format!("{stem}_mask.png")));
        assert_eq!(kind, png::ColorType::Indexed);
        assert_eq!(size, (truth.size.width as u32, truth.size.height as u32));
        assert!(mask == truth.ids, "{stem}: the mask isn't the truth");
        // The overlay lies half over the picture, and the colours are those of the picture itself.
        let (overlay_size, overlay, kind) = read_png(&out.join(format!("{stem}_overlay.png")));
        assert_eq!((overlay_size, kind), (size, png::ColorType::Rgb));
        for (pixel, &id) in overlay.chunks_exact(3).zip(&truth.ids) {
            let near = pixel.iter().zip(COLOURS[usize::from(id)]).all(|(&a, b)| a.abs_diff(b) < 40);
            assert!(near, "{stem}: {pixel:?} in class {id}");
        }
    }
}

/// A PNG whose EXIF says that it must be turned by 180 degrees, with what `turned` stores.
fn upside_down(from: &Path, to: &Path) {
    let (size, mut pixels, kind) = read_png(from);
    assert_eq!(kind, png::ColorType::Rgb);
    let mut rows: Vec<[u8; 3]> = pixels.chunks_exact(3).map(|pixel| pixel.try_into().unwrap()).collect();
    rows.reverse();
    pixels = rows.concat();
    let mut info = png::Info::with_size(size.0, size.1);
    (info.color_type, info.bit_depth) = (kind, png::BitDepth::Eight);
    info.exif_metadata = Some(b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x03\0\0\0\0\0\0\0".as_slice().into());
    let encoder = png::Encoder::with_info(std::fs::File::create(to).unwrap(), info).unwrap();
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
}

#[test]
fn a_picture_that_exif_turns_gives_what_the_upright_one_gives() {
    let folder = tempfile::tempdir().unwrap();
    let [stored, out, labels] = ["stored", "out", "labels"].map(|name| folder.path().join(name));
    for folder in [&stored, &out, &labels] {
        std::fs::create_dir(folder).unwrap();
    }
    let image = media("colours/1_vertical.png");
    let turned = stored.join("1_vertical.png");
    upside_down(&image, &turned);
    assert_ne!(read_png(&image).1, read_png(&turned).1, "the picture is the same upside down");
    let records = predict(&[image.clone(), turned], &["--json"]).expect(0).records();
    assert_eq!(records[0]["classes"], records[1]["classes"]);
    predict(&[stored.join("1_vertical.png")], &["-o", text(&out)]).expect(0);
    let truth = load_labels(&media("colours-labels/1_vertical.png")).unwrap();
    assert!(read_png(&out.join("1_vertical_mask.png")).1 == truth.ids, "the mask isn't the upright picture's");
    // The labels of the upright picture.
    std::fs::copy(media("colours-labels/1_vertical.png"), labels.join("1_vertical.png")).unwrap();
    let judged: Value = serde_json::from_str(&eval(&stored, &labels, &["--json"]).expect(0).stdout).unwrap();
    assert_eq!(judged["miou"], 1.0, "{judged}");
}

#[test]
fn a_mask_shows_the_manifests_colours() {
    let folder = tempfile::tempdir().unwrap();
    predict(&[media("colours/1_vertical.png")], &["-o", text(folder.path())]).expect(0);
    let file = std::fs::File::open(folder.path().join("1_vertical_mask.png")).unwrap();
    let reader = png::Decoder::new(std::io::BufReader::new(file)).read_info().unwrap();
    let palette = reader.info().palette.as_ref().unwrap();
    assert_eq!(palette[..24], COLOURS.concat());
}

#[test]
fn areas_come_as_one_json_line_per_picture() {
    let images = files(&media("colours"));
    let finished = predict(&images, &["--json"]).expect(0);
    let records = finished.records();
    assert_eq!(records.len(), images.len());
    for (record, image) in records.iter().zip(&images) {
        assert_eq!(record["image"], text(image));
        let stem = image.file_stem().unwrap().to_str().unwrap();
        let truth = load_labels(&media("colours-labels").join(format!("{stem}.png"))).unwrap();
        assert_eq!(
            (record["width"].as_u64(), record["height"].as_u64()),
            (Some(truth.size.width as u64), Some(truth.size.height as u64))
        );
        let mut areas = [0.0; 8];
        truth.ids.iter().for_each(|&id| areas[usize::from(id)] += 1.0 / truth.ids.len() as f64);
        support::clips::expect_areas(record, &areas, 1e-6);
        assert!(record["latency_ms"]["infer"].as_f64().unwrap() > 0.0 && record["confidence"].is_number());
    }
}

#[test]
fn unusable_pictures_are_named_and_the_others_are_done() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good.ppm");
    plain(&good, 96, 64, 2);
    let broken = folder.path().join("broken.png");
    std::fs::write(&broken, b"no picture").unwrap();
    let cut = folder.path().join("cut.jpg");
    let jpeg = std::fs::read(media("colours/5_double.jpg")).unwrap();
    std::fs::write(&cut, &jpeg[..jpeg.len() / 2]).unwrap();
    let missing = folder.path().join("missing.png");
    for (bad, code) in [(&missing, 66), (&broken, 65), (&cut, 65), (&folder.path().to_owned(), 74)] {
        let out = folder.path().join(format!("out{code}"));
        let finished = predict(&[bad.clone(), good.clone()], &["-o", text(&out), "--json"]);
        let finished = finished.expect(code).says([text(bad)]);
        assert_eq!(finished.records().len(), 1);
        assert!(out.join("good_mask.png").is_file());
    }
}

#[test]
fn pictures_that_would_overwrite_each_other_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("a.ppm"), folder.path().join("a.png"));
    plain(&one, 4, 4, 0);
    plain(&two, 4, 4, 0);
    let out = folder.path().join("out");
    predict(&[one.clone(), two.clone()], &["-o", text(&out)]).expect(65).says(["would both write a_mask.png"]);
    assert!(!out.exists());
    predict(&[one, two], &["--json"]).expect(0);
}

#[test]
fn an_output_that_cannot_be_written_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let image = media("colours/1_vertical.png");
    predict(std::slice::from_ref(&image), &["-o", text(&file.join("x"))]).expect(74).says([text(&file)]);
    predict(&[image], &[]).expect(2).says(["--output <DIR>", "--json"]);
    finish(pspnetd(["predict"])).expect(2);
}

#[test]
fn every_kind_of_model_predicts() {
    let image = media("colours/3_double.png");
    let truth = load_labels(&media("colours-labels/3_double.png")).unwrap();
    for name in ["colours_96x64_uint8", "argmax_96x64_int64", "colours_96x64_int8_stride4", "colours-imagenet"] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = pspnetd(["predict", "-o", text(folder.path())]);
        command.arg(&image).arg("--model").arg(model(name));
        finish(command).expect(0);
        assert!(read_png(&folder.path().join("3_double_mask.png")).1 == truth.ids, "{name}");
    }
}

#[test]
fn eval_finds_exactly_what_is_known() {
    let expected: Value = serde_json::from_slice(&std::fs::read(media("colours-expected.json")).unwrap()).unwrap();
    for (labels, expected) in expected.as_object().unwrap() {
        let found = eval(&media("colours"), &media(labels), &["--json", "--void", "255"]).expect(0).records().remove(0);
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&found[key], value, "{labels}: {key}");
        }
        assert_eq!(found["pictures"], 5);
        assert!(found["ms_per_picture"].as_f64().unwrap() > 0.0);
        // The table has the same figures.
        let table = eval(&media("colours"), &media(labels), &[]).expect(0).stdout;
        for name in CLASSES {
            let percent = format!("{:.2}", 100.0 * expected["iou"][name].as_f64().unwrap());
            let row = table.lines().find(|line| line.starts_with(name)).unwrap();
            assert!(row.ends_with(&percent), "{row}: {percent}");
        }
        let percent = format!("{:.2}", 100.0 * expected["miou"].as_f64().unwrap());
        assert!(table.lines().any(|line| line.starts_with("mIoU") && line.ends_with(&percent)), "{table}");
        assert!(table.contains("pixel accuracy") && table.contains("5 pictures, "), "{table}");
    }
}

#[test]
fn groups_are_judged_and_measured_where_the_manifest_names_them() {
    let grouped = grouped_colours();
    let model = grouped.path().join("model.tflite");
    let folder = tempfile::tempdir().unwrap();
    // A white picture labelled yellow, which is right as a group, and a blue one labelled black, which is in none.
    let (images, labels) = (folder.path().join("images"), folder.path());
    std::fs::create_dir(&images).unwrap();
    for (stem, class, label) in [("a", 1, 5), ("b", 4, 0)] {
        plain(&images.join(format!("{stem}.ppm")), 96, 64, class);
        label_png(&labels.join(format!("{stem}.png")), 96, 64, label);
    }
    let run = |arguments: &[&str]| {
        let mut command = pspnetd(arguments);
        command.arg("--model").arg(&model);
        finish(command).expect(0)
    };
    let judge = ["eval", "--images", text(&images), "--labels", text(labels)];
    let judged = run(&[&judge[..], &["--json"]].concat()).records().remove(0);
    assert_eq!((&judged["miou"], &judged["group_miou"]), (&0.0.into(), &0.5.into()));
    assert_eq!(judged["group_iou"], serde_json::json!({"bright": 1.0, "primary": 0.0}));
    let table = run(&judge).stdout;
    assert!(table.lines().any(|line| line.starts_with("groups mIoU ") && line.ends_with(" 50.00")), "{table}");
    let record = run(&["predict", "--json", text(&images.join("b.ppm"))]).records().remove(0);
    assert_eq!(record["groups"], serde_json::json!({"bright": 0.0, "primary": 1.0}));
    // Without groups nothing speaks of them.
    let record = predict(&[images.join("b.ppm")], &["--json"]).expect(0).records().remove(0);
    assert!(record.get("groups").is_none(), "{record}");
    let judged = eval(&images, labels, &["--json"]).expect(0).records().remove(0);
    assert!(judged.get("group_miou").is_none() && judged.get("group_iou").is_none(), "{judged}");
    assert!(!eval(&images, labels, &[]).expect(0).stdout.contains("groups"));
}

#[test]
fn eval_refuses_what_it_cannot_judge() {
    let folder = tempfile::tempdir().unwrap();
    let (images, labels) = (folder.path().join("images"), folder.path().join("labels"));
    std::fs::create_dir(&images).unwrap();
    std::fs::create_dir(&labels).unwrap();
    eval(&images, &labels, &[]).expect(66).says(["no pictures there"]);
    plain(&images.join("a.ppm"), 96, 64, 2);
    eval(&images, &labels, &[]).expect(66).says(["no labels there"]);
    label_png(&labels.join("b.png"), 96, 64, 2);
    eval(&images, &labels, &[]).expect(66).says(["no picture in", "has the name of a label in"]);
    label_png(&labels.join("a.png"), 95, 64, 2);
    eval(&images, &labels, &[]).expect(65).says(["labels of 95x64 for a picture of 96x64"]);
    label_png(&labels.join("a.png"), 96, 64, 9);
    eval(&images, &labels, &[]).expect(65).says(["label id 9 at pixel 0 is no class of the model (0 to 7)", "--void"]);
    let judged = eval(&images, &labels, &["--void", "9", "--json"]).expect(0).records().remove(0);
    assert_eq!((judged["pixels"].as_u64(), judged["miou"].is_null()), (Some(0), true));
    std::fs::write(labels.join("a.png"), b"no picture").unwrap();
    eval(&images, &labels, &[]).expect(65).says(["a.png: broken PNG"]);
    label_png(&labels.join("a.png"), 96, 64, 2);
    let judged = eval(&images, &labels, &["--json"]).expect(0).says(["1 without a picture are left out: b"]);
    assert_eq!(judged.records()[0]["miou"], 1.0);
    plain(&images.join("a.png"), 96, 64, 2);
    eval(&images, &labels, &[]).expect(65).says(["have one stem; keep one"]);
    eval(&folder.path().join("none"), &labels, &[]).expect(66).says(["No such file"]);
}
