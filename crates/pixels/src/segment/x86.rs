//! Vectors for x86_64: 8 lanes by SSE4.1, 16 by AVX2. `kernel` says what the functions do.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::kernel::{render, Vector, Work};
use super::plan::Plan;
use super::scalar::FRACTION;

/// [`render`] with SSE4.1.
///
/// # Safety
/// The CPU has SSE4.1 and POPCNT.
#[target_feature(enable = "sse4.1,popcnt")]
pub(super) unsafe fn render_sse41(
    plan: &Plan,
    work: &mut Work,
    output: &[u8],
    mask: &mut [u8],
    counts: &mut [u64; 256],
) {
    // SAFETY: the caller vouches for the CPU.
    unsafe { render::<Sse41>(plan, work, output, mask, counts) }
}

/// [`render`] with AVX2.
///
/// # Safety
/// The CPU has AVX2, BMI1 and POPCNT.
#[target_feature(enable = "avx2,bmi1,popcnt")]
pub(super) unsafe fn render_avx2(
    plan: &Plan,
    work: &mut Work,
    output: &[u8],
    mask: &mut [u8],
    counts: &mut [u64; 256],
) {
    // SAFETY: the caller vouches for the CPU.
    unsafe { render::<Avx2>(plan, work, output, mask, counts) }
}

/// Eight lanes.
#[derive(Clone, Copy)]
pub(super) struct Sse41(__m128i);

/// Sixteen lanes.
#[derive(Clone, Copy)]
pub(super) struct Avx2(__m256i);

/// The least value and its first lane, of `values` with reversed order as unsigned: `value << 16 | lane`.
///
/// # Safety
/// The CPU has SSE4.1.
#[inline(always)]
unsafe fn least_key(values: __m128i) -> u32 {
    // SAFETY: the caller vouches for the CPU.
    let least = unsafe { _mm_cvtsi128_si32(_mm_minpos_epu16(values)) };
    (least as u32).rotate_left(16)
}

// SAFETY throughout: the trait's caller vouches for the CPU; loads and stores stay within slices whose length is
// checked just before.
impl Vector for Sse41 {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: i16) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm_set1_epi16(value) })
    }

    #[inline(always)]
    unsafe fn load(from: &[i16]) -> Self {
        let from = &from[..Self::LANES];
        // SAFETY: as above.
        Self(unsafe { _mm_loadu_si128(from.as_ptr().cast()) })
    }

    #[inline(always)]
    unsafe fn store(self, to: &mut [i16]) {
        let to = &mut to[..Self::LANES];
        // SAFETY: as above.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, to: &mut [u8]) {
        let to = &mut to[..Self::LANES];
        // SAFETY: as above. Lanes are 0 to 255, which packing keeps.
        unsafe { _mm_storel_epi64(to.as_mut_ptr().cast(), _mm_packus_epi16(self.0, self.0)) }
    }

    #[inline(always)]
    unsafe fn from_logits(from: &[u8], flip: u8) -> Self {
        let from = &from[..Self::LANES];
        // SAFETY: as above.
        unsafe {
            let bytes = _mm_xor_si128(_mm_loadl_epi64(from.as_ptr().cast()), _mm_set1_epi8(flip as i8));
            Self(_mm_slli_epi16::<{ FRACTION as i32 }>(_mm_cvtepi8_epi16(bytes)))
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm_add_epi16(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm_sub_epi16(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn mulhrs(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm_mulhrs_epi16(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm_max_epi16(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn greater(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm_cmpgt_epi16(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn equal(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm_cmpeq_epi16(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn or(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm_or_si128(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn select(self, yes: Self, no: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm_blendv_epi8(no.0, yes.0, self.0) })
    }

    #[inline(always)]
    unsafe fn bits(self) -> u32 {
        // SAFETY: as above.
        unsafe { _mm_movemask_epi8(_mm_packs_epi16(self.0, _mm_setzero_si128())) as u32 }
    }

    #[inline(always)]
    unsafe fn count(self, lanes: usize) -> u32 {
        // SAFETY: as above.
        let bits = unsafe { self.bits() };
        (bits & ((1 << lanes) - 1)).count_ones()
    }

    #[inline(always)]
    unsafe fn first_greatest(self) -> (i16, usize) {
        // SAFETY: as above. The exclusive or reverses the order and makes it unsigned.
        let key = unsafe { least_key(_mm_xor_si128(self.0, _mm_set1_epi16(i16::MAX))) };
        ((key >> 16) as i16 ^ i16::MAX, (key & 0xffff) as usize)
    }
}

// SAFETY throughout: the trait's caller vouches for the CPU; loads and stores stay within slices whose length is
// checked just before.
impl Vector for Avx2 {
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn splat(value: i16) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_set1_epi16(value) })
    }

    #[inline(always)]
    unsafe fn load(from: &[i16]) -> Self {
        let from = &from[..Self::LANES];
        // SAFETY: as above.
        Self(unsafe { _mm256_loadu_si256(from.as_ptr().cast()) })
    }

    #[inline(always)]
    unsafe fn store(self, to: &mut [i16]) {
        let to = &mut to[..Self::LANES];
        // SAFETY: as above.
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, to: &mut [u8]) {
        let to = &mut to[..Self::LANES];
        // SAFETY: as above. Lanes are 0 to 255, which packing keeps.
        unsafe {
            let (low, high) = (_mm256_castsi256_si128(self.0), _mm256_extracti128_si256::<1>(self.0));
            _mm_storeu_si128(to.as_mut_ptr().cast(), _mm_packus_epi16(low, high));
        }
    }

    #[inline(always)]
    unsafe fn from_logits(from: &[u8], flip: u8) -> Self {
        let from = &from[..Self::LANES];
        // SAFETY: as above.
        unsafe {
            let bytes = _mm_xor_si128(_mm_loadu_si128(from.as_ptr().cast()), _mm_set1_epi8(flip as i8));
            Self(_mm256_slli_epi16::<{ FRACTION as i32 }>(_mm256_cvtepi8_epi16(bytes)))
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_add_epi16(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_sub_epi16(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn mulhrs(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_mulhrs_epi16(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_max_epi16(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn greater(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_cmpgt_epi16(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn equal(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_cmpeq_epi16(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn or(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_or_si256(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn select(self, yes: Self, no: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_blendv_epi8(no.0, yes.0, self.0) })
    }

    #[inline(always)]
    unsafe fn bits(self) -> u32 {
        // SAFETY: as above.
        unsafe {
            let (low, high) = (_mm256_castsi256_si128(self.0), _mm256_extracti128_si256::<1>(self.0));
            _mm_movemask_epi8(_mm_packs_epi16(low, high)) as u32
        }
    }

    #[inline(always)]
    unsafe fn count(self, lanes: usize) -> u32 {
        // SAFETY: as above.
        let bits = unsafe { self.bits() };
        (bits & ((1 << lanes) - 1)).count_ones()
    }

    #[inline(always)]
    unsafe fn first_greatest(self) -> (i16, usize) {
        // SAFETY: as above. The exclusive or reverses the order and makes it unsigned.
        let key = unsafe {
            let reversed = _mm256_xor_si256(self.0, _mm256_set1_epi16(i16::MAX));
            let high = least_key(_mm256_extracti128_si256::<1>(reversed)) + 8;
            least_key(_mm256_castsi256_si128(reversed)).min(high)
        };
        ((key >> 16) as i16 ^ i16::MAX, (key & 0xffff) as usize)
    }
}
