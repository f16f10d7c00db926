//! The kernels of all SIMD backends, written once over the vectors of an instruction set, as `scalar` specifies them.
//!
//! Every `unsafe` function here needs a CPU with the instructions of its vector; one that needs more says so. All are
//! inlined into the functions of [`kernels!`](super::entry::kernels), in which these instructions are enabled.

#![allow(unsafe_code)]

use super::colour::{Chroma, Colour, Luma, FRACTION_BITS};
use super::kernels::{Mix, Packing, PAD};
use super::scalar::{self, load_rest, widen_rest};
use super::strip::{Tile, TILE};
use super::taps::{Row, Scale, BLOCK, SCALED_BITS};
use super::vector::Vector;

/// [`FRACTION_BITS`], for shifts.
const WHOLE: i32 = FRACTION_BITS as i32;
/// [`SCALED_BITS`], for shifts.
const SCALED: i32 = SCALED_BITS as i32;

#[inline(always)]
pub(super) unsafe fn load<V: Vector>(packing: Packing, source: &[u8], into: [&mut [u8]; 3]) {
    let [a, b, c] = into;
    // SAFETY: the caller vouches for the CPU.
    let done = unsafe {
        match packing {
            Packing::Plain => load_plain::<V>(source, a),
            Packing::Pairs => load_pairs::<V>(source, a, b),
            Packing::Triples => load_triples::<V>(source, a, b, c),
            Packing::Yuyv => load_quads::<V>(source, [a, b, c], false),
            Packing::Uyvy => load_quads::<V>(source, [a, b, c], true),
        }
    };
    load_rest(packing, source, [a, b, c], done, V::FLIP);
}

#[inline(always)]
unsafe fn load_plain<V: Vector>(source: &[u8], a: &mut [u8]) -> usize {
    if V::FLIP == 0 {
        a[..source.len()].copy_from_slice(source);
        return source.len();
    }
    let words = source.len() / V::BYTES;
    assert!(a.len() >= words * V::BYTES);
    for at in (0..words).map(|word| word * V::BYTES) {
        // SAFETY: the caller vouches for the CPU; both slices hold so many words.
        unsafe {
            let flipped = V::xor(V::read(source.as_ptr().add(at)), V::splat_byte(V::FLIP));
            V::write(flipped, a.as_mut_ptr().add(at));
        }
    }
    words * V::BYTES
}

#[inline(always)]
unsafe fn load_pairs<V: Vector>(source: &[u8], a: &mut [u8], b: &mut [u8]) -> usize {
    let words = source.len() / (2 * V::BYTES);
    assert!([&a, &b].iter().all(|plane| plane.len() >= words * V::BYTES));
    for at in (0..words).map(|word| word * V::BYTES) {
        // SAFETY: the caller vouches for the CPU; the planes hold so many words, the source twice as many.
        unsafe {
            let [first, second] = V::split_pairs(source.as_ptr().add(2 * at));
            V::write(first, a.as_mut_ptr().add(at));
            V::write(second, b.as_mut_ptr().add(at));
        }
    }
    words * V::BYTES
}

#[inline(always)]
unsafe fn load_triples<V: Vector>(source: &[u8], a: &mut [u8], b: &mut [u8], c: &mut [u8]) -> usize {
    let words = source.len() / (3 * V::BYTES);
    assert!([&a, &b, &c].iter().all(|plane| plane.len() >= words * V::BYTES));
    for at in (0..words).map(|word| word * V::BYTES) {
        // SAFETY: the caller vouches for the CPU; the planes hold so many words, the source three times as many.
        unsafe {
            let [first, second, third] = V::split_triples(source.as_ptr().add(3 * at));
            V::write(first, a.as_mut_ptr().add(at));
            V::write(second, b.as_mut_ptr().add(at));
            V::write(third, c.as_mut_ptr().add(at));
        }
    }
    words * V::BYTES
}

#[inline(always)]
unsafe fn load_quads<V: Vector>(source: &[u8], [y, u, v]: [&mut [u8]; 3], chroma_first: bool) -> usize {
    let words = source.len() / (4 * V::BYTES);
    assert!(y.len() >= 2 * words * V::BYTES && [&u, &v].iter().all(|plane| plane.len() >= words * V::BYTES));
    for at in (0..words).map(|word| word * V::BYTES) {
        // SAFETY: the caller vouches for the CPU; chroma holds so many words, luma twice, the source four times that.
        unsafe {
            let to = [y.as_mut_ptr().add(2 * at), u.as_mut_ptr().add(at), v.as_mut_ptr().add(at)];
            V::split_quads(source.as_ptr().add(4 * at), chroma_first, to);
        }
    }
    words * V::BYTES
}

#[inline(always)]
pub(super) unsafe fn vertical<V: Vector>(mix: &Mix<'_>, into: &mut [u8]) {
    let Mix { ring, offsets, weights, scale } = *mix;
    // SAFETY: the caller vouches for the CPU.
    unsafe {
        match scale {
            None => mix_two::<V>(&ring[offsets[0]..], &ring[offsets[1]..], [weights[0], weights[1]], into),
            Some(scale) => mix_many::<V>(mix, scale, into),
        }
    }
}

#[inline(always)]
unsafe fn mix_two<V: Vector>(top: &[u8], bottom: &[u8], weights: [u8; 2], into: &mut [u8]) {
    let sources = top.chunks_exact(V::BYTES).zip(bottom.chunks_exact(V::BYTES));
    for (out, (top, bottom)) in into.chunks_exact_mut(V::BYTES).zip(sources) {
        // SAFETY: the caller vouches for the CPU; each chunk holds a vector.
        unsafe {
            let rows = [V::read(top.as_ptr()), V::read(bottom.as_ptr())];
            let sums = V::add_rows([V::splat(0); 2], rows, weights);
            V::write(V::narrow::<8>(sums), out.as_mut_ptr());
        }
    }
}

#[inline(always)]
unsafe fn mix_many<V: Vector>(mix: &Mix<'_>, scale: Scale, into: &mut [u8]) {
    let Mix { ring, offsets, weights, .. } = *mix;
    assert!(offsets.iter().all(|offset| offset + into.len() <= ring.len()));
    // SAFETY: the caller vouches for the CPU.
    let (start, factor, centre) = unsafe {
        let start = around_zero::<V>(V::splat(0), V::splat(scale.bias));
        (start, V::splat(scale.factor), V::splat_byte(0x80 ^ V::FLIP))
    };
    for (word, out) in into.chunks_exact_mut(V::BYTES).enumerate() {
        let mut sums = [start; 2];
        for (offsets, weights) in offsets.chunks_exact(2).zip(weights.chunks_exact(2)) {
            // SAFETY: the caller vouches for the CPU; every offset has as many bytes after it as `into` has in all.
            unsafe {
                let from = ring.as_ptr().add(word * V::BYTES);
                let rows = [V::read(from.add(offsets[0])), V::read(from.add(offsets[1]))];
                sums = V::add_rows(sums, rows, [weights[0], weights[1]]);
            }
        }
        // SAFETY: the caller vouches for the CPU; the chunk holds a vector.
        unsafe {
            let scaled = [V::mulhrs(sums[0], factor), V::mulhrs(sums[1], factor)];
            let rounded = V::narrow::<SCALED>(scaled);
            V::write(V::xor(rounded, centre), out.as_mut_ptr());
        }
    }
}

/// Weighted sums of a row's bytes as they would be around 0. `bias` is 128 times the sum of the weights; it wraps
/// around, and so does the difference, which comes back as a signed value.
#[inline(always)]
unsafe fn around_zero<V: Vector>(sums: V::Words, bias: V::Words) -> V::Words {
    if V::FLIP == 0 {
        // SAFETY: the caller vouches for the CPU.
        unsafe { V::sub(sums, bias) }
    } else {
        sums
    }
}

/// The horizontal resize with one load and one pair of taps.
#[inline(always)]
pub(super) unsafe fn interpolate<V: Vector>(taps: &Row, source: &[u8], into: &mut [i16]) {
    assert!(source.len() >= taps.reach && into.len() >= taps.padded());
    let sets = taps.base.iter().zip(&taps.mask).zip(&taps.weight);
    for (out, ((base, mask), weight)) in into.chunks_exact_mut(BLOCK).zip(sets) {
        for part in 0..BLOCK / V::LANES {
            // SAFETY: the caller vouches for the CPU; `reach` covers all loads, and a block has so many parts.
            unsafe {
                let pixels = V::shuffle(read_at::<V>(source, base, part, 0), part_of::<V>(mask, part));
                let sum = V::weigh(pixels, part_of::<V>(weight, part));
                let value = around_zero::<V>(sum, V::splat(i16::MIN));
                V::write_words(value, out.as_mut_ptr().add(part * V::LANES));
            }
        }
    }
}

/// The horizontal resize with any number of them, scaled.
#[inline(always)]
pub(super) unsafe fn average<V: Vector>(taps: &Row, source: &[u8], into: &mut [i16]) {
    assert!(source.len() >= taps.reach && into.len() >= taps.padded());
    let sets = taps.mask.chunks_exact(taps.loads).zip(taps.weight.chunks_exact(taps.pairs)).zip(&taps.scale);
    let blocks = into.chunks_exact_mut(BLOCK).zip(&taps.base);
    for ((out, base), ((masks, weights), [bias, factor])) in blocks.zip(sets) {
        for part in 0..BLOCK / V::LANES {
            // SAFETY: the caller vouches for the CPU; `reach` covers all loads, and a block has so many parts.
            unsafe {
                let mut sum = V::splat(0);
                for (pair, weight) in weights.iter().enumerate() {
                    let mut pixels = V::splat_byte(0);
                    for (load, mask) in masks.iter().enumerate() {
                        let bytes = read_at::<V>(source, base, part, pair * 2 + load * 16);
                        pixels = V::or(pixels, V::shuffle(bytes, part_of::<V>(mask, part)));
                    }
                    sum = V::add(sum, V::weigh(pixels, part_of::<V>(weight, part)));
                }
                let first = part * V::LANES;
                let sum = around_zero::<V>(sum, V::read_words(bias.as_ptr().add(first)));
                let scaled = V::mulhrs(sum, V::read_words(factor.as_ptr().add(first)));
                let value = V::shift_left::<{ 8 - SCALED }>(scaled);
                V::write_words(value, out.as_mut_ptr().add(first));
            }
        }
    }
}

/// The bytes of `source` that are `offset` past the bases of a part of a block.
///
/// # Safety
/// The CPU has the instructions of `V`, and 16 bytes lie there for each base.
#[inline(always)]
unsafe fn read_at<V: Vector>(source: &[u8], base: &[u32; 2], part: usize, offset: usize) -> V::Bytes {
    let halves = V::LANES / 8;
    let [first, last] = [base[part * halves], base[part * halves + halves - 1]];
    // SAFETY: the caller vouches for the CPU and the bytes.
    unsafe {
        let from = source.as_ptr().add(offset);
        V::read_two([from.add(first as usize), from.add(last as usize)])
    }
}

/// The masks or weights of a part of a block.
///
/// # Safety
/// The CPU has the instructions of `V`, and the block has that part.
#[inline(always)]
unsafe fn part_of<V: Vector>(block: &[u8; 32], part: usize) -> V::Bytes {
    // SAFETY: the caller vouches for the CPU and the part.
    unsafe { V::read(block.as_ptr().add(part * V::BYTES)) }
}

#[inline(always)]
pub(super) unsafe fn widen<V: Vector>(source: &[u8], into: &mut [i16]) {
    for (out, bytes) in into.chunks_exact_mut(V::BYTES).zip(source.chunks_exact(V::BYTES)) {
        // SAFETY: the caller vouches for the CPU; the chunks have as many bytes and values as a vector has bytes.
        unsafe {
            let [low, high] = V::widen(V::xor(V::read(bytes.as_ptr()), V::splat_byte(0x80 ^ V::FLIP)));
            V::write_words(low, out.as_mut_ptr());
            V::write_words(high, out.as_mut_ptr().add(V::LANES));
        }
    }
}

#[inline(always)]
pub(super) unsafe fn widen_reversed<V: Vector>(source: &[u8], into: &mut [i16]) {
    let words = source.len() / V::BYTES;
    let last = source.len() - V::BYTES * words.min(1);
    for (word, out) in into.chunks_exact_mut(V::BYTES).take(words).enumerate() {
        // SAFETY: the caller vouches for the CPU; the source has so many words, counted from its end, and a chunk has as many
        // values as a vector has bytes.
        unsafe {
            let bytes = V::reverse(V::read(source.as_ptr().add(last - word * V::BYTES)));
            let [low, high] = V::widen(V::xor(bytes, V::splat_byte(0x80 ^ V::FLIP)));
            V::write_words(low, out.as_mut_ptr());
            V::write_words(high, out.as_mut_ptr().add(V::LANES));
        }
    }
    widen_rest(source, into, words * V::BYTES, V::FLIP);
}

#[inline(always)]
pub(super) unsafe fn finish<V: Vector>(colour: &Colour, rows: [&[i16]; 3], flip: u8, into: &mut [u8]) {
    // SAFETY: the caller vouches for the CPU.
    unsafe {
        match colour {
            // Bytes come out around 0.
            Colour::Rgb => paint::<V>(&Plain, rows, flip ^ 0x80, into),
            Colour::Grey(luma) => paint::<V>(&Light::<V>::new(luma), rows, flip, into),
            Colour::Yuv(luma, chroma) => paint::<V>(&Matrix::<V>::new(luma, chroma), rows, flip, into),
        }
    }
}

/// Writes what `paint` makes of the rows; the bits of `flip` are flipped.
#[inline(always)]
unsafe fn paint<V: Vector>(paint: &impl Paint<V>, rows: [&[i16]; 3], flip: u8, into: &mut [u8]) {
    let width = into.len() / 3;
    assert!(rows.iter().all(|row| row.len() >= width.next_multiple_of(PAD)));
    let mut first = 0;
    let mut chunks = into.chunks_exact_mut(3 * V::BYTES);
    for out in &mut chunks {
        // SAFETY: the caller vouches for the CPU; so many pixels lie in the rows, and three vectors fill the chunk.
        unsafe { V::write_triples(pixels(paint, rows, first, flip), out.as_mut_ptr()) };
        first += V::BYTES;
    }
    let rest = chunks.into_remainder();
    if !rest.is_empty() {
        let mut last = [0; 96];
        // SAFETY: the caller vouches for the CPU; the rows are padded to whole vectors, the array has room for three.
        unsafe { V::write_triples(pixels(paint, rows, first, flip), last.as_mut_ptr()) };
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

#[inline(always)]
pub(super) unsafe fn finish_apart<V: Vector>(colour: &Colour, rows: [&[i16]; 3], flip: u8, into: [&mut [u8]; 3]) {
    // SAFETY: the caller vouches for the CPU.
    unsafe {
        match colour {
            Colour::Rgb => paint_apart::<V>(&Plain, rows, flip ^ 0x80, into),
            Colour::Grey(luma) => paint_apart::<V>(&Light::<V>::new(luma), rows, flip, into),
            Colour::Yuv(luma, chroma) => paint_apart::<V>(&Matrix::<V>::new(luma, chroma), rows, flip, into),
        }
    }
}

/// As [`paint`], with each component in a row of its own, all padded.
#[inline(always)]
unsafe fn paint_apart<V: Vector>(paint: &impl Paint<V>, rows: [&[i16]; 3], flip: u8, into: [&mut [u8]; 3]) {
    let length = into[0].len() / V::BYTES * V::BYTES;
    assert!(rows.iter().all(|row| row.len() >= length) && into.iter().all(|row| row.len() >= length));
    let [red, green, blue] = into.map(<[u8]>::as_mut_ptr);
    for first in (0..length).step_by(V::BYTES) {
        // SAFETY: the caller vouches for the CPU; so many pixels lie in the rows, and so many bytes have room.
        unsafe {
            let [r, g, b] = pixels(paint, rows, first, flip);
            V::write(r, red.add(first));
            V::write(g, green.add(first));
            V::write(b, blue.add(first));
        }
    }
}

/// Rows become columns, in tiles of [`TILE`] rows and as many columns as a vector has bytes. The last tile may write columns
/// again that the one before it has written.
///
/// What a row of pixels has in turn, red, green and blue, comes of itself where the components of the rows are turned in turn.
#[inline(always)]
pub(super) unsafe fn turn<V: Vector>(tile: &Tile<'_>, into: &mut [u8]) {
    let &Tile { slots, offsets, apart, columns, pitch, upwards } = tile;
    let Ok(offsets) = <&[usize; TILE]>::try_from(offsets) else { return scalar::turn(tile, into) };
    if columns < V::BYTES {
        return scalar::turn(tile, into);
    }
    assert!(offsets.iter().all(|offset| offset + 2 * apart + columns <= slots.len()));
    assert!((columns - 1) * pitch + 3 * TILE <= into.len());
    let step = if upwards { pitch.wrapping_neg() } else { pitch };
    let top = into[tile.row_of(0)..].as_mut_ptr();
    for word in 0..columns.div_ceil(V::BYTES) {
        let first = (word * V::BYTES).min(columns - V::BYTES);
        for third in 0..3 {
            // SAFETY: the caller vouches for the CPU; a vector lies at each offset in each component, and the row of every column
            // has room for as many pixels as there are rows.
            unsafe {
                let from = slots.as_ptr().add(first);
                let turned = turn_bytes::<V>(std::array::from_fn(|at| {
                    let at = third * TILE + at;
                    V::read(from.add(offsets[at / 3] + at % 3 * apart))
                }));
                let mut row = top.wrapping_add(first.wrapping_mul(step)).wrapping_add(third * TILE);
                for bytes in turned {
                    V::write_apart(bytes, [row, row.wrapping_add(step.wrapping_mul(16))]);
                    row = row.wrapping_add(step);
                }
            }
        }
    }
}

/// Byte `c` of each 16 bytes of `rows`, for each `c` from 0 to 15.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn turn_bytes<V: Vector>(mut rows: [V::Bytes; TILE]) -> [V::Bytes; TILE] {
    // The place of a byte, its row and its column, is a number of 8 bits. A round turns these bits by one.
    for _ in 0..4 {
        let mut next = rows;
        for row in 0..TILE / 2 {
            // SAFETY: the caller vouches for the CPU.
            [next[2 * row], next[2 * row + 1]] = unsafe { V::zip(rows[row], rows[row + TILE / 2]) };
        }
        rows = next;
    }
    rows
}

/// Red, green and blue of one vector of pixels, from the one at index `first`.
///
/// # Safety
/// All of them lie in the rows.
#[inline(always)]
unsafe fn pixels<V: Vector>(paint: &impl Paint<V>, rows: [&[i16]; 3], first: usize, flip: u8) -> [V::Bytes; 3] {
    let [a, b, c] = rows.map(|row| row.as_ptr().wrapping_add(first));
    // SAFETY: the caller vouches for the CPU and the pixels.
    unsafe {
        let [r, g, b] = paint.rgb([V::read_pair(a), V::read_pair(b), V::read_pair(c)]);
        let flip = V::splat_byte(flip);
        [V::xor(r, flip), V::xor(g, flip), V::xor(b, flip)]
    }
}

/// How red, green and blue come of what stands in the rows.
trait Paint<V: Vector> {
    unsafe fn rgb(&self, rows: [[V::Words; 2]; 3]) -> [V::Bytes; 3];
}

/// [`Colour::Rgb`]; gives bytes around 0, flipped or not.
struct Plain;

impl<V: Vector> Paint<V> for Plain {
    #[inline(always)]
    unsafe fn rgb(&self, [r, g, b]: [[V::Words; 2]; 3]) -> [V::Bytes; 3] {
        // SAFETY: the caller vouches for the CPU.
        unsafe { [V::narrow::<8>(r), V::narrow::<8>(g), V::narrow::<8>(b)] }
    }
}

/// [`Colour::Grey`]: [`Luma`] in all lanes.
struct Light<V: Vector> {
    gain: V::Words,
    offset: V::Words,
}

impl<V: Vector> Light<V> {
    #[inline(always)]
    unsafe fn new(luma: &Luma) -> Self {
        // SAFETY: the caller vouches for the CPU.
        unsafe { Self { gain: V::splat(luma.gain), offset: V::splat(luma.offset) } }
    }

    /// Scaled luma.
    #[inline(always)]
    unsafe fn of(&self, y: V::Words) -> V::Words {
        // SAFETY: as above.
        unsafe { V::add(V::mulhrs(y, self.gain), self.offset) }
    }
}

impl<V: Vector> Paint<V> for Light<V> {
    #[inline(always)]
    unsafe fn rgb(&self, [y, _, _]: [[V::Words; 2]; 3]) -> [V::Bytes; 3] {
        // SAFETY: as above.
        unsafe { [V::saturate::<WHOLE>([self.of(y[0]), self.of(y[1])]); 3] }
    }
}

/// [`Colour::Yuv`]: [`Luma`] and [`Chroma`] in all lanes.
struct Matrix<V: Vector> {
    light: Light<V>,
    red_v: V::Words,
    green_u: V::Words,
    green_v: V::Words,
    blue_u: V::Words,
}

impl<V: Vector> Matrix<V> {
    #[inline(always)]
    unsafe fn new(luma: &Luma, chroma: &Chroma) -> Self {
        // SAFETY: the caller vouches for the CPU.
        unsafe {
            Self {
                light: Light::new(luma),
                red_v: V::splat(chroma.red_v),
                green_u: V::splat(chroma.green_u),
                green_v: V::splat(chroma.green_v),
                blue_u: V::splat(chroma.blue_u),
            }
        }
    }

    /// Red, green and blue sums.
    #[inline(always)]
    unsafe fn of(&self, y: V::Words, u: V::Words, v: V::Words) -> [V::Words; 3] {
        // SAFETY: as above.
        unsafe {
            let y = self.light.of(y);
            let green = V::add(V::mulhrs(u, self.green_u), V::mulhrs(v, self.green_v));
            [V::add(y, V::mulhrs(v, self.red_v)), V::add(y, green), V::add(y, V::mulhrs(u, self.blue_u))]
        }
    }
}

impl<V: Vector> Paint<V> for Matrix<V> {
    #[inline(always)]
    unsafe fn rgb(&self, [y, u, v]: [[V::Words; 2]; 3]) -> [V::Bytes; 3] {
        // SAFETY: as above.
        unsafe {
            let [[r, g, b], [next_r, next_g, next_b]] = [self.of(y[0], u[0], v[0]), self.of(y[1], u[1], v[1])];
            let (r, g) = (V::saturate::<WHOLE>([r, next_r]), V::saturate::<WHOLE>([g, next_g]));
            [r, g, V::saturate::<WHOLE>([b, next_b])]
        }
    }
}
