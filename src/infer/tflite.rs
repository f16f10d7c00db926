//! TensorFlow Lite on the CPU through the `tflitec` crate, with XNNPACK.
//!
//! The crate's types borrow from each other (tensor from interpreter from model from bytes); this file ties them into
//! one value that can move between threads. What a model must look like is left to `contract`.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ops::Deref;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr::NonNull;
use std::sync::{Arc, Once};

use tflitec::interpreter::{Interpreter, Options};
use tflitec::model::Model;
use tflitec::tensor::{DataType, Tensor};

use super::contract::{check, TensorInfo, TensorType};
use super::{Engine, InferError, ModelIo};
use crate::model::{ModelError, ModelFile};

/// A model, ready to run on the CPU.
pub struct TfliteEngine {
    // Fields drop in this order: the tensors point into the interpreter, which reads the model, which reads the bytes.
    output: Tensor<'static>,
    interpreter: Pinned<Interpreter<'static>>,
    _model: Pinned<Model<'static>>,
    _bytes: Arc<[u8]>,
    io: ModelIo,
    threads: usize,
    name: String,
}

// SAFETY: the interpreter is Send; the output tensor is a pointer into that same interpreter and moves with it. Neither
// is reachable from outside, so they are used by one thread at a time.
unsafe impl Send for TfliteEngine {}

impl TfliteEngine {
    /// Loads `file` into a new interpreter with `threads` threads.
    ///
    /// # Errors
    /// When TensorFlow Lite refuses the file, or it isn't a model that this program can use.
    pub fn new(file: &ModelFile, threads: usize) -> Result<Self, ModelError> {
        // tflitec panics on tensor names that aren't UTF-8; such a file is as broken as any other.
        catch_quietly(|| Self::build(file, threads)).unwrap_or_else(|_| {
            Err(ModelError::unfit(&file.path, "a file whose tensors can't be read", "a valid .tflite file"))
        })
    }

    fn build(file: &ModelFile, threads: usize) -> Result<Self, ModelError> {
        let broken = |found: String| ModelError::unfit(&file.path, found, "a complete, valid .tflite file");
        let bytes = Arc::clone(&file.bytes);
        // SAFETY: `bytes` is kept in the value that is built here and drops after everything that borrows from it; an
        // Arc's contents don't move.
        let borrowed: &'static [u8] = unsafe { &*std::ptr::from_ref::<[u8]>(&bytes) };
        let model = Pinned::new(
            Model::from_bytes(borrowed)
                .map_err(|_| broken("a damaged TensorFlow Lite file (its structure doesn't verify)".to_owned()))?,
        );
        let thread_count = i32::try_from(threads).unwrap_or(1);
        let options = Options { thread_count, is_xnnpack_enabled: true };
        // SAFETY: `model` is kept in the value that is built here and drops after the interpreter; it is pinned in its
        // own allocation.
        let borrowed: &'static Model<'static> = unsafe { model.forever() };
        let interpreter = Pinned::new(Interpreter::new(borrowed, Some(options)).map_err(|_| {
            broken("no interpreter can be made of it (an operator that this TensorFlow Lite lacks?)".to_owned())
        })?);
        interpreter
            .allocate_tensors()
            .map_err(|_| broken("its tensors can't be laid out (an operator that can't run here?)".to_owned()))?;
        // SAFETY: as for the model: the interpreter is pinned, kept in this value, and drops after the tensor.
        let borrowed: &'static Interpreter<'static> = unsafe { interpreter.forever() };
        let (inputs, outputs) = tensors(borrowed)
            .map_err(|reason| ModelError::unfit(&file.path, reason, "fixed input and output shapes"))?;
        let describe = |tensors: &[Tensor<'_>]| tensors.iter().map(info).collect::<Vec<_>>();
        let io = check(&describe(&inputs), &describe(&outputs))
            .map_err(|(found, expected)| ModelError::unfit(&file.path, found, expected))?;
        let Some(output) = outputs.into_iter().next() else {
            return Err(broken("no output".to_owned()));
        };
        if output.data::<u8>().len() != io.output.bytes() {
            return Err(broken(format!("an output of {} bytes", output.data::<u8>().len())));
        }
        let mut engine = Self { output, interpreter, _model: model, _bytes: bytes, io, threads, name: file.name() };
        engine.try_out().map_err(|error| broken(format!("a model that loads but can't run ({error})")))?;
        Ok(engine)
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
    /// One inference that nobody needs: a damaged file can load and still fail at the first frame, and then it is better
    /// refused at start. It also pays for what TensorFlow Lite sets up late.
    fn try_out(&mut self) -> Result<(), InferError> {
        let mut output = vec![0; self.io.output.bytes()];
        self.infer(&vec![0; self.io.input.bytes()], &mut output)
    }
}

/// Input tensors, output tensors.
type Ends<'a> = (Vec<Tensor<'a>>, Vec<Tensor<'a>>);

fn tensors<'a>(interpreter: &'a Interpreter<'static>) -> Result<Ends<'a>, String> {
    let unreadable = |end: &'static str| move |error: tflitec::Error| format!("an {end} that can't be read ({error})");
    let inputs = (0..interpreter.input_tensor_count())
        .map(|index| interpreter.input(index).map_err(unreadable("input")))
        .collect::<Result<_, _>>()?;
    let outputs = (0..interpreter.output_tensor_count())
        .map(|index| interpreter.output(index).map_err(unreadable("output")))
        .collect::<Result<_, _>>()?;
    Ok((inputs, outputs))
}

fn info(tensor: &Tensor<'_>) -> TensorInfo {
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
    }
}

impl Engine for TfliteEngine {
    fn io(&self) -> &ModelIo {
        &self.io
    }

    fn describe(&self) -> String {
        let threads = if self.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", self.threads) };
        format!("{} on the CPU (TensorFlow Lite {}, XNNPACK, {threads})", self.name, tflitec::tf_lite_version())
    }

    fn infer(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), InferError> {
        let failed = |what: &str, error: tflitec::Error| InferError(format!("{what}: {error}"));
        // `copy` rather than a kept input tensor: it makes no allocation either, and checks the length.
        self.interpreter.copy(input, 0).map_err(|error| failed("input", error))?;
        self.interpreter
            .invoke()
            .map_err(|_| InferError("TensorFlow Lite reports an error; its own text stands above".to_owned()))?;
        let result = self.output.data::<u8>();
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
