//! The planes of a picture on their way through the resize: which rows are at hand, and what comes of them.
//!
//! A group is what the camera sends together in a row: all of YUYV or RGB, luma and chroma apart for NV12. Its rows go
//! into a small ring in cached memory, split into components; a second look at a row is a look into the ring.

use super::kernels::{Kernels, Mix, Packing, PAD};
use super::taps::{Axis, Column, Row};
use super::Source;
use crate::frame::{Layout, Picture, Siting, Size};

/// All that the resize keeps between rows. One value serves one picture at a time.
pub(super) struct Planes {
    groups: Vec<Group>,
    /// Resized rows of the three components, `padded` values each.
    resized: Vec<i16>,
    padded: usize,
    /// Values of a resized row.
    width: usize,
    /// Rows come with their last value first.
    reversed: bool,
}

/// Components that share their rows.
struct Group {
    packing: Packing,
    /// Plane of the picture that the rows come from.
    plane: usize,
    column: Column,
    /// In the order in which the camera packs them.
    components: Vec<Component>,
    /// Rows of `slot` bytes: the components one after the other.
    ring: Vec<u8>,
    slot: usize,
    slots: usize,
    /// Next source row to load.
    next: usize,
    /// Offsets in the ring of an output row's taps.
    offsets: Vec<usize>,
    /// The row between vertical and horizontal resize.
    between: Vec<u8>,
    /// Slot of the ring that is that row as it stands, where the vertical resize has nothing to mix.
    as_is: Option<usize>,
}

/// One component of a group.
struct Component {
    /// Which of the three resized rows it gives.
    index: usize,
    /// Place in a slot.
    start: usize,
    /// Bytes in a slot: the samples, and what kernels may read or write past them.
    length: usize,
    /// Taps along the row; `None` if the samples are the outputs.
    row: Option<Row>,
}

impl Planes {
    /// For resized pictures of `target`, whose rows are the camera's rows. Where the upright picture has them as rows too, they
    /// come with left and right as that has them.
    pub(super) fn new(Source { format: source, orientation }: Source, target: Size) -> Self {
        let Size { width, height } = source.size;
        let [against_x, against_y] = match (orientation.is_mirrored_across(), orientation.is_mirrored_down()) {
            (x, y) if orientation.is_swapped() => [y, x],
            (x, y) => [x, y],
        };
        let reversed = against_x && !orientation.is_swapped();
        let across = |step: u8, left: bool| {
            let step = usize::from(step);
            let samples = width.div_ceil(step);
            Axis { samples, pixels: width, step, left, outputs: target.width, mirrored: against_x }
        };
        let down = |step: u8| {
            let step = usize::from(step);
            let samples = height.div_ceil(step);
            Axis { samples, pixels: height, step, left: false, outputs: target.height, mirrored: against_y }
        };
        let left = source.color.siting == Siting::Left;
        let full = across(1, false);
        let group = |packing, plane, down: Axis, across: &[_]| Group::new(packing, plane, &down, across, reversed);
        let groups = match source.layout {
            Layout::Grey => vec![group(Packing::Plain, 0, down(1), &[(0, full)])],
            Layout::Rgb => vec![group(Packing::Triples, 0, down(1), &[(0, full), (1, full), (2, full)])],
            Layout::Bgr => vec![group(Packing::Triples, 0, down(1), &[(2, full), (1, full), (0, full)])],
            Layout::Yuyv | Layout::Uyvy => {
                let packing = if source.layout == Layout::Yuyv { Packing::Yuyv } else { Packing::Uyvy };
                let half = across(2, left);
                vec![group(packing, 0, down(1), &[(0, full), (1, half), (2, half)])]
            }
            Layout::Nv12 => {
                let half = across(2, left);
                vec![
                    group(Packing::Plain, 0, down(1), &[(0, full)]),
                    group(Packing::Pairs, 1, down(2), &[(1, half), (2, half)]),
                ]
            }
            Layout::Planar { h, v } => {
                let part = across(h, left);
                vec![
                    group(Packing::Plain, 0, down(1), &[(0, full)]),
                    group(Packing::Plain, 1, down(v), &[(1, part)]),
                    group(Packing::Plain, 2, down(v), &[(2, part)]),
                ]
            }
        };
        let padded = target.width.next_multiple_of(PAD);
        Self { groups, resized: vec![0; padded * 3], padded, width: target.width, reversed }
    }

    /// Forgets the rows of the last picture.
    pub(super) fn restart(&mut self) {
        for group in &mut self.groups {
            group.next = 0;
        }
    }

    /// The resized components of output row `output`, padded to [`PAD`]. Output rows must be asked for in order.
    pub(super) fn resize(&mut self, kernels: &Kernels, picture: &Picture<'_>, output: usize) -> [&[i16]; 3] {
        for group in &mut self.groups {
            group.advance(kernels, picture, output);
            let source = group.current();
            for component in &group.components {
                let source = &source[component.start..][..component.length];
                let into = &mut self.resized[component.index * self.padded..][..self.padded];
                match &component.row {
                    Some(row) => kernels.horizontal(row, source, into),
                    None if self.reversed => kernels.widen_reversed(&source[..self.width], into),
                    None => kernels.widen(source, into),
                }
            }
        }
        [0, 1, 2].map(|index| &self.resized[index * self.padded..][..self.padded])
    }
}

impl Group {
    fn new(packing: Packing, plane: usize, down: &Axis, across: &[(usize, Axis)], reversed: bool) -> Self {
        let column = Column::new(down);
        let mut slot = 0;
        let mut components = Vec::new();
        for &(index, axis) in across {
            let row = (!axis.is_identity()).then(|| Row::new(&axis, reversed));
            let reach = row.as_ref().map_or(axis.outputs, |row| row.reach);
            // Packed 4:2:2 has an even number of luma samples, one more than an odd width.
            let length = reach.max(axis.samples + 1).next_multiple_of(PAD);
            components.push(Component { index, start: slot, length, row });
            slot += length;
        }
        let slots = column.window();
        Self {
            packing,
            plane,
            offsets: vec![0; column.count()],
            column,
            components,
            ring: vec![0; slots * slot],
            slot,
            slots,
            next: 0,
            between: vec![0; slot],
            as_is: None,
        }
    }

    /// Loads the rows that output row `output` needs and the ring lacks, and mixes them.
    fn advance(&mut self, kernels: &Kernels, picture: &Picture<'_>, output: usize) {
        let (first, last) = self.column.needed(output);
        for row in self.next.max(first)..=last {
            let mut rest = &mut self.ring[row % self.slots * self.slot..][..self.slot];
            let mut into: [&mut [u8]; 3] = Default::default();
            for (component, into) in self.components.iter().zip(&mut into) {
                (*into, rest) = rest.split_at_mut(component.length);
            }
            kernels.load(self.packing, picture.row(self.plane, row), into);
        }
        self.next = self.next.max(last + 1);
        self.as_is = (first == last).then_some(first % self.slots);
        if self.as_is.is_none() {
            let (rows, weights, scale) = self.column.taps(output);
            for (offset, row) in self.offsets.iter_mut().zip(rows) {
                *offset = row % self.slots * self.slot;
            }
            let mix = Mix { ring: &self.ring, offsets: &self.offsets, weights, scale };
            kernels.vertical(&mix, &mut self.between);
        }
    }

    /// The components of the row that `advance` made.
    fn current(&self) -> &[u8] {
        match self.as_is {
            Some(slot) => &self.ring[slot * self.slot..][..self.slot],
            None => &self.between,
        }
    }
}
