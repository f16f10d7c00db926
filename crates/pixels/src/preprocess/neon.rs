//! The kernels with NEON. Rows hold the bytes as they are: products of unsigned bytes are at home here.

#![allow(unsafe_code)]

use std::arch::aarch64::*;

use super::colour::{Chroma, Colour, Luma, FRACTION_BITS};
use super::kernels::{Kernels, Mix, Packing, PAD};
use super::scalar::load_rest;
use super::taps::{Row, Scale, BLOCK, SCALED_BITS};

pub(super) const KERNELS: Kernels = Kernels { load, vertical, horizontal, widen, finish };

#[target_feature(enable = "neon")]
fn load(packing: Packing, source: &[u8], into: [&mut [u8]; 3]) {
    let [a, b, c] = into;
    let done = match packing {
        Packing::Plain => 0,
        Packing::Pairs => load_pairs(source, a, b),
        Packing::Triples => load_triples(source, a, b, c),
        Packing::Yuyv => load_quads(source, a, b, c, false),
        Packing::Uyvy => load_quads(source, a, b, c, true),
    };
    load_rest(packing, source, [a, b, c], done, 0);
}

#[target_feature(enable = "neon")]
fn load_pairs(source: &[u8], a: &mut [u8], b: &mut [u8]) -> usize {
    let words = source.len() / 32;
    assert!(a.len() >= words * 16 && b.len() >= words * 16);
    for word in 0..words {
        // SAFETY: the source holds `words` times 32 bytes, the others `words` times 16.
        unsafe {
            let split = vld2q_u8(source.as_ptr().add(word * 32));
            vst1q_u8(a.as_mut_ptr().add(word * 16), split.0);
            vst1q_u8(b.as_mut_ptr().add(word * 16), split.1);
        }
    }
    words * 16
}

#[target_feature(enable = "neon")]
fn load_triples(source: &[u8], a: &mut [u8], b: &mut [u8], c: &mut [u8]) -> usize {
    let words = source.len() / 48;
    assert!(a.len() >= words * 16 && b.len() >= words * 16 && c.len() >= words * 16);
    for word in 0..words {
        // SAFETY: the source holds `words` times 48 bytes, the others `words` times 16.
        unsafe {
            let split = vld3q_u8(source.as_ptr().add(word * 48));
            vst1q_u8(a.as_mut_ptr().add(word * 16), split.0);
            vst1q_u8(b.as_mut_ptr().add(word * 16), split.1);
            vst1q_u8(c.as_mut_ptr().add(word * 16), split.2);
        }
    }
    words * 16
}

#[target_feature(enable = "neon")]
fn load_quads(source: &[u8], y: &mut [u8], u: &mut [u8], v: &mut [u8], chroma_first: bool) -> usize {
    let words = source.len() / 64;
    assert!(y.len() >= words * 32 && u.len() >= words * 16 && v.len() >= words * 16);
    for word in 0..words {
        // SAFETY: the source holds `words` times 64 bytes, luma `words` times 32, chroma `words` times 16.
        unsafe {
            let uint8x16x4_t(p, q, r, s) = vld4q_u8(source.as_ptr().add(word * 64));
            let (luma, chroma) = if chroma_first { ((q, s), (p, r)) } else { ((p, r), (q, s)) };
            vst2q_u8(y.as_mut_ptr().add(word * 32), uint8x16x2_t(luma.0, luma.1));
            vst1q_u8(u.as_mut_ptr().add(word * 16), chroma.0);
            vst1q_u8(v.as_mut_ptr().add(word * 16), chroma.1);
        }
    }
    words * 16
}

/// Adds the weighted samples of one tap: the lower 8 and the upper 8 of 16.
#[target_feature(enable = "neon")]
fn add_tap(sums: (uint16x8_t, uint16x8_t), values: uint8x16_t, weight: u8) -> (uint16x8_t, uint16x8_t) {
    let low = vmlal_u8(sums.0, vget_low_u8(values), vdup_n_u8(weight));
    (low, vmlal_high_u8(sums.1, values, vdupq_n_u8(weight)))
}

#[target_feature(enable = "neon")]
fn vertical(mix: &Mix<'_>, into: &mut [u8]) {
    let Mix { ring, offsets, weights, scale } = *mix;
    match scale {
        None => mix_two(&ring[offsets[0]..], &ring[offsets[1]..], [weights[0], weights[1]], into),
        Some(scale) => mix_many(mix, scale, into),
    }
}

#[target_feature(enable = "neon")]
fn mix_two(top: &[u8], bottom: &[u8], weights: [u8; 2], into: &mut [u8]) {
    let sources = top.chunks_exact(16).zip(bottom.chunks_exact(16));
    for (out, (top, bottom)) in into.chunks_exact_mut(16).zip(sources) {
        // SAFETY: the chunks have 16 bytes.
        unsafe {
            let zero = vdupq_n_u16(0);
            let sums = add_tap((zero, zero), vld1q_u8(top.as_ptr()), weights[0]);
            let sums = add_tap(sums, vld1q_u8(bottom.as_ptr()), weights[1]);
            vst1q_u8(out.as_mut_ptr(), vrshrn_high_n_u16::<8>(vrshrn_n_u16::<8>(sums.0), sums.1));
        }
    }
}

#[target_feature(enable = "neon")]
fn mix_many(mix: &Mix<'_>, scale: Scale, into: &mut [u8]) {
    let Mix { ring, offsets, weights, .. } = *mix;
    assert!(offsets.iter().all(|offset| offset + into.len() <= ring.len()));
    // Wraps around below zero and, as the weights add up to the bias, comes back as a signed value.
    let start = vdupq_n_u16(scale.bias.wrapping_neg() as u16);
    let scaled = |sum| vqrdmulhq_n_s16(vreinterpretq_s16_u16(sum), scale.factor);
    for (x, out) in into.chunks_exact_mut(16).enumerate() {
        let mut sums = (start, start);
        for (&offset, &weight) in offsets.iter().zip(weights) {
            // SAFETY: every offset has as many bytes after it as `into` has in all.
            let values = unsafe { vld1q_u8(ring.as_ptr().add(offset + x * 16)) };
            sums = add_tap(sums, values, weight);
        }
        let low = vrshrn_n_s16::<{ SCALED_BITS as i32 }>(scaled(sums.0));
        let both = vrshrn_high_n_s16::<{ SCALED_BITS as i32 }>(low, scaled(sums.1));
        // SAFETY: the chunk has 16 bytes.
        unsafe { vst1q_u8(out.as_mut_ptr(), veorq_u8(vreinterpretq_u8_s8(both), vdupq_n_u8(0x80))) };
    }
}

/// Products of bytes and weights, added in pairs.
#[target_feature(enable = "neon")]
fn weigh(bytes: uint8x16_t, weights: uint8x16_t) -> uint16x8_t {
    let low = vmull_u8(vget_low_u8(bytes), vget_low_u8(weights));
    vpaddq_u16(low, vmull_high_u8(bytes, weights))
}

#[target_feature(enable = "neon")]
fn horizontal(taps: &Row, source: &[u8], into: &mut [i16]) {
    assert!(source.len() >= taps.reach && into.len() >= taps.padded());
    // SAFETY: `reach` covers every load of every base.
    let at = |from: usize| unsafe { vld1q_u8(source.as_ptr().add(from)) };
    // SAFETY: a set of masks or weights has 16 bytes for either side.
    let word = |bytes: &[u8; 32], side: usize| unsafe { vld1q_u8(bytes.as_ptr().add(side * 16)) };
    for (half, out) in into.chunks_exact_mut(8).enumerate().take(taps.padded() / 8) {
        let (block, side) = (half / 2, half % 2);
        let base = taps.base[block][side] as usize;
        let value = if let Some([bias, factor]) = taps.scale.get(block) {
            // SAFETY: there are 8 biases and 8 factors for either side.
            let (bias, factor) =
                unsafe { (vld1q_s16(bias.as_ptr().add(side * 8)), vld1q_s16(factor.as_ptr().add(side * 8))) };
            let mut sum = vdupq_n_u16(0);
            for pair in 0..taps.pairs {
                let mut pixels = vdupq_n_u8(0);
                for load in 0..taps.loads {
                    let mask = word(&taps.mask[block * taps.loads + load], side);
                    pixels = vorrq_u8(pixels, vqtbl1q_u8(at(base + pair * 2 + load * 16), mask));
                }
                sum = vaddq_u16(sum, weigh(pixels, word(&taps.weight[block * taps.pairs + pair], side)));
            }
            let around_zero = vsubq_s16(vreinterpretq_s16_u16(sum), bias);
            vshlq_n_s16::<{ 8 - SCALED_BITS as i32 }>(vqrdmulhq_s16(around_zero, factor))
        } else {
            let pixels = vqtbl1q_u8(at(base), word(&taps.mask[block], side));
            let sum = weigh(pixels, word(&taps.weight[block], side));
            vreinterpretq_s16_u16(veorq_u16(sum, vdupq_n_u16(0x8000)))
        };
        // SAFETY: the chunk has 8 values.
        unsafe { vst1q_s16(out.as_mut_ptr(), value) };
    }
}

#[target_feature(enable = "neon")]
fn widen(source: &[u8], into: &mut [i16]) {
    for (out, bytes) in into.chunks_exact_mut(BLOCK).zip(source.chunks_exact(BLOCK)) {
        // SAFETY: the chunks have 16 bytes and 16 values.
        unsafe {
            let bytes = veorq_u8(vld1q_u8(bytes.as_ptr()), vdupq_n_u8(0x80));
            let zero = vdupq_n_u8(0);
            vst1q_s16(out.as_mut_ptr(), vreinterpretq_s16_u8(vzip1q_u8(zero, bytes)));
            vst1q_s16(out.as_mut_ptr().add(8), vreinterpretq_s16_u8(vzip2q_u8(zero, bytes)));
        }
    }
}

#[target_feature(enable = "neon")]
fn finish(colour: &Colour, rows: [&[i16]; 3], flip: u8, into: &mut [u8]) {
    let width = into.len() / 3;
    assert!(rows.iter().all(|row| row.len() >= width.next_multiple_of(PAD)));
    let flip = vdupq_n_u8(flip);
    for (x, out) in into.chunks_mut(48).enumerate() {
        // SAFETY: the rows are padded to a multiple of 32.
        let at = |half: usize| rows.map(|row| unsafe { vld1q_s16(row.as_ptr().add(x * 16 + half * 8)) });
        let (first, second) = (colour_of(colour, at(0)), colour_of(colour, at(1)));
        let [r, g, b] = [0, 1, 2].map(|i| veorq_u8(vcombine_u8(first[i], second[i]), flip));
        let packed = uint8x16x3_t(r, g, b);
        if out.len() == 48 {
            // SAFETY: the chunk has 48 bytes.
            unsafe { vst3q_u8(out.as_mut_ptr(), packed) };
        } else {
            let mut last = [0u8; 48];
            // SAFETY: the array has 48 bytes.
            unsafe { vst3q_u8(last.as_mut_ptr(), packed) };
            out.copy_from_slice(&last[..out.len()]);
        }
    }
}

/// Red, green and blue of 8 pixels.
#[target_feature(enable = "neon")]
fn colour_of(colour: &Colour, [y, u, v]: [int16x8_t; 3]) -> [uint8x8_t; 3] {
    let lit = |luma: &Luma| vaddq_s16(vqrdmulhq_n_s16(y, luma.gain), vdupq_n_s16(luma.offset));
    let byte = |sum| vqshrun_n_s16::<{ FRACTION_BITS as i32 }>(sum);
    match colour {
        Colour::Rgb => [y, u, v].map(|value| {
            let rounded = vrshrn_n_s16::<8>(value);
            veor_u8(vreinterpret_u8_s8(rounded), vdup_n_u8(0x80))
        }),
        Colour::Grey(luma) => [byte(lit(luma)); 3],
        Colour::Yuv(luma, Chroma { red_v, green_u, green_v, blue_u }) => {
            let y = lit(luma);
            let green = vaddq_s16(vqrdmulhq_n_s16(u, *green_u), vqrdmulhq_n_s16(v, *green_v));
            let sums = [vqrdmulhq_n_s16(v, *red_v), green, vqrdmulhq_n_s16(u, *blue_u)];
            sums.map(|sum| byte(vaddq_s16(y, sum)))
        }
    }
}
