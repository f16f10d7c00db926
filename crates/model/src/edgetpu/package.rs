//! What a compiled model's DarwiNN package says of itself: versions, sizes, where its parameters lie. The instructions in it
//! are not looked into.
//!
//! A package is a flatbuffer with flatbuffers in it; `schema` has their tables. It lies somewhere in the options of the custom
//! operator, as libedgetpu's tflite/custom_op_data.cc says, and is found there by its mark.

use serde::Serialize;

use super::schema::{self, executable_type, InstructionBitstream, IDENTIFIER};
use crate::flatbuffer::{Damage, Reader, IDENTIFIER_AT};

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
        let Some(start) = found.and_then(|at| at.checked_sub(IDENTIFIER_AT)) else { return Ok(None) };
        let reader = Reader::new(&options[start..]);
        let package: schema::Package<'_, '_> = reader.root()?;
        let several = package.serialized_multi_executable()?;
        let several = several.ok_or_else(|| Damage("the package has no executables".to_owned()))?;
        let reader = Reader::new(several);
        let several: schema::MultiExecutable<'_, '_> = reader.root()?;
        let executables: Vec<Executable> =
            several.serialized_executables()?.into_iter().map(executable).collect::<Result<_, _>>()?;
        if executables.is_empty() {
            return Err(Damage("the package has no executables".to_owned()));
        }
        Ok(Some(Self {
            min_runtime_version: package.min_runtime_version()?,
            compiler_version: package.compiler_version()?.into_owned(),
            model_identifier: package.model_identifier()?.into_owned(),
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
    let table: schema::Executable<'_, '_> = reader.root()?;
    let length = |table: &InstructionBitstream<'_, '_>| -> Result<usize, Damage> { Ok(table.bitstream()?.len()) };
    Ok(Executable {
        kind: match table.type_()? {
            executable_type::STAND_ALONE => ExecutableKind::StandAlone,
            executable_type::PARAMETER_CACHING => ExecutableKind::ParameterCaching,
            executable_type::EXECUTION_ONLY => ExecutableKind::ExecutionOnly,
            _ => ExecutableKind::Unknown,
        },
        chip: table.chip()?.into_owned(),
        batch_size: table.batch_size()?,
        parameter_bytes: table.parameters()?.len(),
        instruction_bytes: table.instruction_bitstreams()?.iter().map(length).collect::<Result<_, _>>()?,
        scratch_bytes: table.scratch_size_bytes()?,
        estimated_cycles: match table.estimated_cycles_64bit()? {
            0 => table.estimated_cycles()?.into(),
            cycles => cycles,
        },
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::flatbuffer::testing::{Builder, Field};
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

    /// A program in which every field has a value of its own, in the order of executable.fbs.
    fn built_executable(kind: i16, estimated_cycles_64bit: i64) -> Vec<u8> {
        let it = Builder::default();
        let bitstream = |length| it.table(&[it.vector(&vec![1_u8; length]), it.offsets(&[])]);
        let layers = it.offsets(&[]);
        let executable = it.table(&[
            Field::I32(1),                               // version
            it.text("name"),                             // name
            it.vector(&[1_u8; 3]),                       // serialized_model
            Field::I32(4),                               // batch_size
            Field::I32(5),                               // scratch_size_bytes
            it.offsets(&[bitstream(60), bitstream(61)]), // instruction_bitstreams
            it.vector(&[1_u8; 7]),                       // parameters
            it.table(&[]),                               // dma_hints
            layers,                                      // input_layers
            layers,                                      // output_layers
            it.text("chip"),                             // chip
            Field::I32(12),                              // estimated_cycles
            Field::I32(13),                              // used_narrow_memory_bytes_per_tile
            Field::I16(kind),                            // type
            Field::U64(15),                              // parameter_caching_token
            Field::Bool(true),                           // use_tpu_dram_for_parameters
            Field::I64(estimated_cycles_64bit),          // estimated_cycles_64bit
        ]);
        it.finish(executable, None)
    }

    /// A package of these programs, likewise.
    fn built(executables: &[Vec<u8>]) -> Vec<u8> {
        let it = Builder::default();
        let executables: Vec<Field> = executables.iter().map(|executable| it.vector(executable)).collect();
        let several = it.finish(it.table(&[it.offsets(&executables)]), None);
        let it = Builder::default();
        let package = it.table(&[
            Field::I32(21),        // min_runtime_version
            it.vector(&several),   // serialized_multi_executable
            it.vector(b"signed"),  // signature
            Field::I32(22),        // keypair_version
            it.text("compiler"),   // compiler_version
            Field::I32(23),        // virtual_chip_id
            it.offsets(&[]),       // multi_chip_package
            it.text("identifier"), // model_identifier
        ]);
        it.finish(package, Some("DWN1"))
    }

    #[test]
    fn fields_of_a_package_lie_where_the_schema_says() {
        let kinds = [0, 1, 2, 3].map(|kind| built_executable(kind, 17));
        let package = Package::read(&built(&kinds)).unwrap().unwrap();
        let executable = |kind| Executable {
            kind,
            chip: "chip".to_owned(),
            batch_size: 4,
            parameter_bytes: 7,
            instruction_bytes: vec![60, 61],
            scratch_bytes: 5,
            estimated_cycles: 17,
        };
        let kinds = [
            ExecutableKind::StandAlone,
            ExecutableKind::ParameterCaching,
            ExecutableKind::ExecutionOnly,
            ExecutableKind::Unknown,
        ];
        let expected = Package {
            min_runtime_version: 21,
            compiler_version: "compiler".to_owned(),
            model_identifier: "identifier".to_owned(),
            executables: kinds.map(executable).to_vec(),
        };
        assert_eq!(package, expected);
        let older = Package::read(&built(&[built_executable(0, 0)])).unwrap().unwrap();
        assert_eq!(older.executables[0].estimated_cycles, 12, "the narrow field is all there is");
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
