//! Vectors of SSE4.1, and what those of AVX2 have in common with them.
//!
//! Rows hold bytes with the upper bit flipped, `p - 128` as int8: `pmaddubsw` then takes the weights as its unsigned
//! operand and can't saturate, because they add up to at most 256.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::entry::kernels;
use super::vector::{instructions, Vector};

kernels!(Sse41, "sse4.1");

/// What turns a camera's byte into a row's.
pub(super) const FLIP: u8 = 0x80;

/// Where in three words each byte of three new words lies: for each new word, a mask for each old one.
type Masks = [[[u8; 16]; 3]; 3];
/// From 16 packed triples to their components.
const SPLIT: Masks = split();
/// The way back.
pub(super) const MERGE: Masks = merge();

const fn split() -> Masks {
    let mut masks = [[[0xff; 16]; 3]; 3];
    let mut at = 0;
    while at < 48 {
        masks[at % 3][at / 16][at / 3] = (at % 16) as u8;
        at += 1;
    }
    masks
}

const fn merge() -> Masks {
    let mut masks = [[[0xff; 16]; 3]; 3];
    let mut at = 0;
    while at < 48 {
        masks[at / 16][at % 3][at % 16] = (at / 3) as u8;
        at += 1;
    }
    masks
}

/// What splits and merges components on x86_64; NEON has loads and stores that do it.
///
/// # Safety
/// The functions need a CPU with the instructions of the vector.
pub(super) trait Shuffles: Vector {
    /// The even bytes of two vectors, and the odd ones.
    unsafe fn unzip(a: Self::Bytes, b: Self::Bytes) -> [Self::Bytes; 2];
    /// The mask, repeated for each 16 bytes.
    unsafe fn mask(mask: &[u8; 16]) -> Self::Bytes;
}

/// [`Vector::split_pairs`].
///
/// # Safety
/// As there.
#[inline(always)]
pub(super) unsafe fn split_pairs<V: Shuffles>(from: *const u8) -> [V::Bytes; 2] {
    // SAFETY: the caller vouches for the CPU and the bytes.
    unsafe {
        let flip = V::splat_byte(FLIP);
        V::unzip(V::xor(V::read(from), flip), V::xor(V::read(from.add(V::BYTES)), flip))
    }
}

/// [`Vector::split_triples`].
///
/// # Safety
/// As there.
#[inline(always)]
pub(super) unsafe fn split_triples<V: Shuffles>(from: *const u8) -> [V::Bytes; 3] {
    // SAFETY: the caller vouches for the CPU and the bytes: 48 to each 16 of the vector.
    unsafe {
        let flip = V::splat_byte(FLIP);
        let (p, q, r) = (from, from.add(16), from.add(32));
        let p = V::xor(V::read_two([p, p.wrapping_add(48)]), flip);
        let q = V::xor(V::read_two([q, q.wrapping_add(48)]), flip);
        let r = V::xor(V::read_two([r, r.wrapping_add(48)]), flip);
        shuffle_three::<V>([p, q, r], &SPLIT)
    }
}

/// [`Vector::split_quads`].
///
/// # Safety
/// As there.
#[inline(always)]
pub(super) unsafe fn split_quads<V: Shuffles>(from: *const u8, chroma_first: bool, [y, u, v]: [*mut u8; 3]) {
    // SAFETY: the caller vouches for the CPU and the bytes.
    unsafe {
        let ([p, q], [r, s]) = (split_pairs::<V>(from), split_pairs::<V>(from.add(2 * V::BYTES)));
        let (luma, chroma) = if chroma_first { ([q, s], [p, r]) } else { ([p, r], [q, s]) };
        let chroma = V::unzip(chroma[0], chroma[1]);
        V::write(luma[0], y);
        V::write(luma[1], y.add(V::BYTES));
        V::write(chroma[0], u);
        V::write(chroma[1], v);
    }
}

/// Three new words from three, by `masks`, within each 16 bytes.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn shuffle_three<V: Shuffles>(words: [V::Bytes; 3], masks: &Masks) -> [V::Bytes; 3] {
    // SAFETY: the caller vouches for the CPU.
    unsafe { [pick::<V>(words, &masks[0]), pick::<V>(words, &masks[1]), pick::<V>(words, &masks[2])] }
}

/// One word of [`shuffle_three`].
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn pick<V: Shuffles>([a, b, c]: [V::Bytes; 3], masks: &[[u8; 16]; 3]) -> V::Bytes {
    // SAFETY: the caller vouches for the CPU.
    unsafe {
        let (a, b) = (V::shuffle(a, V::mask(&masks[0])), V::shuffle(b, V::mask(&masks[1])));
        V::or(V::or(a, b), V::shuffle(c, V::mask(&masks[2])))
    }
}

/// 16 bytes each.
pub(super) struct Sse41;

// Instructions are safe where their feature is enabled; what is `unsafe` inside these functions goes to memory.
impl Vector for Sse41 {
    type Bytes = __m128i;
    type Words = __m128i;
    const BYTES: usize = 16;
    const FLIP: u8 = FLIP;

    instructions! { "sse4.1";
        fn splat_byte(value: u8) -> __m128i = _mm_set1_epi8(value as i8);
        fn xor(a: __m128i, b: __m128i) -> __m128i = _mm_xor_si128(a, b);
        fn or(a: __m128i, b: __m128i) -> __m128i = _mm_or_si128(a, b);
        fn shuffle(bytes: __m128i, mask: __m128i) -> __m128i = _mm_shuffle_epi8(bytes, mask);
        fn zip(a: __m128i, b: __m128i) -> [__m128i; 2] = [_mm_unpacklo_epi8(a, b), _mm_unpackhi_epi8(a, b)];
        fn reverse(bytes: __m128i) -> __m128i =
            _mm_shuffle_epi8(bytes, _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
        fn splat(value: i16) -> __m128i = _mm_set1_epi16(value);
        fn add(a: __m128i, b: __m128i) -> __m128i = _mm_add_epi16(a, b);
        fn sub(a: __m128i, b: __m128i) -> __m128i = _mm_sub_epi16(a, b);
        fn mulhrs(a: __m128i, b: __m128i) -> __m128i = _mm_mulhrs_epi16(a, b);
        fn shift_left<const BITS: i32>(words: __m128i) -> __m128i = _mm_slli_epi16::<BITS>(words);
        fn weigh(bytes: __m128i, weights: __m128i) -> __m128i = _mm_maddubs_epi16(weights, bytes);
        fn saturate<const BITS: i32>([low, high]: [__m128i; 2]) -> __m128i =
            _mm_packus_epi16(_mm_srai_epi16::<BITS>(low), _mm_srai_epi16::<BITS>(high));
    }

    #[inline]
    #[target_feature(enable = "sse4.1")]
    unsafe fn read(from: *const u8) -> __m128i {
        // SAFETY: the caller vouches for the bytes.
        unsafe { _mm_loadu_si128(from.cast()) }
    }

    #[inline]
    #[target_feature(enable = "sse4.1")]
    unsafe fn write(bytes: __m128i, to: *mut u8) {
        // SAFETY: as above.
        unsafe { _mm_storeu_si128(to.cast(), bytes) }
    }

    #[inline]
    #[target_feature(enable = "sse4.1")]
    unsafe fn read_two([from, _]: [*const u8; 2]) -> __m128i {
        // SAFETY: as above.
        unsafe { _mm_loadu_si128(from.cast()) }
    }

    #[inline]
    #[target_feature(enable = "sse4.1")]
    unsafe fn read_words(from: *const i16) -> __m128i {
        // SAFETY: as above.
        unsafe { _mm_loadu_si128(from.cast()) }
    }

    #[inline]
    #[target_feature(enable = "sse4.1")]
    unsafe fn write_words(words: __m128i, to: *mut i16) {
        // SAFETY: as above.
        unsafe { _mm_storeu_si128(to.cast(), words) }
    }

    #[inline]
    #[target_feature(enable = "sse4.1")]
    unsafe fn read_pair(from: *const i16) -> [__m128i; 2] {
        // SAFETY: as above.
        unsafe { [_mm_loadu_si128(from.cast()), _mm_loadu_si128(from.add(8).cast())] }
    }

    #[inline]
    #[target_feature(enable = "sse4.1")]
    unsafe fn split_pairs(from: *const u8) -> [__m128i; 2] {
        // SAFETY: as above.
        unsafe { split_pairs::<Self>(from) }
    }

    #[inline]
    #[target_feature(enable = "sse4.1")]
    unsafe fn split_triples(from: *const u8) -> [__m128i; 3] {
        // SAFETY: as above.
        unsafe { split_triples::<Self>(from) }
    }

    #[inline]
    #[target_feature(enable = "sse4.1")]
    unsafe fn split_quads(from: *const u8, chroma_first: bool, to: [*mut u8; 3]) {
        // SAFETY: as above.
        unsafe { split_quads::<Self>(from, chroma_first, to) }
    }

    #[inline]
    #[target_feature(enable = "sse4.1")]
    unsafe fn write_triples(triples: [__m128i; 3], to: *mut u8) {
        // SAFETY: as above.
        unsafe {
            let [p, q, r] = shuffle_three::<Self>(triples, &MERGE);
            _mm_storeu_si128(to.cast(), p);
            _mm_storeu_si128(to.add(16).cast(), q);
            _mm_storeu_si128(to.add(32).cast(), r);
        }
    }

    #[inline]
    #[target_feature(enable = "sse4.1")]
    unsafe fn write_apart(bytes: __m128i, [to, _]: [*mut u8; 2]) {
        // SAFETY: as above.
        unsafe { _mm_storeu_si128(to.cast(), bytes) }
    }

    #[inline]
    #[target_feature(enable = "sse4.1")]
    unsafe fn add_rows(sums: [__m128i; 2], [a, b]: [__m128i; 2], weights: [u8; 2]) -> [__m128i; 2] {
        let weights = _mm_set1_epi16(i16::from_le_bytes(weights));
        let low = _mm_maddubs_epi16(weights, _mm_unpacklo_epi8(a, b));
        let high = _mm_maddubs_epi16(weights, _mm_unpackhi_epi8(a, b));
        [_mm_add_epi16(sums[0], low), _mm_add_epi16(sums[1], high)]
    }

    #[inline]
    #[target_feature(enable = "sse4.1")]
    unsafe fn widen(bytes: __m128i) -> [__m128i; 2] {
        let zero = _mm_setzero_si128();
        [_mm_unpacklo_epi8(zero, bytes), _mm_unpackhi_epi8(zero, bytes)]
    }

    #[inline]
    #[target_feature(enable = "sse4.1")]
    unsafe fn narrow<const BITS: i32>([low, high]: [__m128i; 2]) -> __m128i {
        let half = _mm_set1_epi16(1 << (BITS - 1));
        let (low, high) = (_mm_add_epi16(low, half), _mm_add_epi16(high, half));
        _mm_packs_epi16(_mm_srai_epi16::<BITS>(low), _mm_srai_epi16::<BITS>(high))
    }
}

impl Shuffles for Sse41 {
    #[inline]
    #[target_feature(enable = "sse4.1")]
    unsafe fn unzip(a: __m128i, b: __m128i) -> [__m128i; 2] {
        let low = _mm_set1_epi16(0xff);
        let even = _mm_packus_epi16(_mm_and_si128(a, low), _mm_and_si128(b, low));
        [even, _mm_packus_epi16(_mm_srli_epi16::<8>(a), _mm_srli_epi16::<8>(b))]
    }

    #[inline]
    #[target_feature(enable = "sse4.1")]
    unsafe fn mask(mask: &[u8; 16]) -> __m128i {
        // SAFETY: the array is as long as the vector.
        unsafe { _mm_loadu_si128(mask.as_ptr().cast()) }
    }
}
