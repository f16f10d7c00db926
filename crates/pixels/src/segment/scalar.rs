//! The specification of the decoding: the plain loop over pixels and classes that every SIMD path must equal, bit for
//! bit. It is also what runs where there is no SIMD path.
//!
//! 1. A logit byte becomes `v = int8 * 64`; a uint8 byte has its top bit flipped first. Neither step changes an order.
//! 2. A mask row lies between two grid rows, at weight `t`, Q15, 0 to 32767 (`Tap`). Each class at each column is
//!    `v = lerp(upper, lower, t)` with `lerp(a, b, t) = a + (((b - a) * t + 0x4000) >> 15)`, in 16 bits.
//! 3. A mask pixel lies between two columns: `v = lerp(left, right, t)` of the values of step 2.
//! 4. The pixel's class is the lowest index among those with the greatest value.
//!
//! `lerp(a, b, t)` equals `floor((a * (2^15 - t) + b * t + 2^14) / 2^15)`. The other paths rest on what follows from it:
//! - it never decreases when `a` or `b` grows (monotonic);
//! - `lerp(a + n, b + n, t) = lerp(a, b, t) + n` for integers (shift-invariant);
//! - so from `a < a'` and `b < b'` follows `lerp(a, b, t) < lerp(a', b', t)`: integers that are less are less by 1.
//!
//! **Error.** Each `lerp` rounds by at most 0.5 and its weight, off by 2^-16, adds at most 0.25, because values differ by
//! at most 16320. Two of them stay within 1.5 of the exact value, in units of 1/64 of a quantisation step. So a pixel
//! differs from the exact answer only where the two classes are closer than 3/64 of a step.

use super::plan::Plan;

/// Fraction bits of the values that are blended.
pub(super) const FRACTION: u32 = 6;

/// The value of one logit byte, step 1.
pub(super) fn value(byte: u8, flip: u8) -> i16 {
    i16::from((byte ^ flip) as i8) << FRACTION
}

/// The value between two, steps 2 and 3.
pub(super) fn lerp(a: i16, b: i16, t: i16) -> i16 {
    let product = i32::from(b - a) * i32::from(t);
    a + ((product + 0x4000) >> 15) as i16
}

/// Decodes `output` into `mask`, one class id per pixel, and adds the pixels per class to `counts`. `blended` is
/// scratch for one grid row.
pub(super) fn render(plan: &Plan, output: &[u8], blended: &mut [i16], mask: &mut [u8], counts: &mut [u64; 256]) {
    let Plan { grid, xs, ys, .. } = plan;
    for (y, row) in ys.iter().zip(mask.chunks_exact_mut(xs.len())) {
        let upper = grid.row(output, y.cell as usize);
        let lower = grid.row(output, (y.cell as usize + 1).min(grid.height - 1));
        for ((blend, &a), &b) in blended.iter_mut().zip(upper).zip(lower) {
            *blend = lerp(value(a, grid.flip), value(b, grid.flip), y.t);
        }
        for (x, pixel) in xs.iter().zip(row) {
            let left = x.cell as usize;
            let right = (left + 1).min(grid.width - 1);
            let left = &blended[left * grid.classes..][..grid.classes];
            let right = &blended[right * grid.classes..][..grid.classes];
            let (mut best, mut class) = (i16::MIN, 0);
            for (k, (&a, &b)) in left.iter().zip(right).enumerate() {
                let v = lerp(a, b, x.t);
                if v > best {
                    (best, class) = (v, k);
                }
            }
            *pixel = class as u8;
            counts[class] += 1;
        }
    }
}
