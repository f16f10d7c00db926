//! Vectors for aarch64: 8 lanes by NEON, which every aarch64 CPU has. `kernel` says what the functions do.
#![allow(unsafe_code)]

use std::arch::aarch64::*;

use super::kernel::{render, Vector, Work};
use super::plan::Plan;
use super::scalar::FRACTION;

/// [`render`] with NEON.
///
/// # Safety
/// The CPU has NEON.
#[target_feature(enable = "neon")]
pub(super) unsafe fn render_neon(
    plan: &Plan,
    work: &mut Work,
    output: &[u8],
    mask: &mut [u8],
    counts: &mut [u64; 256],
) {
    // SAFETY: the caller vouches for the CPU.
    unsafe { render::<Neon>(plan, work, output, mask, counts) }
}

/// Eight lanes.
#[derive(Clone, Copy)]
pub(super) struct Neon(int16x8_t);

/// The numbers of the lanes.
static LANE: [u16; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
/// One bit per lane.
static BIT: [u16; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

impl Neon {
    /// The lanes as unsigned numbers.
    ///
    /// # Safety
    /// The CPU has NEON.
    #[inline(always)]
    unsafe fn unsigned(self) -> uint16x8_t {
        // SAFETY: the caller vouches for the CPU.
        unsafe { vreinterpretq_u16_s16(self.0) }
    }
}

// SAFETY throughout: the trait's caller vouches for the CPU; loads and stores stay within slices whose length is
// checked just before, and within the two arrays above.
impl Vector for Neon {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: i16) -> Self {
        // SAFETY: as above.
        Self(unsafe { vdupq_n_s16(value) })
    }

    #[inline(always)]
    unsafe fn load(from: &[i16]) -> Self {
        let from = &from[..Self::LANES];
        // SAFETY: as above.
        Self(unsafe { vld1q_s16(from.as_ptr()) })
    }

    #[inline(always)]
    unsafe fn store(self, to: &mut [i16]) {
        let to = &mut to[..Self::LANES];
        // SAFETY: as above.
        unsafe { vst1q_s16(to.as_mut_ptr(), self.0) }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, to: &mut [u8]) {
        let to = &mut to[..Self::LANES];
        // SAFETY: as above.
        unsafe { vst1_u8(to.as_mut_ptr(), vmovn_u16(self.unsigned())) }
    }

    #[inline(always)]
    unsafe fn from_logits(from: &[u8], flip: u8) -> Self {
        let from = &from[..Self::LANES];
        // SAFETY: as above.
        unsafe {
            let bytes = veor_u8(vld1_u8(from.as_ptr()), vdup_n_u8(flip));
            Self(vshll_n_s8::<{ FRACTION as i32 }>(vreinterpret_s8_u8(bytes)))
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vaddq_s16(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vsubq_s16(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn mulhrs(self, other: Self) -> Self {
        // SAFETY: as above. It is (2ab + 0x8000) >> 16, the same number; it saturates only for -32768 squared.
        Self(unsafe { vqrdmulhq_s16(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vmaxq_s16(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn greater(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vreinterpretq_s16_u16(vcgtq_s16(self.0, other.0)) })
    }

    #[inline(always)]
    unsafe fn equal(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vreinterpretq_s16_u16(vceqq_s16(self.0, other.0)) })
    }

    #[inline(always)]
    unsafe fn or(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vorrq_s16(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn select(self, yes: Self, no: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vbslq_s16(self.unsigned(), yes.0, no.0) })
    }

    #[inline(always)]
    unsafe fn bits(self) -> u32 {
        // SAFETY: as above.
        u32::from(unsafe { vaddvq_u16(vandq_u16(self.unsigned(), vld1q_u16(BIT.as_ptr()))) })
    }

    #[inline(always)]
    unsafe fn count(self, lanes: usize) -> u32 {
        // SAFETY: as above.
        unsafe {
            let counted = vcltq_u16(vld1q_u16(LANE.as_ptr()), vdupq_n_u16(lanes as u16));
            u32::from(vaddvq_u16(vshrq_n_u16::<15>(vandq_u16(self.unsigned(), counted))))
        }
    }

    #[inline(always)]
    unsafe fn first_greatest(self) -> (i16, usize) {
        // SAFETY: as above.
        unsafe {
            let greatest = vmaxvq_s16(self.0);
            let is_greatest = vceqq_s16(self.0, vdupq_n_s16(greatest));
            let lane = vminvq_u16(vbslq_u16(is_greatest, vld1q_u16(LANE.as_ptr()), vdupq_n_u16(u16::MAX)));
            (greatest, usize::from(lane))
        }
    }
}
