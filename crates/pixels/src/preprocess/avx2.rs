//! Vectors of AVX2. As with SSE4.1, rows hold bytes with the upper bit flipped.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::entry::kernels;
use super::vector::{instructions, Vector};
use super::x86::{shuffle_three, split_pairs, split_quads, split_triples, Shuffles, FLIP, MERGE};

kernels!(Avx2, "avx2");

/// 32 bytes each.
pub(super) struct Avx2;

/// 16 bytes from either pointer.
///
/// # Safety
/// They belong to the caller.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn read_two(low: *const __m128i, high: *const __m128i) -> __m256i {
    // SAFETY: the caller vouches for the bytes.
    let (low, high) = unsafe { (_mm_loadu_si128(low), _mm_loadu_si128(high)) };
    _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), high)
}

// Instructions are safe where their feature is enabled; what is `unsafe` inside these functions goes to memory.
impl Vector for Avx2 {
    type Bytes = __m256i;
    type Words = __m256i;
    const BYTES: usize = 32;
    const FLIP: u8 = FLIP;

    instructions! { "avx2";
        fn splat_byte(value: u8) -> __m256i = _mm256_set1_epi8(value as i8);
        fn xor(a: __m256i, b: __m256i) -> __m256i = _mm256_xor_si256(a, b);
        fn or(a: __m256i, b: __m256i) -> __m256i = _mm256_or_si256(a, b);
        fn shuffle(bytes: __m256i, mask: __m256i) -> __m256i = _mm256_shuffle_epi8(bytes, mask);
        fn zip(a: __m256i, b: __m256i) -> [__m256i; 2] = [_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b)];
        fn splat(value: i16) -> __m256i = _mm256_set1_epi16(value);
        fn add(a: __m256i, b: __m256i) -> __m256i = _mm256_add_epi16(a, b);
        fn sub(a: __m256i, b: __m256i) -> __m256i = _mm256_sub_epi16(a, b);
        fn mulhrs(a: __m256i, b: __m256i) -> __m256i = _mm256_mulhrs_epi16(a, b);
        fn shift_left<const BITS: i32>(words: __m256i) -> __m256i = _mm256_slli_epi16::<BITS>(words);
        fn weigh(bytes: __m256i, weights: __m256i) -> __m256i = _mm256_maddubs_epi16(weights, bytes);
        fn saturate<const BITS: i32>([low, high]: [__m256i; 2]) -> __m256i =
            _mm256_packus_epi16(_mm256_srai_epi16::<BITS>(low), _mm256_srai_epi16::<BITS>(high));
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn read(from: *const u8) -> __m256i {
        // SAFETY: the caller vouches for the bytes.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn write(bytes: __m256i, to: *mut u8) {
        // SAFETY: as above.
        unsafe { _mm256_storeu_si256(to.cast(), bytes) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn read_two([from, next]: [*const u8; 2]) -> __m256i {
        // SAFETY: as above.
        unsafe { read_two(from.cast(), next.cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn read_words(from: *const i16) -> __m256i {
        // SAFETY: as above.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn write_words(words: __m256i, to: *mut i16) {
        // SAFETY: as above.
        unsafe { _mm256_storeu_si256(to.cast(), words) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn read_pair(from: *const i16) -> [__m256i; 2] {
        // SAFETY: as above.
        unsafe {
            // Values 0-7 with 16-23, and 8-15 with 24-31: packing in 128-bit halves then gives them in order.
            [read_two(from.cast(), from.add(16).cast()), read_two(from.add(8).cast(), from.add(24).cast())]
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn split_pairs(from: *const u8) -> [__m256i; 2] {
        // SAFETY: as above.
        unsafe { split_pairs::<Self>(from) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn split_triples(from: *const u8) -> [__m256i; 3] {
        // SAFETY: as above.
        unsafe { split_triples::<Self>(from) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn split_quads(from: *const u8, chroma_first: bool, to: [*mut u8; 3]) {
        // SAFETY: as above.
        unsafe { split_quads::<Self>(from, chroma_first, to) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn write_triples(triples: [__m256i; 3], to: *mut u8) {
        // SAFETY: as above.
        unsafe {
            let [p, q, r] = shuffle_three::<Self>(triples, &MERGE);
            _mm256_storeu_si256(to.cast(), _mm256_permute2x128_si256::<0x20>(p, q));
            _mm256_storeu_si256(to.add(32).cast(), _mm256_blend_epi32::<0xf0>(r, p));
            _mm256_storeu_si256(to.add(64).cast(), _mm256_permute2x128_si256::<0x31>(q, r));
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn write_apart(bytes: __m256i, to: [*mut u8; 2]) {
        // SAFETY: as above.
        unsafe {
            _mm_storeu_si128(to[0].cast(), _mm256_castsi256_si128(bytes));
            _mm_storeu_si128(to[1].cast(), _mm256_extracti128_si256::<1>(bytes));
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn reverse(bytes: __m256i) -> __m256i {
        let places = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        let halves = _mm256_shuffle_epi8(bytes, _mm256_broadcastsi128_si256(places));
        _mm256_permute2x128_si256::<1>(halves, halves)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn add_rows(sums: [__m256i; 2], [a, b]: [__m256i; 2], weights: [u8; 2]) -> [__m256i; 2] {
        let weights = _mm256_set1_epi16(i16::from_le_bytes(weights));
        let low = _mm256_maddubs_epi16(weights, _mm256_unpacklo_epi8(a, b));
        let high = _mm256_maddubs_epi16(weights, _mm256_unpackhi_epi8(a, b));
        [_mm256_add_epi16(sums[0], low), _mm256_add_epi16(sums[1], high)]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn widen(bytes: __m256i) -> [__m256i; 2] {
        let (low, high) = (_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes));
        [_mm256_slli_epi16::<8>(_mm256_cvtepi8_epi16(low)), _mm256_slli_epi16::<8>(_mm256_cvtepi8_epi16(high))]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn narrow<const BITS: i32>([low, high]: [__m256i; 2]) -> __m256i {
        let half = _mm256_set1_epi16(1 << (BITS - 1));
        let (low, high) = (_mm256_add_epi16(low, half), _mm256_add_epi16(high, half));
        _mm256_packs_epi16(_mm256_srai_epi16::<BITS>(low), _mm256_srai_epi16::<BITS>(high))
    }
}

impl Shuffles for Avx2 {
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn unzip(a: __m256i, b: __m256i) -> [__m256i; 2] {
        let low = _mm256_set1_epi16(0xff);
        let even = _mm256_packus_epi16(_mm256_and_si256(a, low), _mm256_and_si256(b, low));
        let odd = _mm256_packus_epi16(_mm256_srli_epi16::<8>(a), _mm256_srli_epi16::<8>(b));
        // Packing works in 128-bit halves; the permutation puts the quarters back in order.
        [_mm256_permute4x64_epi64::<0b11_01_10_00>(even), _mm256_permute4x64_epi64::<0b11_01_10_00>(odd)]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn mask(mask: &[u8; 16]) -> __m256i {
        // SAFETY: the array is as long as a half of the vector.
        _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(mask.as_ptr().cast()) })
    }
}
