//! Places for stores: a simulated disk with the tables in a directory, and a directory for all of it.

use std::{path::Path, sync::Arc};

use tempfile::TempDir;

use crate::{
    EmbeddedOptions, EmbeddedStore,
    contract::{BoxFuture, EventStore, Offset},
    embedded::{
        disk::Disk,
        frame::Kind,
        os_disk::OsDisk,
        scan::{End, Visit, scan},
        segment::{id_in, read_header},
        tables,
    },
    testing::{
        SimDisk,
        conformance::{Broken, Place, Sizes, StoreFactory},
    },
};

/// Options with small caches, so that most reads come from the disk and folds happen often.
pub(super) fn options(dir: &Path, sizes: Sizes) -> EmbeddedOptions {
    EmbeddedOptions {
        cap: sizes.cap,
        reserve: sizes.reserve,
        segment_bytes: sizes.segment_bytes,
        dedup_ids: sizes.dedup_ids,
        cache_bytes: 16 << 10,
        fold_bytes: 16 << 10,
        ..EmbeddedOptions::new(dir)
    }
}

/// A copy of the tables as they are committed at this moment: what a power cut leaves of them.
pub(super) fn copy_tables(from: &Path, to: &Path) {
    let source = rusqlite::Connection::open(from.join(tables::FILE)).unwrap();
    source.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    source.execute("VACUUM INTO ?1", [to.join(tables::FILE).to_str().unwrap()]).unwrap();
}

/// Where the bytes of an event are: the file, the position of its item, and its length.
pub(super) fn find_event(disk: &dyn Disk, offset: Offset) -> Option<(String, u64, usize)> {
    struct Find {
        offset: Offset,
        found: Option<(u64, usize)>,
    }
    impl Visit for Find {
        fn frame(&mut self, position: u64, frame: &crate::embedded::frame::Frame) {
            let events = frame.spots.iter().filter(|spot| spot.kind == Kind::Event);
            for (spot, offset) in events.zip(frame.header.first..) {
                if offset == self.offset {
                    self.found = Some((position + spot.range.start as u64, spot.range.len()));
                }
            }
        }
        fn lost(&mut self, _: u64, _: Offset, _: Offset) {}
    }
    let mut names = disk.names().unwrap();
    names.sort();
    names.iter().rev().find_map(|name| {
        let id = id_in(name, "log")?;
        let file = disk.open(name).unwrap();
        let header = read_header(&*file, id).unwrap().0?;
        let mut find = Find { offset, found: None };
        scan(&*file, &header, crate::embedded::rebuild::start_of(&header), End::Tail, &mut find).unwrap();
        find.found.map(|(position, length)| (name.clone(), position, length))
    })
}

/// Stores on a simulated disk.
pub(super) struct SimFactory;

struct SimPlace {
    sizes: Sizes,
    disk: SimDisk,
    dir: TempDir,
    crashes: u64,
}

impl StoreFactory for SimFactory {
    fn fresh(&self, sizes: Sizes) -> Box<dyn Place> {
        Box::new(SimPlace { sizes, disk: SimDisk::new(1), dir: TempDir::new().unwrap(), crashes: 0 })
    }
}

impl Place for SimPlace {
    fn open(&mut self) -> BoxFuture<'_, Result<Arc<dyn EventStore>, Broken>> {
        Box::pin(async {
            let store = EmbeddedStore::open_on(Arc::new(self.disk.clone()), options(self.dir.path(), self.sizes))?;
            Ok(Arc::new(store) as Arc<dyn EventStore>)
        })
    }

    fn close(&mut self, store: Arc<dyn EventStore>) -> BoxFuture<'_, Result<(), Broken>> {
        drop(store);
        Box::pin(async { Ok(()) })
    }

    fn crash(&mut self, store: Arc<dyn EventStore>) -> BoxFuture<'_, Result<(), Broken>> {
        self.crashes += 1;
        self.disk = self.disk.power_cut(self.crashes);
        let dir = TempDir::new().unwrap();
        copy_tables(self.dir.path(), dir.path());
        drop(store);
        self.dir = dir;
        Box::pin(async { Ok(()) })
    }

    fn damage(&mut self, offset: Offset) -> BoxFuture<'_, bool> {
        let found = find_event(&self.disk, offset);
        if let Some((name, position, length)) = &found {
            self.disk.flip_bit(name, position + *length as u64 - 1, 3).unwrap();
        }
        Box::pin(async move { found.is_some() })
    }
}

/// Stores in a directory.
pub(super) struct OsFactory;

struct OsPlace {
    sizes: Sizes,
    dir: TempDir,
}

impl StoreFactory for OsFactory {
    fn fresh(&self, sizes: Sizes) -> Box<dyn Place> {
        Box::new(OsPlace { sizes, dir: TempDir::new().unwrap() })
    }
}

impl Place for OsPlace {
    fn open(&mut self) -> BoxFuture<'_, Result<Arc<dyn EventStore>, Broken>> {
        Box::pin(async { Ok(Arc::new(EmbeddedStore::open(options(self.dir.path(), self.sizes))?) as Arc<dyn EventStore>) })
    }

    fn close(&mut self, store: Arc<dyn EventStore>) -> BoxFuture<'_, Result<(), Broken>> {
        drop(store);
        Box::pin(async { Ok(()) })
    }

    /// A copy of files that are being written is no snapshot: killing the process is a test of its own.
    fn crash(&mut self, store: Arc<dyn EventStore>) -> BoxFuture<'_, Result<(), Broken>> {
        Box::pin(async move {
            while Arc::strong_count(&store) > 1 {
                tokio::task::yield_now().await;
            }
            Ok(())
        })
    }

    fn damage(&mut self, offset: Offset) -> BoxFuture<'_, bool> {
        let disk = OsDisk::open(self.dir.path()).unwrap();
        let found = find_event(&disk, offset);
        if let Some((name, position, length)) = &found {
            let (file, at) = (disk.open(name).unwrap(), position + *length as u64 - 1);
            let mut byte = [0];
            file.read_at(&mut byte, at).unwrap();
            file.write_at(&[byte[0] ^ 8], at).unwrap();
        }
        Box::pin(async move { found.is_some() })
    }
}
