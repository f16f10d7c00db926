//! The functions through which the kernels of an instruction set are entered: the only ones in which its instructions are
//! enabled.

/// Defines `KERNELS` for a vector. Its instructions are enabled in these few functions, and all of `generic` and of the
/// vector is inlined there.
macro_rules! kernels {
    ($vector:ty, $instructions:literal) => {
        use $crate::preprocess::{colour::Colour, generic, kernels::*, strip::Tile, taps::Row};

        pub(super) const KERNELS: Kernels =
            Kernels { load, vertical, horizontal, widen, widen_reversed, finish, finish_apart, turn };

        #[target_feature(enable = $instructions)]
        fn load(packing: Packing, source: &[u8], into: [&mut [u8]; 3]) {
            // SAFETY: who calls this vouches for the CPU.
            unsafe { generic::load::<$vector>(packing, source, into) }
        }

        #[target_feature(enable = $instructions)]
        fn vertical(mix: &Mix<'_>, into: &mut [u8]) {
            // SAFETY: as above.
            unsafe { generic::vertical::<$vector>(mix, into) }
        }

        #[target_feature(enable = $instructions)]
        fn horizontal(taps: &Row, source: &[u8], into: &mut [i16]) {
            if taps.scale.is_empty() {
                // SAFETY: as above.
                unsafe { generic::interpolate::<$vector>(taps, source, into) }
            } else {
                average(taps, source, into);
            }
        }

        // Apart, because in one function it takes the registers that the loop of `interpolate` needs.
        #[inline(never)]
        #[target_feature(enable = $instructions)]
        fn average(taps: &Row, source: &[u8], into: &mut [i16]) {
            // SAFETY: as above.
            unsafe { generic::average::<$vector>(taps, source, into) }
        }

        #[target_feature(enable = $instructions)]
        fn widen(source: &[u8], into: &mut [i16]) {
            // SAFETY: as above.
            unsafe { generic::widen::<$vector>(source, into) }
        }

        #[target_feature(enable = $instructions)]
        fn finish(colour: &Colour, rows: [&[i16]; 3], flip: u8, into: &mut [u8]) {
            // SAFETY: as above.
            unsafe { generic::finish::<$vector>(colour, rows, flip, into) }
        }

        #[target_feature(enable = $instructions)]
        fn widen_reversed(source: &[u8], into: &mut [i16]) {
            // SAFETY: as above.
            unsafe { generic::widen_reversed::<$vector>(source, into) }
        }

        #[target_feature(enable = $instructions)]
        fn finish_apart(colour: &Colour, rows: [&[i16]; 3], flip: u8, into: [&mut [u8]; 3]) {
            // SAFETY: as above.
            unsafe { generic::finish_apart::<$vector>(colour, rows, flip, into) }
        }

        #[target_feature(enable = $instructions)]
        fn turn(tile: &Tile<'_>, into: &mut [u8]) {
            // SAFETY: as above.
            unsafe { generic::turn::<$vector>(tile, into) }
        }
    };
}
pub(super) use kernels;
