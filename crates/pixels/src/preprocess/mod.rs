//! From the camera's buffer into the model's input tensor in one pass: colour, resize, letterbox or stretch, quantise.
//!
//! Each source row that is needed is read once, in order, because camera memory can be uncached. The resize happens in
//! the source's own planes, before the colour matrix: both are linear, and the matrix then runs on the model's few
//! pixels. What a pixel becomes in the tensor is for [`PixelMap`] to say; running the model is for `infer`.

mod colour;
mod converter;
mod fit;
mod kernels;
mod map;
mod planes;
mod scalar;
mod source;
mod strip;
mod taps;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod entry;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod generic;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod vector;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
mod ideal;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod turned;

use crate::frame::{Layout, Picture, PictureFormat, Size};
use crate::orientation::Orientation;

pub use crate::simd::Backend;
pub use converter::{Converter, PAD};
pub use fit::Fit;
pub use map::{Normalisation, PixelMap};
pub use source::Source;

use colour::Colour;
use kernels::Kernels;
use planes::Planes;
use strip::Strip;

/// Longest side of a picture or tensor.
pub const MAX_SIDE: usize = 1 << 15;

/// A part of the tensor, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rect {
    /// First column.
    pub x: usize,
    /// First row.
    pub y: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// Why a picture can't become a tensor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PreprocessError {
    /// A side is zero or too long.
    #[error("{what} of {size}: sides must be 1 to {MAX_SIDE} pixels")]
    Size {
        /// Picture or tensor.
        what: &'static str,
        /// Its size.
        size: Size,
    },
    /// A planar layout with steps that no format has.
    #[error("chroma steps of {layout}: only 1, 2 and 4 are known")]
    ChromaSteps {
        /// The layout.
        layout: Layout,
    },
    /// The machine lacks the instructions.
    #[error("this machine can't run the {0} code")]
    Backend(Backend),
    /// The picture is of another format than the pass was prepared for.
    #[error("prepared for {} {} pictures, got a {} {}", expected.size, expected.layout, found.size, found.layout)]
    Format {
        /// What the pass was prepared for.
        expected: PictureFormat,
        /// What came.
        found: PictureFormat,
    },
    /// The picture lies in another way than the pass was prepared for.
    #[error("prepared for pictures that lie in another way")]
    Orientation {
        /// What the pass was prepared for.
        expected: Orientation,
        /// What came.
        found: Orientation,
    },
    /// The tensor is of another size than the pass was prepared for.
    #[error("the tensor needs {expected} bytes, got {found}")]
    TensorLength {
        /// Bytes of the prepared tensor.
        expected: usize,
        /// Bytes that came.
        found: usize,
    },
}

/// The prepared pass from pictures of one format into tensors of one size: uint8 or int8, NHWC `[1, h, w, 3]`, R G B.
pub struct Preprocessor {
    source: Source,
    target: Size,
    placement: Rect,
    map: PixelMap,
    backend: Backend,
    kernels: &'static Kernels,
    colour: Colour,
    planes: Planes,
    /// Where the camera's rows become columns.
    strip: Option<Strip>,
    /// A row of bars as the tensor holds it.
    bar: Vec<u8>,
}

impl Preprocessor {
    /// Prepares the pass with the fastest backend. `pad` is the pixel value of the bars, before the map.
    ///
    /// # Errors
    /// If a size or layout is unusable.
    pub fn new(
        source: impl Into<Source>,
        target: Size,
        fit: Fit,
        map: PixelMap,
        pad: u8,
    ) -> Result<Self, PreprocessError> {
        Self::with_backend(source, target, fit, map, pad, Backend::detect())
    }

    /// The same with a given backend.
    ///
    /// # Errors
    /// If a size or layout is unusable, or the machine can't run the backend.
    pub fn with_backend(
        source: impl Into<Source>,
        target: Size,
        fit: Fit,
        map: PixelMap,
        pad: u8,
        backend: Backend,
    ) -> Result<Self, PreprocessError> {
        let source = source.into();
        let Source { format, orientation } = source;
        for (what, size) in [("a picture", format.size), ("a tensor", target)] {
            if [size.width, size.height].iter().any(|side| !(1..=MAX_SIDE).contains(side)) {
                return Err(PreprocessError::Size { what, size });
            }
        }
        if let Layout::Planar { h, v } = format.layout {
            if ![h, v].iter().all(|step| matches!(step, 1 | 2 | 4)) {
                return Err(PreprocessError::ChromaSteps { layout: format.layout });
            }
        }
        let kernels = backend.kernels().ok_or(PreprocessError::Backend(backend))?;
        let placement = place(orientation.turn(format.size), target, fit);
        // Upright, and as the camera's rows and columns go.
        let upright = Size::new(placement.width, placement.height);
        let turned = orientation.turn(upright);
        let bar = (0..target.width * 3).map(|byte| map.apply(byte % 3, pad)).collect();
        Ok(Self {
            source,
            target,
            placement,
            map,
            backend,
            kernels,
            colour: Colour::new(format.layout, format.color),
            planes: Planes::new(source, turned),
            strip: orientation.is_swapped().then(|| Strip::new(turned.width)),
            bar,
        })
    }

    /// The pass in `slot`, made anew where that is empty or for another source or target. Its `fit`, `map` and `pad` must
    /// be the same in every call for one slot.
    ///
    /// # Errors
    /// As [`Self::new`]; the slot is empty then.
    pub fn renew<'a>(
        slot: &'a mut Option<Self>,
        source: Source,
        target: Size,
        fit: Fit,
        map: &PixelMap,
        pad: u8,
    ) -> Result<&'a mut Self, PreprocessError> {
        slot.take_if(|ready| ready.source != source || ready.target != target);
        match slot {
            Some(ready) => Ok(ready),
            empty => Ok(empty.insert(Self::new(source, target, fit, map.clone(), pad)?)),
        }
    }

    /// What pictures it takes.
    pub fn source(&self) -> Source {
        self.source
    }

    /// Where in the tensor the picture lies.
    pub fn placement(&self) -> Rect {
        self.placement
    }

    /// The code that runs.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Fills `tensor`, `height * width * 3` bytes of int8 or uint8, from `picture`. Allocates nothing.
    ///
    /// # Errors
    /// If the picture or the tensor is not what the pass was prepared for; the tensor is then untouched.
    pub fn run(&mut self, picture: &Picture<'_>, tensor: &mut [u8]) -> Result<(), PreprocessError> {
        let (expected, found) = (self.source, Source::from(picture));
        if found.format != expected.format {
            return Err(PreprocessError::Format { expected: expected.format, found: found.format });
        }
        if found.orientation != expected.orientation {
            let (expected, found) = (expected.orientation, found.orientation);
            return Err(PreprocessError::Orientation { expected, found });
        }
        let expected = self.bar.len() * self.target.height;
        if tensor.len() != expected {
            return Err(PreprocessError::TensorLength { expected, found: tensor.len() });
        }
        self.planes.restart();
        self.paint_bars(tensor);
        if self.strip.is_some() {
            self.run_turned(picture, tensor);
        } else {
            self.run_straight(picture, tensor);
        }
        Ok(())
    }

    fn paint_bars(&self, tensor: &mut [u8]) {
        let Rect { x, y, width, height } = self.placement;
        for (row, line) in tensor.chunks_exact_mut(self.bar.len()).enumerate() {
            if !(y..y + height).contains(&row) {
                line.copy_from_slice(&self.bar);
            } else if width < self.target.width {
                let (left, right) = (x * 3, (x + width) * 3);
                line[..left].copy_from_slice(&self.bar[..left]);
                line[right..].copy_from_slice(&self.bar[right..]);
            }
        }
    }

    /// The camera's rows are rows.
    fn run_straight(&mut self, picture: &Picture<'_>, tensor: &mut [u8]) {
        let Rect { x, y, width, height } = self.placement;
        let upwards = self.source.orientation.is_mirrored_down();
        for row in 0..height {
            let line = y + if upwards { height - 1 - row } else { row };
            let line = &mut tensor[line * self.bar.len() + x * 3..][..width * 3];
            let rows = self.planes.resize(self.kernels, picture, row);
            self.kernels.finish(&self.colour, rows, self.map.flip(), line);
            if let PixelMap::Table(tables) = &self.map {
                for pixel in line.chunks_exact_mut(3) {
                    for (byte, table) in pixel.iter_mut().zip(tables.iter()) {
                        *byte = table[usize::from(*byte)];
                    }
                }
            }
        }
    }

    /// The camera's rows are columns.
    fn run_turned(&mut self, picture: &Picture<'_>, tensor: &mut [u8]) {
        let Some(strip) = &mut self.strip else { return };
        let Rect { x, y, width, .. } = self.placement;
        let orientation = self.source.orientation;
        let mirrors = [orientation.is_mirrored_across(), orientation.is_mirrored_down()];
        let into = &mut tensor[y * self.bar.len() + x * 3..];
        for row in 0..width {
            let rows = self.planes.resize(self.kernels, picture, row);
            let mut finished = strip.row(row);
            self.kernels.finish_apart(&self.colour, rows, self.map.flip(), finished.each_mut().map(|row| &mut **row));
            if let PixelMap::Table(tables) = &self.map {
                for (row, table) in finished.into_iter().zip(tables.iter()) {
                    for byte in row {
                        *byte = table[usize::from(*byte)];
                    }
                }
            }
            strip.put(self.kernels, (row, width), mirrors, self.bar.len(), into);
        }
    }
}

/// Where a picture lies in a tensor.
fn place(picture: Size, tensor: Size, fit: Fit) -> Rect {
    let Size { width, height } = tensor;
    if fit == Fit::Stretch {
        return Rect { x: 0, y: 0, width, height };
    }
    // The side that fills the tensor is the one of the smaller ratio; compared across, to stay in whole numbers.
    let rounded = |value: usize, by: usize, over: usize| ((2 * value * by + over) / (2 * over)).max(1);
    let (width, height) = if picture.width * height > picture.height * width {
        (width, rounded(picture.height, width, picture.width).min(height))
    } else {
        (rounded(picture.width, height, picture.height).min(width), height)
    };
    Rect { x: (tensor.width - width) / 2, y: (tensor.height - height) / 2, width, height }
}
