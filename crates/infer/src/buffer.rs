//! Memory that this process and worker processes both see: input tensors, which workers can only read, and for every worker
//! one output tensor, which it alone writes.
//!
//! Shared memory is made once, with its size sealed and its pages allocated, so that nothing that a worker does can take
//! them away under this process. A worker may change its output at any time, also while it should wait. So this process
//! never looks at an output there: [`SharedOutput::copy_to`] copies it once, and everything reads that copy.
#![allow(unsafe_code)]

use std::fs::File;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};
use std::{fmt, io};

use base::sync::lock;
use model::InputSpec;
use rustix::fs::{fallocate, fcntl_add_seals, fcntl_get_seals, memfd_create, FallocateFlags, MemfdFlags, SealFlags};
use rustix::mm::{mmap, munmap, MapFlags, ProtFlags};

/// Places start at multiples of this: no cache line belongs to two of them.
const ALIGNMENT: usize = 64;

/// The bytes of one input tensor, on the heap or where workers see them.
pub struct InputTensor(Bytes);

enum Bytes {
    Heap(Box<[u8]>),
    Shared(Place),
}

impl InputTensor {
    /// A tensor for `input` on the heap, where no worker can read it.
    pub fn of(input: &InputSpec) -> Self {
        Self(Bytes::Heap(vec![0; input.bytes()].into_boxed_slice()))
    }

    /// Which place of `arena` this is, if it is one.
    pub(super) fn place_in(&self, arena: &Arena) -> Option<usize> {
        match &self.0 {
            Bytes::Shared(place) if Arc::ptr_eq(&place.arena.0, &arena.0) => Some(place.index),
            Bytes::Shared(_) | Bytes::Heap(_) => None,
        }
    }
}

impl Deref for InputTensor {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Heap(bytes) => bytes,
            Bytes::Shared(place) => {
                let shared = &place.arena.0;
                // SAFETY: the place was taken from the list of free ones, so no other tensor has it, and it lies within the
                // mapping, which lives as long as the arena. Workers can't write there: the file is sealed.
                unsafe { shared.mapping.slice(place.index * shared.stride, shared.bytes) }
            }
        }
    }
}

impl DerefMut for InputTensor {
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

impl fmt::Debug for InputTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Bytes::Heap(bytes) => write!(f, "InputTensor({} bytes)", bytes.len()),
            Bytes::Shared(place) => write!(f, "InputTensor(place {}, {} bytes)", place.index, self.len()),
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

/// Where the input tensors of one model live.
#[derive(Clone, Debug)]
pub struct InputTensors {
    bytes: usize,
    arena: Option<Arena>,
}

impl InputTensors {
    /// On the heap, as many as are asked for. No worker can read them.
    pub const fn heap(input: &InputSpec) -> Self {
        Self { bytes: input.bytes(), arena: None }
    }

    /// Where workers can read them: `count` of them at a time.
    ///
    /// # Errors
    /// When the system has no memory or descriptor for them.
    pub fn shared(input: &InputSpec, count: usize) -> io::Result<Self> {
        Ok(Self { bytes: input.bytes(), arena: Some(Arena::new("pspnetd-inputs", input.bytes(), count)?) })
    }

    /// An input tensor, [`InputSpec::bytes`] long.
    ///
    /// # Errors
    /// When all places of the shared memory are taken. Dropped tensors give theirs back.
    pub fn take(&self) -> io::Result<InputTensor> {
        match &self.arena {
            None => Ok(InputTensor(Bytes::Heap(vec![0; self.bytes].into_boxed_slice()))),
            Some(arena) => Ok(InputTensor(Bytes::Shared(arena.take()?))),
        }
    }

    /// Whether they are as long as `input`.
    pub(super) const fn fit(&self, input: &InputSpec) -> bool {
        self.bytes == input.bytes()
    }

    /// The memory, where workers can read it.
    pub(super) const fn arena(&self) -> Option<&Arena> {
        self.arena.as_ref()
    }
}

/// The output tensor of one worker process: a file in memory that the worker maps and writes, and that this process reads
/// when the worker says that it is done.
#[derive(Debug)]
pub(super) struct SharedOutput {
    file: File,
    bytes: usize,
}

impl SharedOutput {
    /// `bytes` zeros.
    pub(super) fn new(bytes: usize) -> io::Result<Self> {
        let file = sealed_file("pspnetd-output", bytes)?;
        fcntl_add_seals(&file, SealFlags::SEAL)?;
        Ok(Self { file: file.into(), bytes })
    }

    /// Copies the whole tensor. Each byte is read once, by a system call rather than through a mapping: what a worker does to
    /// the file meanwhile changes bytes of the copy, or is an error here.
    pub(super) fn copy_to(&self, output: &mut [u8]) -> io::Result<()> {
        if output.len() != self.bytes {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.file.read_exact_at(output, 0)
    }

    /// The memory, to be sent to the worker.
    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Places for input tensors of one length in memory that workers can read.
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
    fn new(name: &str, bytes: usize, count: usize) -> io::Result<Self> {
        let stride = bytes.checked_next_multiple_of(ALIGNMENT);
        let length = stride.and_then(|stride| stride.checked_mul(count));
        let (stride, length) = stride.zip(length).ok_or(io::ErrorKind::OutOfMemory)?;
        let file = sealed_file(name, length)?;
        let mapping = Mapping::new(&file, length, true)?;
        // Only now: what is mapped already stays writable, which is this process's own mapping.
        fcntl_add_seals(&file, SealFlags::FUTURE_WRITE | SealFlags::SEAL)?;
        let free = Mutex::new((0..count).rev().collect());
        Ok(Self(Arc::new(Shared { file, mapping, bytes, stride, count, free })))
    }

    fn take(&self) -> io::Result<Place> {
        let index = lock(&self.0.free).pop();
        let index = index
            .ok_or_else(|| io::Error::other(format!("all {} places of the shared memory are taken", self.0.count)))?;
        Ok(Place { arena: self.clone(), index })
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
pub(super) struct InputView {
    mapping: Mapping,
    layout: Layout,
}

impl InputView {
    /// Maps the memory that came with `layout`.
    pub(super) fn new(file: impl AsFd, layout: Layout) -> io::Result<Self> {
        let length = layout.stride.checked_mul(layout.count).filter(|_| layout.bytes <= layout.stride);
        let length = length.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self { mapping: Mapping::of_a_file_that_long(file, length, false)?, layout })
    }

    /// The place with this number, if there is one.
    pub(super) fn place(&self, index: usize) -> Option<&[u8]> {
        let Layout { bytes, stride, count } = self.layout;
        // SAFETY: below `count`, so it lies within the mapping. The other process writes to it only after our answer.
        (index < count).then(|| unsafe { self.mapping.slice(index * stride, bytes) })
    }
}

/// A [`SharedOutput`] as its worker sees it.
pub(super) struct OutputView {
    mapping: Mapping,
    bytes: usize,
}

impl OutputView {
    /// Maps the memory, which must be `bytes` long.
    pub(super) fn new(file: impl AsFd, bytes: usize) -> io::Result<Self> {
        Ok(Self { mapping: Mapping::of_a_file_that_long(file, bytes, true)?, bytes })
    }

    /// The tensor.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: within the mapping; `&mut self` is the only way to it in this process, and the other one never writes.
        unsafe { self.mapping.slice_mut(0, self.bytes) }
    }
}

/// The bytes of a file in memory that nobody can change any more, read where they lie.
pub struct SealedBytes {
    mapping: Mapping,
    length: usize,
}

impl SealedBytes {
    /// Maps `file`, which must be sealed against writing and shrinking.
    ///
    /// # Errors
    /// When it isn't, or can't be mapped.
    pub fn new(file: impl AsFd) -> io::Result<Self> {
        let needed = SealFlags::WRITE | SealFlags::SHRINK;
        if !fcntl_get_seals(&file)?.contains(needed) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the file is not sealed"));
        }
        let length = usize::try_from(rustix::fs::fstat(&file)?.st_size).map_err(|_| io::ErrorKind::FileTooLarge)?;
        Ok(Self { mapping: Mapping::new(file, length, false)?, length })
    }
}

impl Deref for SealedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: within the mapping; the seals keep everybody from writing there and from cutting the file.
        unsafe { self.mapping.slice(0, self.length) }
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

    /// The same, of a file that may be shorter than it should be.
    fn of_a_file_that_long(file: impl AsFd, length: usize, is_writable: bool) -> io::Result<Self> {
        if rustix::fs::fstat(&file)?.st_size.cast_unsigned() < length as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Self::new(file, length, is_writable)
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

#[cfg(test)]
mod tests {
    use super::*;
    use pixels::frame::Size;

    const INPUT: InputSpec = InputSpec { size: Size::new(5, 7), signed: true, scale: 0.5, zero_point: 0 };

    #[test]
    fn shared_places_are_apart_and_come_back() {
        let tensors = InputTensors::shared(&INPUT, 3).unwrap();
        let mut inputs: Vec<InputTensor> = (0..3).map(|_| tensors.take().unwrap()).collect();
        for (value, input) in (1u8..).zip(&mut inputs) {
            input.fill(value);
        }
        assert!(inputs.iter().zip(1u8..).all(|(input, value)| input.len() == 105 && input.iter().all(|&b| b == value)));
        assert!(tensors.take().unwrap_err().to_string().contains("all 3 places"));
        inputs.pop();
        assert_eq!(tensors.take().unwrap()[0], 3, "the place of the dropped one");
    }

    #[test]
    fn tensors_on_the_heap_never_run_out_and_have_no_place() {
        let (heap, shared) = (InputTensors::heap(&INPUT), InputTensors::shared(&INPUT, 1).unwrap());
        let (arena, other) = (shared.arena().unwrap(), InputTensors::shared(&INPUT, 1).unwrap());
        for _ in 0..10 {
            assert_eq!(heap.take().unwrap().place_in(arena), None);
        }
        let input = shared.take().unwrap();
        assert_eq!((input.place_in(arena), input.place_in(other.arena().unwrap())), (Some(0), None));
        assert!(heap.arena().is_none());
    }

    #[test]
    fn a_worker_sees_what_is_written_and_cannot_write_inputs_or_change_sizes() {
        let tensors = InputTensors::shared(&INPUT, 2).unwrap();
        let arena = tensors.arena().unwrap();
        let (_first, mut second) = (tensors.take().unwrap(), tensors.take().unwrap());
        second.fill(9);
        let view = InputView::new(arena.file(), arena.layout()).unwrap();
        assert_eq!((view.place(1).unwrap(), view.place(0).unwrap()[0]), (&[9; 105][..], 0));
        assert!(view.place(2).is_none());
        assert!(OutputView::new(arena.file(), 105).is_err(), "inputs can't be mapped for writing");
        assert!(rustix::io::pwrite(arena.file(), &[1], 0).is_err());
        let output = SharedOutput::new(48).unwrap();
        for file in [arena.file(), output.file()] {
            assert!(rustix::fs::ftruncate(file, 0).is_err());
            assert!(fallocate(file, FallocateFlags::empty(), 0, 1 << 20).is_err());
            assert!(fcntl_add_seals(file, SealFlags::WRITE).is_err());
        }
        assert!(fallocate(arena.file(), FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, 105).is_err());
    }

    #[test]
    fn an_output_is_copied_and_the_copy_stays_what_it_was() {
        let (output, mut copy) = (SharedOutput::new(48).unwrap(), [1; 48]);
        output.copy_to(&mut copy).unwrap();
        assert_eq!(copy, [0; 48]);
        let mut view = OutputView::new(output.file(), 48).unwrap();
        view.bytes_mut().fill(4);
        output.copy_to(&mut copy).unwrap();
        view.bytes_mut().fill(5);
        assert_eq!(copy, [4; 48]);
        // What a worker can do to its own output harms nobody else.
        fallocate(output.file(), FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, 48).unwrap();
        output.copy_to(&mut copy).unwrap();
        assert_eq!(copy, [0; 48]);
        for length in [47, 49] {
            assert!(output.copy_to(&mut vec![0; length]).is_err(), "{length} bytes of 48");
        }
    }

    #[test]
    fn only_a_file_that_nobody_can_change_is_read_where_it_lies() {
        let file = sealed_file("test", 3).unwrap();
        rustix::io::pwrite(&file, b"abc", 0).unwrap();
        assert!(SealedBytes::new(&file).is_err(), "it can still be written");
        fcntl_add_seals(&file, SealFlags::WRITE).unwrap();
        assert_eq!(&*SealedBytes::new(&file).unwrap(), b"abc");
        assert!(SealedBytes::new(std::fs::File::open("/dev/null").unwrap()).is_err());
    }

    #[test]
    fn a_layout_that_cannot_be_is_refused() {
        let tensors = InputTensors::shared(&INPUT, 2).unwrap();
        let arena = tensors.arena().unwrap();
        let good = arena.layout();
        for layout in [
            Layout { count: 1 << 20, ..good },
            Layout { count: usize::MAX, ..good },
            Layout { bytes: good.stride + 1, ..good },
        ] {
            assert!(InputView::new(arena.file(), layout).is_err(), "{layout:?}");
        }
        assert!(OutputView::new(SharedOutput::new(48).unwrap().file(), 5000).is_err());
    }
}
