//! Where the index of one segment lives, from its first frame until its ids are forgotten.
//!
//! Constraint: a reader that holds a home sees it change its form, never its content: in memory while the segment is written and
//! sealed, in a file afterwards, the file alone after the segment is gone.

use std::{
    io,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::{
    ids::{IdEntry, SegmentIds},
    index::{Lookup, LookupError, MemoryIndex},
    sealed::SealedIndex,
};
use crate::contract::Offset;

/// The form that an index has.
#[derive(Clone)]
pub(super) enum Form {
    /// The segment is being written: its lookups are part of the view, its ids are here.
    Writing,
    /// No frame comes any more, and the file is not there yet.
    Memory(Arc<MemoryIndex>),
    File(Arc<SealedIndex>),
    /// Its ids are forgotten, and the segment is gone.
    Forgotten,
}

/// The index of one segment.
pub(super) struct Home {
    pub(super) id: u64,
    form: RwLock<Form>,
    /// Whether the bound on ids made them be forgotten before their windows ended.
    cut: AtomicBool,
    /// The ids, as long as there is no file that has them. Only the writer of a segment changes them.
    ids: RwLock<SegmentIds>,
}

impl Home {
    pub(super) fn writing(id: u64) -> Self {
        Self { id, form: RwLock::new(Form::Writing), cut: AtomicBool::new(false), ids: RwLock::default() }
    }

    pub(super) fn sealed(index: SealedIndex) -> Self {
        Self { id: index.summary.id, form: RwLock::new(Form::File(Arc::new(index))), cut: AtomicBool::new(false), ids: RwLock::default() }
    }

    pub(super) fn form(&self) -> Form {
        self.form.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn become_form(&self, form: Form) {
        let forget = matches!(form, Form::File(_) | Form::Forgotten);
        *self.form.write().unwrap_or_else(PoisonError::into_inner) = form;
        if forget {
            *self.ids_mut() = SegmentIds::default();
        }
    }

    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    pub(super) fn ids(&self) -> RwLockReadGuard<'_, SegmentIds> {
        self.ids.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ids_mut(&self) -> RwLockWriteGuard<'_, SegmentIds> {
        self.ids.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lookups of a segment that is not being written.
    pub(super) fn lookup(&self) -> Option<Arc<dyn Lookup>> {
        match self.form() {
            Form::Memory(index) => Some(index),
            Form::File(index) => Some(index),
            Form::Writing | Form::Forgotten => None,
        }
    }

    /// Where events of this id are in this segment.
    pub(super) fn id_offsets(&self, hash: u128) -> Result<Vec<Offset>, LookupError> {
        match self.form() {
            Form::File(index) => index.id_offsets(hash),
            _ => Ok(self.ids().entries().iter().filter(|entry| entry.hash == hash).map(|entry| entry.offset).collect()),
        }
    }

    /// The newest event of this id in this segment that is remembered.
    pub(super) fn find_id(&self, hash: u128) -> Result<Option<IdEntry>, LookupError> {
        match self.form() {
            Form::File(index) => index.find_id(hash),
            Form::Forgotten => Ok(None),
            Form::Writing | Form::Memory(_) => match self.ids().find(hash) {
                Some(found) => Ok(Some(found)),
                // The file may have taken over in between.
                None => match self.form() {
                    Form::File(index) => index.find_id(hash),
                    _ => Ok(None),
                },
            },
        }
    }
}

/// Counts damage, and says it loudly.
#[derive(Default)]
pub(super) struct Damage(AtomicU64);

impl Damage {
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Reports one place that is damaged. `cost` says what that means for the user.
    pub(super) fn report(&self, place: &str, cost: &str) {
        self.0.fetch_add(1, Ordering::Relaxed);
        tracing::error!(place, cost, "damage found in the data directory");
    }
}

/// Turns a lookup's trouble into the disk's.
pub(super) fn disk_error(error: LookupError) -> io::Error {
    match error {
        LookupError::Disk(error) => error,
        LookupError::Damaged => io::Error::new(io::ErrorKind::InvalidData, "the index is damaged"),
    }
}
