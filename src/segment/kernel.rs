//! The fast decoding, written once over a vector of 16-bit lanes ([`Vector`]); `x86` and `neon` supply the vectors.
//!
//! It does what `scalar` specifies, but spends work only where classes meet. [`Work`] holds the scratch of one decoder.
#![allow(unsafe_code)]

use super::plan::{Plan, Run};
use super::scalar::{Grid, FRACTION};

/// Pixels that a row may be written past its end: vectors are stored whole.
const OVERSHOOT: usize = 16;
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

/// One grid row, or a blend of two, widened: per column the values of all classes, padded to whole vectors with
/// [`NEVER`], and the first-argmax. The column after the last repeats the last.
#[derive(Debug, Default)]
struct Columns {
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
    /// Horizontal weights, padded so that vectors can be read from any.
    weights: Vec<i16>,
    upper: Columns,
    lower: Columns,
    blended: Columns,
    segments: Vec<Segment>,
    /// The last rows of the mask, which have no row after them to overshoot into.
    tail: Vec<u8>,
}

impl Work {
    /// Scratch for `plan` and vectors of `lanes`.
    pub(super) fn new(plan: &Plan, lanes: usize) -> Self {
        let padded = plan.grid.classes.next_multiple_of(lanes);
        let columns = plan.grid.width + 1;
        let new = || Columns { values: vec![NEVER; columns * padded], winners: vec![0; columns] };
        let mut weights: Vec<i16> = plan.xs.iter().map(|tap| tap.t).collect();
        weights.resize(plan.xs.len() + OVERSHOOT, 0);
        Self {
            padded,
            weights,
            upper: new(),
            lower: new(),
            blended: new(),
            segments: Vec::with_capacity(plan.columns.len()),
            tail: vec![0; plan.xs.len() + OVERSHOOT],
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
        for segment in &work.segments {
            if let Segment::Solid { start, end, class } = *segment {
                counts[usize::from(class)] += ((end - start) * (band.end - band.start)) as u64;
            }
        }
        for y in band.start..band.end {
            let (start, end) = (y * width, (y + 1) * width);
            let in_place = end + OVERSHOOT <= mask.len();
            let row = if in_place { &mut mask[start..end + OVERSHOOT] } else { &mut work.tail[..] };
            // From left to right, so that each segment covers what the one before it wrote past its end.
            for segment in &work.segments {
                match *segment {
                    Segment::Solid { start, end, class } => row[start..end].fill(class),
                    Segment::Mixed { first, last } => {
                        let runs = &plan.columns[first..=last];
                        let (upper, lower) = (&work.upper.values, &work.lower.values);
                        let range = runs[0].cell..runs[runs.len() - 1].cell + 2;
                        // SAFETY: the caller vouches for the CPU.
                        unsafe {
                            blend::<V>(work.padded, range, (upper, lower), plan.ys[y].t, &mut work.blended);
                            for run in runs {
                                draw::<V>(work.padded, *run, &work.blended, &work.weights, row, counts);
                            }
                        }
                    }
                }
            }
            if !in_place {
                mask[start..end].copy_from_slice(&work.tail[..width]);
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
unsafe fn widen<V: Vector>(grid: Grid, padded: usize, row: &[u8], columns: &mut Columns) {
    let whole = grid.classes / V::LANES * V::LANES;
    let mut lane_of_class = [0i16; 16];
    for (lane, flag) in lane_of_class.iter_mut().enumerate() {
        *flag = if whole + lane < grid.classes { -1 } else { 0 };
    }
    for x in 0..=grid.width {
        let logits = &row[x.min(grid.width - 1) * grid.classes..];
        let values = &mut columns.values[x * padded..(x + 1) * padded];
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
                    let mut bytes = [0; 16];
                    bytes[..rest.len()].copy_from_slice(rest);
                    V::from_logits(&bytes, grid.flip)
                };
                V::load(&lane_of_class).select(loaded, V::splat(NEVER)).store(&mut values[whole..]);
            }
            columns.winners[x] = first_argmax::<V>(values);
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

/// Blends the columns `range` of two grid rows and finds the winner of each.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn blend<V: Vector>(
    padded: usize,
    range: std::ops::Range<usize>,
    (upper, lower): (&[i16], &[i16]),
    t: i16,
    blended: &mut Columns,
) {
    for x in range {
        let (a, b) = (&upper[x * padded..(x + 1) * padded], &lower[x * padded..(x + 1) * padded]);
        let out = &mut blended.values[x * padded..(x + 1) * padded];
        // SAFETY: the caller vouches for the CPU.
        unsafe {
            let t = V::splat(t);
            for at in (0..padded).step_by(V::LANES) {
                let (a, b) = (V::load(&a[at..]), V::load(&b[at..]));
                a.add(b.sub(a).mulhrs(t)).store(&mut out[at..]);
            }
            blended.winners[x] = first_argmax::<V>(out);
        }
    }
}

/// Draws the pixels of one run: between the two columns at its ends.
///
/// If the same class is the first-argmax at both ends, it wins all the way (see [`find_segments`]). Else only a class
/// that is at least equal to the left winner on the right, and to the right winner on the left, can win anywhere: one
/// that is less than the right end's value of the left winner is, on the left, less than the left winner or equal with
/// a higher index, so the left winner beats it at every pixel. The same holds the other way round.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn draw<V: Vector>(
    padded: usize,
    run: Run,
    columns: &Columns,
    weights: &[i16],
    row: &mut [u8],
    counts: &mut [u64; 256],
) {
    let (from, to) = (columns.winners[run.cell], columns.winners[run.cell + 1]);
    if from == to {
        for x in (run.start..run.end).step_by(OVERSHOOT) {
            row[x..x + OVERSHOOT].fill(from);
        }
        counts[usize::from(from)] += (run.end - run.start) as u64;
        return;
    }
    let both = &columns.values[run.cell * padded..(run.cell + 2) * padded];
    let (left, right) = both.split_at(padded);
    let mut candidates = [0u32; 256 / 8];
    let candidates = &mut candidates[..padded / V::LANES];
    // SAFETY: the caller vouches for the CPU.
    unsafe {
        let (least_left, least_right) = (V::splat(left[usize::from(to)]), V::splat(right[usize::from(from)]));
        let all = u32::MAX >> (32 - V::LANES);
        for (index, bits) in candidates.iter_mut().enumerate() {
            let (a, b) = (V::load(&left[index * V::LANES..]), V::load(&right[index * V::LANES..]));
            *bits = !least_left.greater(a).or(least_right.greater(b)).bits() & all;
        }
        for x in (run.start..run.end).step_by(V::LANES) {
            let t = V::load(&weights[x..]);
            let (mut best, mut ids) = (V::splat(i16::MIN), V::splat(0));
            for class in classes(candidates, V::LANES) {
                let (a, b) = (left[class], right[class]);
                let v = V::splat(a).add(V::splat(b - a).mulhrs(t));
                ids = v.greater(best).select(V::splat(class as i16), ids);
                best = v.max(best);
            }
            ids.store_bytes(&mut row[x..]);
            let pixels = (run.end - x).min(V::LANES);
            for class in classes(candidates, V::LANES) {
                counts[class] += u64::from(ids.equal(V::splat(class as i16)).count(pixels));
            }
        }
    }
}

/// The set bits of `words`, `lanes` bits each, from the lowest.
#[inline(always)]
fn classes(words: &[u32], lanes: usize) -> impl Iterator<Item = usize> + '_ {
    words.iter().enumerate().flat_map(move |(index, &word)| {
        let mut rest = word;
        std::iter::from_fn(move || {
            let bit = rest.trailing_zeros() as usize;
            rest &= rest.wrapping_sub(1);
            (bit < 32).then_some(index * lanes + bit)
        })
    })
}
