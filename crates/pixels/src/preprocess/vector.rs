//! What the SIMD kernels need of an instruction set: [`Vector`], which `x86`, `avx2` and `neon` implement.
//!
//! `generic` has the kernels; `entry` compiles them for one of them.

#![allow(unsafe_code)]

/// The vectors of an instruction set.
///
/// A pair of [`Self::Words`] holds what becomes of the bytes of one [`Self::Bytes`]. Its order is the implementation's
/// own: some instructions that spread bytes over a pair, and those that pack it again, work in halves of a vector.
///
/// # Safety
/// Every function needs a CPU with the instructions of the implementation. What it reads or writes through a pointer
/// must belong to the caller; it need not be aligned. There is no other condition.
pub(super) trait Vector {
    /// [`Self::BYTES`] bytes.
    type Bytes: Copy;
    /// [`Self::LANES`] 16-bit integers.
    type Words: Copy;

    /// 16 or 32.
    const BYTES: usize;
    /// 8 or 16.
    const LANES: usize = Self::BYTES / 2;
    /// Rows hold bytes with these bits flipped: 0x80 if products take bytes as signed, around 0, and 0 if as unsigned.
    const FLIP: u8;

    /// Reads [`Self::BYTES`] bytes.
    unsafe fn read(from: *const u8) -> Self::Bytes;
    /// Writes [`Self::BYTES`] bytes.
    unsafe fn write(bytes: Self::Bytes, to: *mut u8);
    /// Reads 16 bytes from the first pointer and, if these don't fill the vector, 16 from the second.
    unsafe fn read_two(from: [*const u8; 2]) -> Self::Bytes;
    /// Reads [`Self::LANES`] values.
    unsafe fn read_words(from: *const i16) -> Self::Words;
    /// Writes [`Self::LANES`] values.
    unsafe fn write_words(words: Self::Words, to: *mut i16);
    /// Reads [`Self::BYTES`] values as a pair.
    unsafe fn read_pair(from: *const i16) -> [Self::Words; 2];

    /// Reads two components in turn, as many bytes as two vectors hold, and applies [`Self::FLIP`].
    unsafe fn split_pairs(from: *const u8) -> [Self::Bytes; 2];
    /// The same with three.
    unsafe fn split_triples(from: *const u8) -> [Self::Bytes; 3];
    /// Reads what four vectors hold of `Y0 U Y1 V` or, with chroma first, `U Y0 V Y1`, applies [`Self::FLIP`], and
    /// writes two vectors of Y, one of U and one of V.
    unsafe fn split_quads(from: *const u8, chroma_first: bool, to: [*mut u8; 3]);
    /// Writes the first 16 bytes at the first pointer, and the others, if there are any, at the second.
    unsafe fn write_apart(bytes: Self::Bytes, to: [*mut u8; 2]);
    /// Writes three components in turn.
    unsafe fn write_triples(triples: [Self::Bytes; 3], to: *mut u8);

    unsafe fn splat_byte(value: u8) -> Self::Bytes;
    unsafe fn xor(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    unsafe fn or(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// Bytes at the places that `mask` gives, counted within each 16 bytes; 0 for a place of 0xff.
    unsafe fn shuffle(bytes: Self::Bytes, mask: Self::Bytes) -> Self::Bytes;

    /// Bytes of both in turn, of the first 8 of each 16 bytes, and of the last 8.
    unsafe fn zip(a: Self::Bytes, b: Self::Bytes) -> [Self::Bytes; 2];
    /// The last byte first.
    unsafe fn reverse(bytes: Self::Bytes) -> Self::Bytes;

    unsafe fn splat(value: i16) -> Self::Words;
    /// Wraps around.
    unsafe fn add(a: Self::Words, b: Self::Words) -> Self::Words;
    /// Wraps around.
    unsafe fn sub(a: Self::Words, b: Self::Words) -> Self::Words;
    /// `(a * b + 0x4000) >> 15`.
    unsafe fn mulhrs(a: Self::Words, b: Self::Words) -> Self::Words;
    unsafe fn shift_left<const BITS: i32>(words: Self::Words) -> Self::Words;

    /// Products of bytes and unsigned weights, two neighbours added.
    unsafe fn weigh(bytes: Self::Bytes, weights: Self::Bytes) -> Self::Words;
    /// Adds the products of two rows with an unsigned weight for each.
    unsafe fn add_rows(sums: [Self::Words; 2], rows: [Self::Bytes; 2], weights: [u8; 2]) -> [Self::Words; 2];
    /// Bytes times 256, as two vectors in the order of the bytes: no pair.
    unsafe fn widen(bytes: Self::Bytes) -> [Self::Words; 2];
    /// Shifts to the right and rounds. The results must fit a signed byte or, where [`Self::FLIP`] is 0, any byte.
    unsafe fn narrow<const BITS: i32>(pair: [Self::Words; 2]) -> Self::Bytes;
    /// Shifts to the right, rounds down, and limits to 0 to 255.
    unsafe fn saturate<const BITS: i32>(pair: [Self::Words; 2]) -> Self::Bytes;
}

/// Defines functions of [`Vector`] that touch no memory, each by its result.
macro_rules! instructions {
    ($instructions:literal; $(
        fn $name:ident $(<const $bits:ident: i32>)? ($($argument:tt: $type:ty),*) -> $result:ty = $value:expr;
    )*) => {$(
        #[inline]
        #[target_feature(enable = $instructions)]
        unsafe fn $name $(<const $bits: i32>)? ($($argument: $type),*) -> $result {
            $value
        }
    )*};
}
pub(super) use instructions;
