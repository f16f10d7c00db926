//! [`Decoder`]: checks what it is given, picks the fastest way the CPU has, and fills the [`Summary`].
//!
//! The ways themselves are in `scalar` (the specification), `kernel` (the same in vectors) and `labels`.
#![allow(unsafe_code)]

use super::confidence::Confidence;
use super::labels::Labels;
use super::plan::{Grid, Plan, Span};
use super::{OutputKind, OutputSpec, Region, ScoreType, Summary};
use crate::frame::Size;
use crate::simd::Backend;

/// Longest side of a grid or mask.
pub const MAX_SIDE: usize = 16384;

impl Backend {
    /// 16-bit lanes of its vectors.
    const fn lanes(self) -> usize {
        match self {
            Self::Scalar => 1,
            Self::Sse41 | Self::Neon => 8,
            Self::Avx2 => 16,
        }
    }
}

/// Why an output can't be decoded.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A side is 0 or longer than [`MAX_SIDE`].
    #[error("{what} of {size} has a side that is not 1 to {MAX_SIDE}")]
    Side {
        /// `output grid` or `mask`.
        what: &'static str,
        /// Its size.
        size: Size,
    },
    /// Class ids must fit a byte beside [`VOID`](super::VOID), and one class is no segmentation.
    #[error("logits of {0} classes; 2 to 255 can be decoded")]
    Classes(usize),
    /// The quantisation step is not a positive number.
    #[error("logits have a quantisation scale of {0}; it must be more than 0")]
    Scale(f32),
    /// The region is empty, not a number, or reaches outside the input.
    #[error("the picture can't cover {}x{} at ({}, {}) of the model's input: must be within 0 to 1, and not empty",
        .0.width, .0.height, .0.x, .0.y)]
    Region(Region),
    /// This CPU lacks the instructions.
    #[error("this CPU can't decode with {0}")]
    Backend(Backend),
    /// The tensor has another length than its description.
    #[error("output tensor has {found} bytes, expected {expected}")]
    OutputLength {
        /// Bytes that the [`OutputSpec`] asks for.
        expected: usize,
        /// Bytes there are.
        found: usize,
    },
    /// The mask buffer has another length than its size.
    #[error("mask has {found} pixels, expected {expected}")]
    MaskLength {
        /// Pixels that the mask's size asks for.
        expected: usize,
        /// Pixels there are.
        found: usize,
    },
}

/// Turns output tensors of one shape into class maps of one size. Everything is allocated in advance.
#[derive(Debug)]
pub struct Decoder {
    spec: OutputSpec,
    mask: Size,
    backend: Backend,
    method: Method,
}

#[derive(Debug)]
enum Method {
    Logits(Box<Logits>),
    Labels(Labels),
}

#[derive(Debug)]
struct Logits {
    plan: Plan,
    work: Work,
    confidence: Confidence,
}

/// Scratch memory of the backend.
#[derive(Debug)]
enum Work {
    /// One blended grid row.
    Scalar(Vec<i16>),
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    Vector(Box<super::kernel::Work>),
}

impl Decoder {
    /// A decoder for tensors of `spec`, whose `region` shows the picture, into masks of size `mask`.
    ///
    /// # Errors
    /// When a side is 0 or too long, the classes are not 2 to 255, or the region or scale make no sense.
    pub fn new(spec: OutputSpec, region: Region, mask: Size) -> Result<Self, DecodeError> {
        Self::with_backend(spec, region, mask, Backend::detect())
    }

    /// The same with a backend of the caller's choice.
    ///
    /// # Errors
    /// As [`Decoder::new`], and when this CPU lacks the backend's instructions.
    pub fn with_backend(spec: OutputSpec, region: Region, mask: Size, backend: Backend) -> Result<Self, DecodeError> {
        let grid = Size::new(spec.width, spec.height);
        for (what, size) in [("output grid", grid), ("mask", mask)] {
            let fits = 1..=MAX_SIDE;
            if !fits.contains(&size.width) || !fits.contains(&size.height) {
                return Err(DecodeError::Side { what, size });
            }
        }
        if !backend.is_available() {
            return Err(DecodeError::Backend(backend));
        }
        let (horizontal, vertical) = spans(region)?;
        let method = match spec.kind {
            OutputKind::Labels { label } => {
                let (grid, mask) = ((spec.width, spec.height), (mask.width, mask.height));
                Method::Labels(Labels::new(label, grid, (horizontal, vertical), mask))
            }
            OutputKind::Logits { score, classes, scale, .. } => {
                if !(2..=255).contains(&classes) {
                    return Err(DecodeError::Classes(classes));
                }
                if !(scale.is_finite() && scale > 0.0) {
                    return Err(DecodeError::Scale(scale));
                }
                let flip = match score {
                    ScoreType::Int8 => 0,
                    ScoreType::Uint8 => 0x80,
                };
                let grid = Grid { width: spec.width, height: spec.height, classes, flip };
                let plan =
                    Plan::new(grid, horizontal.taps(mask.width, grid.width), vertical.taps(mask.height, grid.height));
                let work = match backend {
                    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
                    Backend::Sse41 | Backend::Avx2 | Backend::Neon => {
                        Work::Vector(Box::new(super::kernel::Work::new(&plan, backend.lanes())))
                    }
                    _ => Work::Scalar(vec![0; grid.width * classes]),
                };
                let confidence = Confidence::new(scale, horizontal.cells(grid.width), vertical.cells(grid.height));
                Method::Logits(Box::new(Logits { plan, work, confidence }))
            }
        };
        Ok(Self { spec, mask, backend, method })
    }

    /// Size of the masks.
    pub const fn mask_size(&self) -> Size {
        self.mask
    }

    /// The instructions in use. Labels are decoded without any.
    pub const fn backend(&self) -> Backend {
        self.backend
    }

    /// Decodes one tensor. `output` is its raw little-endian bytes; `mask` gets a class id per pixel, row by row;
    /// `summary` is overwritten. Allocates nothing.
    ///
    /// # Errors
    /// When a buffer has another length than the decoder was made for. Nothing is written then.
    pub fn decode(&mut self, output: &[u8], mask: &mut [u8], summary: &mut Summary) -> Result<(), DecodeError> {
        let (expected, found) = (self.spec.bytes(), output.len());
        if expected != found {
            return Err(DecodeError::OutputLength { expected, found });
        }
        let (expected, found) = (self.mask.pixels(), mask.len());
        if expected != found {
            return Err(DecodeError::MaskLength { expected, found });
        }
        summary.counts.fill(0);
        summary.confidence = match &mut self.method {
            Method::Labels(labels) => {
                labels.render(output, mask, &mut summary.counts);
                None
            }
            Method::Logits(logits) => {
                let Logits { plan, work, confidence } = &mut **logits;
                match work {
                    Work::Scalar(blended) => super::scalar::render(plan, output, blended, mask, &mut summary.counts),
                    #[cfg(target_arch = "x86_64")]
                    Work::Vector(work) => {
                        let counts = &mut summary.counts;
                        // SAFETY: `with_backend` refused backends that the CPU lacks.
                        unsafe {
                            match self.backend {
                                Backend::Avx2 => super::x86::render_avx2(plan, work, output, mask, counts),
                                _ => super::x86::render_sse41(plan, work, output, mask, counts),
                            }
                        }
                    }
                    #[cfg(target_arch = "aarch64")]
                    // SAFETY: `with_backend` refused backends that the CPU lacks.
                    Work::Vector(work) => unsafe {
                        super::neon::render_neon(plan, work, output, mask, &mut summary.counts);
                    },
                }
                Some(confidence.mean(plan.grid, output))
            }
        };
        Ok(())
    }
}

/// The two axes of a region that lies inside the input. Edges may be past 1 by what `f32` sums round to.
fn spans(region: Region) -> Result<(Span, Span), DecodeError> {
    let span = |origin: f32, extent: f32| {
        let inside = origin >= 0.0 && extent > 0.0 && origin + extent <= 1.0 + 1e-6;
        inside.then_some(Span { origin, extent }).ok_or(DecodeError::Region(region))
    };
    Ok((span(region.x, region.width)?, span(region.y, region.height)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
