//! The registry: the project's message types and the operator's `.proto` files.
//!
//! Constraints: compiled at start, never changed after; an error names the file and the line; an operator's file may import ours, and may
//! not replace one.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

use prost_reflect::{DescriptorPool, MessageDescriptor};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver};
use waypost_proto::PROTO_SOURCES;

use super::plan::{FieldShape, Form, Kind, MessageId, Plans};

/// Why the message types could not be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// A folder or a file could not be read.
    #[error("{}: cannot be read: {problem}", path.display())]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        problem: String,
    },
    /// A file does not compile.
    #[error("{problem}")]
    Invalid {
        /// `file:line:column: what is wrong`.
        problem: String,
    },
    /// A file has the import path of one that comes with Waypost.
    #[error("{file}: comes with Waypost and cannot be replaced; put your file into a package of your own")]
    Shadows {
        /// Its import path.
        file: String,
    },
}

/// Where a type comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaOrigin {
    /// It comes with Waypost.
    BuiltIn,
    /// It comes from the operator's `.proto` files.
    User,
}

/// A registered message type.
#[derive(Clone, Debug)]
pub struct Schema {
    /// Where it comes from.
    pub origin: SchemaOrigin,
    id: MessageId,
    descriptor: MessageDescriptor,
}

/// The registered message types.
#[derive(Clone, Debug)]
pub struct Schemas {
    pub(crate) plans: Arc<Plans>,
    ids: HashMap<String, MessageId>,
    listed: BTreeMap<String, Schema>,
    pool: DescriptorPool,
}

/// The option that marks a required field.
const REQUIRED: &str = "waypost.v1.required";

impl Schemas {
    /// The types that come with Waypost.
    ///
    /// # Errors
    /// Never, unless the program itself is broken.
    pub fn built_in() -> Result<Self, SchemaError> {
        Self::load(&[])
    }

    /// The types that come with Waypost and those of every `.proto` file in the folders, which are roots of imports.
    ///
    /// # Errors
    /// [`SchemaError`] names the folder or the file, with the line.
    pub fn load(folders: &[PathBuf]) -> Result<Self, SchemaError> {
        let mut pool = DescriptorPool::new();
        let invalid = |error: &dyn std::fmt::Display| SchemaError::Invalid { problem: error.to_string() };
        pool.decode_file_descriptor_set(waypost_proto::FILE_DESCRIPTOR_SET).map_err(|error| invalid(&error))?;
        if !folders.is_empty() {
            pool.decode_file_descriptor_set(&*compile(folders)?).map_err(|error| invalid(&error))?;
        }
        let (plans, ids) = Plans::compile(&pool, pool.get_extension_by_name(REQUIRED).as_ref());
        let listed = pool
            .all_messages()
            .filter(|message| !message.is_map_entry() && message.package_name() != "google.protobuf")
            .filter_map(|descriptor| {
                let name = descriptor.full_name().to_owned();
                let built_in = PROTO_SOURCES.iter().any(|(file, _)| *file == descriptor.parent_file().name());
                let origin = if built_in { SchemaOrigin::BuiltIn } else { SchemaOrigin::User };
                Some((name.clone(), Schema { origin, id: *ids.get(&name)?, descriptor }))
            })
            .collect();
        Ok(Self { plans: Arc::new(plans), ids, listed, pool })
    }

    /// A registered type by its full name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Schema> {
        self.listed.get(name)
    }

    /// Types by name: those that start with `prefix`, after `after`, at most `limit`.
    pub fn list<'a>(&'a self, prefix: &'a str, after: &'a str, limit: usize) -> impl Iterator<Item = (&'a str, &'a Schema)> {
        let from = prefix.max(after);
        self.listed
            .range::<str, _>((std::ops::Bound::Included(from), std::ops::Bound::Unbounded))
            .filter(move |(name, _)| after.is_empty() || name.as_str() > after)
            .take_while(move |(name, _)| name.starts_with(prefix))
            .take(limit)
            .map(|(name, schema)| (name.as_str(), schema))
    }

    /// The paths of a type's required fields, with dots through nested messages; those inside lists and maps are left out.
    #[must_use]
    pub fn required_fields(&self, schema: &Schema) -> Vec<String> {
        let mut found = Vec::new();
        self.collect_required(schema.id, "", &mut Vec::new(), &mut found);
        found
    }

    fn collect_required(&self, id: MessageId, prefix: &str, inside: &mut Vec<MessageId>, found: &mut Vec<String>) {
        let plan = self.plans.get(id);
        if plan.form != Form::Fields || inside.contains(&id) {
            return;
        }
        inside.push(id);
        for field in &plan.fields {
            let path = format!("{prefix}{}", field.name);
            if field.required {
                found.push(path.clone());
            }
            if let (Kind::Message(inner), FieldShape::One) = (field.kind, field.shape) {
                self.collect_required(inner, &format!("{path}."), inside, found);
            }
        }
        inside.pop();
    }

    /// An encoded `google.protobuf.FileDescriptorSet` with the file that defines a type and all that it imports, options included.
    #[must_use]
    pub fn file_descriptor_set(&self, schema: &Schema) -> Vec<u8> {
        let mut files = Vec::new();
        let mut open = vec![schema.descriptor.parent_file()];
        while let Some(file) = open.pop() {
            if !files.contains(&file) {
                open.extend(file.dependencies());
                files.push(file);
            }
        }
        let mut set = Vec::new();
        // Imports first; field 1 of a set is its files.
        for file in files.iter().rev() {
            prost::encoding::bytes::encode(1, &file.encode_to_vec(), &mut set);
        }
        set
    }

    /// The pool of all types, for reflection.
    #[must_use]
    pub fn pool(&self) -> &DescriptorPool {
        &self.pool
    }

    pub(crate) fn message_id(&self, name: &str) -> Option<MessageId> {
        self.ids.get(name).copied()
    }
}

impl Schema {
    /// The full name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.descriptor.full_name()
    }

    /// The `.proto` file that defines it, as it is imported.
    #[must_use]
    pub fn file(&self) -> String {
        self.descriptor.parent_file().name().to_owned()
    }
}

/// The files that come with Waypost, to be imported.
struct BuiltIn;

impl FileResolver for BuiltIn {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match PROTO_SOURCES.iter().find(|(file, _)| *file == name) {
            Some((file, source)) => File::from_source(file, source),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

fn compile(folders: &[PathBuf]) -> Result<Vec<u8>, SchemaError> {
    let mut resolver = ChainFileResolver::new();
    resolver.add(BuiltIn);
    resolver.add(GoogleFileResolver::new());
    let mut files = Vec::new();
    for folder in folders {
        resolver.add(IncludeFileResolver::new(folder.clone()));
        files.extend(proto_files(folder)?);
    }
    if let Some(file) = files.iter().find(|file| PROTO_SOURCES.iter().any(|(ours, _)| ours == file)) {
        return Err(SchemaError::Shadows { file: file.clone() });
    }
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).include_source_info(false);
    compiler.open_files(&files).map_err(|error| invalid(&error))?;
    Ok(compiler.encode_file_descriptor_set())
}

/// Debug is protox's form for people, `file:line:column: problem`; where it knows no line, it leaves the file out.
fn invalid(error: &protox::Error) -> SchemaError {
    let problem = format!("{error:?}");
    let file = error.file().filter(|file| !problem.starts_with(file));
    SchemaError::Invalid { problem: file.map_or_else(|| problem.clone(), |file| format!("{file}: {problem}")) }
}

/// Every `.proto` file in a folder, as it is imported, in a fixed order.
fn proto_files(root: &Path) -> Result<Vec<String>, SchemaError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |error: std::io::Error| SchemaError::Unreadable { path, problem: error.to_string() }
    };
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).map_err(unreadable(&folder))? {
            let entry = entry.map_err(unreadable(&folder))?;
            let path = entry.path();
            // Links are not followed: they could lead round in a circle.
            if entry.file_type().map_err(unreadable(&path))?.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "proto") {
                let import = path.strip_prefix(root).unwrap_or(&path);
                found.push(import.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}
