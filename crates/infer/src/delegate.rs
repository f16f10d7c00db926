//! TensorFlow Lite delegates: loads a library, lists its devices, and makes a delegate. How that gets into an interpreter is
//! left to `interpose`.
//!
//! What such a library does can't be contained: it may abort, hang or crash. Only a worker process may load one.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ffi::{c_char, c_int, CStr, CString};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use serde::{Deserialize, Serialize};

use super::accelerator::{is_same_device, port};
use super::{DelegateKind, DelegateSpec, DeviceChoice, Fault};
use crate::TpuDevice;

/// A delegate that its library made. The interpreter that uses it must be dropped first.
#[derive(Debug)]
pub struct Delegate {
    raw: NonNull<Raw>,
    free: FreeDelegate,
    version: Option<String>,
    name: String,
    device: Option<String>,
    // Last: the code of `free` lies in it.
    _library: Library,
}

// SAFETY: a delegate is bound to no thread. It is reachable through its owner only, so one thread at a time uses it.
unsafe impl Send for Delegate {}

impl Delegate {
    /// Loads the library and makes the delegate, which opens the device.
    ///
    /// # Errors
    /// When the library can't be loaded or lacks a function, the device isn't there, or it can't be opened. libedgetpu says
    /// why only on standard error, if at all.
    pub fn open(spec: &DelegateSpec) -> Result<Self, Fault> {
        let library = load(&spec.library)?;
        match &spec.kind {
            DelegateKind::EdgeTpu(choice) => Self::open_edge_tpu(spec, library, choice),
            DelegateKind::Plugin => Self::open_plugin(spec, library),
        }
    }

    fn open_edge_tpu(spec: &DelegateSpec, library: Library, choice: &DeviceChoice) -> Result<Self, Fault> {
        let functions = EdgeTpu::of(&library, &spec.library)?;
        let devices = functions.devices();
        let device = choose(&devices, choice)?;
        let name = format!("Edge TPU {} at {}", names(&devices)[device], devices[device].path);
        let path = text(&devices[device].path)?;
        let (keys, values) = texts(&spec.options)?;
        let options: Vec<RawOption> = keys
            .iter()
            .zip(&values)
            .map(|(key, value)| RawOption { key: key.as_ptr(), value: value.as_ptr() })
            .collect();
        // SAFETY: the function has this signature by libedgetpu's edgetpu_c.h, and reads what it is given during the call.
        let raw =
            unsafe { (functions.create)(devices[device].bus.raw(), path.as_ptr(), options.as_ptr(), options.len()) };
        let raw = NonNull::new(raw).ok_or(Fault::NotOpened { words: Vec::new() })?;
        let (version, device) = (functions.version(), Some(devices[device].path.clone()));
        Ok(Self { raw, free: functions.free, version, name, device, _library: library })
    }

    fn open_plugin(spec: &DelegateSpec, library: Library) -> Result<Self, Fault> {
        // SAFETY: these are the signatures of TensorFlow Lite's external delegates.
        let (create, free) = unsafe {
            (
                symbol::<CreatePlugin>(&library, &spec.library, c"tflite_plugin_create_delegate")?,
                symbol::<FreeDelegate>(&library, &spec.library, c"tflite_plugin_destroy_delegate")?,
            )
        };
        let (keys, values) = texts(&spec.options)?;
        let pointers = |texts: &[CString]| texts.iter().map(|text| text.as_ptr()).collect::<Vec<_>>();
        let (keys, values) = (pointers(&keys), pointers(&values));
        PLUGIN_WORDS.take();
        // SAFETY: as above; the texts outlive the call, which ends before `texts`' vectors do.
        let raw = unsafe { create(keys.as_ptr(), values.as_ptr(), keys.len(), plugin_says) };
        let words = PLUGIN_WORDS.take();
        let raw = NonNull::new(raw).ok_or(Fault::NotOpened { words })?;
        let name = format!("the delegate {}", spec.library.display());
        Ok(Self { raw, free, version: None, name, device: None, _library: library })
    }

    /// What the library calls its version: libedgetpu has `BuildLabel(…), RuntimeVersion(14)`, a plug-in has none.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// What runs here, for the log: `Edge TPU usb:0 at /sys/bus/usb/devices/2-1`, `the delegate /usr/lib/libx.so`.
    pub fn describe(&self) -> String {
        self.name.clone()
    }

    /// The Edge TPU's path, as its library names it; None for a plug-in.
    pub fn device(&self) -> Option<&str> {
        self.device.as_deref()
    }

    /// What TensorFlow Lite calls a delegate. It is valid until this is dropped, also when this moves.
    pub(super) const fn raw(&self) -> NonNull<Raw> {
        self.raw
    }

    /// It takes only models that were compiled for it, and leaves all of another model to the CPU.
    pub(super) const fn wants_compiled(&self) -> bool {
        self.device.is_some()
    }
}

impl Drop for Delegate {
    fn drop(&mut self) {
        // SAFETY: the library made it, its code is still there, and the interpreter is gone: the owner drops it first.
        unsafe { (self.free)(self.raw.as_ptr()) }
    }
}

/// What an Edge TPU library tells of itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Listing {
    /// `BuildLabel(…), RuntimeVersion(14)`.
    pub version: Option<String>,
    /// Devices that it sees, cards first, each by number or port, whether they can be opened or not.
    pub devices: Vec<Listed>,
}

impl Listing {
    /// The devices' names in the same order, as `engine.device` takes them: `usb:0`, `pci:0`, `usb:1`.
    pub fn names(&self) -> Vec<TpuDevice> {
        names(&self.devices)
    }
}

/// A device that an Edge TPU library sees.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Listed {
    /// How it is connected.
    pub bus: Bus,
    /// `/sys/bus/usb/devices/2-1`, `/dev/apex_0`.
    pub path: String,
}

/// How an Edge TPU is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Bus {
    /// A stick.
    Usb,
    /// A PCIe or M.2 card.
    Pci,
}

impl Bus {
    const fn raw(self) -> c_int {
        match self {
            Self::Pci => 0,
            Self::Usb => 1,
        }
    }
}

/// Asks an Edge TPU library for its version and its devices. Nothing is opened.
///
/// # Errors
/// When it can't be loaded, or lacks a function.
pub fn list(library: &Path) -> Result<Listing, Fault> {
    let loaded = load(library)?;
    let functions = EdgeTpu::of(&loaded, library)?;
    Ok(Listing { version: functions.version(), devices: functions.devices() })
}

fn names(devices: &[Listed]) -> Vec<TpuDevice> {
    let (mut usb, mut pci) = (0..=u8::MAX, 0..=u8::MAX);
    let mut next = |bus| match bus {
        Bus::Usb => usb.next().map(TpuDevice::Usb),
        Bus::Pci => pci.next().map(TpuDevice::Pci),
    };
    // More than 256 of a kind don't exist.
    devices.iter().map_while(|device| next(device.bus)).collect()
}

/// The device's place in the list.
fn choose(devices: &[Listed], choice: &DeviceChoice) -> Result<usize, Fault> {
    let names = names(devices);
    let found = match choice {
        DeviceChoice::Free { preferred, taken } => {
            let named = devices.get(..names.len()).unwrap_or_default();
            let is_taken = |device: &Listed| taken.iter().any(|taken| is_same_device(taken, &device.path));
            let is_free = |index: &usize| named.get(*index).is_some_and(|device| !is_taken(device));
            std::iter::once(*preferred).chain(0..names.len()).find(is_free)
        }
        DeviceChoice::Named(wanted) => names.iter().position(|name| name == wanted),
    };
    found.ok_or_else(|| {
        let listed: Vec<String> = names.iter().map(ToString::to_string).collect();
        let listed = if listed.is_empty() { "none".to_owned() } else { listed.join(", ") };
        Fault::NoDevice { wanted: choice.to_string(), listed }
    })
}

// Libraries

/// `TfLiteDelegate`, which only the library and TensorFlow Lite look into.
pub(super) enum Raw {}

/// `struct edgetpu_device`
#[repr(C)]
struct RawDevice {
    bus: c_int,
    path: *const c_char,
}

/// `struct edgetpu_option`
#[repr(C)]
struct RawOption {
    key: *const c_char,
    value: *const c_char,
}

type FreeDelegate = unsafe extern "C" fn(*mut Raw);
type CreatePlugin = unsafe extern "C" fn(
    *const *const c_char,
    *const *const c_char,
    usize,
    unsafe extern "C" fn(*const c_char),
) -> *mut Raw;

/// The functions of `edgetpu_c.h`. Whoever has them has the library too.
struct EdgeTpu {
    version: unsafe extern "C" fn() -> *const c_char,
    list: unsafe extern "C" fn(*mut usize) -> *mut RawDevice,
    free_list: unsafe extern "C" fn(*mut RawDevice),
    create: unsafe extern "C" fn(c_int, *const c_char, *const RawOption, usize) -> *mut Raw,
    free: FreeDelegate,
}

impl EdgeTpu {
    fn of(library: &Library, path: &Path) -> Result<Self, Fault> {
        // SAFETY: these are the signatures of edgetpu_c.h, unchanged since its first release.
        unsafe {
            Ok(Self {
                version: symbol(library, path, c"edgetpu_version")?,
                list: symbol(library, path, c"edgetpu_list_devices")?,
                free_list: symbol(library, path, c"edgetpu_free_devices")?,
                create: symbol(library, path, c"edgetpu_create_delegate")?,
                free: symbol(library, path, c"edgetpu_free_delegate")?,
            })
        }
    }

    fn version(&self) -> Option<String> {
        // SAFETY: it gives a text that is never freed, or null.
        unsafe { owned((self.version)()) }
    }

    fn devices(&self) -> Vec<Listed> {
        let mut count = 0;
        // SAFETY: it gives an array of `count` devices, or null.
        let first = unsafe { (self.list)(&raw mut count) };
        if first.is_null() {
            return Vec::new();
        }
        // SAFETY: as above; the array is ours until it is given back below.
        let raw = unsafe { std::slice::from_raw_parts(first, count) };
        let listed = raw.iter().filter_map(|device| {
            let bus = [Bus::Usb, Bus::Pci].into_iter().find(|bus| bus.raw() == device.bus)?;
            // SAFETY: each device has a text, which lives as long as the array.
            Some(Listed { bus, path: unsafe { owned(device.path) }? })
        });
        let mut listed: Vec<Listed> = listed.collect();
        // The library has sticks without firmware first. By port, one that gets its firmware keeps its name, and is not taken
        // for the next one.
        listed.sort_by_cached_key(|device| (device.bus.raw(), port(Path::new(&device.path))));
        // SAFETY: once, and nothing of it is kept.
        unsafe { (self.free_list)(first) };
        listed
    }
}

fn load(path: &Path) -> Result<Library, Fault> {
    // NOW: a function that the library misses is an error here, and not an abort at its first call. NODELETE: libedgetpu was
    // never meant to be unloaded, so threads that it may leave behind keep their code.
    let flags = RTLD_NOW | RTLD_LOCAL | libc::RTLD_NODELETE;
    // SAFETY: a library's initialisers may do anything; that is why a worker process loads it.
    unsafe { Library::open(Some(path), flags) }.map_err(|error| {
        let text = match error {
            libloading::Error::DlOpen { source } => source.to_string(),
            other => other.to_string(),
        };
        Fault::Library { library: path.to_path_buf(), text }
    })
}

/// # Safety
/// `T` is a function pointer of the symbol's true signature, and isn't called once the library is closed.
unsafe fn symbol<T: Copy>(library: &Library, path: &Path, name: &CStr) -> Result<T, Fault> {
    // SAFETY: the caller's promise.
    let found = unsafe { library.get::<T>(name) };
    found
        .map(|symbol| *symbol)
        .map_err(|_| Fault::Symbol { library: PathBuf::from(path), symbol: name.to_string_lossy().into_owned() })
}

/// # Safety
/// `text` is null or ends with a zero byte.
unsafe fn owned(text: *const c_char) -> Option<String> {
    // SAFETY: the caller's promise.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

fn text(text: &str) -> Result<CString, Fault> {
    CString::new(text).map_err(|_| Fault::NotOpened { words: vec![format!("{text:?} has a zero byte")] })
}

fn texts(options: &[(String, String)]) -> Result<(Vec<CString>, Vec<CString>), Fault> {
    let pairs: Vec<(CString, CString)> =
        options.iter().map(|(key, value)| Ok((text(key)?, text(value)?))).collect::<Result<_, Fault>>()?;
    Ok(pairs.into_iter().unzip())
}

thread_local! {
    /// What the plug-in that is being made says to the user.
    static PLUGIN_WORDS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

unsafe extern "C" fn plugin_says(text: *const c_char) {
    // SAFETY: a plug-in gives a text with a zero byte, or null.
    if let Some(text) = unsafe { owned(text) } {
        PLUGIN_WORDS.with_borrow_mut(|words| words.push(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(buses: &[Bus]) -> Vec<Listed> {
        buses.iter().enumerate().map(|(at, bus)| Listed { bus: *bus, path: format!("/{at}") }).collect()
    }

    #[test]
    fn devices_are_counted_by_their_bus() {
        let devices = listed(&[Bus::Usb, Bus::Pci, Bus::Usb, Bus::Pci]);
        let all = [TpuDevice::Usb(0), TpuDevice::Pci(0), TpuDevice::Usb(1), TpuDevice::Pci(1)];
        assert_eq!(names(&devices), all);
        for (at, name) in all.into_iter().enumerate() {
            assert_eq!(choose(&devices, &DeviceChoice::Named(name)), Ok(at));
            assert_eq!(choose(&devices, &DeviceChoice::at(at)), Ok(at));
        }
        let error = choose(&devices, &DeviceChoice::Named(TpuDevice::Usb(2))).unwrap_err().to_string();
        assert!(error.contains("usb:2 is wanted, the library lists usb:0, pci:0, usb:1, pci:1"), "{error}");
    }

    #[test]
    fn a_list_that_is_longer_than_names_go_is_cut() {
        let devices = listed(&[Bus::Usb; 300]);
        assert_eq!(names(&devices).len(), 256);
        assert_eq!(choose(&devices, &DeviceChoice::at(255)), Ok(255));
        assert_eq!(choose(&devices, &DeviceChoice::at(256)), Ok(0), "one without a name is not taken");
    }
}
