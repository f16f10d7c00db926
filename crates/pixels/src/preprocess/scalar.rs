//! The kernels in plain Rust: the specification of what every SIMD backend must give, bit for bit.
//!
//! Rows hold the bytes as the camera sends them. It also converts the odd ends of rows for the SIMD backends.

use super::colour::{Chroma, Colour, Luma, FRACTION_BITS};
use super::kernels::{Kernels, Mix, Packing};
use super::strip::Tile;
use super::taps::{Row, Scale, BLOCK, SCALED_BITS};

pub(super) const KERNELS: Kernels =
    Kernels { load, vertical, horizontal, widen, widen_reversed, finish, finish_apart, turn };

fn load(packing: Packing, source: &[u8], into: [&mut [u8]; 3]) {
    load_flipped(packing, source, into, 0);
}

/// Splits a row of the camera into its components; the bits of `flip` are flipped on the way.
fn load_flipped(packing: Packing, source: &[u8], into: [&mut [u8]; 3], flip: u8) {
    let [a, b, c] = into;
    match packing {
        Packing::Plain => {
            for (a, s) in a.iter_mut().zip(source) {
                *a = s ^ flip;
            }
        }
        Packing::Pairs => {
            for ((a, b), s) in a.iter_mut().zip(b).zip(source.chunks_exact(2)) {
                (*a, *b) = (s[0] ^ flip, s[1] ^ flip);
            }
        }
        Packing::Triples => {
            for (((a, b), c), s) in a.iter_mut().zip(b).zip(c).zip(source.chunks_exact(3)) {
                (*a, *b, *c) = (s[0] ^ flip, s[1] ^ flip, s[2] ^ flip);
            }
        }
        Packing::Yuyv | Packing::Uyvy => {
            let first = usize::from(packing == Packing::Uyvy);
            for (((y, u), v), s) in a.chunks_exact_mut(2).zip(b).zip(c).zip(source.chunks_exact(4)) {
                (y[0], y[1]) = (s[first] ^ flip, s[first + 2] ^ flip);
                (*u, *v) = (s[1 - first] ^ flip, s[3 - first] ^ flip);
            }
        }
    }
}

/// Loads what a SIMD loop has left over after `done` groups of samples.
pub(super) fn load_rest(packing: Packing, source: &[u8], into: [&mut [u8]; 3], done: usize, flip: u8) {
    let (bytes, samples) = match packing {
        Packing::Plain => (1, 1),
        Packing::Pairs => (2, 1),
        Packing::Triples => (3, 1),
        Packing::Yuyv | Packing::Uyvy => (4, 2),
    };
    let [a, b, c] = into;
    let rest = [&mut a[done * samples..], b.get_mut(done..).unwrap_or_default(), c.get_mut(done..).unwrap_or_default()];
    load_flipped(packing, &source[done * bytes..], rest, flip);
}

/// `into[x]` is the sum of `weights[k] * ring[offsets[k] + x]` in 1/256, or scaled, rounded.
fn vertical(mix: &Mix<'_>, into: &mut [u8]) {
    let Mix { ring, offsets, weights, scale } = *mix;
    for (x, out) in into.iter_mut().enumerate() {
        let taps = offsets.iter().zip(weights);
        let sum: u16 = taps.map(|(&offset, &weight)| u16::from(weight) * u16::from(ring[offset + x])).sum();
        *out = match scale {
            None => ((u32::from(sum) + 128) >> 8) as u8,
            Some(scale) => (((scaled(sum, scale) + 32) >> SCALED_BITS) + 128) as u8,
        };
    }
}

/// The same along a row, but not rounded: around 0 rather than 128, and still in 1/256.
fn horizontal(taps: &Row, source: &[u8], into: &mut [i16]) {
    for (output, out) in into.iter_mut().enumerate().take(taps.padded()) {
        let (block, side, lane) = (output / BLOCK, output % BLOCK / 8, output % 8);
        let mut sum = 0u16;
        for end in 0..2 {
            let byte = side * 16 + lane * 2 + end;
            for load in 0..taps.loads {
                let mask = taps.mask[block * taps.loads + load][byte];
                if mask != 0xff {
                    let first = taps.base[block][side] as usize + load * 16 + usize::from(mask);
                    for pair in 0..taps.pairs {
                        let weight = taps.weight[block * taps.pairs + pair][byte];
                        sum += u16::from(weight) * u16::from(source[first + pair * 2]);
                    }
                }
            }
        }
        *out = match taps.scale.get(block) {
            None => (sum ^ 0x8000) as i16,
            Some([bias, factor]) => {
                let scale = Scale { bias: bias[output % BLOCK], factor: factor[output % BLOCK] };
                scaled(sum, scale) << (8 - SCALED_BITS)
            }
        };
    }
}

fn scaled(sum: u16, scale: Scale) -> i16 {
    mulhrs((sum as i16).wrapping_sub(scale.bias), scale.factor)
}

/// What `horizontal` would give where every output is the sample itself.
fn widen(source: &[u8], into: &mut [i16]) {
    for (out, &value) in into.iter_mut().zip(source) {
        *out = i16::from_be_bytes([value ^ 0x80, 0]);
    }
}

/// [`widen`] with the last sample first.
fn widen_reversed(source: &[u8], into: &mut [i16]) {
    widen_rest(source, into, 0, 0);
}

/// Widens, in reverse, what a SIMD loop has left over after `done` samples, of rows whose bytes have the bits of `flip` flipped.
pub(super) fn widen_rest(source: &[u8], into: &mut [i16], done: usize, flip: u8) {
    for (out, &value) in into[done..].iter_mut().zip(source[..source.len() - done].iter().rev()) {
        *out = i16::from_be_bytes([value ^ flip ^ 0x80, 0]);
    }
}

/// Resized rows to interleaved R, G, B; the bits of `flip` are flipped at the end.
fn finish(colour: &Colour, rows: [&[i16]; 3], flip: u8, into: &mut [u8]) {
    for (x, out) in into.chunks_exact_mut(3).enumerate() {
        for (out, value) in out.iter_mut().zip(pixel(colour, rows, x)) {
            *out = value ^ flip;
        }
    }
}

/// The same to R, G and B apart.
fn finish_apart(colour: &Colour, rows: [&[i16]; 3], flip: u8, [r, g, b]: [&mut [u8]; 3]) {
    for (x, ((r, g), b)) in r.iter_mut().zip(g).zip(b).enumerate() {
        [*r, *g, *b] = pixel(colour, rows, x).map(|value| value ^ flip);
    }
}

/// Red, green and blue of the pixel at `x`.
fn pixel(colour: &Colour, rows: [&[i16]; 3], x: usize) -> [u8; 3] {
    match colour {
        Colour::Rgb => rows.map(|row| (((row[x] + 128) >> 8) as u8) ^ 0x80),
        Colour::Grey(luma) => [to_byte(scaled_luma(*luma, rows[0][x])); 3],
        Colour::Yuv(luma, Chroma { red_v, green_u, green_v, blue_u }) => {
            let y = scaled_luma(*luma, rows[0][x]);
            let (u, v) = (rows[1][x], rows[2][x]);
            let red = y + mulhrs(v, *red_v);
            let green = y + mulhrs(u, *green_u) + mulhrs(v, *green_v);
            let blue = y + mulhrs(u, *blue_u);
            [to_byte(red), to_byte(green), to_byte(blue)]
        }
    }
}

/// Row `k` of the tile becomes pixel `k` of the rows of `into`.
pub(super) fn turn(tile: &Tile<'_>, into: &mut [u8]) {
    for column in 0..tile.columns {
        let row = &mut into[tile.row_of(column)..][..tile.offsets.len() * 3];
        for (pixel, &offset) in row.chunks_exact_mut(3).zip(tile.offsets) {
            for (component, byte) in pixel.iter_mut().enumerate() {
                *byte = tile.slots[offset + component * tile.apart + column];
            }
        }
    }
}

fn scaled_luma(luma: Luma, y: i16) -> i16 {
    mulhrs(y, luma.gain) + luma.offset
}

/// The upper half of the doubled product, rounded: `pmulhrsw`, `sqrdmulh`.
fn mulhrs(a: i16, b: i16) -> i16 {
    ((i32::from(a) * i32::from(b) + 0x4000) >> 15) as i16
}

/// The offset of [`Luma`] already holds the half for rounding.
fn to_byte(sum: i16) -> u8 {
    (sum >> FRACTION_BITS).clamp(0, 255) as u8
}
