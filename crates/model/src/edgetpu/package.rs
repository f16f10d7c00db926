//! What a compiled model's DarwiNN package says of itself: versions, sizes, where its parameters lie. The instructions in it
//! are not looked into.
//!
//! The format is libedgetpu's executable/executable.fbs; tflite/custom_op_data.cc says how it lies in the custom operator.

use serde::Serialize;

use super::super::flatbuffer::{Damage, Reader, Table};

/// What every package has at offset 4.
const IDENTIFIER: &[u8; 4] = b"DWN1";
/// The runtime version of libedgetpu's last release (api/runtime_version.h).
pub const NEWEST_RUNTIME: i32 = 14;

/// A package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// The runtime that it needs at least.
    pub min_runtime_version: i32,
    /// Which compiler made it.
    pub compiler_version: String,
    /// What its maker called it; mostly empty.
    pub model_identifier: String,
    /// Mostly two: one that loads the parameters, one that runs.
    pub executables: Vec<Executable>,
}

/// A program in a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Executable {
    /// What it is for.
    pub kind: ExecutableKind,
    /// The chip that it is for.
    pub chip: String,
    /// Pictures at a time.
    pub batch_size: i32,
    /// Bytes of weights and biases.
    pub parameter_bytes: usize,
    /// Bytes of each instruction bitstream.
    pub instruction_bytes: Vec<usize>,
    /// Bytes that it needs in the host's memory.
    pub scratch_bytes: i32,
    /// The compiler's estimate; 0 is none.
    pub estimated_cycles: i64,
}

/// Kinds of programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutableKind {
    /// All in one.
    StandAlone,
    /// Loads parameters into the chip's memory, once.
    ParameterCaching,
    /// Runs with parameters that are there.
    ExecutionOnly,
    /// Newer than this program.
    Unknown,
}

impl Package {
    /// Reads the first package in the options of a compiled operator. None where there is none, as in a model that another
    /// compiler made.
    ///
    /// # Errors
    /// Where its structure is broken.
    pub fn read(options: &[u8]) -> Result<Option<Self>, Damage> {
        let found = options.windows(IDENTIFIER.len()).position(|window| window == IDENTIFIER);
        let Some(start) = found.and_then(|at| at.checked_sub(4)) else { return Ok(None) };
        let reader = Reader::new(&options[start..]);
        let root = reader.root()?;
        let several = root.bytes(1)?.ok_or_else(|| Damage("the package has no executables".to_owned()))?;
        let reader = Reader::new(several);
        let executables: Vec<Executable> =
            reader.root()?.blobs(0)?.into_iter().map(executable).collect::<Result<_, _>>()?;
        if executables.is_empty() {
            return Err(Damage("the package has no executables".to_owned()));
        }
        Ok(Some(Self {
            min_runtime_version: root.i32(0, 0)?,
            compiler_version: root.text(4)?.into_owned(),
            model_identifier: root.text(7)?.into_owned(),
            executables,
        }))
    }

    /// Bytes of parameters that stay on the chip.
    pub fn on_chip_bytes(&self) -> usize {
        self.parameters(|kind| kind == ExecutableKind::ParameterCaching)
    }

    /// Bytes of parameters that go over the bus on every run.
    pub fn streamed_bytes(&self) -> usize {
        self.parameters(|kind| kind != ExecutableKind::ParameterCaching)
    }

    fn parameters(&self, counts: impl Fn(ExecutableKind) -> bool) -> usize {
        let executables = self.executables.iter().filter(|executable| counts(executable.kind));
        executables.map(|executable| executable.parameter_bytes).sum()
    }
}

fn executable(bytes: &[u8]) -> Result<Executable, Damage> {
    let reader = Reader::new(bytes);
    let root = reader.root()?;
    let bitstream = |table: &Table<'_, '_>| -> Result<usize, Damage> { Ok(table.bytes(0)?.unwrap_or_default().len()) };
    Ok(Executable {
        kind: match root.i16(13, 0)? {
            0 => ExecutableKind::StandAlone,
            1 => ExecutableKind::ParameterCaching,
            2 => ExecutableKind::ExecutionOnly,
            _ => ExecutableKind::Unknown,
        },
        chip: root.text(10)?.into_owned(),
        batch_size: root.i32(3, 0)?,
        parameter_bytes: root.bytes(6)?.unwrap_or_default().len(),
        instruction_bytes: root.tables(5)?.iter().map(bitstream).collect::<Result<_, _>>()?,
        scratch_bytes: root.i32(4, 0)?,
        estimated_cycles: match root.i64(16, 0)? {
            0 => root.i32(11, 0)?.into(),
            cycles => cycles,
        },
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::tflite::Graph;

    fn compiled() -> Vec<u8> {
        let path = "kit/tests/data/split_concat_edgetpu.tflite";
        let bytes = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap();
        Graph::read(&bytes).unwrap().operators[0].custom.to_vec()
    }

    #[test]
    fn a_model_that_coral_compiled_reads() {
        let package = Package::read(&compiled()).unwrap().unwrap();
        assert_eq!((package.min_runtime_version, package.compiler_version.as_str()), (13, "cl/343520747"));
        let [run, load] = &package.executables[..] else { panic!("{package:?}") };
        assert_eq!((run.kind, load.kind), (ExecutableKind::ExecutionOnly, ExecutableKind::ParameterCaching));
        assert_eq!((run.chip.as_str(), run.batch_size, &run.instruction_bytes[..]), ("beagle", 1, &[23648][..]));
        assert_eq!((load.parameter_bytes, &load.instruction_bytes[..]), (192, &[1232][..]));
        assert_eq!((package.on_chip_bytes(), package.streamed_bytes()), (192, 0));
    }

    #[test]
    fn options_without_a_package_are_told_apart() {
        assert_eq!(Package::read(b"").unwrap(), None);
        assert_eq!(Package::read(b"DWN1").unwrap(), None);
        assert_eq!(Package::read(b"\x1c\0\0\0TFL3 a model that was only wrapped").unwrap(), None);
    }

    #[test]
    fn a_package_cut_anywhere_in_its_structure_is_refused() {
        let whole = compiled();
        let start = whole.windows(4).position(|four| four == IDENTIFIER).unwrap() - 4;
        for cut in start + 8..whole.len() {
            let _ = Package::read(&whole[..cut]);
        }
        for cut in [start + 8, start + 64, start + (whole.len() - start) / 2] {
            Package::read(&whole[..cut]).unwrap_err();
        }
    }

    #[test]
    fn flipped_bits_are_survived() {
        let mut bytes = compiled();
        let bits = bytes.len() * 8;
        let mut refused = 0;
        for bit in (0..bits).step_by(7) {
            bytes[bit / 8] ^= 1 << (bit % 8);
            refused += usize::from(Package::read(&bytes).is_err());
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(refused > 100, "only {refused} of {} were noticed", bits / 7);
    }

    proptest! {
        #[test]
        fn any_bytes_after_the_mark_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Package::read(&[b"\x08\0\0\0DWN1", &bytes[..]].concat());
        }
    }
}
