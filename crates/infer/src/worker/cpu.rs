//! The CPU's runtime in a process of its own: what TensorFlow Lite makes of the model counts, and what becomes of the process is
//! told as a fault of the model, since nothing else can bring it down.

use std::time::Duration;

use model::tflite::Needs;
use model::{check, ModelError, ModelFile, ModelIo};
use pixels::frame::Size;
use pixels::segment::{LabelType, OutputKind, OutputSpec};

use super::{Job, Ready, ServiceWorker, WorkerEngine};
use crate::tflite::{with_words, WHOLE_FILE};
use crate::{Fault, GoOn, InputTensors, Phase};

/// Bytes of data that a process may have for anything but its model.
const BASE: u64 = 64 << 20;
/// Of each thread: its stack.
const STACK: u64 = 8 << 20;
/// For each byte of the file.
const PER_WEIGHT: u64 = 4;
/// For each byte of a tensor that is computed.
const PER_COMPUTED: u64 = 6;
/// Where the size of some tensor is known only when the model runs.
const OPEN: u64 = 512 << 20;

/// How a model is loaded on the CPU in a process of its own.
#[derive(Clone, Debug)]
pub struct CpuProcess {
    /// Its name in the log.
    pub name: &'static str,
    /// Inference threads.
    pub threads: usize,
    /// Input tensors that there are to be.
    pub slots: usize,
    /// Longest time to get ready.
    pub start_limit: Duration,
}

impl CpuProcess {
    /// Loads `file` and runs a test picture. `needs` is its own account of its memory; `guess` is
    /// what the file says of its ends, where that could be read. `inputs` are used where they fit, so that a process that is
    /// started anew sees the tensors that are there. The system kills the process when the calling thread ends.
    ///
    /// # Errors
    /// When the model can't be run: what is wrong with it, or how the process ended over it.
    pub fn load(
        &self,
        file: &ModelFile,
        needs: Needs,
        guess: Option<ModelIo>,
        inputs: Option<&InputTensors>,
        go_on: GoOn<'_>,
    ) -> Result<(WorkerEngine, InputTensors), ModelError> {
        let memory = self.memory(file, needs);
        let refused = |fault| refusal(file, fault, memory);
        let no_guess = guess.is_none();
        let started = self.start(file, memory, guess.unwrap_or_else(nothing), inputs, go_on);
        // TensorFlow Lite works out shapes that a file may have wrong. The process is gone; the next one gets what fits.
        let Err(Fault::Ends { inputs: found, outputs }) = started else { return started.map_err(refused) };
        if !no_guess {
            log::debug!("{}: its input and output are not what the file says", file.path.display());
        }
        let io = check(&found, &outputs).map_err(|(found, expected)| ModelError::unfit(&file.path, found, expected))?;
        self.start(file, memory, io, inputs, go_on).map_err(refused)
    }

    /// Starts a process that serves the program with `file`, whose ends are `io`: it makes the service of `settings`, which needs
    /// `room` bytes beside the model. The system kills the process when the calling thread ends.
    ///
    /// # Errors
    /// As [`CpuProcess::load`].
    pub fn serve(
        &self,
        file: &ModelFile,
        needs: Needs,
        io: ModelIo,
        (settings, room): (String, u64),
        go_on: GoOn<'_>,
    ) -> Result<(ServiceWorker, Ready), ModelError> {
        let memory = self.memory(file, needs).saturating_add(room);
        let job = Job { memory: Some(memory), ..Job::new(self.name, file, io, self.threads) };
        ServiceWorker::start(&job, settings, self.start_limit, go_on).map_err(|fault| refusal(file, fault, memory))
    }

    /// Bytes of data that the process may have: a multiple of what the model needs by its own account. XNNPACK keeps weights a
    /// second time, and for a convolution a pointer for each place of its filter; TensorFlow Lite places tensors over each other.
    fn memory(&self, file: &ModelFile, needs: Needs) -> u64 {
        let threads = STACK.saturating_mul(self.threads as u64);
        let weights = (file.bytes.len() as u64).saturating_mul(PER_WEIGHT);
        let computed = needs.computed.saturating_mul(PER_COMPUTED);
        let open = if needs.is_open { OPEN } else { 0 };
        [threads, weights, computed, open].into_iter().fold(BASE, u64::saturating_add)
    }

    fn start(
        &self,
        file: &ModelFile,
        memory: u64,
        io: ModelIo,
        inputs: Option<&InputTensors>,
        go_on: GoOn<'_>,
    ) -> Result<(WorkerEngine, InputTensors), Fault> {
        let inputs = match inputs.filter(|inputs| inputs.fit(&io.input)) {
            Some(inputs) => inputs.clone(),
            None => InputTensors::shared(&io.input, self.slots).map_err(|error| super::system("tensors", error))?,
        };
        let job = Job { memory: Some(memory), ..Job::new(self.name, file, io, self.threads) };
        let engine = WorkerEngine::start_on(&job, inputs.clone(), self.start_limit, go_on)?;
        Ok((engine, inputs))
    }
}

/// Ends that no model has: the answer tells which it has.
fn nothing() -> ModelIo {
    let kind = OutputKind::Labels { label: LabelType::Uint8 };
    let input = model::InputSpec { size: Size::new(1, 1), signed: false, scale: 0.0, zero_point: 0 };
    ModelIo { input, output: OutputSpec { height: 1, width: 1, kind } }
}

/// Why the model can't be used.
fn refusal(file: &ModelFile, fault: Fault, memory: u64) -> ModelError {
    let is_memory = wants_memory(&fault);
    let (found, expected) = match fault {
        Fault::Model { text, words } => match text.split_once("; expected ") {
            Some((found, expected)) => (with_words(found.to_owned(), &words), expected.to_owned()),
            None => (with_words(text, &words), WHOLE_FILE.to_owned()),
        },
        Fault::Inference { words } => {
            (with_words("a model that loads but can't run".to_owned(), &words), WHOLE_FILE.to_owned())
        }
        // Nothing in the process sends this one: a person did, or a system without memory.
        Fault::Died { how, .. } if how == "SIGKILL" => {
            let reason =
                "the process that loads it was killed; by a person, or since the system was out of memory (dmesg)";
            return ModelError::Process { path: file.path.clone(), reason: reason.to_owned() };
        }
        // Its own word that the system failed it, before it saw the model.
        Fault::Died { how, words, .. } if how == "exit code 70" => {
            return ModelError::Process { path: file.path.clone(), reason: words.join("; ") };
        }
        Fault::Died { how, words, .. } => {
            let found = format!("a model that ends TensorFlow Lite's process while it is loaded: {how}");
            let version = tflitec::tf_lite_version();
            let expected =
                format!(
                "one that TensorFlow Lite {version} can run in {} MiB of memory: convert it with that version's converter",
                memory >> 20
            );
            (with_words(found, &words), expected)
        }
        Fault::Late { after, .. } => (
            format!("a model that isn't ready within {:.1} s", after.as_secs_f64()),
            "one that this machine can load in time, or a longer engine.start_limit".to_owned(),
        ),
        other => return ModelError::Process { path: file.path.clone(), reason: other.to_string() },
    };
    if is_memory {
        return ModelError::unfit(&file.path, found, limit_words(memory));
    }
    ModelError::unfit(&file.path, found, expected)
}

/// Whether something in the process got no memory, as far as its last words tell.
fn wants_memory(fault: &Fault) -> bool {
    let (Fault::Model { words, .. } | Fault::Inference { words } | Fault::Died { words, .. }) = fault else {
        return false;
    };
    let signs = ["bad_alloc", "memory allocation of", "out of memory", "ailed to allocate"];
    words.iter().any(|word| signs.iter().any(|sign| word.contains(sign)))
}

fn limit_words(memory: u64) -> String {
    let mebibytes = memory >> 20;
    format!("one that needs at most {mebibytes} MiB, several times what its file says of its tensors (engine.isolation = \"none\" sets no limit)")
}

const KILLED: &str = "Another program may have killed it, or the system was out of memory (dmesg tells of that).";

/// What `fault` means, where the CPU ran the model.
pub(super) fn advice(fault: &Fault, memory: Option<u64>) -> String {
    if let Some(memory) = memory.filter(|_| wants_memory(fault)) {
        return format!("The model wants more memory than it may have; expected {}.", limit_words(memory));
    }
    match fault {
        Fault::Died { how, .. } if ["SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGXCPU"].contains(&how.as_str()) => {
            KILLED
        }
        Fault::Died { when: Phase::Inferring, .. } | Fault::Inference { .. } => {
            "The model, or a fault of TensorFlow Lite with it, did that on this picture; another model may not."
        }
        Fault::Died { .. } => KILLED,
        Fault::Late { .. } => {
            "The model hangs, or the machine is overloaded: engine.deadline says how long an answer may take."
        }
        Fault::System { .. } => "The system has no memory, processes or descriptors left for it.",
        _ => "",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn died(words: &str) -> Fault {
        Fault::Died { when: Phase::Starting, how: "SIGABRT".to_owned(), words: vec![words.to_owned()] }
    }

    fn told(fault: Fault) -> String {
        let (folder, path) = (tempfile::tempdir().unwrap(), "m.tflite");
        let path = folder.path().join(path);
        std::fs::write(&path, b"\x1c\0\0\0TFL3").unwrap();
        refusal(&ModelFile::load(&path).unwrap(), fault, 200 << 20).to_string()
    }

    #[test]
    fn a_fault_at_start_is_one_of_the_model_and_says_what_to_do() {
        let model = Fault::Model { text: "a hat; expected a head".to_owned(), words: vec!["no".to_owned()] };
        assert!(told(model).ends_with("m.tflite: a hat (no); expected a head"));
        let text = told(died("F check failed"));
        assert!(
            text.contains("while it is loaded: SIGABRT (F check failed); expected one that TensorFlow Lite"),
            "{text}"
        );
        for words in
            ["terminate called after throwing an instance of 'std::bad_alloc'", "memory allocation of 9 bytes failed"]
        {
            let text = told(died(words));
            assert!(text.contains("SIGABRT") && text.contains("at most 200 MiB"), "{text}");
        }
        let text = told(Fault::Late { when: Phase::Starting, after: Duration::from_secs(20) });
        assert!(text.contains("ready within 20.0 s") && text.contains("engine.start_limit"), "{text}");
        let killed = Fault::Died { when: Phase::Starting, how: "SIGKILL".to_owned(), words: Vec::new() };
        assert!(told(killed).ends_with("since the system was out of memory (dmesg)"));
        // Not the model's fault, so not 78.
        let failure = base::failure::Failure::from(ModelError::Process { path: "m".into(), reason: "x".to_owned() });
        assert_eq!(failure.exit_code(), 69);
    }

    #[test]
    fn every_fault_of_a_running_process_has_an_advice() {
        let dying = Fault::Died { when: Phase::Inferring, how: "SIGSEGV".to_owned(), words: Vec::new() };
        let late = Fault::Late { when: Phase::Inferring, after: Duration::from_secs(5) };
        let system = Fault::System { text: "x".to_owned() };
        for (fault, words) in [
            (dying, "on this picture"),
            (died(""), "killed it"),
            (late, "engine.deadline"),
            (system, "descriptors"),
            (Fault::Inference { words: vec!["std::bad_alloc".to_owned()] }, "at most 300 MiB"),
        ] {
            let text = advice(&fault, Some(300 << 20));
            assert!(text.contains(words), "{fault}: {text}");
        }
        assert!(advice(&died("std::bad_alloc"), None).contains("killed it"));
    }
}
