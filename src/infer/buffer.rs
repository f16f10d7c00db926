//! The bytes of a tensor: on the heap, or in memory that worker processes see as well.
//!
//! Shared memory is made once, with its size sealed and its pages allocated, so that nothing that a worker does can take
//! them away under this process. Workers see inputs read-only.
#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{fallocate, fcntl_add_seals, memfd_create, FallocateFlags, MemfdFlags, SealFlags};
use rustix::mm::{mmap, munmap, MapFlags, ProtFlags};

use super::ModelIo;

/// Places start at multiples of this: no cache line belongs to two of them.
const ALIGNMENT: usize = 64;

/// The bytes of one tensor.
pub struct Buffer(Bytes);

enum Bytes {
    Heap(Box<[u8]>),
    Shared(Place),
}

impl Buffer {
    /// `length` zeros on the heap.
    pub fn heap(length: usize) -> Self {
        Self(Bytes::Heap(vec![0; length].into_boxed_slice()))
    }

    /// Which place of `arena` this is, if it is one.
    pub(super) fn place_in(&self, arena: &Arena) -> Option<usize> {
        match &self.0 {
            Bytes::Shared(place) if Arc::ptr_eq(&place.arena.0, &arena.0) => Some(place.index),
            Bytes::Shared(_) | Bytes::Heap(_) => None,
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Heap(bytes) => bytes,
            Bytes::Shared(place) => {
                let shared = &place.arena.0;
                // SAFETY: the place was taken from the list of free ones, so no other buffer has it, and it lies within
                // the mapping, which lives as long as the arena. Processes write to it only while the owner of this
                // buffer lends it to one of them; one that breaks that rule changes bytes, and any byte is valid.
                unsafe { shared.mapping.slice(place.index * shared.stride, shared.bytes) }
            }
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Bytes::Heap(bytes) => bytes,
            Bytes::Shared(place) => {
                let shared = &place.arena.0;
                // SAFETY: as above; this process maps its arenas for writing, and `&mut self` is the only way to the place.
                unsafe { shared.mapping.slice_mut(place.index * shared.stride, shared.bytes) }
            }
        }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Bytes::Heap(bytes) => write!(f, "Buffer({} bytes)", bytes.len()),
            Bytes::Shared(place) => write!(f, "Buffer(place {}, {} bytes)", place.index, self.len()),
        }
    }
}

/// A place of an arena, free again when this is dropped.
struct Place {
    arena: Arena,
    index: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.arena.0.free).push(self.index);
    }
}

/// Where the tensors of one model live.
#[derive(Clone, Debug)]
pub struct Buffers {
    input_bytes: usize,
    output_bytes: usize,
    shared: Option<(Arena, Arena)>,
}

impl Buffers {
    /// Tensors on the heap, as many as are asked for. No worker can have them.
    pub const fn heap(io: &ModelIo) -> Self {
        Self { input_bytes: io.input.bytes(), output_bytes: io.output.bytes(), shared: None }
    }

    /// Tensors that workers can have: `inputs` and `outputs` of them at a time.
    ///
    /// # Errors
    /// When the system has no memory or descriptor for them.
    pub fn shared(io: &ModelIo, inputs: usize, outputs: usize) -> io::Result<Self> {
        let input = Arena::new("pspnetd-inputs", io.input.bytes(), inputs, SealFlags::FUTURE_WRITE)?;
        let output = Arena::new("pspnetd-outputs", io.output.bytes(), outputs, SealFlags::empty())?;
        Ok(Self { shared: Some((input, output)), ..Self::heap(io) })
    }

    /// An input tensor, [`super::InputSpec::bytes`] long.
    ///
    /// # Errors
    /// When all places of the shared memory are taken. Dropped buffers give theirs back.
    pub fn input(&self) -> io::Result<Buffer> {
        self.shared.as_ref().map_or_else(|| Ok(Buffer::heap(self.input_bytes)), |(inputs, _)| inputs.take())
    }

    /// An output tensor, [`crate::segment::OutputSpec::bytes`] long.
    ///
    /// # Errors
    /// When all places of the shared memory are taken. Dropped buffers give theirs back.
    pub fn output(&self) -> io::Result<Buffer> {
        self.shared.as_ref().map_or_else(|| Ok(Buffer::heap(self.output_bytes)), |(_, outputs)| outputs.take())
    }

    /// Inputs and outputs, where workers can have them.
    pub(super) fn arenas(&self) -> Option<(&Arena, &Arena)> {
        self.shared.as_ref().map(|(inputs, outputs)| (inputs, outputs))
    }
}

/// Places for tensors of one length in memory that can be shared.
#[derive(Clone)]
pub(super) struct Arena(Arc<Shared>);

struct Shared {
    file: OwnedFd,
    mapping: Mapping,
    bytes: usize,
    stride: usize,
    count: usize,
    free: Mutex<Vec<usize>>,
}

impl Arena {
    fn new(name: &str, bytes: usize, count: usize, more_seals: SealFlags) -> io::Result<Self> {
        let stride = bytes.checked_next_multiple_of(ALIGNMENT);
        let length = stride.and_then(|stride| stride.checked_mul(count));
        let (stride, length) = stride.zip(length).ok_or(io::ErrorKind::OutOfMemory)?;
        let file = sealed_file(name, length)?;
        let mapping = Mapping::new(&file, length, true)?;
        // Only now: what is mapped already stays writable, which is this process's own mapping.
        fcntl_add_seals(&file, more_seals | SealFlags::SEAL)?;
        let free = Mutex::new((0..count).rev().collect());
        Ok(Self(Arc::new(Shared { file, mapping, bytes, stride, count, free })))
    }

    fn take(&self) -> io::Result<Buffer> {
        let index = lock(&self.0.free).pop();
        let index = index
            .ok_or_else(|| io::Error::other(format!("all {} places of the shared memory are taken", self.0.count)))?;
        Ok(Buffer(Bytes::Shared(Place { arena: self.clone(), index })))
    }

    /// The memory, to be sent to a worker.
    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.0.file.as_fd()
    }

    /// What a worker must know to find the places.
    pub(super) fn layout(&self) -> Layout {
        Layout { bytes: self.0.bytes, stride: self.0.stride, count: self.0.count }
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Arena({:?})", self.layout())
    }
}

/// Where the places of an arena lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub(super) struct Layout {
    bytes: usize,
    stride: usize,
    count: usize,
}

/// An arena as a worker sees it.
pub(super) struct View {
    mapping: Mapping,
    layout: Layout,
}

impl View {
    /// Maps the memory that came with `layout`.
    pub(super) fn new(file: impl AsFd, layout: Layout, is_writable: bool) -> io::Result<Self> {
        let length = layout.stride.checked_mul(layout.count).filter(|_| layout.bytes <= layout.stride);
        let length = length.ok_or(io::ErrorKind::InvalidInput)?;
        if rustix::fs::fstat(&file)?.st_size.cast_unsigned() < length as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Self { mapping: Mapping::new(file, length, is_writable)?, layout })
    }

    /// The place with this number, if there is one.
    pub(super) fn place(&self, index: usize) -> Option<&[u8]> {
        let Layout { bytes, stride, count } = self.layout;
        // SAFETY: below `count`, so it lies within the mapping. The other process writes to it only after our answer.
        (index < count).then(|| unsafe { self.mapping.slice(index * stride, bytes) })
    }

    /// The same, to be written.
    pub(super) fn place_mut(&mut self, index: usize) -> Option<&mut [u8]> {
        let Layout { bytes, stride, count } = self.layout;
        // SAFETY: as above, with `&mut self` as the only way to it in this process.
        (index < count && self.mapping.is_writable).then(|| unsafe { self.mapping.slice_mut(index * stride, bytes) })
    }
}

/// Memory without a name in the file system whose size nobody can change, with all its pages there: reading and writing it
/// can't fail later.
pub(super) fn sealed_file(name: &str, length: usize) -> io::Result<OwnedFd> {
    let file = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    // A file of no bytes can't be mapped.
    fallocate(&file, FallocateFlags::empty(), 0, length.max(1) as u64)?;
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW)?;
    Ok(file)
}

/// A file in memory, from its start.
struct Mapping {
    start: NonNull<u8>,
    length: usize,
    is_writable: bool,
}

// SAFETY: plain memory; who may use which part at a time is seen to by those who hand out slices.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(file: impl AsFd, length: usize, is_writable: bool) -> io::Result<Self> {
        let length = length.max(1);
        let write = if is_writable { ProtFlags::WRITE } else { ProtFlags::empty() };
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that is there.
        let start = unsafe { mmap(std::ptr::null_mut(), length, ProtFlags::READ | write, MapFlags::SHARED, file, 0) }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, length, is_writable })
    }

    /// # Safety
    /// `at + length` is within the mapping, and nobody writes there while the slice lives.
    unsafe fn slice(&self, at: usize, length: usize) -> &[u8] {
        debug_assert!(at + length <= self.length);
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(at), length) }
    }

    /// # Safety
    /// As for `slice`; the mapping is writable, and there is no other slice of that part.
    #[allow(clippy::mut_from_ref)]
    unsafe fn slice_mut(&self, at: usize, length: usize) -> &mut [u8] {
        debug_assert!(self.is_writable && at + length <= self.length);
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().add(at), length) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: made by mmap with this length; nobody has a slice any more, since slices borrow from its owner.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
    }
}

fn lock(free: &Mutex<Vec<usize>>) -> MutexGuard<'_, Vec<usize>> {
    // A list is whole at any time.
    free.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Size;
    use crate::infer::InputSpec;
    use crate::segment::{LabelType, OutputKind, OutputSpec};

    fn io() -> ModelIo {
        ModelIo {
            input: InputSpec { size: Size::new(5, 7), signed: true, scale: 0.5, zero_point: 0 },
            output: OutputSpec { height: 3, width: 4, kind: OutputKind::Labels { label: LabelType::Int32 } },
        }
    }

    #[test]
    fn shared_places_are_apart_and_come_back() {
        let buffers = Buffers::shared(&io(), 3, 2).unwrap();
        let mut inputs: Vec<Buffer> = (0..3).map(|_| buffers.input().unwrap()).collect();
        for (value, input) in (1u8..).zip(&mut inputs) {
            input.fill(value);
        }
        assert!(inputs.iter().zip(1u8..).all(|(input, value)| input.len() == 105 && input.iter().all(|&b| b == value)));
        assert!(buffers.input().unwrap_err().to_string().contains("all 3 places"));
        inputs.pop();
        assert_eq!(buffers.input().unwrap()[0], 3, "the place of the dropped one");
        assert_eq!(buffers.output().unwrap().len(), 48);
    }

    #[test]
    fn heap_buffers_never_run_out_and_have_no_place() {
        let (heap, shared) = (Buffers::heap(&io()), Buffers::shared(&io(), 1, 1).unwrap());
        let (inputs, outputs) = shared.arenas().unwrap();
        for _ in 0..10 {
            assert_eq!(heap.input().unwrap().place_in(inputs), None);
        }
        let input = shared.input().unwrap();
        assert_eq!((input.place_in(inputs), input.place_in(outputs)), (Some(0), None));
        assert!(heap.arenas().is_none());
    }

    #[test]
    fn a_worker_sees_what_is_written_and_cannot_write_inputs_or_change_sizes() {
        let buffers = Buffers::shared(&io(), 2, 2).unwrap();
        let (inputs, outputs) = buffers.arenas().unwrap();
        let (_first, mut second) = (buffers.input().unwrap(), buffers.input().unwrap());
        second.fill(9);
        let mut view = View::new(inputs.file(), inputs.layout(), false).unwrap();
        assert_eq!((view.place(1).unwrap(), view.place(0).unwrap()[0]), (&[9; 105][..], 0));
        assert!(view.place(2).is_none() && view.place_mut(1).is_none());
        assert!(View::new(inputs.file(), inputs.layout(), true).is_err(), "inputs can't be mapped for writing");
        assert!(rustix::io::pwrite(inputs.file(), &[1], 0).is_err());
        for arena in [inputs, outputs] {
            assert!(rustix::fs::ftruncate(arena.file(), 0).is_err());
            assert!(fallocate(arena.file(), FallocateFlags::empty(), 0, 1 << 20).is_err());
        }
        let output = buffers.output().unwrap();
        let mut view = View::new(outputs.file(), outputs.layout(), true).unwrap();
        view.place_mut(0).unwrap().fill(4);
        assert_eq!(output[..], [4; 48]);
    }

    #[test]
    fn a_layout_that_cannot_be_is_refused() {
        let buffers = Buffers::shared(&io(), 2, 2).unwrap();
        let (inputs, _) = buffers.arenas().unwrap();
        let good = inputs.layout();
        for layout in [
            Layout { count: 1 << 20, ..good },
            Layout { count: usize::MAX, ..good },
            Layout { bytes: good.stride + 1, ..good },
        ] {
            assert!(View::new(inputs.file(), layout, false).is_err(), "{layout:?}");
        }
    }
}
