//! The kernels with SSE4.1, and the 128-bit shuffles that AVX2 shares.
//!
//! Rows hold bytes with the upper bit flipped, `p - 128` as int8: `pmaddubsw` then takes the weights as its unsigned
//! operand and can't saturate, because they add up to at most 256.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::colour::{Chroma, Colour, Luma, FRACTION_BITS};
use super::kernels::{Kernels, Packing, PAD};
use super::scalar::load_rest;
use super::taps::{Row, Scale, BLOCK, SCALED_BITS};

pub(super) const KERNELS: Kernels = Kernels { load, vertical, horizontal, widen, finish };

/// What turns a camera's byte into a row's.
pub(super) const FLIP: u8 = 0x80;

/// For each of three 16-byte words of 16 packed triples: where in the word each byte of each component lies.
const SPLIT: [[[i8; 16]; 3]; 3] = split();
/// For each of three components: where it goes in each of three words of packed triples.
pub(super) const MERGE: [[[i8; 16]; 3]; 3] = merge();

const fn split() -> [[[i8; 16]; 3]; 3] {
    let mut masks = [[[-1; 16]; 3]; 3];
    let mut at = 0;
    while at < 48 {
        masks[at % 3][at / 16][at / 3] = (at % 16) as i8;
        at += 1;
    }
    masks
}

const fn merge() -> [[[i8; 16]; 3]; 3] {
    let mut masks = [[[-1; 16]; 3]; 3];
    let mut at = 0;
    while at < 48 {
        masks[at % 3][at / 16][at % 16] = (at / 3) as i8;
        at += 1;
    }
    masks
}

#[target_feature(enable = "sse4.1")]
fn mask(bytes: &[i8; 16]) -> __m128i {
    // SAFETY: the array is as long as the word.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

/// Two bytes or weights as one word in every lane.
#[target_feature(enable = "sse4.1")]
fn pair(weights: &[u8]) -> __m128i {
    _mm_set1_epi16(i16::from_le_bytes([weights[0], weights[1]]))
}

#[target_feature(enable = "sse4.1")]
fn load(packing: Packing, source: &[u8], into: [&mut [u8]; 3]) {
    let [a, b, c] = into;
    let done = match packing {
        Packing::Plain => load_plain(source, a),
        Packing::Pairs => load_pairs(source, a, b),
        Packing::Triples => load_triples(source, a, b, c),
        Packing::Yuyv => load_quads(source, a, b, c, false),
        Packing::Uyvy => load_quads(source, a, b, c, true),
    };
    load_rest(packing, source, [a, b, c], done, FLIP);
}

#[target_feature(enable = "sse4.1")]
fn load_plain(source: &[u8], a: &mut [u8]) -> usize {
    let words = source.len() / 16;
    assert!(a.len() >= words * 16);
    let flip = _mm_set1_epi8(FLIP as i8);
    for word in 0..words {
        // SAFETY: both slices hold `words` words of 16 bytes.
        unsafe {
            let value = _mm_loadu_si128(source.as_ptr().add(word * 16).cast());
            _mm_storeu_si128(a.as_mut_ptr().add(word * 16).cast(), _mm_xor_si128(value, flip));
        }
    }
    words * 16
}

#[target_feature(enable = "sse4.1")]
fn load_pairs(source: &[u8], a: &mut [u8], b: &mut [u8]) -> usize {
    let words = source.len() / 32;
    assert!(a.len() >= words * 16 && b.len() >= words * 16);
    let (flip, low) = (_mm_set1_epi8(FLIP as i8), _mm_set1_epi16(0xff));
    for word in 0..words {
        // SAFETY: the source holds `words` times 32 bytes, the others `words` times 16.
        unsafe {
            let first = _mm_xor_si128(_mm_loadu_si128(source.as_ptr().add(word * 32).cast()), flip);
            let second = _mm_xor_si128(_mm_loadu_si128(source.as_ptr().add(word * 32 + 16).cast()), flip);
            let even = _mm_packus_epi16(_mm_and_si128(first, low), _mm_and_si128(second, low));
            let odd = _mm_packus_epi16(_mm_srli_epi16(first, 8), _mm_srli_epi16(second, 8));
            _mm_storeu_si128(a.as_mut_ptr().add(word * 16).cast(), even);
            _mm_storeu_si128(b.as_mut_ptr().add(word * 16).cast(), odd);
        }
    }
    words * 16
}

#[target_feature(enable = "sse4.1")]
pub(super) fn load_triples(source: &[u8], a: &mut [u8], b: &mut [u8], c: &mut [u8]) -> usize {
    let words = source.len() / 48;
    assert!(a.len() >= words * 16 && b.len() >= words * 16 && c.len() >= words * 16);
    let flip = _mm_set1_epi8(FLIP as i8);
    let masks = SPLIT.map(|masks| [mask(&masks[0]), mask(&masks[1]), mask(&masks[2])]);
    for word in 0..words {
        // SAFETY: the source holds `words` times 48 bytes.
        let packed = unsafe {
            let from = source.as_ptr().add(word * 48);
            [
                _mm_xor_si128(_mm_loadu_si128(from.cast()), flip),
                _mm_xor_si128(_mm_loadu_si128(from.add(16).cast()), flip),
                _mm_xor_si128(_mm_loadu_si128(from.add(32).cast()), flip),
            ]
        };
        for (plane, masks) in [&mut *a, &mut *b, &mut *c].into_iter().zip(&masks) {
            let (x, y) = (_mm_shuffle_epi8(packed[0], masks[0]), _mm_shuffle_epi8(packed[1], masks[1]));
            let value = _mm_or_si128(_mm_or_si128(x, y), _mm_shuffle_epi8(packed[2], masks[2]));
            // SAFETY: each plane holds `words` words of 16 bytes.
            unsafe { _mm_storeu_si128(plane.as_mut_ptr().add(word * 16).cast(), value) };
        }
    }
    words * 16
}

#[target_feature(enable = "sse4.1")]
fn load_quads(source: &[u8], y: &mut [u8], u: &mut [u8], v: &mut [u8], chroma_first: bool) -> usize {
    let words = source.len() / 64;
    assert!(y.len() >= words * 32 && u.len() >= words * 16 && v.len() >= words * 16);
    let (flip, low) = (_mm_set1_epi8(FLIP as i8), _mm_set1_epi16(0xff));
    for word in 0..words {
        // SAFETY: the source holds `words` times 64 bytes, luma `words` times 32, chroma `words` times 16.
        unsafe {
            let from = source.as_ptr().add(word * 64);
            let at = |at: usize| _mm_xor_si128(_mm_loadu_si128(from.add(at).cast()), flip);
            let (p, q, r, s) = (at(0), at(16), at(32), at(48));
            let even = |x, y| _mm_packus_epi16(_mm_and_si128(x, low), _mm_and_si128(y, low));
            let odd = |x, y| _mm_packus_epi16(_mm_srli_epi16(x, 8), _mm_srli_epi16(y, 8));
            let (evens, odds) = ((even(p, q), even(r, s)), (odd(p, q), odd(r, s)));
            let (luma, chroma) = if chroma_first { (odds, evens) } else { (evens, odds) };
            _mm_storeu_si128(y.as_mut_ptr().add(word * 32).cast(), luma.0);
            _mm_storeu_si128(y.as_mut_ptr().add(word * 32 + 16).cast(), luma.1);
            _mm_storeu_si128(u.as_mut_ptr().add(word * 16).cast(), even(chroma.0, chroma.1));
            _mm_storeu_si128(v.as_mut_ptr().add(word * 16).cast(), odd(chroma.0, chroma.1));
        }
    }
    words * 16
}

#[target_feature(enable = "sse4.1")]
fn vertical(ring: &[u8], offsets: &[usize], weights: &[u8], scale: Option<Scale>, into: &mut [u8]) {
    assert!(offsets.iter().all(|offset| offset + into.len() <= ring.len()) && offsets.len() % 2 == 0);
    let factor = scale.map(|scale| _mm_set1_epi16(scale.factor));
    for (x, out) in into.chunks_exact_mut(16).enumerate() {
        let (mut low, mut high) = (_mm_setzero_si128(), _mm_setzero_si128());
        for (offsets, weights) in offsets.chunks_exact(2).zip(weights.chunks_exact(2)) {
            let weight = pair(weights);
            // SAFETY: every offset has as many bytes after it as `into` has in all.
            let (a, b) = unsafe {
                let at = |offset: usize| _mm_loadu_si128(ring.as_ptr().add(offset + x * 16).cast());
                (at(offsets[0]), at(offsets[1]))
            };
            low = _mm_add_epi16(low, _mm_maddubs_epi16(weight, _mm_unpacklo_epi8(a, b)));
            high = _mm_add_epi16(high, _mm_maddubs_epi16(weight, _mm_unpackhi_epi8(a, b)));
        }
        let round = |sum| match factor {
            None => _mm_srai_epi16(_mm_add_epi16(sum, _mm_set1_epi16(128)), 8),
            Some(factor) => {
                let half = _mm_set1_epi16(1 << (SCALED_BITS - 1));
                _mm_srai_epi16(_mm_add_epi16(_mm_mulhrs_epi16(sum, factor), half), SCALED_BITS as i32)
            }
        };
        // SAFETY: the chunk has 16 bytes.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), _mm_packs_epi16(round(low), round(high))) };
    }
}

#[target_feature(enable = "sse4.1")]
fn horizontal(taps: &Row, source: &[u8], into: &mut [i16]) {
    assert!(source.len() >= taps.reach && into.len() >= taps.padded());
    for (half, out) in into.chunks_exact_mut(8).enumerate().take(taps.padded() / 8) {
        let (block, side) = (half / 2, half % 2);
        let base = taps.base[block][side] as usize;
        let mut sum = _mm_setzero_si128();
        for pair in 0..taps.pairs {
            let mut pixels = _mm_setzero_si128();
            for load in 0..taps.loads {
                let mask = &taps.mask[block * taps.loads + load];
                // SAFETY: `reach` covers every load of every base; a mask has 32 bytes.
                unsafe {
                    let bytes = _mm_loadu_si128(source.as_ptr().add(base + pair * 2 + load * 16).cast());
                    let mask = _mm_loadu_si128(mask.as_ptr().add(side * 16).cast());
                    pixels = _mm_or_si128(pixels, _mm_shuffle_epi8(bytes, mask));
                }
            }
            let weight = &taps.weight[block * taps.pairs + pair];
            // SAFETY: a set of weights has 32 bytes.
            let weight = unsafe { _mm_loadu_si128(weight.as_ptr().add(side * 16).cast()) };
            sum = _mm_add_epi16(sum, _mm_maddubs_epi16(weight, pixels));
        }
        if let Some([_, factor]) = taps.scale.get(block) {
            // SAFETY: there are 16 factors.
            let factor = unsafe { _mm_loadu_si128(factor.as_ptr().add(side * 8).cast()) };
            sum = _mm_slli_epi16(_mm_mulhrs_epi16(sum, factor), 8 - SCALED_BITS as i32);
        }
        // SAFETY: the chunk has 8 values.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), sum) };
    }
}

#[target_feature(enable = "sse4.1")]
fn widen(source: &[u8], into: &mut [i16]) {
    for (out, bytes) in into.chunks_exact_mut(BLOCK).zip(source.chunks_exact(BLOCK)) {
        // SAFETY: the chunks have 16 bytes and 16 values.
        unsafe {
            let bytes = _mm_loadu_si128(bytes.as_ptr().cast());
            let zero = _mm_setzero_si128();
            _mm_storeu_si128(out.as_mut_ptr().cast(), _mm_unpacklo_epi8(zero, bytes));
            _mm_storeu_si128(out.as_mut_ptr().add(8).cast(), _mm_unpackhi_epi8(zero, bytes));
        }
    }
}

#[target_feature(enable = "sse4.1")]
fn finish(colour: &Colour, rows: [&[i16]; 3], flip: u8, into: &mut [u8]) {
    let width = into.len() / 3;
    assert!(rows.iter().all(|row| row.len() >= width.next_multiple_of(PAD)));
    let flip = _mm_set1_epi8(flip as i8);
    let masks = MERGE.map(|masks| [mask(&masks[0]), mask(&masks[1]), mask(&masks[2])]);
    for (x, out) in into.chunks_mut(48).enumerate() {
        // SAFETY: the rows are padded to a multiple of 32.
        let at = |row: usize, half: usize| unsafe { _mm_loadu_si128(rows[row].as_ptr().add(x * 16 + half * 8).cast()) };
        let first = colour_of(colour, at(0, 0), at(1, 0), at(2, 0));
        let second = colour_of(colour, at(0, 1), at(1, 1), at(2, 1));
        let [r, g, b] = [0, 1, 2].map(|i| _mm_xor_si128(_mm_packus_epi16(first[i], second[i]), flip));
        let mut packed = [0u8; 48];
        let whole = out.len() == 48;
        let target = if whole { out.as_mut_ptr() } else { packed.as_mut_ptr() };
        for word in 0..3 {
            let (r, g) = (_mm_shuffle_epi8(r, masks[0][word]), _mm_shuffle_epi8(g, masks[1][word]));
            let value = _mm_or_si128(_mm_or_si128(r, g), _mm_shuffle_epi8(b, masks[2][word]));
            // SAFETY: `target` has 48 bytes.
            unsafe { _mm_storeu_si128(target.add(word * 16).cast(), value) };
        }
        if !whole {
            out.copy_from_slice(&packed[..out.len()]);
        }
    }
}

/// Red, green and blue of 8 pixels, not yet clamped.
#[target_feature(enable = "sse4.1")]
fn colour_of(colour: &Colour, y: __m128i, u: __m128i, v: __m128i) -> [__m128i; 3] {
    let times = |value, gain| _mm_mulhrs_epi16(value, _mm_set1_epi16(gain));
    let lit = |luma: &Luma| _mm_add_epi16(times(y, luma.gain), _mm_set1_epi16(luma.offset));
    let whole = |sum| _mm_srai_epi16(sum, FRACTION_BITS as i32);
    match colour {
        Colour::Rgb => [y, u, v].map(|value| {
            let rounded = _mm_srai_epi16(_mm_add_epi16(value, _mm_set1_epi16(128)), 8);
            _mm_add_epi16(rounded, _mm_set1_epi16(128))
        }),
        Colour::Grey(luma) => [whole(lit(luma)); 3],
        Colour::Yuv(luma, Chroma { red_v, green_u, green_v, blue_u }) => {
            let y = lit(luma);
            let green = _mm_add_epi16(times(u, *green_u), times(v, *green_v));
            let sums = [times(v, *red_v), green, times(u, *blue_u)];
            sums.map(|sum| whole(_mm_add_epi16(y, sum)))
        }
    }
}
