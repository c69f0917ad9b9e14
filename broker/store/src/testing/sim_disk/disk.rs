//! The disk seam, on a simulated world.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::world::{Inode, Operation, Trouble, World};
use crate::embedded::disk::{Disk, DiskFile};

/// A simulated disk. Clones are handles to the same one. See the [module](super) for what it promises.
#[derive(Clone, Debug)]
pub struct SimDisk {
    world: Arc<Mutex<World>>,
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: Inode,
}

impl SimDisk {
    /// An empty disk with sectors of 512 bytes and no end of space. The seed decides what a broken operation leaves.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_sectors(seed, 512)
    }

    /// An empty disk with sectors of this size: what a write is torn into.
    ///
    /// # Panics
    /// If it is 0.
    #[must_use]
    pub fn with_sectors(seed: u64, sector_bytes: usize) -> Self {
        assert!(sector_bytes > 0, "a sector has at least one byte");
        Self::of(World::new(seed, sector_bytes))
    }

    fn of(world: World) -> Self {
        Self { world: Arc::new(Mutex::new(world)) }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts the power, if it is not off yet, and gives one of the disks that may be found when it comes back. Every operation on this
    /// one, and on its files, fails from now on. Ask again with another seed for another of the possible disks.
    #[must_use]
    pub fn power_cut(&self, seed: u64) -> Self {
        let mut world = self.world();
        world.off = true;
        Self::of(world.survivor(seed))
    }

    /// Cuts the power in the operation that will be number `operation`, counted from 1 since this disk was made.
    pub fn cut_at(&self, operation: u64) {
        self.world().cut_at = Some(operation);
    }

    /// Whether the power is off.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.world().off
    }

    /// How many operations were begun that change something (syncs are; reads are not).
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.world().steps
    }

    /// Lets an operation of a kind fail, once, after `well` of the kind that go well. One plan per kind: a later one replaces it.
    pub fn fail(&self, operation: Operation, well: u64, trouble: Trouble) {
        self.world().troubles.insert(operation, (well, trouble));
    }

    /// How many operations were made to fail.
    #[must_use]
    pub fn injected(&self) -> u64 {
        self.world().injected
    }

    /// Limits the space: what would make the files longer than this, together, fails with `StorageFull`.
    pub fn set_capacity(&self, bytes: u64) {
        self.world().capacity = bytes;
    }

    /// Flips one bit of a file, on the disk and in what is read.
    ///
    /// # Errors
    /// If the file is not there or ends before.
    pub fn flip_bit(&self, name: &str, at: u64, bit: u32) -> io::Result<()> {
        let at = usize::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut world = self.world();
        let inode = world.open(name)?;
        if world.len(inode)? <= at as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        world.tamper(name, |content| {
            if let Some(byte) = content.get_mut(at) {
                *byte ^= 1 << (bit % 8);
            }
        })
    }

    /// Cuts a file short, on the disk and in what is read.
    ///
    /// # Errors
    /// If the file is not there.
    pub fn truncate(&self, name: &str, bytes: u64) -> io::Result<()> {
        let bytes = usize::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.world().tamper(name, |content| content.truncate(bytes))
    }

    fn file(&self, inode: Inode) -> Arc<dyn DiskFile> {
        Arc::new(SimFile { disk: self.clone(), inode })
    }
}

impl Disk for SimDisk {
    fn names(&self) -> io::Result<Vec<String>> {
        self.world().names()
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let inode = self.world().create(name, bytes)?;
        Ok(self.file(inode))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let inode = self.world().open(name)?;
        Ok(self.file(inode))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.world().rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.world().remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.world().sync_names()
    }

    fn available(&self) -> io::Result<u64> {
        self.world().available()
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.disk.world().len(self.inode)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.disk.world().read(self.inode, buffer, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.disk.world().write(self.inode, bytes, at)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.disk.world().set_len(self.inode, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.world().sync(self.inode)
    }
}
