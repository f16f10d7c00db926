//! Walks a flatbuffer that nobody vouches for. Every step is bounded by the bytes, and all steps together by their number:
//! tables and vectors may be shared, and a small file could stand for an endless one.
//!
//! The `flatbuffers` crate's verifier finds tables and fields; values are read here, so that nothing is `unsafe`. What the
//! fields mean is left to `tflite` and `package`.

use std::borrow::Cow;
use std::cell::Cell;

use flatbuffers::{InvalidFlatbuffer, Verifier, VerifierOptions};

/// Vector elements and letters that may be read beyond one for each byte of the file, for what writers share.
const SHARED: usize = 1 << 16;

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
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    options: VerifierOptions,
    left: Cell<usize>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, options: VerifierOptions::default(), left: Cell::new(bytes.len() + SHARED) }
    }

    /// The table that the file begins with.
    pub(super) fn root(&self) -> Result<Table<'_, 'a>, Damage> {
        Ok(Table { reader: self, at: self.follow(0)? })
    }

    /// `length` bytes from `start`.
    pub(super) fn slice(&self, start: usize, length: usize) -> Result<&'a [u8], Damage> {
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

    fn spend(&self, count: usize) -> Result<(), Damage> {
        let left = self.left.get().checked_sub(count);
        self.left.set(left.ok_or_else(|| Damage("its parts are shared so often that it never ends".to_owned()))?);
        Ok(())
    }
}

/// A table in a flatbuffer. Fields have their numbers in the schema, from 0; a union's type counts as one.
#[derive(Clone, Copy)]
pub(super) struct Table<'r, 'a> {
    reader: &'r Reader<'a>,
    at: usize,
}

macro_rules! scalars {
    ($($name:ident: $kind:ty),*) => {$(
        pub(super) fn $name(&self, field: u16, default: $kind) -> Result<$kind, Damage> {
            let at = self.field(field)?;
            at.map_or(Ok(default), |at| self.reader.array(at).map(<$kind>::from_le_bytes))
        }
    )*};
}

impl<'r, 'a> Table<'r, 'a> {
    scalars!(i8: i8, u8: u8, i16: i16, i32: i32, u32: u32, i64: i64, u64: u64);

    pub(super) fn flag(&self, field: u16) -> Result<bool, Damage> {
        Ok(self.u8(field, 0)? != 0)
    }

    fn field(&self, field: u16) -> Result<Option<usize>, Damage> {
        // A vtable begins with two lengths; each field has two bytes.
        Ok(self.reader.verifier().visit_table(self.at)?.deref(4 + 2 * field)?)
    }

    pub(super) fn table(&self, field: u16) -> Result<Option<Self>, Damage> {
        let Some(at) = self.field(field)? else { return Ok(None) };
        self.reader.spend(1)?;
        Ok(Some(Self { reader: self.reader, at: self.reader.follow(at)? }))
    }

    /// The start and number of a vector's elements of `size` bytes each.
    fn vector(&self, field: u16, size: usize) -> Result<Option<(usize, usize)>, Damage> {
        let Some(at) = self.field(field)? else { return Ok(None) };
        let at = self.reader.follow(at)?;
        let count = self.reader.verifier().get_uoffset(at)? as usize;
        self.reader.slice(at + 4, count.saturating_mul(size))?;
        Ok(Some((at + 4, count)))
    }

    /// A vector of bytes, or a text whatever its encoding; not copied.
    pub(super) fn bytes(&self, field: u16) -> Result<Option<&'a [u8]>, Damage> {
        let Some((start, count)) = self.vector(field, 1)? else { return Ok(None) };
        self.reader.slice(start, count).map(Some)
    }

    /// A text; what is not UTF-8 in it becomes U+FFFD. Empty where there is none.
    pub(super) fn text(&self, field: u16) -> Result<Cow<'a, str>, Damage> {
        let bytes = self.bytes(field)?.unwrap_or_default();
        self.reader.spend(bytes.len())?;
        Ok(String::from_utf8_lossy(bytes))
    }

    fn numbers<T, const N: usize>(&self, field: u16, from: fn([u8; N]) -> T) -> Result<Vec<T>, Damage> {
        let (start, count) = self.vector(field, N)?.unwrap_or_default();
        self.reader.spend(count)?;
        (0..count).map(|index| self.reader.array(start + index * N).map(from)).collect()
    }

    pub(super) fn i32s(&self, field: u16) -> Result<Vec<i32>, Damage> {
        self.numbers(field, i32::from_le_bytes)
    }

    pub(super) fn i64s(&self, field: u16) -> Result<Vec<i64>, Damage> {
        self.numbers(field, i64::from_le_bytes)
    }

    pub(super) fn f32s(&self, field: u16) -> Result<Vec<f32>, Damage> {
        self.numbers(field, f32::from_le_bytes)
    }

    pub(super) fn tables(&self, field: u16) -> Result<Vec<Self>, Damage> {
        let (start, count) = self.vector(field, 4)?.unwrap_or_default();
        self.reader.spend(count)?;
        let table = |index| Ok(Self { reader: self.reader, at: self.reader.follow(start + index * 4)? });
        (0..count).map(table).collect()
    }

    /// A vector of vectors of bytes (of texts, in the schema's words); not copied.
    pub(super) fn blobs(&self, field: u16) -> Result<Vec<&'a [u8]>, Damage> {
        let (start, count) = self.vector(field, 4)?.unwrap_or_default();
        self.reader.spend(count)?;
        let blob = |index| {
            let at = self.reader.follow(start + index * 4)?;
            let length = self.reader.verifier().get_uoffset(at)? as usize;
            self.reader.slice(at + 4, length)
        };
        (0..count).map(blob).collect()
    }

    /// `length` bytes from `start` of the whole file, for what the schema keeps outside of the tables.
    pub(super) fn outside(&self, start: u64, length: u64) -> Result<&'a [u8], Damage> {
        let size = |number| usize::try_from(number).map_err(|_| Damage(format!("an offset of {number}")));
        self.reader.slice(size(start)?, size(length)?)
    }
}

#[cfg(test)]
mod tests {
    use flatbuffers::FlatBufferBuilder;

    use super::*;

    /// A root with an int in field 0, a text in 1, `count` times the same table in 2, and numbers in 3.
    fn built(count: usize) -> Vec<u8> {
        let mut builder = FlatBufferBuilder::new();
        let text = builder.create_string("sky");
        let numbers = builder.create_vector(&[1_i32, -2, 3]);
        let leaf = builder.start_table();
        let leaf = builder.end_table(leaf);
        let leaves = builder.create_vector(&vec![leaf; count]);
        let root = builder.start_table();
        builder.push_slot::<i32>(4, 7, 0);
        builder.push_slot_always(6, text);
        builder.push_slot_always(8, leaves);
        builder.push_slot_always(10, numbers);
        let root = builder.end_table(root);
        builder.finish(root, None);
        builder.finished_data().to_vec()
    }

    #[test]
    fn fields_are_found_or_have_their_default() {
        let bytes = built(2);
        let reader = Reader::new(&bytes);
        let root = reader.root().unwrap();
        assert_eq!((root.i32(0, 5).unwrap(), root.i32(9, 5).unwrap()), (7, 5));
        assert_eq!((root.text(1).unwrap().as_ref(), root.text(9).unwrap().as_ref()), ("sky", ""));
        assert_eq!((root.tables(2).unwrap().len(), root.tables(9).unwrap().len()), (2, 0));
        assert_eq!(root.i32s(3).unwrap(), [1, -2, 3]);
        assert!(root.table(9).unwrap().is_none());
    }

    #[test]
    fn what_is_shared_without_end_is_refused() {
        let bytes = built(1000);
        let reader = Reader::new(&bytes);
        let root = reader.root().unwrap();
        let error = (0..10_000).find_map(|_| root.tables(2).err()).expect("an end");
        assert!(error.to_string().contains("never ends"), "{error}");
    }

    #[test]
    fn no_cut_and_no_flipped_bit_leads_outside() {
        let whole = built(3);
        let walk = |bytes: &[u8]| -> Result<(), Damage> {
            let reader = Reader::new(bytes);
            let root = reader.root()?;
            root.i32(0, 0)?;
            root.text(1)?;
            root.i32s(3)?;
            root.tables(2)?.iter().try_for_each(|table| table.i32(0, 0).map(drop))
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
