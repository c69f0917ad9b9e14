//! Everything on a simulated disk, and what a cut leaves of it.
//!
//! Constraint: an operation first does what it does without durability, then meets the cut. So a cut operation may have happened in
//! part, whole, or not at all, as the survivor's seed decides.

use std::{collections::BTreeMap, io};

use fastrand::Rng;

use super::file::{File, Step};

/// A kind of operation of the disk that trouble can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Creating a file.
    Create,
    /// Renaming a file.
    Rename,
    /// Removing a file.
    Remove,
    /// Syncing the names.
    SyncNames,
    /// Writing into a file.
    Write,
    /// Changing the length of a file.
    SetLen,
    /// Syncing a file.
    Sync,
    /// Reading from a file. Not counted, and no cut happens there.
    Read,
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// With an input/output error. A write may have been done in part; of a sync, some reached the disk and the rest is dropped.
    Broken,
    /// For want of space. Nothing was done.
    NoSpace,
}

/// Which of the unsynced versions survive a cut.
#[derive(Clone, Copy, Debug)]
pub(super) enum Survival {
    /// None.
    Nothing,
    /// All.
    Everything,
    /// Those made before this operation, and of this operation some.
    UpTo(Step),
    /// Each with this chance out of 256.
    Scattered(u8),
}

impl Survival {
    fn any(last: Step, rng: &mut Rng) -> Self {
        match rng.u8(0..8) {
            0 => Self::Nothing,
            1 => Self::Everything,
            // Mostly the last few: what is older was probably synced.
            2 => Self::UpTo(last.saturating_sub(rng.u64(0..8))),
            3 => Self::UpTo(rng.u64(0..=last)),
            4 => Self::Scattered(24),
            5 => Self::Scattered(232),
            _ => Self::Scattered(128),
        }
    }

    pub(super) fn keeps(self, step: Step, rng: &mut Rng) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::UpTo(last) if step == last => rng.bool(),
            Self::UpTo(last) => step < last,
            Self::Scattered(chance) => rng.u8(..) < chance,
        }
    }
}

/// The number of a file, whatever its name.
pub(super) type Inode = u64;

#[derive(Clone, Debug)]
enum NameChange {
    Create { name: String, inode: Inode },
    Rename { from: String, to: String, inode: Inode },
    Remove { name: String, inode: Inode },
}

#[derive(Debug)]
pub(super) struct World {
    sector_bytes: usize,
    pub(super) capacity: u64,
    files: BTreeMap<Inode, File>,
    names: BTreeMap<String, Inode>,
    durable_names: BTreeMap<String, Inode>,
    name_changes: Vec<(Step, NameChange)>,
    next_inode: Inode,
    pub(super) steps: Step,
    pub(super) cut_at: Option<Step>,
    pub(super) off: bool,
    /// Trouble by kind of operation: how many of the kind go well before.
    pub(super) troubles: BTreeMap<Operation, (u64, Trouble)>,
    pub(super) injected: u64,
    rng: Rng,
}

impl World {
    pub(super) fn new(seed: u64, sector_bytes: usize) -> Self {
        Self {
            sector_bytes,
            capacity: u64::MAX,
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            next_inode: 1,
            steps: 0,
            cut_at: None,
            off: false,
            troubles: BTreeMap::new(),
            injected: 0,
            rng: Rng::with_seed(seed),
        }
    }

    /// One of the disks that may be found after a cut now.
    pub(super) fn survivor(&self, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let whole = Survival::any(self.steps, &mut rng);
        let mut names = self.durable_names.clone();
        for (step, change) in &self.name_changes {
            if whole.keeps(*step, &mut rng) {
                apply(&mut names, change);
            }
        }
        let mut left = Self::new(rng.u64(..), self.sector_bytes);
        left.capacity = self.capacity;
        left.next_inode = self.next_inode;
        for (&inode, file) in &self.files {
            // One file may fare better than another.
            let survival = if rng.u8(0..4) == 0 { Survival::any(self.steps, &mut rng) } else { whole };
            if names.values().any(|named| *named == inode) {
                left.files.insert(inode, file.survivor(self.sector_bytes, survival, &mut rng));
            }
        }
        left.durable_names = names.clone();
        left.names = names;
        left
    }

    /// Counts an operation and answers the trouble it is to have.
    fn begin(&mut self, operation: Operation) -> io::Result<Option<Trouble>> {
        if self.off {
            return Err(power_is_off());
        }
        if operation != Operation::Read {
            self.steps += 1;
        }
        let due = match self.troubles.get_mut(&operation) {
            Some((0, trouble)) => Some(*trouble),
            Some((before, _)) => {
                *before -= 1;
                None
            }
            None => None,
        };
        if due.is_some() {
            self.troubles.remove(&operation);
            self.injected += 1;
        }
        match due {
            Some(Trouble::NoSpace) => Err(io::ErrorKind::StorageFull.into()),
            other => Ok(other),
        }
    }

    /// Whether the power goes in this operation.
    fn cut(&mut self) -> io::Result<()> {
        if self.cut_at == Some(self.steps) {
            self.off = true;
            return Err(power_is_off());
        }
        Ok(())
    }

    /// What an operation on names comes to: done, unless it is to be broken.
    fn change_names(&mut self, change: NameChange, trouble: Option<Trouble>) -> io::Result<()> {
        if trouble.is_none() || self.rng.bool() {
            apply(&mut self.names, &change);
            self.name_changes.push((self.steps, change));
        }
        self.cut()?;
        trouble.map_or(Ok(()), |_| Err(broken()))
    }

    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        if self.off { Err(power_is_off()) } else { Ok(self.names.keys().cloned().collect()) }
    }

    pub(super) fn create(&mut self, name: &str, bytes: u64) -> io::Result<Inode> {
        let trouble = self.begin(Operation::Create)?;
        if self.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.room(bytes)?;
        let inode = self.next_inode;
        self.next_inode += 1;
        self.files.insert(inode, File::new(self.steps, size(bytes)?));
        self.change_names(NameChange::Create { name: name.into(), inode }, trouble)?;
        Ok(inode)
    }

    pub(super) fn open(&self, name: &str) -> io::Result<Inode> {
        if self.off {
            return Err(power_is_off());
        }
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let trouble = self.begin(Operation::Rename)?;
        let inode = self.open(from)?;
        self.change_names(NameChange::Rename { from: from.into(), to: to.into(), inode }, trouble)
    }

    pub(super) fn remove(&mut self, name: &str) -> io::Result<()> {
        let trouble = self.begin(Operation::Remove)?;
        let inode = self.open(name)?;
        self.change_names(NameChange::Remove { name: name.into(), inode }, trouble)
    }

    pub(super) fn sync_names(&mut self) -> io::Result<()> {
        let trouble = self.begin(Operation::SyncNames)?;
        self.cut()?;
        let changes = std::mem::take(&mut self.name_changes);
        for (_, change) in &changes {
            if trouble.is_none() || self.rng.bool() {
                apply(&mut self.durable_names, change);
            }
        }
        trouble.map_or(Ok(()), |_| Err(broken()))
    }

    pub(super) fn available(&self) -> io::Result<u64> {
        if self.off { Err(power_is_off()) } else { Ok(self.capacity.saturating_sub(self.used())) }
    }

    pub(super) fn len(&self, inode: Inode) -> io::Result<u64> {
        Ok(self.file(inode)?.len() as u64)
    }

    pub(super) fn read(&mut self, inode: Inode, buffer: &mut [u8], at: u64) -> io::Result<()> {
        if self.begin(Operation::Read)?.is_some() {
            return Err(broken());
        }
        let at = size(at)?;
        let content = at.checked_add(buffer.len()).and_then(|end| self.file(inode).ok()?.live().get(at..end));
        buffer.copy_from_slice(content.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    pub(super) fn write(&mut self, inode: Inode, bytes: &[u8], at: u64) -> io::Result<()> {
        let trouble = self.begin(Operation::Write)?;
        let end = at.checked_add(bytes.len() as u64).ok_or(io::ErrorKind::InvalidInput)?;
        self.room(end.saturating_sub(self.len(inode)?))?;
        let written = if trouble.is_some() { self.rng.usize(0..=bytes.len()) } else { bytes.len() };
        let (step, sector_bytes) = (self.steps, self.sector_bytes);
        self.file_mut(inode)?.write(step, sector_bytes, &bytes[..written], size(at)?);
        self.cut()?;
        trouble.map_or(Ok(()), |_| Err(broken()))
    }

    pub(super) fn set_len(&mut self, inode: Inode, bytes: u64) -> io::Result<()> {
        let trouble = self.begin(Operation::SetLen)?;
        if trouble.is_some() {
            return Err(broken());
        }
        self.room(bytes.saturating_sub(self.len(inode)?))?;
        let (step, sector_bytes) = (self.steps, self.sector_bytes);
        self.file_mut(inode)?.set_len(step, sector_bytes, size(bytes)?);
        self.cut()
    }

    pub(super) fn sync(&mut self, inode: Inode) -> io::Result<()> {
        let trouble = self.begin(Operation::Sync)?;
        self.cut()?;
        let sector_bytes = self.sector_bytes;
        let Some(file) = self.files.get_mut(&inode) else { return Err(io::ErrorKind::NotFound.into()) };
        if trouble.is_some() {
            file.fail_sync(sector_bytes, &mut self.rng);
            return Err(broken());
        }
        file.sync(sector_bytes);
        Ok(())
    }

    pub(super) fn tamper(&mut self, name: &str, change: impl Fn(&mut Vec<u8>)) -> io::Result<()> {
        let inode = self.open(name)?;
        let sector_bytes = self.sector_bytes;
        self.file_mut(inode)?.tamper(sector_bytes, change);
        Ok(())
    }

    fn file(&self, inode: Inode) -> io::Result<&File> {
        if self.off {
            return Err(power_is_off());
        }
        self.files.get(&inode).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn file_mut(&mut self, inode: Inode) -> io::Result<&mut File> {
        if self.off {
            return Err(power_is_off());
        }
        self.files.get_mut(&inode).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Bytes of the files that have a name. One that lost its name while it is open costs nothing here.
    fn used(&self) -> u64 {
        self.names.values().filter_map(|inode| self.files.get(inode)).map(|file| file.len() as u64).sum()
    }

    fn room(&self, more: u64) -> io::Result<()> {
        if more > 0 && self.used().saturating_add(more) > self.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

fn apply(names: &mut BTreeMap<String, Inode>, change: &NameChange) {
    match change {
        NameChange::Create { name, inode } => {
            names.insert(name.clone(), *inode);
        }
        NameChange::Rename { from, to, inode } => {
            // The old name may be another file's by now, if an earlier change was lost.
            if names.get(from) == Some(inode) {
                names.remove(from);
            }
            names.insert(to.clone(), *inode);
        }
        NameChange::Remove { name, inode } => {
            if names.get(name) == Some(inode) {
                names.remove(name);
            }
        }
    }
}

fn size(bytes: u64) -> io::Result<usize> {
    usize::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

fn broken() -> io::Error {
    io::Error::other("input/output error (injected)")
}
