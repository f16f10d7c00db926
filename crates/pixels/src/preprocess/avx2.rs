//! The kernels with AVX2. As in the SSE4.1 file, rows hold bytes with the upper bit flipped.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::colour::{Chroma, Colour, Luma, FRACTION_BITS};
use super::kernels::{Kernels, Mix, Packing, PAD};
use super::scalar::load_rest;
use super::taps::{Row, Scale, BLOCK, SCALED_BITS};
use super::x86::{load_triples, FLIP, MERGE};

pub(super) const KERNELS: Kernels = Kernels { load, vertical, horizontal, widen, finish };

#[target_feature(enable = "avx2")]
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

/// The even bytes of two words.
#[target_feature(enable = "avx2")]
fn even(x: __m256i, y: __m256i) -> __m256i {
    let low = _mm256_set1_epi16(0xff);
    // Packing works in 128-bit halves; the permutation puts the quarters back in order.
    _mm256_permute4x64_epi64(_mm256_packus_epi16(_mm256_and_si256(x, low), _mm256_and_si256(y, low)), 0b11_01_10_00)
}

/// The odd bytes of two words.
#[target_feature(enable = "avx2")]
fn odd(x: __m256i, y: __m256i) -> __m256i {
    _mm256_permute4x64_epi64(_mm256_packus_epi16(_mm256_srli_epi16(x, 8), _mm256_srli_epi16(y, 8)), 0b11_01_10_00)
}

#[target_feature(enable = "avx2")]
fn load_plain(source: &[u8], a: &mut [u8]) -> usize {
    let words = source.len() / 32;
    assert!(a.len() >= words * 32);
    let flip = _mm256_set1_epi8(FLIP as i8);
    for word in 0..words {
        // SAFETY: both slices hold `words` words of 32 bytes.
        unsafe {
            let value = _mm256_loadu_si256(source.as_ptr().add(word * 32).cast());
            _mm256_storeu_si256(a.as_mut_ptr().add(word * 32).cast(), _mm256_xor_si256(value, flip));
        }
    }
    words * 32
}

#[target_feature(enable = "avx2")]
fn load_pairs(source: &[u8], a: &mut [u8], b: &mut [u8]) -> usize {
    let words = source.len() / 64;
    assert!(a.len() >= words * 32 && b.len() >= words * 32);
    let flip = _mm256_set1_epi8(FLIP as i8);
    for word in 0..words {
        // SAFETY: the source holds `words` times 64 bytes, the others `words` times 32.
        unsafe {
            let from = source.as_ptr().add(word * 64);
            let first = _mm256_xor_si256(_mm256_loadu_si256(from.cast()), flip);
            let second = _mm256_xor_si256(_mm256_loadu_si256(from.add(32).cast()), flip);
            _mm256_storeu_si256(a.as_mut_ptr().add(word * 32).cast(), even(first, second));
            _mm256_storeu_si256(b.as_mut_ptr().add(word * 32).cast(), odd(first, second));
        }
    }
    words * 32
}

#[target_feature(enable = "avx2")]
fn load_quads(source: &[u8], y: &mut [u8], u: &mut [u8], v: &mut [u8], chroma_first: bool) -> usize {
    let words = source.len() / 128;
    assert!(y.len() >= words * 64 && u.len() >= words * 32 && v.len() >= words * 32);
    let flip = _mm256_set1_epi8(FLIP as i8);
    for word in 0..words {
        // SAFETY: the source holds `words` times 128 bytes, luma `words` times 64, chroma `words` times 32.
        unsafe {
            let from = source.as_ptr().add(word * 128);
            let at = |at: usize| _mm256_xor_si256(_mm256_loadu_si256(from.add(at).cast()), flip);
            let (p, q, r, s) = (at(0), at(32), at(64), at(96));
            let (evens, odds) = ((even(p, q), even(r, s)), (odd(p, q), odd(r, s)));
            let (luma, chroma) = if chroma_first { (odds, evens) } else { (evens, odds) };
            _mm256_storeu_si256(y.as_mut_ptr().add(word * 64).cast(), luma.0);
            _mm256_storeu_si256(y.as_mut_ptr().add(word * 64 + 32).cast(), luma.1);
            _mm256_storeu_si256(u.as_mut_ptr().add(word * 32).cast(), even(chroma.0, chroma.1));
            _mm256_storeu_si256(v.as_mut_ptr().add(word * 32).cast(), odd(chroma.0, chroma.1));
        }
    }
    words * 32
}

/// Two weights as one word in every lane.
#[target_feature(enable = "avx2")]
fn pair(weights: &[u8]) -> __m256i {
    _mm256_set1_epi16(i16::from_le_bytes([weights[0], weights[1]]))
}

#[target_feature(enable = "avx2")]
fn vertical(mix: &Mix<'_>, into: &mut [u8]) {
    let Mix { ring, offsets, weights, scale } = *mix;
    match scale {
        None => mix_two(&ring[offsets[0]..], &ring[offsets[1]..], pair(weights), into),
        Some(scale) => mix_many(mix, scale, into),
    }
}

#[target_feature(enable = "avx2")]
fn mix_two(top: &[u8], bottom: &[u8], weight: __m256i, into: &mut [u8]) {
    let half = _mm256_set1_epi16(128);
    let sources = top.chunks_exact(32).zip(bottom.chunks_exact(32));
    for (out, (top, bottom)) in into.chunks_exact_mut(32).zip(sources) {
        // SAFETY: the chunks have 32 bytes.
        unsafe {
            let a = _mm256_loadu_si256(top.as_ptr().cast());
            let b = _mm256_loadu_si256(bottom.as_ptr().cast());
            let low = _mm256_maddubs_epi16(weight, _mm256_unpacklo_epi8(a, b));
            let high = _mm256_maddubs_epi16(weight, _mm256_unpackhi_epi8(a, b));
            let low = _mm256_srai_epi16(_mm256_add_epi16(low, half), 8);
            let high = _mm256_srai_epi16(_mm256_add_epi16(high, half), 8);
            _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm256_packs_epi16(low, high));
        }
    }
}

#[target_feature(enable = "avx2")]
fn mix_many(mix: &Mix<'_>, scale: Scale, into: &mut [u8]) {
    let Mix { ring, offsets, weights, .. } = *mix;
    assert!(offsets.iter().all(|offset| offset + into.len() <= ring.len()));
    let (factor, half) = (_mm256_set1_epi16(scale.factor), _mm256_set1_epi16(1 << (SCALED_BITS - 1)));
    let round = |sum| _mm256_srai_epi16(_mm256_add_epi16(_mm256_mulhrs_epi16(sum, factor), half), SCALED_BITS as i32);
    for (x, out) in into.chunks_exact_mut(32).enumerate() {
        let (mut low, mut high) = (_mm256_setzero_si256(), _mm256_setzero_si256());
        for (offsets, weights) in offsets.chunks_exact(2).zip(weights.chunks_exact(2)) {
            let weight = pair(weights);
            // SAFETY: every offset has as many bytes after it as `into` has in all.
            let (a, b) = unsafe {
                let at = |offset: usize| _mm256_loadu_si256(ring.as_ptr().add(offset + x * 32).cast());
                (at(offsets[0]), at(offsets[1]))
            };
            low = _mm256_add_epi16(low, _mm256_maddubs_epi16(weight, _mm256_unpacklo_epi8(a, b)));
            high = _mm256_add_epi16(high, _mm256_maddubs_epi16(weight, _mm256_unpackhi_epi8(a, b)));
        }
        // SAFETY: the chunk has 32 bytes.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm256_packs_epi16(round(low), round(high))) };
    }
}

#[target_feature(enable = "avx2")]
fn horizontal(taps: &Row, source: &[u8], into: &mut [i16]) {
    assert!(source.len() >= taps.reach && into.len() >= taps.padded());
    // SAFETY: callers add no more than `reach` less 16.
    let at = |from: [usize; 2]| unsafe {
        let low = _mm_loadu_si128(source.as_ptr().add(from[0]).cast());
        _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), _mm_loadu_si128(source.as_ptr().add(from[1]).cast()))
    };
    // SAFETY: the arrays are as long as the word.
    let word = |bytes: &[u8; 32]| unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) };
    let blocks = into.chunks_exact_mut(BLOCK).zip(&taps.base).enumerate();
    if taps.scale.is_empty() {
        let taps = taps.mask.iter().zip(&taps.weight);
        for ((_, (out, base)), (mask, weight)) in blocks.zip(taps) {
            let pixels = _mm256_shuffle_epi8(at(base.map(|base| base as usize)), word(mask));
            let sum = _mm256_maddubs_epi16(word(weight), pixels);
            // SAFETY: the chunk has 16 values.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), sum) };
        }
        return;
    }
    for (block, (out, base)) in blocks {
        let mut sum = _mm256_setzero_si256();
        let masks = &taps.mask[block * taps.loads..][..taps.loads];
        for (pair, weight) in taps.weight[block * taps.pairs..][..taps.pairs].iter().enumerate() {
            let mut pixels = _mm256_setzero_si256();
            for (load, mask) in masks.iter().enumerate() {
                let bytes = at(base.map(|base| base as usize + pair * 2 + load * 16));
                pixels = _mm256_or_si256(pixels, _mm256_shuffle_epi8(bytes, word(mask)));
            }
            sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(word(weight), pixels));
        }
        // SAFETY: there are 16 factors, and the chunk has 16 values.
        unsafe {
            let factor = _mm256_loadu_si256(taps.scale[block][1].as_ptr().cast());
            let scaled = _mm256_slli_epi16(_mm256_mulhrs_epi16(sum, factor), 8 - SCALED_BITS as i32);
            _mm256_storeu_si256(out.as_mut_ptr().cast(), scaled);
        }
    }
}

#[target_feature(enable = "avx2")]
fn widen(source: &[u8], into: &mut [i16]) {
    for (out, bytes) in into.chunks_exact_mut(BLOCK).zip(source.chunks_exact(BLOCK)) {
        // SAFETY: the chunks have 16 bytes and 16 values.
        unsafe {
            let wide = _mm256_cvtepi8_epi16(_mm_loadu_si128(bytes.as_ptr().cast()));
            _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm256_slli_epi16(wide, 8));
        }
    }
}

#[target_feature(enable = "avx2")]
fn finish(colour: &Colour, rows: [&[i16]; 3], flip: u8, into: &mut [u8]) {
    match colour {
        Colour::Rgb => {
            let middle = _mm256_set1_epi16(128);
            write(rows, flip, into, |rgb| {
                rgb.map(|value| _mm256_add_epi16(_mm256_srai_epi16(_mm256_add_epi16(value, middle), 8), middle))
            });
        }
        Colour::Grey(luma) => write(rows, flip, into, |[y, _, _]| [whole(lit(*luma, y)); 3]),
        Colour::Yuv(luma, Chroma { red_v, green_u, green_v, blue_u }) => {
            let [red_v, green_u, green_v, blue_u] =
                [red_v, green_u, green_v, blue_u].map(|gain| _mm256_set1_epi16(*gain));
            write(rows, flip, into, |[y, u, v]| {
                let y = lit(*luma, y);
                let green = _mm256_add_epi16(_mm256_mulhrs_epi16(u, green_u), _mm256_mulhrs_epi16(v, green_v));
                let sums = [_mm256_mulhrs_epi16(v, red_v), green, _mm256_mulhrs_epi16(u, blue_u)];
                sums.map(|sum| whole(_mm256_add_epi16(y, sum)))
            });
        }
    }
}

#[target_feature(enable = "avx2")]
fn lit(luma: Luma, y: __m256i) -> __m256i {
    _mm256_add_epi16(_mm256_mulhrs_epi16(y, _mm256_set1_epi16(luma.gain)), _mm256_set1_epi16(luma.offset))
}

#[target_feature(enable = "avx2")]
fn whole(sum: __m256i) -> __m256i {
    _mm256_srai_epi16(sum, FRACTION_BITS as i32)
}

/// Interleaves what `colour` makes of 16 pixels at a time.
#[target_feature(enable = "avx2")]
fn write(rows: [&[i16]; 3], flip: u8, into: &mut [u8], colour: impl Fn([__m256i; 3]) -> [__m256i; 3]) {
    let width = into.len() / 3;
    assert!(rows.iter().all(|row| row.len() >= width.next_multiple_of(PAD)));
    let flip = _mm256_set1_epi8(flip as i8);
    // SAFETY: the masks have 16 bytes.
    let mask = |bytes: &[i8; 16]| unsafe { _mm256_broadcastsi128_si256(_mm_loadu_si128(bytes.as_ptr().cast())) };
    let masks = MERGE.map(|masks| [mask(&masks[0]), mask(&masks[1]), mask(&masks[2])]);
    for (x, out) in into.chunks_mut(96).enumerate() {
        // Pixels 0-7 with 16-23, and 8-15 with 24-31: packing in 128-bit halves then gives them in order.
        // SAFETY: the rows are padded to a multiple of 32.
        let at = |row: &[i16], first: usize| unsafe {
            let from = row.as_ptr().add(x * 32 + first);
            let low = _mm256_castsi128_si256(_mm_loadu_si128(from.cast()));
            _mm256_inserti128_si256::<1>(low, _mm_loadu_si128(from.add(16).cast()))
        };
        let first = colour(rows.map(|row| at(row, 0)));
        let second = colour(rows.map(|row| at(row, 8)));
        let pack = |i: usize| _mm256_xor_si256(_mm256_packus_epi16(first[i], second[i]), flip);
        let rgb = [pack(0), pack(1), pack(2)];
        let merged = |word: usize| {
            let (r, g) = (_mm256_shuffle_epi8(rgb[0], masks[0][word]), _mm256_shuffle_epi8(rgb[1], masks[1][word]));
            _mm256_or_si256(_mm256_or_si256(r, g), _mm256_shuffle_epi8(rgb[2], masks[2][word]))
        };
        let (p, q, r) = (merged(0), merged(1), merged(2));
        let words = [
            _mm256_permute2x128_si256::<0x20>(p, q),
            _mm256_blend_epi32::<0xf0>(r, p),
            _mm256_permute2x128_si256::<0x31>(q, r),
        ];
        let mut last = [0u8; 96];
        let full = out.len() == 96;
        let target = if full { out.as_mut_ptr() } else { last.as_mut_ptr() };
        for (at, word) in words.into_iter().enumerate() {
            // SAFETY: `target` has 96 bytes.
            unsafe { _mm256_storeu_si256(target.add(at * 32).cast(), word) };
        }
        if !full {
            out.copy_from_slice(&last[..out.len()]);
        }
    }
}
