//! What a backend must provide, and which backend a machine can run.
//!
//! The kernels know rows of bytes and nothing of pictures; the parent module calls them row by row.

#![allow(unsafe_code)]

use super::colour::Colour;
use super::strip::Tile;
use super::taps::{Row, Scale};
use crate::simd::Backend;

/// Bytes that SIMD kernels may write in one go: rows are padded to a multiple of it.
pub(super) const PAD: usize = 32;

/// How a row of the camera carries its components.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// One component.
    Plain,
    /// Two in turn.
    Pairs,
    /// Three in turn.
    Triples,
    /// `Y0 U Y1 V`.
    Yuyv,
    /// `U Y0 V Y1`.
    Uyvy,
}

/// Rows that become one: those at `offsets` in `ring`, by `weights`; without a scale there are just two.
pub(super) struct Mix<'a> {
    pub(super) ring: &'a [u8],
    pub(super) offsets: &'a [usize],
    /// As many as offsets; an even number.
    pub(super) weights: &'a [u8],
    pub(super) scale: Option<Scale>,
}

/// A row of each component, to be written.
pub(super) type RowsMut<'a> = [&'a mut [u8]; 3];

/// The kernels of a backend; `scalar.rs` says what each computes.
///
/// They are `unsafe` only because the processor must have their instructions, and [`Backend::kernels`] sees to that:
/// there is no other way to a backend's kernels. Lengths are the kernels' own concern; they panic rather than leave a
/// slice. A backend may keep the bytes of its rows in its own form between `load` and `finish`, so kernels of different
/// backends don't mix.
pub(super) struct Kernels {
    pub(super) load: unsafe fn(Packing, &[u8], RowsMut<'_>),
    pub(super) vertical: unsafe fn(&Mix<'_>, &mut [u8]),
    pub(super) horizontal: unsafe fn(&Row, &[u8], &mut [i16]),
    pub(super) widen: unsafe fn(&[u8], &mut [i16]),
    pub(super) widen_reversed: unsafe fn(&[u8], &mut [i16]),
    pub(super) finish: unsafe fn(&Colour, [&[i16]; 3], u8, &mut [u8]),
    pub(super) finish_apart: unsafe fn(&Colour, [&[i16]; 3], u8, RowsMut<'_>),
    pub(super) turn: unsafe fn(&Tile<'_>, &mut [u8]),
}

impl Kernels {
    /// Splits a row of the camera into its components. The destinations may be longer.
    pub(super) fn load(&self, packing: Packing, source: &[u8], into: [&mut [u8]; 3]) {
        // SAFETY: `Backend::kernels` gave these kernels because the processor can run them.
        unsafe { (self.load)(packing, source, into) }
    }

    /// Weighs rows against each other. The length is a multiple of [`PAD`].
    pub(super) fn vertical(&self, mix: &Mix<'_>, into: &mut [u8]) {
        // SAFETY: as in `load`.
        unsafe { (self.vertical)(mix, into) }
    }

    /// Weighs samples of a row; writes [`Row::padded`] outputs, which are `(value - 128) * 256`.
    pub(super) fn horizontal(&self, taps: &Row, source: &[u8], into: &mut [i16]) {
        // SAFETY: as in `load`.
        unsafe { (self.horizontal)(taps, source, into) }
    }

    /// The same where every output is a sample. The length is a multiple of [`PAD`].
    pub(super) fn widen(&self, source: &[u8], into: &mut [i16]) {
        // SAFETY: as in `load`.
        unsafe { (self.widen)(source, into) }
    }

    /// The same with the last sample first. `source` has as many samples as there are outputs; `into` is padded to [`PAD`].
    pub(super) fn widen_reversed(&self, source: &[u8], into: &mut [i16]) {
        // SAFETY: as in `load`.
        unsafe { (self.widen_reversed)(source, into) }
    }

    /// Resized rows, padded to [`PAD`], to R, G, B in turn, with the bits of `flip` flipped.
    pub(super) fn finish(&self, colour: &Colour, rows: [&[i16]; 3], flip: u8, into: &mut [u8]) {
        // SAFETY: as in `load`.
        unsafe { (self.finish)(colour, rows, flip, into) }
    }

    /// The same to R, G and B apart, padded as well.
    pub(super) fn finish_apart(&self, colour: &Colour, rows: [&[i16]; 3], flip: u8, into: [&mut [u8]; 3]) {
        // SAFETY: as in `load`.
        unsafe { (self.finish_apart)(colour, rows, flip, into) }
    }

    /// Rows of R, G and B apart to columns of R, G, B in turn.
    pub(super) fn turn(&self, tile: &Tile<'_>, into: &mut [u8]) {
        // SAFETY: as in `load`.
        unsafe { (self.turn)(tile, into) }
    }
}

impl Backend {
    /// The backend's kernels, if this machine can run them.
    pub(super) fn kernels(self) -> Option<&'static Kernels> {
        if !self.is_available() {
            return None;
        }
        match self {
            Self::Scalar => Some(&super::scalar::KERNELS),
            #[cfg(target_arch = "x86_64")]
            Self::Sse41 => Some(&super::x86::KERNELS),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Some(&super::avx2::KERNELS),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => Some(&super::neon::KERNELS),
            _ => None,
        }
    }
}
