//! TensorFlow Lite through the `tflitec` crate: on the CPU with XNNPACK, or with a delegate before that. A model that XNNPACK can't
//! prepare runs without it, slower: XNNPACK takes all the operators that it knows, and refuses them all when one of them fails.
//!
//! The crate's types borrow from each other (interpreter from model from bytes); this file ties them into one value that can
//! move between threads. What a model must look like is left to `contract`; what tflitec can't do is left to `interpose`.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ops::Deref;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr::NonNull;
use std::sync::{Arc, Once};

use model::tflite::{check_mark, EXPECTED};
use model::{check, io, is_compiled, vet, ModelError, ModelFile, ModelIo, TensorInfo, TensorType};
use tflitec::interpreter::{Interpreter, Options};
use tflitec::model::Model;
use tflitec::tensor::{DataType, Tensor};

use super::delegate::Delegate;
use super::interpose::{equip, without_xnnpack, RawInterpreter, Words};
use super::{Engine, Fault, InferError, Runtime};

/// TensorFlow Lite on the CPU.
pub(super) const RUNTIME: Runtime = Runtime {
    name: "tflite",
    expects: EXPECTED,
    claims: |file| check_mark(&file.bytes),
    vet,
    io,
    engine: |file, threads| Ok(Box::new(TfliteEngine::new(file, threads)?)),
};

/// A model, ready to run.
pub struct TfliteEngine {
    // Fields drop in this order: the interpreter uses the delegate, writes to the words and reads the model, which reads the
    // bytes.
    interpreter: Interpreter<'static>,
    /// The same interpreter, for what tflitec doesn't offer.
    raw: RawInterpreter,
    delegate: Option<Delegate>,
    words: Pinned<Words>,
    _model: Pinned<Model<'static>>,
    _bytes: Arc<[u8]>,
    io: ModelIo,
    ends: Ends,
    threads: usize,
    name: String,
    /// Why it runs without XNNPACK, where it does.
    without_xnnpack: Option<String>,
}

/// Input tensors, output tensors.
type Ends = (Vec<TensorInfo>, Vec<TensorInfo>);

// SAFETY: an interpreter is bound to no thread. It is reachable through its owner only, so one thread at a time uses it.
unsafe impl Send for TfliteEngine {}

impl TfliteEngine {
    /// Loads `file` into a new interpreter with `threads` threads, on the CPU.
    ///
    /// # Errors
    /// When TensorFlow Lite refuses the file, or it isn't a model that this program can use.
    pub fn new(file: &ModelFile, threads: usize) -> Result<Self, ModelError> {
        vet(file)?;
        let (bytes, name) = (&file.bytes, file.name());
        let tried = |xnnpack| {
            let mut engine = Self::build(bytes, &name, threads, None, xnnpack)?;
            match engine.try_out() {
                Ok(()) => Ok(engine),
                Err(InferError(words)) => {
                    Err(Refusal { words: vec![words], ..Refusal::new("a model that loads but can't run", WHOLE_FILE) })
                }
            }
        };
        Self::or_without_xnnpack(tried).map_err(|refusal| {
            let found = with_words(refusal.found, &refusal.words);
            ModelError::unfit(&file.path, found, refusal.expected)
        })
    }

    /// Tries with XNNPACK and, where it is XNNPACK that fails, without.
    fn or_without_xnnpack(mut tried: impl FnMut(bool) -> Result<Self, Refusal>) -> Result<Self, Refusal> {
        let refusal = match tried(true) {
            Ok(engine) => return Ok(engine),
            Err(refusal) => refusal,
        };
        let Some(reason) = refusal.by_xnnpack() else { return Err(refusal) };
        // Where it can't be run either way, the first reason is the true one.
        let engine = without_xnnpack(|| tried(false)).map_err(|_| refusal)?;
        Ok(Self { without_xnnpack: Some(reason), ..engine })
    }

    /// Loads the model of `bytes`, called `name` in the log, into a new interpreter with `threads` threads. `delegate` is
    /// offered its operators first, XNNPACK the rest; without one, this is the CPU. Nothing is run yet: the caller has a
    /// picture for that.
    ///
    /// # Errors
    /// When TensorFlow Lite or the delegate refuses the model, or it isn't one that this program can use.
    pub fn with_delegate(
        bytes: &Arc<[u8]>,
        name: &str,
        threads: usize,
        delegate: Option<Delegate>,
    ) -> Result<Self, Fault> {
        let engine = match delegate {
            None => Self::or_without_xnnpack(|xnnpack| Self::build(bytes, name, threads, None, xnnpack)),
            delegate => Self::build(bytes, name, threads, delegate, true),
        };
        engine.map_err(|refusal| Fault::Model {
            text: format!("{}; expected {}", refusal.found, refusal.expected),
            words: refusal.words,
        })
    }

    fn build(
        bytes: &Arc<[u8]>,
        name: &str,
        threads: usize,
        delegate: Option<Delegate>,
        xnnpack: bool,
    ) -> Result<Self, Refusal> {
        // tflitec panics on tensor names that aren't UTF-8; such a file is as broken as any other.
        catch_quietly(|| Self::build_or_panic(bytes, name, threads, delegate, xnnpack))
            .unwrap_or_else(|_| Err(Refusal::new("a file whose tensors can't be read", "a valid .tflite file")))
    }

    fn build_or_panic(
        bytes: &Arc<[u8]>,
        name: &str,
        threads: usize,
        delegate: Option<Delegate>,
        xnnpack: bool,
    ) -> Result<Self, Refusal> {
        if delegate.as_ref().is_some_and(Delegate::wants_compiled) && !is_compiled(bytes) {
            return Err(Refusal::new(
                "a model for the CPU, of which nothing would run on the Edge TPU",
                "the file that edgetpu_compiler makes of it (NAME_edgetpu.tflite)",
            ));
        }
        let bytes = Arc::clone(bytes);
        // SAFETY: `bytes` is kept in the value that is built here and drops after everything that borrows from it; an
        // Arc's contents don't move.
        let borrowed: &'static [u8] = unsafe { &*std::ptr::from_ref::<[u8]>(&bytes) };
        let model =
            Pinned::new(Model::from_bytes(borrowed).map_err(|_| {
                Refusal::new("a damaged TensorFlow Lite file (its structure doesn't verify)", WHOLE_FILE)
            })?);
        let words = Pinned::new(Words::default());
        let broken = |found: &str| Refusal { words: words.take(), ..Refusal::new(found, WHOLE_FILE) };
        let thread_count = i32::try_from(threads).unwrap_or(1);
        let options = Options { thread_count, is_xnnpack_enabled: xnnpack };
        // SAFETY: `model` is kept in the value that is built here and drops after the interpreter; it is pinned in its
        // own allocation.
        let borrowed: &'static Model<'static> = unsafe { model.forever() };
        // SAFETY: here and in the value that is built, `delegate` and `words` drop after the interpreter; the words are
        // pinned, and of the delegate only a pointer is used that doesn't move with it.
        let (interpreter, raw) =
            unsafe { equip(delegate.as_ref(), &words, || Interpreter::new(borrowed, Some(options))) };
        let interpreter = interpreter.map_err(|_| broken("no interpreter can be made of it"))?;
        let raw = raw.ok_or_else(|| {
            Refusal::new(
                "this program doesn't see the interpreters of its TensorFlow Lite (TfLiteInterpreterCreate is bound past it)",
                "a program that is linked as its build files say, with TensorFlow Lite as a shared library",
            )
        })?;
        interpreter.allocate_tensors().map_err(|_| broken("its tensors can't be laid out"))?;
        let ends =
            ends(&interpreter, &bytes).map_err(|reason| Refusal::new(reason, "fixed input and output shapes"))?;
        let io = check(&ends.0, &ends.1).map_err(|(found, expected)| Refusal::new(found, expected))?;
        // SAFETY: the interpreter is alive, and nothing else happens to it in this statement.
        let length = unsafe { raw.output(0) }.map_or(0, <[u8]>::len);
        if length != io.output.bytes() {
            return Err(broken(&format!("an output of {length} bytes")));
        }
        let name = name.to_owned();
        let without_xnnpack = None;
        let engine = Self {
            interpreter,
            raw,
            delegate,
            words,
            _model: model,
            _bytes: bytes,
            io,
            ends,
            threads,
            name,
            without_xnnpack,
        };
        // Complaints that did no harm, such as a delegate's about an operator that it left to the CPU.
        engine.words.take().iter().for_each(|word| log::info!("TensorFlow Lite: {word}"));
        Ok(engine)
    }
}

pub(super) const WHOLE_FILE: &str = "a complete, valid .tflite file with operators that this TensorFlow Lite has";

/// Why a model can't be used: two phrases, and what TensorFlow Lite says itself.
struct Refusal {
    found: String,
    expected: String,
    words: Vec<String>,
}

impl Refusal {
    fn new(found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { found: found.into(), expected: expected.into(), words: Vec::new() }
    }
}

impl Refusal {
    /// XNNPACK's own words, where it was XNNPACK that failed.
    fn by_xnnpack(&self) -> Option<String> {
        let is_its = |word: &String| word.to_ascii_lowercase().contains("xnnpack");
        self.words.iter().any(is_its).then(|| self.words.join("; ").trim_end_matches('.').to_owned())
    }
}

pub(super) fn with_words(text: String, words: &[String]) -> String {
    if words.is_empty() {
        text
    } else {
        format!("{text} ({})", words.join("; "))
    }
}

/// Catches a panic of this thread without the message and backtrace that the panic hook would print: the caller tells the
/// user in words.
fn catch_quietly<T>(body: impl FnOnce() -> T) -> std::thread::Result<T> {
    thread_local!(static QUIET: Cell<bool> = const { Cell::new(false) });
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                before(panic);
            }
        }));
    });
    QUIET.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(body));
    QUIET.set(false);
    outcome
}

impl TfliteEngine {
    /// The tensors at its ends.
    pub(super) fn ends(&self) -> (Vec<TensorInfo>, Vec<TensorInfo>) {
        self.ends.clone()
    }

    /// One inference that nobody needs: a damaged file can load and still fail at the first frame, and then it is better
    /// refused at start. It also pays for what TensorFlow Lite sets up late.
    fn try_out(&mut self) -> Result<(), InferError> {
        let mut output = vec![0; self.io.output.bytes()];
        self.infer(&vec![0; self.io.input.bytes()], &mut output)
    }
}

fn ends(interpreter: &Interpreter<'static>, file: &[u8]) -> Result<Ends, String> {
    let unreadable = |end: &'static str| move |error: tflitec::Error| format!("an {end} that can't be read ({error})");
    let inputs = (0..interpreter.input_tensor_count())
        .map(|index| Ok(info(&interpreter.input(index).map_err(unreadable("input"))?, file)))
        .collect::<Result<_, String>>()?;
    let outputs = (0..interpreter.output_tensor_count())
        .map(|index| Ok(info(&interpreter.output(index).map_err(unreadable("output"))?, file)))
        .collect::<Result<_, String>>()?;
    Ok((inputs, outputs))
}

fn info(tensor: &Tensor<'_>, file: &[u8]) -> TensorInfo {
    let kind = match tensor.data_type() {
        DataType::Int8 => TensorType::Int8,
        DataType::UInt8 => TensorType::Uint8,
        DataType::Int32 => TensorType::Int32,
        DataType::Int64 => TensorType::Int64,
        other => TensorType::Other(format!("{other:?}").to_lowercase()),
    };
    TensorInfo {
        name: tensor.name().to_owned(),
        kind,
        shape: tensor.shape().dimensions().clone(),
        quantisation: tensor.quantization_parameters().map(|q| (q.scale, q.zero_point)),
        is_constant: file.as_ptr_range().contains(&tensor.data::<u8>().as_ptr()),
    }
}

impl Engine for TfliteEngine {
    fn io(&self) -> &ModelIo {
        &self.io
    }

    fn describe(&self) -> String {
        let threads = if self.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", self.threads) };
        let (name, tflite) = (&self.name, tflitec::tf_lite_version());
        let Some(delegate) = &self.delegate else {
            let how = match &self.without_xnnpack {
                None => "XNNPACK".to_owned(),
                Some(reason) => format!("without XNNPACK, so slower: {reason}"),
            };
            return format!("{name} on the CPU (TensorFlow Lite {tflite}, {how}, {threads})");
        };
        let version = delegate.version().map(|version| format!(", libedgetpu {version}")).unwrap_or_default();
        format!("{name} on {} (TensorFlow Lite {tflite}{version})", delegate.describe())
    }

    fn infer(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), InferError> {
        let failed = |what: &str, error: tflitec::Error| InferError(format!("{what}: {error}"));
        // `copy` rather than a kept input tensor: it makes no allocation either, and checks the length.
        self.interpreter.copy(input, 0).map_err(|error| failed("input", error))?;
        // tflitec calls every failure "must call allocate_tensors".
        self.interpreter.invoke().map_err(|_| {
            InferError(match self.words.take() {
                words if words.is_empty() => "TensorFlow Lite gives no reason".to_owned(),
                words => words.join("; "),
            })
        })?;
        // SAFETY: the interpreter is alive, `&mut self` keeps everybody else away from it, and it runs only in the line above.
        let result = unsafe { self.raw.output(0) }.ok_or_else(|| InferError("the output has no memory".to_owned()))?;
        if result.len() != output.len() {
            return Err(InferError(format!("output has {} bytes, expected {}", result.len(), output.len())));
        }
        output.copy_from_slice(result);
        Ok(())
    }
}

/// A value in an allocation of its own that can be lent for longer than its owner can prove.
struct Pinned<T>(NonNull<T>);

impl<T> Pinned<T> {
    fn new(value: T) -> Self {
        Self(NonNull::from(Box::leak(Box::new(value))))
    }

    /// # Safety
    /// What is returned must not be used once `self` is dropped.
    unsafe fn forever<'a>(&self) -> &'a T {
        // SAFETY: the pointer is valid until `self` drops, and never lent mutably.
        unsafe { self.0.as_ref() }
    }
}

impl<T> Deref for Pinned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the pointer is valid until `self` drops, and never lent mutably.
        unsafe { self.0.as_ref() }
    }
}

impl<T> Drop for Pinned<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `Box::leak` and is given back once, here.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}
