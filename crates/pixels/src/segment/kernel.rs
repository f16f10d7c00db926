//! The fast decoding, written once over a vector of 16-bit lanes ([`Vector`]); `x86` and `neon` supply the vectors.
//!
//! It does what `scalar` specifies, but spends work only where classes meet. [`Work`] holds the scratch of one decoder.
#![allow(unsafe_code)]

use super::plan::{Grid, Plan, Run, Tap, BAND};
use super::scalar::FRACTION;

/// A run is written in whole steps of so many pixels; what is too much is overwritten by the next run.
const STEP: usize = 16;
/// Value in the lanes past the last class: less than any logit, and far enough from `i16::MIN` not to wrap.
const NEVER: i16 = -(129 << FRACTION);

/// A vector of `LANES` 16-bit integers, 8 or 16 of them. Comparisons give lanes of all ones or all zeros.
///
/// # Safety
/// Every function needs a CPU with the instructions of the implementation. There is no other condition: those that
/// take slices panic if these are shorter than the vector.
pub(super) trait Vector: Copy {
    const LANES: usize;
    unsafe fn splat(value: i16) -> Self;
    unsafe fn load(from: &[i16]) -> Self;
    unsafe fn store(self, to: &mut [i16]);
    /// Stores the low byte of each lane.
    unsafe fn store_bytes(self, to: &mut [u8]);
    /// The values of logit bytes, step 1 of the specification.
    unsafe fn from_logits(from: &[u8], flip: u8) -> Self;
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    /// `(a * b + 0x4000) >> 15`.
    unsafe fn mulhrs(self, other: Self) -> Self;
    unsafe fn max(self, other: Self) -> Self;
    unsafe fn greater(self, other: Self) -> Self;
    unsafe fn equal(self, other: Self) -> Self;
    unsafe fn or(self, other: Self) -> Self;
    /// `self` is a comparison: lanes of `yes` where it holds, else of `no`.
    unsafe fn select(self, yes: Self, no: Self) -> Self;
    /// `self` is a comparison: bit `i` tells whether it holds in lane `i`.
    unsafe fn bits(self) -> u32;
    /// `self` is a comparison: in how many of the first `lanes` (at most `LANES`) lanes it holds.
    unsafe fn count(self, lanes: usize) -> u32;
    /// The greatest value and the first lane that has it.
    unsafe fn first_greatest(self) -> (i16, usize);
}

/// One grid row, widened: per column the values of all classes, padded to whole vectors with [`NEVER`], and the
/// first-argmax. The column after the last repeats the last.
#[derive(Debug)]
struct GridRow {
    values: Vec<i16>,
    winners: Vec<u8>,
}

/// One grid column blended for each mask row between two grid rows: values and first-argmax as in [`GridRow`].
#[derive(Debug)]
struct Strip {
    values: Vec<i16>,
    winners: Vec<u8>,
}

/// Neighbouring runs of mask columns that are all of one class between two grid rows, or none of which is.
#[derive(Clone, Copy, Debug)]
enum Segment {
    /// Pixels `start..end` are of `class`.
    Solid { start: usize, end: usize, class: u8 },
    /// The runs of these indices need a look at each pixel.
    Mixed { first: usize, last: usize },
}

/// Scratch memory, sized once.
#[derive(Debug)]
pub(super) struct Work {
    /// Classes, rounded up to whole vectors.
    padded: usize,
    /// Horizontal weights, padded so that a step can be read from any.
    weights: Vec<i16>,
    upper: GridRow,
    lower: GridRow,
    left: Strip,
    right: Strip,
    segments: Vec<Segment>,
    /// Takes the runs whose last step would go past the end of their row.
    edge: Vec<u8>,
    /// Classes that are still to be looked at, a bit each, a word per vector.
    others: Vec<u32>,
}

impl Work {
    /// Scratch for `plan` and vectors of `lanes`.
    pub(super) fn new(plan: &Plan, lanes: usize) -> Self {
        let padded = plan.grid.classes.next_multiple_of(lanes);
        let columns = plan.grid.width + 1;
        let row = || GridRow { values: vec![NEVER; columns * padded], winners: vec![0; columns] };
        let strip = || Strip { values: vec![NEVER; BAND * padded], winners: vec![0; BAND] };
        let mut weights: Vec<i16> = plan.xs.iter().map(|tap| tap.t).collect();
        weights.resize(plan.xs.len() + STEP, 0);
        Self {
            padded,
            weights,
            upper: row(),
            lower: row(),
            left: strip(),
            right: strip(),
            segments: Vec::with_capacity(plan.columns.len()),
            edge: vec![0; plan.xs.len() + STEP],
            others: vec![0; padded / lanes],
        }
    }
}

/// Decodes `output` into `mask` and adds the pixels per class to `counts`.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn render<V: Vector>(
    plan: &Plan,
    work: &mut Work,
    output: &[u8],
    mask: &mut [u8],
    counts: &mut [u64; 256],
) {
    let width = plan.xs.len();
    let mut in_lower = usize::MAX;
    for band in &plan.rows {
        let below = (band.cell + 1).min(plan.grid.height - 1);
        // Bands follow each other down the grid, so that mostly one row is new.
        if in_lower == band.cell {
            std::mem::swap(&mut work.upper, &mut work.lower);
        } else {
            // SAFETY: the caller vouches for the CPU.
            unsafe { widen::<V>(plan.grid, work.padded, plan.grid.row(output, band.cell), &mut work.upper) };
        }
        // SAFETY: the caller vouches for the CPU.
        unsafe { widen::<V>(plan.grid, work.padded, plan.grid.row(output, below), &mut work.lower) };
        in_lower = below;

        find_segments(&plan.columns, &work.upper.winners, &work.lower.winners, &mut work.segments);
        let mask = &mut mask[band.start * width..band.end * width];
        // From left to right, so that each segment covers what the one before it wrote past its end.
        for index in 0..work.segments.len() {
            match work.segments[index] {
                Segment::Solid { start, end, class } => {
                    counts[usize::from(class)] += ((end - start) * (band.end - band.start)) as u64;
                    mask.chunks_exact_mut(width).for_each(|row| row[start..end].fill(class));
                }
                Segment::Mixed { first, last } => {
                    let ys = &plan.ys[band.start..band.end];
                    // SAFETY: the caller vouches for the CPU.
                    unsafe { draw_mixed::<V>(&plan.columns[first..=last], ys, work, mask, counts) };
                }
            }
        }
    }
}

/// Finds the runs that are of one class in all rows between two grid rows.
///
/// Where one class is the first-argmax at all four corners of a grid cell, it is so everywhere in the cell: each other
/// class is less at every corner if its index is lower, and at most equal if its index is higher; both relations survive
/// two blends with common weights (see `scalar`), and then the class still wins, ties included.
#[inline(always)]
fn find_segments(runs: &[Run], upper: &[u8], lower: &[u8], segments: &mut Vec<Segment>) {
    segments.clear();
    for (index, run) in runs.iter().enumerate() {
        let corners = [upper[run.cell], upper[run.cell + 1], lower[run.cell], lower[run.cell + 1]];
        let class = corners[0];
        let solid = corners[1..].iter().all(|&corner| corner == class);
        match segments.last_mut() {
            Some(Segment::Solid { end, class: before, .. }) if solid && *before == class => *end = run.end,
            Some(Segment::Mixed { last, .. }) if !solid => *last = index,
            _ if solid => segments.push(Segment::Solid { start: run.start, end: run.end, class }),
            _ => segments.push(Segment::Mixed { first: index, last: index }),
        }
    }
}

/// Widens one row of logit bytes and finds the winner of each column.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn widen<V: Vector>(grid: Grid, padded: usize, bytes: &[u8], row: &mut GridRow) {
    let whole = grid.classes / V::LANES * V::LANES;
    let mut is_class = [0i16; 16];
    is_class[..grid.classes - whole].fill(-1);
    for x in 0..=grid.width {
        let logits = &bytes[x.min(grid.width - 1) * grid.classes..];
        let values = &mut row.values[x * padded..(x + 1) * padded];
        // SAFETY: the caller vouches for the CPU.
        unsafe {
            for at in (0..whole).step_by(V::LANES) {
                V::from_logits(&logits[at..], grid.flip).store(&mut values[at..]);
            }
            if whole < grid.classes {
                let rest = &logits[whole..];
                let loaded = if rest.len() >= V::LANES {
                    V::from_logits(rest, grid.flip)
                } else {
                    let mut copy = [0; 16];
                    copy[..rest.len()].copy_from_slice(rest);
                    V::from_logits(&copy, grid.flip)
                };
                V::load(&is_class).select(loaded, V::splat(NEVER)).store(&mut values[whole..]);
            }
            row.winners[x] = first_argmax::<V>(values);
        }
    }
}

/// Index of the first of the greatest values. `values` is a whole number of vectors.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn first_argmax<V: Vector>(values: &[i16]) -> u8 {
    let (mut best, mut class) = (i16::MIN, 0);
    for (index, chunk) in values.chunks_exact(V::LANES).enumerate() {
        // SAFETY: the caller vouches for the CPU.
        let (value, lane) = unsafe { V::load(chunk).first_greatest() };
        if value > best {
            (best, class) = (value, index * V::LANES + lane);
        }
    }
    class as u8
}

/// Draws neighbouring runs in all rows of a band; `mask` holds these rows.
///
/// A run is drawn from its first row to its last before the next one begins: from row to row little changes in it, so
/// that branches go the same way.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn draw_mixed<V: Vector>(runs: &[Run], ys: &[Tap], work: &mut Work, mask: &mut [u8], counts: &mut [u64; 256]) {
    let width = work.weights.len() - STEP;
    let Work { padded, weights, upper, lower, left, right, edge, others, .. } = work;
    let (padded, mut left, mut right) = (*padded, left, right);
    let mut in_right = usize::MAX;
    for run in runs {
        if in_right == run.cell {
            std::mem::swap(&mut left, &mut right);
        } else {
            // SAFETY: the caller vouches for the CPU.
            unsafe { blend::<V>(padded, run.cell, (upper, lower), ys, left) };
        }
        // SAFETY: the caller vouches for the CPU.
        unsafe { blend::<V>(padded, run.cell + 1, (upper, lower), ys, right) };
        in_right = run.cell + 1;

        let pixels = run.end - run.start;
        let written = pixels.next_multiple_of(STEP);
        let weights = &weights[run.start..];
        for (y, row) in mask.chunks_exact_mut(width).enumerate() {
            let at = y * padded..(y + 1) * padded;
            let values = (&left.values[at.clone()], &right.values[at]);
            let winners = (left.winners[y], right.winners[y]);
            let in_place = run.start + written <= width;
            let out = if in_place { &mut row[run.start..run.start + written] } else { &mut edge[..written] };
            // SAFETY: the caller vouches for the CPU.
            unsafe { draw::<V>(values, winners, weights, pixels, others, out, counts) };
            if !in_place {
                row[run.start..run.end].copy_from_slice(&edge[..pixels]);
            }
        }
    }
}

/// Blends grid column `x` for the mask rows `ys`.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn blend<V: Vector>(
    padded: usize,
    x: usize,
    (upper, lower): (&GridRow, &GridRow),
    ys: &[Tap],
    strip: &mut Strip,
) {
    let (a, b) = (&upper.values[x * padded..(x + 1) * padded], &lower.values[x * padded..(x + 1) * padded]);
    let rows = strip.values.chunks_exact_mut(padded).zip(&mut strip.winners);
    for (y, (out, winner)) in ys.iter().zip(rows) {
        // SAFETY: the caller vouches for the CPU.
        unsafe {
            let t = V::splat(y.t);
            for at in (0..padded).step_by(V::LANES) {
                let (a, b) = (V::load(&a[at..]), V::load(&b[at..]));
                a.add(b.sub(a).mulhrs(t)).store(&mut out[at..]);
            }
            *winner = first_argmax::<V>(out);
        }
    }
}

/// Draws the pixels of one run in one row: between the two columns at its ends, whose first-argmaxes are `from` and `to`.
///
/// If these are the same, that class wins all the way (see [`find_segments`]). Else only a class that is at least equal
/// to the left winner on the right, and to the right winner on the left, can win anywhere: one that is less than the
/// left winner on the right end is, on the left end, less than it too, or equal with a higher index, so the left winner
/// beats it at every pixel. The same holds the other way round.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn draw<V: Vector>(
    (left, right): (&[i16], &[i16]),
    (from, to): (u8, u8),
    weights: &[i16],
    pixels: usize,
    others: &mut [u32],
    out: &mut [u8],
    counts: &mut [u64; 256],
) {
    if from == to {
        out.as_chunks_mut().0.fill([from; STEP]);
        counts[usize::from(from)] += pixels as u64;
        return;
    }
    let (low, high) = (usize::from(from.min(to)), usize::from(from.max(to)));
    // SAFETY: the caller vouches for the CPU.
    unsafe {
        let least = (V::splat(left[usize::from(to)]), V::splat(right[usize::from(from)]));
        for (index, bits) in others.iter_mut().enumerate() {
            let at = index * V::LANES;
            *bits = candidates::<V>(&left[at..], &right[at..], least);
        }
        others[low / V::LANES] &= !(1 << (low % V::LANES));
        others[high / V::LANES] &= !(1 << (high % V::LANES));

        let (low_id, high_id) = (V::splat(low as i16), V::splat(high as i16));
        for x in (0..pixels).step_by(V::LANES) {
            let t = V::load(&weights[x..]);
            let (v_low, v_high) = (line::<V>(left[low], right[low], t), line::<V>(left[high], right[high], t));
            let mut best = v_low.max(v_high);
            let mut ids = v_high.greater(v_low).select(high_id, low_id);
            for (index, &bits) in others.iter().enumerate() {
                let mut bits = bits;
                while bits != 0 {
                    let class = index * V::LANES + bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    let id = V::splat(class as i16);
                    let v = line::<V>(left[class], right[class], t);
                    // Against a higher index equal is enough; a comparison that holds is -1.
                    ids = v.greater(best.add(ids.greater(id))).select(id, ids);
                    best = best.max(v);
                }
            }
            ids.store_bytes(&mut out[x..]);

            let lanes = (pixels - x).min(V::LANES);
            let of_high = ids.equal(high_id).count(lanes);
            let mut of_low = lanes as u32 - of_high;
            for (index, &bits) in others.iter().enumerate() {
                let mut bits = bits;
                while bits != 0 {
                    let class = index * V::LANES + bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    let won = ids.equal(V::splat(class as i16)).count(lanes);
                    counts[class] += u64::from(won);
                    of_low -= won;
                }
            }
            counts[high] += u64::from(of_high);
            counts[low] += u64::from(of_low);
        }
    }
}

/// The values between `a` and `b` at weights `t`.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn line<V: Vector>(a: i16, b: i16, t: V) -> V {
    // SAFETY: the caller vouches for the CPU.
    unsafe {
        let a = V::splat(a);
        a.add(V::splat(b).sub(a).mulhrs(t))
    }
}

/// Which classes of one vector are at least `least` at both ends.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn candidates<V: Vector>(left: &[i16], right: &[i16], least: (V, V)) -> u32 {
    // SAFETY: the caller vouches for the CPU.
    unsafe {
        let out = least.0.greater(V::load(left)).or(least.1.greater(V::load(right)));
        !out.bits() & (u32::MAX >> (32 - V::LANES))
    }
}
