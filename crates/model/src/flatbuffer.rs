//! Walks a flatbuffer that nobody vouches for. Every step is bounded by the bytes, and all steps together by their number:
//! tables and vectors may be shared, and a small file could stand for an endless one.
//!
//! A flatbuffer consists of tables. A table says where each of its fields lies, and knows a field by its number alone: the
//! names and types are in the format's schema. [`tables`] turns what this crate needs of a schema into types with a function
//! for each field; `tflite::schema` and `edgetpu::schema` use it, and no field number stands anywhere else.
//!
//! The `flatbuffers` crate's verifier finds tables and fields; values are read here, so that nothing is `unsafe`.

use std::borrow::Cow;
use std::cell::Cell;

use flatbuffers::{
    field_index_to_field_offset, InvalidFlatbuffer, Verifier, VerifierOptions, FILE_IDENTIFIER_LENGTH, SIZE_UOFFSET,
};

#[cfg(test)]
pub(crate) mod testing;

/// Vector elements and letters that may be read beyond one for each byte of the file, for what writers share.
const SHARED: usize = 1 << 16;

/// Where the mark lies that names the format: behind the offset of the first table, which every file begins with.
pub(crate) const IDENTIFIER_AT: usize = SIZE_UOFFSET;
/// The mark that names a file's format.
pub(crate) type Identifier = [u8; FILE_IDENTIFIER_LENGTH];

/// Where the structure of a file is broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its structure doesn't hold: {0}")]
pub struct Damage(pub(super) String);

impl From<InvalidFlatbuffer> for Damage {
    fn from(error: InvalidFlatbuffer) -> Self {
        // The first line says what, the others by which way.
        Self(error.to_string().lines().next().unwrap_or_default().trim_end_matches('.').to_owned())
    }
}

/// A flatbuffer.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    options: VerifierOptions,
    left: Cell<usize>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, options: VerifierOptions::default(), left: Cell::new(bytes.len() + SHARED) }
    }

    /// The table that the file begins with.
    pub(crate) fn root<'r, T: Value<'r, 'a>>(&'r self) -> Result<T, Damage> {
        T::read(self, 0)
    }

    /// `length` bytes from `start` of the whole file, for what a schema keeps outside of the tables.
    pub(crate) fn outside(&self, start: u64, length: u64) -> Result<&'a [u8], Damage> {
        let size = |number| usize::try_from(number).map_err(|_| Damage(format!("an offset of {number}")));
        self.slice(size(start)?, size(length)?)
    }

    fn slice(&self, start: usize, length: usize) -> Result<&'a [u8], Damage> {
        let end = start.checked_add(length);
        end.and_then(|end| self.bytes.get(start..end))
            .ok_or_else(|| Damage(format!("{length} bytes at {start} of a file of {}", self.bytes.len())))
    }

    fn array<const N: usize>(&self, at: usize) -> Result<[u8; N], Damage> {
        let slice = self.slice(at, N)?;
        slice.try_into().map_err(|_| Damage(format!("no {N} bytes at {at}")))
    }

    fn verifier(&self) -> Verifier<'_, 'a> {
        Verifier::new(&self.options, self.bytes)
    }

    /// Where the offset at `at` leads.
    fn follow(&self, at: usize) -> Result<usize, Damage> {
        let offset = self.verifier().get_uoffset(at)? as usize;
        at.checked_add(offset).ok_or_else(|| Damage(format!("an offset at {at} that leads too far")))
    }

    /// The start and number of the elements, of `size` bytes each, of the vector that the offset at `at` leads to.
    fn vector(&self, at: usize, size: usize) -> Result<(usize, usize), Damage> {
        let at = self.follow(at)?;
        let count = self.verifier().get_uoffset(at)? as usize;
        let start = at + SIZE_UOFFSET;
        self.slice(start, count.saturating_mul(size))?;
        Ok((start, count))
    }

    fn spend(&self, count: usize) -> Result<(), Damage> {
        let left = self.left.get().checked_sub(count);
        self.left.set(left.ok_or_else(|| Damage("its parts are shared so often that it never ends".to_owned()))?);
        Ok(())
    }
}

/// A table in a flatbuffer, whatever its schema.
#[derive(Clone, Copy)]
pub(crate) struct Table<'r, 'a> {
    reader: &'r Reader<'a>,
    at: usize,
}

impl<'r, 'a> Table<'r, 'a> {
    /// The field of this number; None where the table leaves it out, which means the schema's default. The first field has
    /// the number 0. A union takes two numbers, one for its type and one for its table.
    pub(crate) fn field<T: Value<'r, 'a>>(&self, number: u16) -> Result<Option<T>, Damage> {
        let found = self.reader.verifier().visit_table(self.at)?.deref(field_index_to_field_offset(number))?;
        let Some(at) = found else { return Ok(None) };
        self.reader.spend(T::COST)?;
        T::read(self.reader, at).map(Some)
    }
}

/// What a field can be, or an element of a vector.
pub(crate) trait Value<'r, 'a>: Sized {
    /// Bytes that it takes in its table or its vector. Only numbers lie there themselves; an offset leads to all else.
    const SIZE: usize = SIZE_UOFFSET;
    /// What a field of it takes from the reader's budget. A vector spends one for each element, a text one for each letter.
    const COST: usize = 0;

    /// Reads what lies, or whose offset lies, at `at`.
    fn read(reader: &'r Reader<'a>, at: usize) -> Result<Self, Damage>;
}

macro_rules! numbers {
    ($($kind:ty),*) => {$(
        impl<'r, 'a> Value<'r, 'a> for $kind {
            const SIZE: usize = size_of::<$kind>();

            fn read(reader: &'r Reader<'a>, at: usize) -> Result<Self, Damage> {
                reader.array(at).map(<$kind>::from_le_bytes)
            }
        }
    )*};
}

numbers!(i8, u8, i16, i32, u32, i64, u64, f32);

impl<'r, 'a> Value<'r, 'a> for bool {
    const SIZE: usize = 1;

    fn read(reader: &'r Reader<'a>, at: usize) -> Result<Self, Damage> {
        u8::read(reader, at).map(|byte| byte != 0)
    }
}

impl<'r, 'a> Value<'r, 'a> for Table<'r, 'a> {
    const COST: usize = 1;

    fn read(reader: &'r Reader<'a>, at: usize) -> Result<Self, Damage> {
        Ok(Self { reader, at: reader.follow(at)? })
    }
}

/// A vector of bytes, or a text whatever its encoding; not copied.
impl<'r, 'a> Value<'r, 'a> for &'a [u8] {
    fn read(reader: &'r Reader<'a>, at: usize) -> Result<Self, Damage> {
        let (start, count) = reader.vector(at, 1)?;
        reader.slice(start, count)
    }
}

/// A text; what is not UTF-8 in it becomes U+FFFD.
impl<'r, 'a> Value<'r, 'a> for Cow<'a, str> {
    fn read(reader: &'r Reader<'a>, at: usize) -> Result<Self, Damage> {
        let bytes = <&[u8]>::read(reader, at)?;
        reader.spend(bytes.len())?;
        Ok(String::from_utf8_lossy(bytes))
    }
}

impl<'r, 'a, T: Value<'r, 'a>> Value<'r, 'a> for Vec<T> {
    fn read(reader: &'r Reader<'a>, at: usize) -> Result<Self, Damage> {
        let (start, count) = reader.vector(at, T::SIZE)?;
        reader.spend(count)?;
        (0..count).map(|index| T::read(reader, start + index * T::SIZE)).collect()
    }
}

/// For a field whose absence means something of its own.
impl<'r, 'a, T: Value<'r, 'a>> Value<'r, 'a> for Option<T> {
    const SIZE: usize = T::SIZE;
    const COST: usize = T::COST;

    fn read(reader: &'r Reader<'a>, at: usize) -> Result<Self, Damage> {
        T::read(reader, at).map(Some)
    }
}

/// Declares tables of a schema. Each becomes a type, and each of its fields a function that reads it:
///
/// ```text
/// tables! {
///     /// Which operator it is.
///     OperatorCode {
///         1 custom_code: Cow<'a, str>;
///         2 version: i32 = 1;
///     }
/// }
/// ```
///
/// A field has its number in the schema, its name, its type and its default. Where no default is given it is 0, false, empty
/// or None. A table inside a table is an `Option`. Fields that nobody reads may be left out. The lifetime `'a` is that of the
/// file's bytes, which texts and vectors of bytes are parts of; `'r` is that of the [`Reader`], which tables need.
macro_rules! tables {
    ($($(#[$doc:meta])* $table:ident { $($number:literal $field:ident: $type:ty $(= $default:expr)?;)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $table<'r, 'a>($crate::flatbuffer::Table<'r, 'a>);

        impl<'r, 'a> $table<'r, 'a> {$(
            pub(crate) fn $field(&self) -> Result<$type, $crate::flatbuffer::Damage> {
                let value: Option<$type> = self.0.field($number)?;
                Ok($crate::flatbuffer::tables!(@or_default value $($default)?))
            }
        )*}

        impl<'r, 'a> $crate::flatbuffer::Value<'r, 'a> for $table<'r, 'a> {
            const COST: usize = $crate::flatbuffer::Table::COST;

            fn read(reader: &'r $crate::flatbuffer::Reader<'a>, at: usize) -> Result<Self, $crate::flatbuffer::Damage> {
                $crate::flatbuffer::Table::read(reader, at).map(Self)
            }
        }
    )*};
    (@or_default $value:ident) => { $value.unwrap_or_default() };
    (@or_default $value:ident $default:expr) => { $value.unwrap_or($default) };
}

pub(crate) use tables;

#[cfg(test)]
mod tests {
    use super::testing::Builder;
    use super::*;

    /// A root with an int in field 0, a text in 1, `count` times the same table in 2, and numbers in 3.
    fn built(count: usize) -> Vec<u8> {
        let builder = Builder::default();
        let leaf = builder.table(&[]);
        let root = builder.table(&[
            7_i32.into(),
            builder.text("sky"),
            builder.offsets(&vec![leaf; count]),
            builder.vector(&[1_i32, -2, 3]),
        ]);
        builder.finish(root, None)
    }

    tables! {
        /// What `built` makes, and fields that it leaves out.
        Root {
            0 number: i32 = 5;
            1 text: Cow<'a, str>;
            2 leaves: Vec<Root<'r, 'a>>;
            3 numbers: Vec<i32>;
            8 leaf: Option<Root<'r, 'a>>;
            9 absent_number: i32 = 5;
            10 absent_flag: bool;
            11 absent_text: Cow<'a, str>;
            12 absent_leaves: Vec<Root<'r, 'a>>;
        }
    }

    #[test]
    fn fields_are_found_or_have_their_default() {
        let bytes = built(2);
        let reader = Reader::new(&bytes);
        let root: Root<'_, '_> = reader.root().unwrap();
        assert_eq!((root.number().unwrap(), root.absent_number().unwrap()), (7, 5));
        assert!(!root.absent_flag().unwrap());
        assert_eq!((root.text().unwrap().as_ref(), root.absent_text().unwrap().as_ref()), ("sky", ""));
        assert_eq!((root.leaves().unwrap().len(), root.absent_leaves().unwrap().len()), (2, 0));
        assert_eq!(root.numbers().unwrap(), [1, -2, 3]);
        assert!(root.leaf().unwrap().is_none());
    }

    #[test]
    fn every_kind_of_field_is_read_as_it_was_written() {
        let builder = Builder::default();
        let root = builder.table(&[
            (-1_i8).into(),
            200_u8.into(),
            true.into(),
            (-300_i16).into(),
            (-70_000_i32).into(),
            4_000_000_000_u32.into(),
            i64::MIN.into(),
            u64::MAX.into(),
            0.5_f32.into(),
            builder.vector(&[1.5_f32, -2.5]),
            builder.vector(&[i64::MAX, -1]),
            builder.offsets(&[builder.vector(b"ab"), builder.vector(b"\xff")]),
            builder.vector(b"a\xff"),
        ]);
        let bytes = builder.finish(root, None);
        let reader = Reader::new(&bytes);
        let root: Table<'_, '_> = reader.root().unwrap();
        assert_eq!(root.field(0), Ok(Some(-1_i8)));
        assert_eq!(root.field(1), Ok(Some(200_u8)));
        assert_eq!(root.field(2), Ok(Some(true)));
        assert_eq!(root.field(3), Ok(Some(-300_i16)));
        assert_eq!(root.field(4), Ok(Some(-70_000_i32)));
        assert_eq!(root.field(5), Ok(Some(4_000_000_000_u32)));
        assert_eq!(root.field(6), Ok(Some(i64::MIN)));
        assert_eq!(root.field(7), Ok(Some(u64::MAX)));
        assert_eq!(root.field(8), Ok(Some(0.5_f32)));
        assert_eq!(root.field(9), Ok(Some(vec![1.5_f32, -2.5])));
        assert_eq!(root.field(10), Ok(Some(vec![i64::MAX, -1])));
        assert_eq!(root.field(11), Ok(Some(vec![&b"ab"[..], b"\xff"])));
        assert_eq!(root.field(12), Ok(Some(&b"a\xff"[..])));
        assert_eq!(root.field(12), Ok(Some(Cow::Borrowed("a\u{fffd}"))));
        assert_eq!(root.field::<u8>(13), Ok(None));
    }

    #[test]
    fn what_is_shared_without_end_is_refused() {
        let bytes = built(1000);
        let reader = Reader::new(&bytes);
        let root: Root<'_, '_> = reader.root().unwrap();
        let error = (0..10_000).find_map(|_| root.leaves().err()).expect("an end");
        assert!(error.to_string().contains("never ends"), "{error}");
    }

    #[test]
    fn a_table_that_is_read_without_end_is_refused() {
        let builder = Builder::default();
        let leaf = builder.table(&[]);
        let fields: Vec<_> = (0..9).map(|number| if number == 8 { leaf } else { 0_u8.into() }).collect();
        let root = builder.table(&fields);
        let bytes = builder.finish(root, None);
        let reader = Reader::new(&bytes);
        let root: Root<'_, '_> = reader.root().unwrap();
        let reads = (0..=bytes.len() + SHARED).position(|_| root.leaf().is_err());
        assert_eq!(reads, Some(bytes.len() + SHARED));
    }

    #[test]
    fn no_cut_and_no_flipped_bit_leads_outside() {
        let whole = built(3);
        let walk = |bytes: &[u8]| -> Result<(), Damage> {
            let reader = Reader::new(bytes);
            let root: Root<'_, '_> = reader.root()?;
            root.number()?;
            root.text()?;
            root.numbers()?;
            root.leaves()?.iter().try_for_each(|leaf| leaf.number().map(drop))
        };
        walk(&whole).unwrap();
        for cut in 0..whole.len() {
            let _ = walk(&whole[..cut]);
        }
        assert!(walk(&whole[..whole.len() / 2]).is_err());
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _ = walk(&flipped);
        }
    }
}
