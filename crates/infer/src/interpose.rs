//! What tflitec keeps from its callers: delegates and an error reporter for the interpreter that it makes, and the bytes of an
//! output tensor at the time when they are read.
//!
//! tflitec's calls of `TfLiteInterpreterCreate` and `TfLiteInterpreterOptionsAddDelegate` are bound to a name, and a function
//! that the program itself has by that name wins over the shared library's. So both stand here, add what was asked for, note
//! the interpreter, and go on to the library's own. [`equip`] returns that interpreter.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void, CStr};
use std::ptr::{self, NonNull};
use std::sync::Mutex;

use base::sync::lock;

use super::delegate::{Delegate, Raw};

// TensorFlow Lite's words

/// What TensorFlow Lite and a delegate report as errors: the last few texts since they were taken.
#[derive(Debug, Default)]
pub(super) struct Words(Mutex<Vec<String>>);

impl Words {
    /// Enough for a cause and what follows from it.
    const KEPT: usize = 8;

    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.0))
    }

    fn add(&self, text: &str) {
        let mut kept = lock(&self.0);
        if kept.len() == Self::KEPT {
            kept.remove(0);
        }
        kept.push(text.split_whitespace().collect::<Vec<_>>().join(" "));
    }
}

/// The error reporter. `arguments` is a `va_list`: on x86-64 and AArch64, the two architectures that this program is built
/// for, one that is handed on is a pointer.
unsafe extern "C" fn report(words: *mut c_void, format: *const c_char, arguments: *mut c_void) {
    extern "C" {
        fn vsnprintf(to: *mut c_char, size: usize, format: *const c_char, arguments: *mut c_void) -> c_int;
    }
    let mut text = [0_u8; 1024];
    // SAFETY: `format` and `arguments` belong together, by TensorFlow Lite's promise; at most the buffer's size is written.
    unsafe { vsnprintf(text.as_mut_ptr().cast(), text.len(), format, arguments) };
    // SAFETY: `words` is what `TfLiteInterpreterCreate` below set, and outlives the interpreter by `equip`'s contract.
    let words = unsafe { &*words.cast_const().cast::<Words>() };
    let text = CStr::from_bytes_until_nul(&text).unwrap_or_default();
    words.add(&text.to_string_lossy());
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("crates/infer/src/interpose.rs: what a va_list is on this architecture must be looked up for `report`");

// Interposition

/// What the next interpreter of this thread is to have.
#[derive(Clone, Copy)]
struct Equipment {
    delegate: Option<NonNull<Raw>>,
    words: NonNull<Words>,
}

thread_local! {
    static EQUIPMENT: Cell<Option<Equipment>> = const { Cell::new(None) };
    /// The interpreter that got it.
    static EQUIPPED: Cell<Option<RawInterpreter>> = const { Cell::new(None) };
}

/// Runs `make`, which makes one interpreter; it gets `delegate`, before all others, and reports errors to `words`. Also
/// returns that interpreter. None means that no interpreter was made, or that this program is linked in a way that bypasses
/// the functions below.
///
/// # Safety
/// The interpreter must be dropped before `delegate` and `words` are dropped or moved.
pub(super) unsafe fn equip<T>(
    delegate: Option<&Delegate>,
    words: &Words,
    make: impl FnOnce() -> T,
) -> (T, Option<RawInterpreter>) {
    /// Takes back what nobody took, also when `make` panics.
    struct TakeBack;
    impl Drop for TakeBack {
        fn drop(&mut self) {
            EQUIPMENT.take();
            EQUIPPED.take();
        }
    }
    let _take_back = TakeBack;
    EQUIPMENT.set(Some(Equipment { delegate: delegate.map(Delegate::raw), words: NonNull::from(words) }));
    let made = make();
    (made, EQUIPPED.take())
}

/// A `TfLiteInterpreter` that tflitec owns.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawInterpreter(NonNull<c_void>);

impl RawInterpreter {
    /// The bytes of the output tensor `index`, where they lie at this moment. None where there is no such tensor, or no memory
    /// for it.
    ///
    /// tflitec's `Tensor` keeps the address that a tensor had when it was asked for. TensorFlow Lite moves tensors whenever its
    /// arena grows, which an operator with an output of variable size causes in the middle of an inference, so the address
    /// has to be asked for after every inference.
    ///
    /// # Safety
    /// The interpreter is alive, and neither runs nor changes while the slice is used.
    pub(super) unsafe fn output<'a>(self, index: c_int) -> Option<&'a [u8]> {
        // SAFETY: the interpreter is alive by the caller's promise; a wrong index gives null.
        let tensor = NonNull::new(unsafe { TfLiteInterpreterGetOutputTensor(self.0.as_ptr(), index) }.cast_mut())?;
        // SAFETY: the tensor belongs to the interpreter, which is alive.
        let (data, length) = unsafe { (TfLiteTensorData(tensor.as_ptr()), TfLiteTensorByteSize(tensor.as_ptr())) };
        let data = NonNull::new(data)?;
        // SAFETY: TensorFlow Lite says that so many bytes lie there; nobody writes to them by the caller's promise.
        Some(unsafe { std::slice::from_raw_parts(data.as_ptr().cast(), length) })
    }
}

extern "C" {
    fn TfLiteInterpreterGetOutputTensor(interpreter: *const c_void, index: c_int) -> *const c_void;
    fn TfLiteTensorData(tensor: *const c_void) -> *mut c_void;
    fn TfLiteTensorByteSize(tensor: *const c_void) -> usize;
    fn TfLiteInterpreterOptionsSetErrorReporter(
        options: *mut c_void,
        reporter: unsafe extern "C" fn(*mut c_void, *const c_char, *mut c_void),
        user_data: *mut c_void,
    );
}

type AddDelegate = unsafe extern "C" fn(*mut c_void, *mut Raw);
type CreateInterpreter = unsafe extern "C" fn(*const c_void, *const c_void) -> *mut c_void;

/// The library's own function of this name.
fn next_of(name: &CStr) -> Option<NonNull<c_void>> {
    // SAFETY: it looks up a name behind this program in the order in which the loader searches.
    NonNull::new(unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) })
}

/// tflitec calls this to add XNNPACK. Ours goes first: XNNPACK would take the operators that a delegate can run.
#[no_mangle]
unsafe extern "C" fn TfLiteInterpreterOptionsAddDelegate(options: *mut c_void, delegate: *mut Raw) {
    let Some(next) = next_of(c"TfLiteInterpreterOptionsAddDelegate") else { return };
    // SAFETY: it is the function that this one stands for.
    let next = unsafe { std::mem::transmute::<NonNull<c_void>, AddDelegate>(next) };
    let ours = EQUIPMENT.get().and_then(|equipment| equipment.delegate);
    if let Some(ours) = ours {
        EQUIPMENT.set(EQUIPMENT.get().map(|equipment| Equipment { delegate: None, ..equipment }));
        // SAFETY: the options are tflitec's; the delegate outlives the interpreter, by `equip`'s contract.
        unsafe { next(options, ours.as_ptr()) };
    }
    // SAFETY: the caller's own arguments.
    unsafe { next(options, delegate) }
}

/// tflitec calls this to make an interpreter; so may a delegate, for itself, and then there is nothing to add.
#[no_mangle]
unsafe extern "C" fn TfLiteInterpreterCreate(model: *const c_void, options: *const c_void) -> *mut c_void {
    let Some(next) = next_of(c"TfLiteInterpreterCreate") else { return ptr::null_mut() };
    // SAFETY: it is the function that this one stands for.
    let next = unsafe { std::mem::transmute::<NonNull<c_void>, CreateInterpreter>(next) };
    let Some(equipment) = EQUIPMENT.take().filter(|_| !options.is_null()) else {
        // SAFETY: the caller's own arguments.
        return unsafe { next(model, options) };
    };
    let options = options.cast_mut();
    // SAFETY: tflitec made the options and may change them until it deletes them, which is after this call; delegate and
    // words outlive the interpreter, by `equip`'s contract.
    unsafe {
        if let Some(delegate) = equipment.delegate {
            TfLiteInterpreterOptionsAddDelegate(options, delegate.as_ptr());
        }
        TfLiteInterpreterOptionsSetErrorReporter(options, report, equipment.words.as_ptr().cast());
    }
    // SAFETY: the caller's own arguments.
    let made = unsafe { next(model, options) };
    EQUIPPED.set(NonNull::new(made).map(RawInterpreter));
    made
}

type CreateXnnpack = unsafe extern "C" fn(*const c_void, *mut c_void) -> *mut Raw;

thread_local! {
    static IS_WITHOUT_XNNPACK: Cell<bool> = const { Cell::new(false) };
}

/// Runs `body` in a thread where XNNPACK takes no part in interpreters: TensorFlow Lite applies it by itself where nobody asks for it.
pub(super) fn without_xnnpack<T>(body: impl FnOnce() -> T) -> T {
    struct GiveBack;
    impl Drop for GiveBack {
        fn drop(&mut self) {
            IS_WITHOUT_XNNPACK.set(false);
        }
    }
    IS_WITHOUT_XNNPACK.set(true);
    let _give_back = GiveBack;
    body()
}

/// The library itself calls this to make the delegate that it applies; it goes on without one where there is none.
#[no_mangle]
unsafe extern "C" fn TfLiteXNNPackDelegateCreateWithThreadpool(
    options: *const c_void,
    threads: *mut c_void,
) -> *mut Raw {
    if IS_WITHOUT_XNNPACK.get() {
        return ptr::null_mut();
    }
    let Some(next) = next_of(c"TfLiteXNNPackDelegateCreateWithThreadpool") else { return ptr::null_mut() };
    // SAFETY: it is the function that this one stands for.
    let next = unsafe { std::mem::transmute::<NonNull<c_void>, CreateXnnpack>(next) };
    // SAFETY: the caller's own arguments.
    unsafe { next(options, threads) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_kept_each_on_one_line() {
        let words = Words::default();
        for number in 0..20 {
            words.add(&format!("Node {number}\n  failed.\n"));
        }
        let kept = words.take();
        assert_eq!(kept.len(), Words::KEPT);
        assert_eq!((kept[0].as_str(), kept[7].as_str()), ("Node 12 failed.", "Node 19 failed."));
        assert!(words.take().is_empty());
    }

    #[test]
    fn equipment_that_nobody_took_is_taken_back_and_told() {
        let words = Words::default();
        // SAFETY: no interpreter is made.
        let ((), interpreter) = unsafe { equip(None, &words, || ()) };
        assert!(interpreter.is_none() && EQUIPMENT.get().is_none());
        // SAFETY: as above.
        let panicked = std::panic::catch_unwind(|| unsafe { equip(None, &Words::default(), || panic!("on purpose")) });
        assert!(panicked.is_err() && EQUIPMENT.get().is_none());
    }
}
