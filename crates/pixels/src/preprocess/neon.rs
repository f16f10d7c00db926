//! Vectors of NEON. Rows hold the bytes as they are: products of unsigned bytes are at home here.

#![allow(unsafe_code)]

use std::arch::aarch64::*;

use super::entry::kernels;
use super::vector::{instructions, Vector};

kernels!(Neon, "neon");

/// 16 bytes each.
pub(super) struct Neon;

// Instructions are safe where their feature is enabled; what is `unsafe` inside these functions goes to memory.
impl Vector for Neon {
    type Bytes = uint8x16_t;
    type Words = int16x8_t;
    const BYTES: usize = 16;
    const FLIP: u8 = 0;

    instructions! { "neon";
        fn splat_byte(value: u8) -> uint8x16_t = vdupq_n_u8(value);
        fn xor(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t = veorq_u8(a, b);
        fn or(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t = vorrq_u8(a, b);
        fn shuffle(bytes: uint8x16_t, mask: uint8x16_t) -> uint8x16_t = vqtbl1q_u8(bytes, mask);
        fn zip(a: uint8x16_t, b: uint8x16_t) -> [uint8x16_t; 2] = [vzip1q_u8(a, b), vzip2q_u8(a, b)];
        fn splat(value: i16) -> int16x8_t = vdupq_n_s16(value);
        fn add(a: int16x8_t, b: int16x8_t) -> int16x8_t = vaddq_s16(a, b);
        fn sub(a: int16x8_t, b: int16x8_t) -> int16x8_t = vsubq_s16(a, b);
        // It is (2ab + 0x8000) >> 16, the same number; it saturates only for -32768 squared.
        fn mulhrs(a: int16x8_t, b: int16x8_t) -> int16x8_t = vqrdmulhq_s16(a, b);
        fn shift_left<const BITS: i32>(words: int16x8_t) -> int16x8_t = vshlq_n_s16::<BITS>(words);
        fn narrow<const BITS: i32>([low, high]: [int16x8_t; 2]) -> uint8x16_t =
            vreinterpretq_u8_s8(vrshrn_high_n_s16::<BITS>(vrshrn_n_s16::<BITS>(low), high));
        fn saturate<const BITS: i32>([low, high]: [int16x8_t; 2]) -> uint8x16_t =
            vqshrun_high_n_s16::<BITS>(vqshrun_n_s16::<BITS>(low), high);
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn read(from: *const u8) -> uint8x16_t {
        // SAFETY: the caller vouches for the bytes.
        unsafe { vld1q_u8(from) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn write(bytes: uint8x16_t, to: *mut u8) {
        // SAFETY: as above.
        unsafe { vst1q_u8(to, bytes) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn read_two([from, _]: [*const u8; 2]) -> uint8x16_t {
        // SAFETY: as above.
        unsafe { vld1q_u8(from) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn read_words(from: *const i16) -> int16x8_t {
        // SAFETY: as above.
        unsafe { vld1q_s16(from) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn write_words(words: int16x8_t, to: *mut i16) {
        // SAFETY: as above.
        unsafe { vst1q_s16(to, words) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn read_pair(from: *const i16) -> [int16x8_t; 2] {
        // SAFETY: as above.
        unsafe { [vld1q_s16(from), vld1q_s16(from.add(8))] }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn split_pairs(from: *const u8) -> [uint8x16_t; 2] {
        // SAFETY: as above.
        let uint8x16x2_t(a, b) = unsafe { vld2q_u8(from) };
        [a, b]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn split_triples(from: *const u8) -> [uint8x16_t; 3] {
        // SAFETY: as above.
        let uint8x16x3_t(a, b, c) = unsafe { vld3q_u8(from) };
        [a, b, c]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn split_quads(from: *const u8, chroma_first: bool, [y, u, v]: [*mut u8; 3]) {
        // SAFETY: as above.
        unsafe {
            let uint8x16x4_t(p, q, r, s) = vld4q_u8(from);
            let (luma, chroma) = if chroma_first { ((q, s), (p, r)) } else { ((p, r), (q, s)) };
            vst2q_u8(y, uint8x16x2_t(luma.0, luma.1));
            vst1q_u8(u, chroma.0);
            vst1q_u8(v, chroma.1);
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn write_triples([a, b, c]: [uint8x16_t; 3], to: *mut u8) {
        // SAFETY: as above.
        unsafe { vst3q_u8(to, uint8x16x3_t(a, b, c)) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn write_apart(bytes: uint8x16_t, [to, _]: [*mut u8; 2]) {
        // SAFETY: as above.
        unsafe { vst1q_u8(to, bytes) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn reverse(bytes: uint8x16_t) -> uint8x16_t {
        let halves = vrev64q_u8(bytes);
        vextq_u8::<8>(halves, halves)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn weigh(bytes: uint8x16_t, weights: uint8x16_t) -> int16x8_t {
        let low = vmull_u8(vget_low_u8(bytes), vget_low_u8(weights));
        vreinterpretq_s16_u16(vpaddq_u16(low, vmull_high_u8(bytes, weights)))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn add_rows(sums: [int16x8_t; 2], rows: [uint8x16_t; 2], weights: [u8; 2]) -> [int16x8_t; 2] {
        let (mut low, mut high) = (vreinterpretq_u16_s16(sums[0]), vreinterpretq_u16_s16(sums[1]));
        for (row, weight) in rows.into_iter().zip(weights) {
            low = vmlal_u8(low, vget_low_u8(row), vdup_n_u8(weight));
            high = vmlal_high_u8(high, row, vdupq_n_u8(weight));
        }
        [vreinterpretq_s16_u16(low), vreinterpretq_s16_u16(high)]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn widen(bytes: uint8x16_t) -> [int16x8_t; 2] {
        let zero = vdupq_n_u8(0);
        [vreinterpretq_s16_u8(vzip1q_u8(zero, bytes)), vreinterpretq_s16_u8(vzip2q_u8(zero, bytes))]
    }
}
