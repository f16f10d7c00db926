//! `native/jpeg.c` behind types that keep its rules: a picture's bytes stay as they are until it is decoded or let go, and
//! rooms are as large as the library is told.
//! Which pictures are taken, and what of the findings is damage, is left to others.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, CStr};
use std::marker::PhantomData;
use std::ptr::NonNull;

// Links the library whose API native/jpeg.c calls.
use turbojpeg_sys as _;

use super::findings::Findings;
use pixels::frame::Size;

/// Components of a picture that is decoded to its planes.
const MOST_PLANES: usize = 3;

/// SOF markers of lossless processes: Huffman-coded, arithmetic-coded.
const LOSSLESS: [u32; 2] = [0xC3, 0xCB];

/// What native/jpeg.h calls `struct pspnetd_jpeg`.
#[repr(C)]
struct Raw {
    _private: [u8; 0],
}

/// The colour space of a stored picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    /// Grey.
    Grey,
    /// Luma and chroma.
    Ycc,
    /// Red, green, blue.
    Rgb,
    /// CMYK or YCCK.
    Ink,
    /// Any other.
    Other,
}

/// What a header announces: `struct pspnetd_jpeg_header`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Header {
    width: u32,
    height: u32,
    colour: u32,
    components: u32,
    /// Bits of a sample.
    pub(super) precision: u32,
    process: u32,
    across: [u8; 4],
    down: [u8; 4],
}

impl Header {
    pub(super) fn size(&self) -> Size {
        Size::new(self.width as usize, self.height as usize)
    }

    /// `enum pspnetd_jpeg_colour`.
    pub(super) fn colour(&self) -> Colour {
        match self.colour {
            1 => Colour::Grey,
            2 => Colour::Ycc,
            3 => Colour::Rgb,
            4 => Colour::Ink,
            _ => Colour::Other,
        }
    }

    pub(super) fn is_lossless(&self) -> bool {
        LOSSLESS.contains(&self.process)
    }

    /// Pixels for each chroma sample, across and down, of a picture with three components. `None` where both chroma
    /// components differ, or have no whole number of pixels.
    pub(super) fn steps(&self) -> Option<(u8, u8)> {
        let ([luma_across, across, other_across, _], [luma_down, down, other_down, _]) = (self.across, self.down);
        let is_alike = self.components == 3 && (across, down) == (other_across, other_down) && across > 0 && down > 0;
        let is_whole = is_alike && luma_across % across == 0 && luma_down % down == 0;
        (is_whole && luma_across >= across && luma_down >= down).then(|| (luma_across / across, luma_down / down))
    }
}

/// Why the library doesn't go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// In the library's own words.
    #[error("{0}")]
    Failed(String),
    #[error("there is no memory")]
    NoMemory,
    #[error("there is no picture in it")]
    NoPicture,
    #[error("it has more scans than any encoder makes")]
    TooManyScans,
}

/// A room for a plane: `struct pspnetd_jpeg_plane`.
#[repr(C)]
pub(super) struct PlaneMut<'a> {
    data: *mut u8,
    stride: usize,
    width: usize,
    rows: usize,
    bytes: usize,
    lent: PhantomData<&'a mut [u8]>,
}

impl<'a> PlaneMut<'a> {
    /// A room in `data` for `rows` rows of `width` samples, without anything between them.
    ///
    /// # Panics
    /// Where `data` is shorter.
    pub(super) fn new(data: &'a mut [u8], width: usize, rows: usize) -> Self {
        Self::packed(data, width, rows, 1)
    }

    /// The same for pixels of `bytes` bytes.
    ///
    /// # Panics
    /// Where `data` is shorter.
    pub(super) fn packed(data: &'a mut [u8], width: usize, rows: usize, bytes: usize) -> Self {
        let stride = width * bytes;
        let data = data[..stride * rows].as_mut_ptr();
        Self { data, stride, width, rows, bytes, lent: PhantomData }
    }
}

extern "C" {
    fn pspnetd_jpeg_new(scans: u32) -> *mut Raw;
    fn pspnetd_jpeg_free(raw: *mut Raw);
    fn pspnetd_jpeg_read(raw: *mut Raw, data: *const u8, length: usize, header: *mut Header) -> c_int;
    fn pspnetd_jpeg_planes(
        raw: *mut Raw,
        divisor: u32,
        planes: *const PlaneMut<'_>,
        count: u32,
        findings: *mut Findings,
    ) -> c_int;
    fn pspnetd_jpeg_packed(raw: *mut Raw, divisor: u32, plane: *const PlaneMut<'_>, findings: *mut Findings) -> c_int;
    fn pspnetd_jpeg_leave(raw: *mut Raw);
    fn pspnetd_jpeg_text(raw: *const Raw) -> *const c_char;
}

/// A decoder of the library.
#[derive(Debug)]
pub(super) struct Library(NonNull<Raw>);

// SAFETY: the C side has no state outside of what the pointer leads to, and nothing there belongs to a thread.
unsafe impl Send for Library {}

impl Library {
    /// A decoder that refuses pictures of more than `most_scans` scans. `None` where there is no memory.
    pub(super) fn new(most_scans: u32) -> Option<Self> {
        // SAFETY: the function takes any number.
        NonNull::new(unsafe { pspnetd_jpeg_new(most_scans) }).map(Self)
    }

    /// Reads the header of `jpeg`.
    pub(super) fn read<'a>(&'a mut self, jpeg: &'a [u8]) -> Result<Opened<'a>, Failure> {
        let mut header = Header::default();
        // SAFETY: `Opened` borrows the bytes until the library is done with them, and the library itself, so that no other
        // picture comes in between. A failure leaves no picture open.
        let outcome = unsafe { pspnetd_jpeg_read(self.0.as_ptr(), jpeg.as_ptr(), jpeg.len(), &raw mut header) };
        self.judge(outcome)?;
        Ok(Opened { library: self, header, jpeg: PhantomData })
    }

    /// `enum pspnetd_jpeg_outcome` in types.
    fn judge(&self, outcome: c_int) -> Result<(), Failure> {
        match outcome {
            0 => Ok(()),
            2 => Err(Failure::NoMemory),
            3 => Err(Failure::NoPicture),
            4 => Err(Failure::TooManyScans),
            _ => {
                // SAFETY: the text is in the decoder itself, ends with a zero byte, and is copied at once.
                let text = unsafe { CStr::from_ptr(pspnetd_jpeg_text(self.0.as_ptr())) };
                Err(Failure::Failed(text.to_string_lossy().into_owned()))
            }
        }
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: `new` made it, and nothing uses it afterwards.
        unsafe { pspnetd_jpeg_free(self.0.as_ptr()) }
    }
}

/// A picture whose header was read.
pub(super) struct Opened<'a> {
    library: &'a mut Library,
    header: Header,
    jpeg: PhantomData<&'a [u8]>,
}

impl Opened<'_> {
    pub(super) const fn header(&self) -> &Header {
        &self.header
    }

    /// Decodes at 1/`divisor` to the picture's own planes.
    pub(super) fn planes(self, divisor: u32, planes: &mut [PlaneMut<'_>]) -> Result<Findings, Failure> {
        let mut findings = Findings::default();
        let count = planes.len().min(MOST_PLANES + 1) as u32;
        // SAFETY: a header was read, and its bytes are borrowed still. Each plane says how large it is, and the library
        // refuses those that are too small.
        let outcome = unsafe {
            let raw = self.library.0.as_ptr();
            pspnetd_jpeg_planes(raw, divisor, planes.as_ptr(), count, &raw mut findings)
        };
        self.library.judge(outcome).map(|()| findings)
    }

    /// Decodes at 1/`divisor` to packed pixels: CMYK where the colour is [`Colour::Ink`], otherwise RGB.
    pub(super) fn packed(self, divisor: u32, room: &PlaneMut<'_>) -> Result<Findings, Failure> {
        let mut findings = Findings::default();
        // SAFETY: as for `planes`.
        let outcome = unsafe {
            let raw = self.library.0.as_ptr();
            pspnetd_jpeg_packed(raw, divisor, room, &raw mut findings)
        };
        self.library.judge(outcome).map(|()| findings)
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        // SAFETY: the decoder is borrowed still. Where the picture was decoded, there is nothing left to let go.
        unsafe { pspnetd_jpeg_leave(self.library.0.as_ptr()) }
    }
}
