//! Builds flatbuffers for tests. A table is given as the list of all its fields in the schema's order, so a test says where a
//! field lies by its place in that list, and owes nothing to the numbers that the program reads by.

use std::cell::RefCell;

use flatbuffers::{field_index_to_field_offset, FlatBufferBuilder, Push, UnionWIPOffset, WIPOffset};

/// One field of a table.
#[derive(Clone, Copy)]
pub(crate) enum Field {
    /// The table leaves it out.
    Absent,
    I8(i8),
    U8(u8),
    Bool(bool),
    I16(i16),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    F32(f32),
    /// A text, a vector or a table that lies elsewhere.
    At(WIPOffset<UnionWIPOffset>),
}

macro_rules! fields {
    ($($variant:ident: $kind:ty),*) => {$(
        impl From<$kind> for Field {
            fn from(value: $kind) -> Self {
                Self::$variant(value)
            }
        }
    )*};
}

fields!(I8: i8, U8: u8, Bool: bool, I16: i16, I32: i32, U32: u32, I64: i64, U64: u64, F32: f32);

impl<T> From<WIPOffset<T>> for Field {
    fn from(at: WIPOffset<T>) -> Self {
        Self::At(at.as_union_value())
    }
}

/// Builds one flatbuffer, from the leaves to the root.
#[derive(Default)]
pub(crate) struct Builder(RefCell<FlatBufferBuilder<'static>>);

impl Builder {
    pub(crate) fn text(&self, text: &str) -> Field {
        self.0.borrow_mut().create_string(text).into()
    }

    /// A vector of numbers.
    pub(crate) fn vector<T: Push<Output: 'static> + Copy>(&self, numbers: &[T]) -> Field {
        self.0.borrow_mut().create_vector(numbers).into()
    }

    /// A vector of what lies elsewhere.
    pub(crate) fn offsets(&self, parts: &[Field]) -> Field {
        let at = |part: &Field| match part {
            Field::At(at) => *at,
            _ => panic!("a number lies nowhere else"),
        };
        let parts: Vec<_> = parts.iter().map(at).collect();
        self.0.borrow_mut().create_vector(&parts).into()
    }

    /// A table of these fields, in the schema's order; a union counts as two, its type and its table.
    pub(crate) fn table(&self, fields: &[Field]) -> Field {
        let mut builder = self.0.borrow_mut();
        let start = builder.start_table();
        for (number, field) in (0..).zip(fields) {
            let slot = field_index_to_field_offset(number);
            match *field {
                Field::Absent => {}
                Field::I8(value) => builder.push_slot_always(slot, value),
                Field::U8(value) => builder.push_slot_always(slot, value),
                Field::Bool(value) => builder.push_slot_always(slot, value),
                Field::I16(value) => builder.push_slot_always(slot, value),
                Field::I32(value) => builder.push_slot_always(slot, value),
                Field::U32(value) => builder.push_slot_always(slot, value),
                Field::I64(value) => builder.push_slot_always(slot, value),
                Field::U64(value) => builder.push_slot_always(slot, value),
                Field::F32(value) => builder.push_slot_always(slot, value),
                Field::At(at) => builder.push_slot_always(slot, at),
            }
        }
        builder.end_table(start).into()
    }

    /// The file that begins with the table `root`, with a mark where the format has one.
    pub(crate) fn finish(&self, root: Field, mark: Option<&str>) -> Vec<u8> {
        let Field::At(root) = root else { panic!("a number is no root") };
        let mut builder = self.0.borrow_mut();
        builder.finish(root, mark);
        builder.finished_data().to_vec()
    }
}
