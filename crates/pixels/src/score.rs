//! How well class maps agree with labels: the confusion matrix and the figures made of it.

use std::path::Path;

use crate::frame::Size;

/// Labels of one picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// Width and height.
    pub size: Size,
    /// Class id per pixel, row by row.
    pub ids: Vec<u8>,
}

/// Reads a label PNG: grey values or palette indices are the class ids.
///
/// # Errors
/// Why the file can't be used; the path is left to the caller.
pub fn load_labels(path: &Path) -> Result<Labels, String> {
    let file = base::files::open(path).map_err(|error| error.to_string())?;
    let mut decoder = png::Decoder::new(std::io::BufReader::new(file));
    // Palette indices and small depths must come as they are stored.
    decoder.set_transformations(png::Transformations::IDENTITY);
    let mut reader = decoder.read_info().map_err(|error| format!("broken PNG: {error}"))?;
    let info = reader.info();
    let size = Size::new(info.width as usize, info.height as usize);
    let bits: usize = match (info.color_type, info.bit_depth) {
        (png::ColorType::Grayscale | png::ColorType::Indexed, depth) if depth != png::BitDepth::Sixteen => {
            depth as usize
        }
        (kind, depth) => {
            let kind = match kind {
                png::ColorType::Grayscale | png::ColorType::Indexed => "grey",
                png::ColorType::GrayscaleAlpha => "grey-and-alpha",
                png::ColorType::Rgb | png::ColorType::Rgba => "colour",
            };
            return Err(format!(
                "a {kind} PNG of {} bits a channel; labels are class ids in a grey or palette PNG of at most 8 bits",
                depth as u8
            ));
        }
    };
    let too_large = || format!("{size} is too large");
    let mut packed = vec![0; reader.output_buffer_size().ok_or_else(too_large)?];
    let frame = reader.next_frame(&mut packed).map_err(|error| format!("broken PNG: {error}"))?;
    let mut ids = Vec::with_capacity(size.pixels());
    for row in packed.chunks_exact(frame.line_size).take(size.height) {
        ids.extend((0..size.width).map(|x| {
            let bit = x * bits;
            let shift = 8 - bits - bit % 8;
            (row[bit / 8] >> shift) & (0xff >> (8 - bits))
        }));
    }
    Ok(Labels { size, ids })
}

/// A label that is neither a class nor void.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("label id {id} at pixel {at} is no class of the model (0 to {last}); name ids that are not judged with --void")]
pub struct UnknownLabel {
    id: u8,
    at: usize,
    last: usize,
}

/// Pixels by true and predicted class.
#[derive(Clone, Debug)]
pub struct Confusion {
    classes: usize,
    void: [bool; 256],
    /// Row: truth; column: prediction. Column `classes` takes predictions that are no class.
    counts: Vec<u64>,
}

impl Confusion {
    /// An empty matrix for `classes` classes; label ids in `void` are not judged.
    pub fn new(classes: usize, void: &[u8]) -> Self {
        let mut is_void = [false; 256];
        void.iter().for_each(|&id| is_void[usize::from(id)] = true);
        Self { classes, void: is_void, counts: vec![0; classes * (classes + 1)] }
    }

    /// Adds one picture. `truth` and `prediction` are class ids of the same pixels.
    ///
    /// # Errors
    /// At the first label that is no class.
    pub fn add(&mut self, truth: &[u8], prediction: &[u8]) -> Result<(), UnknownLabel> {
        let known = |id: u8| usize::from(id) < self.classes || self.void[usize::from(id)];
        if let Some((at, &id)) = truth.iter().enumerate().find(|(_, &id)| !known(id)) {
            return Err(UnknownLabel { id, at, last: self.classes - 1 });
        }
        for (&truth, &predicted) in truth.iter().zip(prediction) {
            if !self.void[usize::from(truth)] {
                let column = usize::from(predicted).min(self.classes);
                self.counts[usize::from(truth) * (self.classes + 1) + column] += 1;
            }
        }
        Ok(())
    }

    fn count(&self, truth: usize, predicted: usize) -> u64 {
        self.counts[truth * (self.classes + 1) + predicted]
    }

    /// Pixels that were judged.
    pub fn pixels(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Intersection over union of one class; None where it is neither in the labels nor predicted.
    pub fn iou(&self, class: usize) -> Option<f64> {
        self.iou_as_one(&std::iter::once(class))
    }

    /// Mean of the IoU of every class that has one.
    pub fn mean_iou(&self) -> Option<f64> {
        mean((0..self.classes).filter_map(|class| self.iou(class)))
    }

    /// Intersection over union of a group of classes, within which no class is mistaken for another; None where none of
    /// them is in the labels or predicted. Each class comes once.
    pub fn group_iou(&self, classes: &[u8]) -> Option<f64> {
        self.iou_as_one(&classes.iter().copied().map(usize::from))
    }

    /// Mean of the IoU of every group that has one.
    pub fn mean_group_iou<'a>(&self, groups: impl Iterator<Item = &'a [u8]>) -> Option<f64> {
        mean(groups.filter_map(|classes| self.group_iou(classes)))
    }

    /// IoU of pixels that are any of `classes`, each of which comes once.
    fn iou_as_one(&self, classes: &(impl Iterator<Item = usize> + Clone)) -> Option<f64> {
        let hit = self.block(classes.clone(), classes);
        let truth = self.block(classes.clone(), &(0..=self.classes));
        let predicted = self.block(0..self.classes, classes);
        let union = truth + predicted - hit;
        (union > 0).then(|| hit as f64 / union as f64)
    }

    /// Pixels of any of `truths` that were taken for any of `predicted`.
    fn block(&self, truths: impl Iterator<Item = usize>, predicted: &(impl Iterator<Item = usize> + Clone)) -> u64 {
        truths.map(|truth| predicted.clone().map(|predicted| self.count(truth, predicted)).sum::<u64>()).sum()
    }

    /// Share of judged pixels whose class is right.
    pub fn pixel_accuracy(&self) -> Option<f64> {
        let right: u64 = (0..self.classes).map(|class| self.count(class, class)).sum();
        let pixels = self.pixels();
        (pixels > 0).then(|| right as f64 / pixels as f64)
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_match_a_case_done_by_hand() {
        let mut confusion = Confusion::new(4, &[255]);
        //             hit hit miss   void  hit
        confusion.add(&[0, 0, 1, 1, 255, 2], &[0, 0, 0, 1, 3, 2]).unwrap();
        assert_eq!(confusion.iou(0), Some(2.0 / 3.0));
        assert_eq!(confusion.iou(1), Some(0.5));
        assert_eq!(confusion.iou(2), Some(1.0));
        assert_eq!(confusion.iou(3), None);
        assert_eq!(confusion.mean_iou(), Some((2.0 / 3.0 + 0.5 + 1.0) / 3.0));
        assert_eq!(confusion.pixel_accuracy(), Some(0.8));
        assert_eq!(confusion.pixels(), 5);
    }

    #[test]
    fn a_group_is_judged_as_one_class() {
        let mut confusion = Confusion::new(5, &[255]);
        //             car-car, car-bus, bus-road, road-car, sky-bus, void, bus-none
        confusion.add(&[0, 0, 1, 2, 3, 255, 1], &[0, 1, 2, 0, 1, 0, 9]).unwrap();
        let (vehicle, flat, absent) = (&[0, 1][..], &[2][..], &[4][..]);
        // Of four pixels of vehicles two are found; road and sky are taken for vehicles, though the sky is in no group.
        assert_eq!(confusion.group_iou(vehicle), Some(2.0 / 6.0));
        assert_eq!(confusion.group_iou(flat), Some(0.0));
        assert_eq!(confusion.group_iou(absent), None);
        assert_eq!(confusion.mean_group_iou([vehicle, flat, absent].into_iter()), Some(1.0 / 6.0));
        assert_eq!(confusion.mean_group_iou(std::iter::empty()), None);
    }

    #[test]
    fn predictions_that_are_no_class_count_as_wrong() {
        let mut confusion = Confusion::new(2, &[]);
        confusion.add(&[0, 1], &[255, 1]).unwrap();
        assert_eq!(confusion.iou(0), Some(0.0));
        assert_eq!(confusion.pixel_accuracy(), Some(0.5));
    }

    #[test]
    fn a_strange_label_is_named() {
        let error = Confusion::new(2, &[9]).add(&[0, 9, 7], &[0, 0, 0]).unwrap_err();
        assert!(error.to_string().starts_with("label id 7 at pixel 2 is no class of the model (0 to 1)"), "{error}");
    }

    #[test]
    fn labels_of_small_depth_are_unpacked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l.png");
        let mut encoder = png::Encoder::new(std::fs::File::create(&path).unwrap(), 3, 2);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::Four);
        encoder.set_palette([0; 48].to_vec());
        encoder.write_header().unwrap().write_image_data(&[0x12, 0x30, 0x45, 0x60]).unwrap();
        assert_eq!(load_labels(&path).unwrap(), Labels { size: Size::new(3, 2), ids: vec![1, 2, 3, 4, 5, 6] });
    }
}
