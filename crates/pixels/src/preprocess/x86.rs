//! The kernels with SSE4.1, and the 128-bit shuffles that AVX2 shares.
//!
//! Rows hold bytes with the upper bit flipped, `p - 128` as int8: `pmaddubsw` then takes the weights as its unsigned
//! operand and can't saturate, because they add up to at most 256.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::colour::{Chroma, Colour, Luma, FRACTION_BITS};
use super::kernels::{Kernels, Mix, Packing, PAD};
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
fn vertical(mix: &Mix<'_>, into: &mut [u8]) {
    let Mix { ring, offsets, weights, scale } = *mix;
    match scale {
        None => mix_two(&ring[offsets[0]..], &ring[offsets[1]..], pair(weights), into),
        Some(scale) => mix_many(mix, scale, into),
    }
}

/// A weighted sum as a byte around 0.
#[target_feature(enable = "sse4.1")]
fn rounded(sum: __m128i) -> __m128i {
    _mm_srai_epi16(_mm_add_epi16(sum, _mm_set1_epi16(128)), 8)
}

#[target_feature(enable = "sse4.1")]
fn mix_two(top: &[u8], bottom: &[u8], weight: __m128i, into: &mut [u8]) {
    let sources = top.chunks_exact(16).zip(bottom.chunks_exact(16));
    for (out, (top, bottom)) in into.chunks_exact_mut(16).zip(sources) {
        // SAFETY: the chunks have 16 bytes.
        unsafe {
            let a = _mm_loadu_si128(top.as_ptr().cast());
            let b = _mm_loadu_si128(bottom.as_ptr().cast());
            let low = rounded(_mm_maddubs_epi16(weight, _mm_unpacklo_epi8(a, b)));
            let high = rounded(_mm_maddubs_epi16(weight, _mm_unpackhi_epi8(a, b)));
            _mm_storeu_si128(out.as_mut_ptr().cast(), _mm_packs_epi16(low, high));
        }
    }
}

#[target_feature(enable = "sse4.1")]
fn mix_many(mix: &Mix<'_>, scale: Scale, into: &mut [u8]) {
    let Mix { ring, offsets, weights, .. } = *mix;
    assert!(offsets.iter().all(|offset| offset + into.len() <= ring.len()));
    let (factor, half) = (_mm_set1_epi16(scale.factor), _mm_set1_epi16(1 << (SCALED_BITS - 1)));
    let round = |sum| _mm_srai_epi16(_mm_add_epi16(_mm_mulhrs_epi16(sum, factor), half), SCALED_BITS as i32);
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
        // SAFETY: the chunk has 16 bytes.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), _mm_packs_epi16(round(low), round(high))) };
    }
}

#[target_feature(enable = "sse4.1")]
fn horizontal(taps: &Row, source: &[u8], into: &mut [i16]) {
    assert!(source.len() >= taps.reach && into.len() >= taps.padded());
    // SAFETY: callers add no more than `reach` less 16.
    let at = |from: usize| unsafe { _mm_loadu_si128(source.as_ptr().add(from).cast()) };
    // SAFETY: a set of masks or weights has 16 bytes for either side.
    let word = |bytes: &[u8; 32], side: usize| unsafe { _mm_loadu_si128(bytes.as_ptr().add(side * 16).cast()) };
    let blocks = into.chunks_exact_mut(BLOCK).zip(&taps.base).enumerate();
    if taps.scale.is_empty() {
        for ((_, (out, base)), (mask, weight)) in blocks.zip(taps.mask.iter().zip(&taps.weight)) {
            for (side, &base) in base.iter().enumerate() {
                let pixels = _mm_shuffle_epi8(at(base as usize), word(mask, side));
                let sum = _mm_maddubs_epi16(word(weight, side), pixels);
                // SAFETY: the chunk has 8 values for either side.
                unsafe { _mm_storeu_si128(out.as_mut_ptr().add(side * 8).cast(), sum) };
            }
        }
        return;
    }
    for (block, (out, base)) in blocks {
        let masks = &taps.mask[block * taps.loads..][..taps.loads];
        let weights = &taps.weight[block * taps.pairs..][..taps.pairs];
        for (side, &base) in base.iter().enumerate() {
            let mut sum = _mm_setzero_si128();
            for (pair, weight) in weights.iter().enumerate() {
                let mut pixels = _mm_setzero_si128();
                for (load, mask) in masks.iter().enumerate() {
                    let bytes = at(base as usize + pair * 2 + load * 16);
                    pixels = _mm_or_si128(pixels, _mm_shuffle_epi8(bytes, word(mask, side)));
                }
                sum = _mm_add_epi16(sum, _mm_maddubs_epi16(word(weight, side), pixels));
            }
            // SAFETY: there are 8 factors for either side, and the chunk has 8 values.
            unsafe {
                let factor = _mm_loadu_si128(taps.scale[block][1].as_ptr().add(side * 8).cast());
                let scaled = _mm_slli_epi16(_mm_mulhrs_epi16(sum, factor), 8 - SCALED_BITS as i32);
                _mm_storeu_si128(out.as_mut_ptr().add(side * 8).cast(), scaled);
            }
        }
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
    match colour {
        Colour::Rgb => {
            let middle = _mm_set1_epi16(128);
            write(rows, flip, into, |rgb| rgb.map(|value| _mm_add_epi16(rounded(value), middle)));
        }
        Colour::Grey(luma) => write(rows, flip, into, |[y, _, _]| [whole(lit(*luma, y)); 3]),
        Colour::Yuv(luma, Chroma { red_v, green_u, green_v, blue_u }) => {
            let [red_v, green_u, green_v, blue_u] = [red_v, green_u, green_v, blue_u].map(|gain| _mm_set1_epi16(*gain));
            write(rows, flip, into, |[y, u, v]| {
                let y = lit(*luma, y);
                let green = _mm_add_epi16(_mm_mulhrs_epi16(u, green_u), _mm_mulhrs_epi16(v, green_v));
                let sums = [_mm_mulhrs_epi16(v, red_v), green, _mm_mulhrs_epi16(u, blue_u)];
                sums.map(|sum| whole(_mm_add_epi16(y, sum)))
            });
        }
    }
}

#[target_feature(enable = "sse4.1")]
fn lit(luma: Luma, y: __m128i) -> __m128i {
    _mm_add_epi16(_mm_mulhrs_epi16(y, _mm_set1_epi16(luma.gain)), _mm_set1_epi16(luma.offset))
}

#[target_feature(enable = "sse4.1")]
fn whole(sum: __m128i) -> __m128i {
    _mm_srai_epi16(sum, FRACTION_BITS as i32)
}

/// Interleaves what `colour` makes of 8 pixels at a time.
#[target_feature(enable = "sse4.1")]
fn write(rows: [&[i16]; 3], flip: u8, into: &mut [u8], colour: impl Fn([__m128i; 3]) -> [__m128i; 3]) {
    let width = into.len() / 3;
    assert!(rows.iter().all(|row| row.len() >= width.next_multiple_of(PAD)));
    let flip = _mm_set1_epi8(flip as i8);
    let masks = MERGE.map(|masks| [mask(&masks[0]), mask(&masks[1]), mask(&masks[2])]);
    for (x, out) in into.chunks_mut(48).enumerate() {
        // SAFETY: the rows are padded to a multiple of 32.
        let at = |row: &[i16], first: usize| unsafe { _mm_loadu_si128(row.as_ptr().add(x * 16 + first).cast()) };
        let first = colour(rows.map(|row| at(row, 0)));
        let second = colour(rows.map(|row| at(row, 8)));
        let pack = |i: usize| _mm_xor_si128(_mm_packus_epi16(first[i], second[i]), flip);
        let rgb = [pack(0), pack(1), pack(2)];
        let merged = |word: usize| {
            let (r, g) = (_mm_shuffle_epi8(rgb[0], masks[0][word]), _mm_shuffle_epi8(rgb[1], masks[1][word]));
            _mm_or_si128(_mm_or_si128(r, g), _mm_shuffle_epi8(rgb[2], masks[2][word]))
        };
        let words = [merged(0), merged(1), merged(2)];
        let mut last = [0u8; 48];
        let full = out.len() == 48;
        let target = if full { out.as_mut_ptr() } else { last.as_mut_ptr() };
        for (at, word) in words.into_iter().enumerate() {
            // SAFETY: `target` has 48 bytes.
            unsafe { _mm_storeu_si128(target.add(at * 16).cast(), word) };
        }
        if !full {
            out.copy_from_slice(&last[..out.len()]);
        }
    }
}
