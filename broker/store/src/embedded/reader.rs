//! Reading: from memory near the tail, from the segments before.
//!
//! Constraints:
//! - What the cache has is read without touching the disk.
//! - Everything that comes from the disk is verified. What does not hold is a gap, reported once.
//! - Memory is bounded by the limits of the read and one piece of a frame.

use std::{collections::HashSet, io, sync::Arc};

use bytes::Bytes;

use super::{
    cache::{matches, take},
    disk::DiskFile,
    frame::{FrameHeader, HEADER, Kind, Spot, checksum, decode_table},
    index::{FrameSpot, Lookup, LookupError, Summary},
    item::EventItem,
    segment::{read_bytes, segment_name},
    view::{Segment, Shared, View},
};
use crate::contract::{Gap, GapCause, Micros, Offset, ReadBatch, ReadLimits, Selection};

/// The most events that one step looks up.
const STEP: usize = 1024;

/// Neighbours are read together up to this many bytes.
const PIECE: usize = 1024 * 1024;

/// Where the next step of a read finds what it needs.
enum Place {
    /// Everything from there on is in memory, or beyond the tail.
    Memory,
    Segment(Arc<Segment>),
    /// The segment that is being written, behind what is in memory: what the step needs of its index.
    Writing(Step),
}

/// What one segment has of a selection, from some offset on.
struct Step {
    summary: Summary,
    file: Arc<dyn DiskFile>,
    /// Offsets that match, ascending, as many as one step takes.
    offsets: Vec<Offset>,
    frames: Vec<FrameSpot>,
    lost: Vec<Gap>,
    /// Up to where that is all.
    until: Offset,
}

impl Shared {
    /// A read that needs no disk. `None` if it does.
    pub(super) fn read_memory(&self, from: Offset, selection: &Selection, limits: ReadLimits) -> Option<ReadBatch> {
        let view = self.view();
        if from < view.cache.first() && from < view.next {
            return None;
        }
        let mut batch = ReadBatch { next: from, ..ReadBatch::default() };
        // The cache may still have what was trimmed.
        push_gap(&mut batch, Gap { from: from.max(1), to: view.first(), cause: GapCause::Trimmed });
        view.cache.read(selection, &mut batch, &mut limits.clone());
        Some(batch)
    }

    /// A read of anything. May wait for the disk.
    pub(super) fn read_disk(&self, from: Offset, selection: &Selection, limits: ReadLimits) -> io::Result<ReadBatch> {
        let (mut batch, mut room) = (ReadBatch { next: from, ..ReadBatch::default() }, limits);
        loop {
            let before = batch.next;
            let most = room.events.clamp(1, STEP);
            match self.place(&mut batch, selection, most) {
                Place::Memory => {
                    let view = self.view();
                    // It may have moved on since.
                    if batch.next >= view.cache.first() || batch.next >= view.next {
                        view.cache.read(selection, &mut batch, &mut room);
                        return Ok(batch);
                    }
                }
                Place::Segment(segment) => {
                    let step = self.look_up(&segment, batch.next, selection, most)?;
                    if self.take_step(&step, selection, &mut batch, &mut room)? && self.is_there(&segment) {
                        return Ok(batch);
                    }
                    if !self.is_there(&segment) {
                        // Trimmed, and perhaps written over, while it was read: what was found wrong says nothing.
                        batch.events.retain(|event| event.offset < before);
                        batch.gaps.retain(|gap| gap.from < before);
                        (batch.next, room) = (before, remaining(&batch, limits));
                    }
                }
                Place::Writing(step) => {
                    if self.take_step(&step, selection, &mut batch, &mut room)? {
                        return Ok(batch);
                    }
                }
            }
        }
    }

    /// Finds where `batch.next` is, and skips what nobody has any more.
    fn place(&self, batch: &mut ReadBatch, selection: &Selection, most: usize) -> Place {
        let view = self.view();
        let first = view.first();
        push_gap(batch, Gap { from: batch.next.max(1), to: first, cause: GapCause::Trimmed });
        // 0 is before every event, and no gap.
        batch.next = batch.next.max(first);
        if batch.next >= view.cache.first() || batch.next >= view.next {
            return Place::Memory;
        }
        let found = view.segments.partition_point(|segment| segment.summary.next <= batch.next);
        let (start, segment) = match view.segments.get(found) {
            Some(segment) => (segment.summary.first, Some(segment.clone())),
            None => (view.writing.index.summary.first, None),
        };
        // If this is one, a whole segment is missing between two others.
        push_gap(batch, Gap { from: batch.next, to: start, cause: GapCause::Damaged });
        match segment {
            Some(segment) => Place::Segment(segment),
            None if batch.next >= view.cache.first() => Place::Memory,
            None => Place::Writing(self.look_up_writing(&view, batch.next, selection, most)),
        }
    }

    fn look_up_writing(&self, view: &View, from: Offset, selection: &Selection, most: usize) -> Step {
        let index = &view.writing.index;
        // A lookup in memory does not fail.
        let offsets =
            lookup(index, &index.summary, (from, most), selection, self, || view.writing.home.id_offsets(self.id_hash(selection)));
        step(index, &index.summary, view.writing.file.clone(), (from, most), offsets.unwrap_or_default()).unwrap_or_else(|_| Step {
            summary: index.summary,
            file: view.writing.file.clone(),
            offsets: Vec::new(),
            frames: Vec::new(),
            lost: Vec::new(),
            until: index.summary.next,
        })
    }

    fn look_up(&self, segment: &Segment, from: Offset, selection: &Selection, most: usize) -> io::Result<Step> {
        self.ask_index(segment, |index| {
            let ids = || segment.home.id_offsets(self.id_hash(selection));
            let offsets = lookup(index, &segment.summary, (from, most), selection, self, ids)?;
            step(index, &segment.summary, segment.file.clone(), (from, most), offsets)
        })
    }

    fn is_there(&self, segment: &Arc<Segment>) -> bool {
        self.view().segments.iter().any(|there| Arc::ptr_eq(there, segment))
    }

    fn id_hash(&self, selection: &Selection) -> u128 {
        match selection {
            Selection::Id { source, id } => self.seed.id(source, id, &mut Vec::new()),
            _ => 0,
        }
    }

    /// Reads what a step found. Whether the read is over.
    fn take_step(&self, step: &Step, selection: &Selection, batch: &mut ReadBatch, room: &mut ReadLimits) -> io::Result<bool> {
        let mut lost = step.lost.iter().peekable();
        let mut rest = &step.offsets[..];
        while let Some(offset) = rest.first().copied() {
            if !batch.events.is_empty() && (room.events == 0 || room.bytes == 0) {
                return Ok(true);
            }
            while let Some(gap) = lost.next_if(|gap| gap.from <= offset) {
                push_gap(batch, *gap);
            }
            let place = step.frames.partition_point(|frame| frame.first <= offset);
            let Some(frame) = place.checked_sub(1).and_then(|place| step.frames.get(place)) else { break };
            let end = step.frames.get(place).map_or(step.until.max(offset + 1), |next| next.first);
            let (here, after) = rest.split_at(rest.partition_point(|offset| *offset < end));
            rest = after;
            if self.take_frame(step, frame, here, selection, batch, room)? {
                return Ok(true);
            }
        }
        lost.for_each(|gap| push_gap(batch, *gap));
        batch.next = batch.next.max(step.until);
        Ok(false)
    }

    /// Reads events of one frame. Whether the limits are reached.
    fn take_frame(
        &self,
        step: &Step,
        spot: &FrameSpot,
        offsets: &[Offset],
        selection: &Selection,
        batch: &mut ReadBatch,
        room: &mut ReadLimits,
    ) -> io::Result<bool> {
        let Some((header, spots)) = read_table(&*step.file, &step.summary, spot)? else {
            if let (Some(first), Some(last)) = (offsets.first(), offsets.last()) {
                self.found_damage(&step.summary, spot.position, "the frame");
                push_gap(batch, Gap { from: *first, to: last + 1, cause: GapCause::Damaged });
            }
            return Ok(false);
        };
        let events: Vec<&Spot> = spots.iter().filter(|spot| spot.kind == Kind::Event).collect();
        let spot_of = |offset: Offset| offset.checked_sub(header.first).and_then(|place| events.get(usize::try_from(place).ok()?)).copied();
        let mut rest = offsets;
        while let Some(first) = rest.first().and_then(|offset| spot_of(*offset)) {
            // Neighbours are read together, as far as the limits and one piece go.
            let most = PIECE.min(room.bytes.saturating_add(8 * 1024));
            let count =
                rest.iter().take_while(|offset| spot_of(**offset).is_some_and(|spot| spot.range.end - first.range.start <= most)).count();
            let (here, after) = rest.split_at(count.max(1));
            rest = after;
            let end = here.last().and_then(|offset| spot_of(*offset)).map_or(first.range.end, |spot| spot.range.end);
            let bytes = read_or_empty(&*step.file, spot.position + first.range.start as u64, (end - first.range.start) as u64)?;
            for offset in here {
                let Some(item) = spot_of(*offset) else { continue };
                let range = item.range.start - first.range.start..item.range.end - first.range.start;
                let payload = if range.end <= bytes.len() { bytes.slice(range) } else { Bytes::new() };
                match decode(&step.summary, item, payload) {
                    Some(event) => {
                        let event = event.stored(*offset);
                        if matches(selection, &event) && !take(batch, room, event) {
                            return Ok(true);
                        }
                    }
                    None => {
                        self.found_damage(&step.summary, spot.position + item.range.start as u64, "the event");
                        push_gap(batch, Gap { from: *offset, to: offset + 1, cause: GapCause::Damaged });
                    }
                }
            }
        }
        Ok(false)
    }

    /// Reports damage, once for each place.
    fn found_damage(&self, summary: &Summary, position: u64, what: &str) {
        if super::view::lock(&self.reported).insert((summary.id, position)) {
            let place = format!("{} at {position}", segment_name(summary.id));
            self.damage.report(&place, &format!("{what} there cannot be served; readers see a gap"));
        }
    }

    /// The offset of the first event accepted at or after a time.
    pub(super) fn offset_at(&self, time: Micros) -> io::Result<Offset> {
        let from = {
            let view = self.view();
            let found = view.segments.partition_point(|segment| segment.summary.newest < time);
            view.segments.get(found).map_or(view.writing.index.summary.first, |segment| segment.summary.first)
        };
        let from = self.frame_at_time(from, time)?;
        let mut at = from;
        loop {
            let limits = ReadLimits { events: STEP, bytes: PIECE };
            let batch = match self.read_memory(at, &Selection::All, limits) {
                Some(batch) => batch,
                None => self.read_disk(at, &Selection::All, limits)?,
            };
            if let Some(found) = batch.events.iter().find(|event| event.accepted_at >= time) {
                return Ok(found.offset);
            }
            if batch.next <= at || batch.next >= self.view().next {
                return Ok(self.view().next);
            }
            at = batch.next;
        }
    }

    /// The first offset of the first frame, from an offset on, whose newest event was accepted at or after a time.
    fn frame_at_time(&self, from: Offset, time: Micros) -> io::Result<Offset> {
        let segment = {
            let view = self.view();
            let found = view.segments.iter().find(|segment| segment.summary.first == from && segment.summary.next > from).cloned();
            if found.is_none() {
                let frames = &view.writing.index.frames;
                let place = frames.partition_point(|frame| frame.newest < time);
                return Ok(frames.get(place).map_or(view.next, |frame| frame.first).max(from));
            }
            found
        };
        let Some(segment) = segment else { return Ok(from) };
        let frames = self.ask_index(&segment, |index| index.frames(0, usize::MAX))?;
        let place = frames.partition_point(|frame| frame.newest < time);
        Ok(frames.get(place).map_or(from, |frame| frame.first))
    }
}

/// What is left of limits after what a batch holds.
fn remaining(batch: &ReadBatch, limits: ReadLimits) -> ReadLimits {
    let bytes: usize = batch.events.iter().map(|event| event.head.encoded().len() + event.body.len()).sum();
    ReadLimits { events: limits.events.saturating_sub(batch.events.len()), bytes: limits.bytes.saturating_sub(bytes) }
}

/// Offsets of a segment that may match; a hash that collides is sorted out when the event is read.
fn lookup(
    index: &dyn Lookup,
    summary: &Summary,
    (from, most): (Offset, usize),
    selection: &Selection,
    shared: &Shared,
    ids: impl FnOnce() -> Result<Vec<Offset>, LookupError>,
) -> Result<Vec<Offset>, LookupError> {
    match selection {
        Selection::All => Ok((from.max(summary.first)..summary.next).take(most).collect()),
        Selection::Types(set) => index.types(set, from, most),
        Selection::Correlation(id) => index.correlation(shared.seed.correlation(id), from, most),
        Selection::Id { .. } => Ok(ids()?.into_iter().filter(|offset| (from..summary.next).contains(offset)).collect()),
    }
}

fn step(
    index: &dyn Lookup,
    summary: &Summary,
    file: Arc<dyn DiskFile>,
    (from, most): (Offset, usize),
    offsets: Vec<Offset>,
) -> Result<Step, LookupError> {
    let until = if offsets.len() < most { summary.next } else { offsets.last().map_or(summary.next, |last| last + 1) };
    let lost: Vec<Gap> = index
        .lost()?
        .into_iter()
        .map(|lost| Gap { from: lost.from.max(from), to: lost.to.min(until), cause: GapCause::Damaged })
        .filter(|gap| gap.from < gap.to)
        .collect();
    let is_lost = |offset: &Offset| lost.iter().any(|gap| (gap.from..gap.to).contains(offset));
    let offsets: Vec<Offset> = offsets.into_iter().filter(|offset| !is_lost(offset)).collect();
    let frames = frames_of(index, &offsets)?;
    Ok(Step { summary: *summary, file, offsets, frames, lost, until })
}

/// The frames that hold these offsets, with the one behind each.
fn frames_of(index: &dyn Lookup, offsets: &[Offset]) -> Result<Vec<FrameSpot>, LookupError> {
    let mut frames: Vec<FrameSpot> = Vec::new();
    let mut seen = HashSet::new();
    let mut covered = 0;
    for offset in offsets {
        if *offset < covered {
            continue;
        }
        let mut ahead = 8;
        // Frames without events stand in between: look on until one begins behind the offset.
        let found = loop {
            let found = index.frames(*offset, ahead)?;
            if found.len() < ahead || found.last().is_some_and(|frame| frame.first > *offset) {
                break found;
            }
            ahead *= 8;
        };
        covered = found.last().map_or(*offset + 1, |frame| frame.first.max(*offset + 1));
        frames.extend(found.into_iter().filter(|frame| seen.insert(frame.position)));
    }
    frames.sort_unstable_by_key(|frame| frame.position);
    Ok(frames)
}

/// The header and the table of a frame. `None` if they do not hold.
fn read_table(file: &dyn DiskFile, summary: &Summary, spot: &FrameSpot) -> io::Result<Option<(FrameHeader, Vec<Spot>)>> {
    let header = read_or_empty(file, spot.position, HEADER as u64)?;
    let Some(header) = FrameHeader::decode(&header, summary.salt) else { return Ok(None) };
    if header.sequence != spot.sequence || header.first != spot.first {
        return Ok(None);
    }
    let table = read_or_empty(file, spot.position + HEADER as u64 + u64::from(header.payload), header.table_bytes())?;
    Ok(decode_table(&header, &table).map(|spots| (header, spots)))
}

/// Bytes of a file; none if it ends before: that is damage, and no trouble of the disk.
fn read_or_empty(file: &dyn DiskFile, at: u64, length: u64) -> io::Result<Bytes> {
    match read_bytes(file, at, length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Bytes::new()),
        other => other,
    }
}

fn decode(summary: &Summary, spot: &Spot, payload: Bytes) -> Option<EventItem> {
    (checksum(summary.salt, &payload) == spot.checksum).then(|| EventItem::decode(payload)).flatten()
}

/// Adds a gap, joined with the one before if they touch.
fn push_gap(batch: &mut ReadBatch, gap: Gap) {
    if gap.from >= gap.to {
        return;
    }
    match batch.gaps.last_mut().filter(|last| last.to == gap.from && last.cause == gap.cause) {
        Some(last) => last.to = gap.to,
        None => batch.gaps.push(gap),
    }
    batch.next = batch.next.max(gap.to);
}
