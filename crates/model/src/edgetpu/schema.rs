//! The tables of a DarwiNN package, each field with its number, name, type and default. Only what this program reads is here;
//! [`tables`] says how to read a declaration.
//!
//! The source is executable/executable.fbs of google-coral/libedgetpu at e35aed1, the same as at the tag release-grouper. Names
//! are the schema's; `type`, a word of Rust, is `type_`, as flatc writes it.

use std::borrow::Cow;

use crate::flatbuffer::{tables, Identifier};

/// The mark of every package.
pub(super) const IDENTIFIER: &Identifier = b"DWN1";

tables! {
    /// What the compiler puts into its operator. `serialized_multi_executable` is a flatbuffer of its own, a MultiExecutable.
    Package {
        0 min_runtime_version: i32;
        1 serialized_multi_executable: Option<&'a [u8]>;
        4 compiler_version: Cow<'a, str>;
        7 model_identifier: Cow<'a, str>;
    }

    /// Programs. Each is a flatbuffer of its own, an Executable.
    MultiExecutable {
        0 serialized_executables: Vec<&'a [u8]>;
    }

    /// A program for the chip. `type_` is an ExecutableType. `estimated_cycles` is the older, narrower field.
    Executable {
        3 batch_size: i32;
        4 scratch_size_bytes: i32;
        5 instruction_bitstreams: Vec<InstructionBitstream<'r, 'a>>;
        6 parameters: &'a [u8];
        10 chip: Cow<'a, str>;
        11 estimated_cycles: i32;
        13 type_: i16;
        16 estimated_cycles_64bit: i64;
    }

    /// Instructions as the chip reads them.
    InstructionBitstream {
        0 bitstream: &'a [u8];
    }
}

/// The numbers of the enumeration ExecutableType.
pub(super) mod executable_type {
    pub(crate) const STAND_ALONE: i16 = 0;
    pub(crate) const PARAMETER_CACHING: i16 = 1;
    pub(crate) const EXECUTION_ONLY: i16 = 2;
}
