//! Compiles the `.proto` files with protox (no protoc) and generates two flavours of Rust from them.
//!
//! Constraints: nothing generated is committed; both flavours come from one compilation, so they cannot drift apart;
//! the exported descriptor set keeps custom options, which `prost_types` would drop.
//!
//! 1. The public flavour, every package: ordinary types, clients and servers.
//! 2. The wire flavour, the agent service only: in responses an event is `wire::EncodedEvent`, bytes that are written as
//!    they are; in requests `google.protobuf.Any` is `wire::Any`, whose value shares the request's buffer. Messages that
//!    contain no event are not generated again: they are the public ones.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};
use tonic_prost_build::Config;

type Error = Box<dyn std::error::Error>;

const PACKAGE: &str = ".waypost.v1.";
const EVENT: &str = ".waypost.v1.Event";
const ENCODED_EVENT: &str = ".waypost.v1.EncodedEvent";

/// Messages in which the server forwards an event without looking inside.
const FORWARDING: [&str; 2] = ["Delivery", "StoredEvent"];

fn main() -> Result<(), Error> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let files = proto_files(&root)?;
    println!("cargo:rerun-if-changed=build.rs");
    for file in &files {
        println!("cargo:rerun-if-changed={file}");
    }

    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_imports(true).open_files(&files)?;
    fs::write(out.join("waypost.binpb"), compiler.encode_file_descriptor_set())?;
    fs::write(out.join("sources.rs"), sources(&files)?)?;

    let set = compiler.include_source_info(true).file_descriptor_set();
    generate_public(&out, set.clone())?;
    generate_wire(&out.join("wire"), set)
}

/// Every `.proto` file, relative to the root, in a fixed order.
fn proto_files(root: &Path) -> Result<BTreeSet<String>, Error> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        println!("cargo:rerun-if-changed={}", folder.display());
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "proto") {
                found.insert(path.strip_prefix(root)?.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    Ok(found)
}

/// A Rust slice of (import path, source text).
fn sources(files: &BTreeSet<String>) -> Result<String, Error> {
    let mut code = String::from("&[\n");
    for file in files {
        writeln!(code, "({file:?}, include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/\", {file:?}))),")?;
    }
    code.push_str("]\n");
    Ok(code)
}

/// Settings that both flavours share. Sorted maps make an encoding depend on the content only.
fn config() -> Config {
    let mut config = Config::new();
    config.enable_type_names();
    config.type_name_domain(["."], "type.googleapis.com");
    config.btree_map(["."]);
    config.bytes(["."]);
    config
}

fn generate_public(out: &Path, set: FileDescriptorSet) -> Result<(), Error> {
    tonic_prost_build::configure().out_dir(out).compile_fds_with_config(set, config())?;
    Ok(())
}

fn generate_wire(out: &Path, mut set: FileDescriptorSet) -> Result<(), Error> {
    fs::create_dir_all(out)?;
    set.file.retain(|file| matches!(file.package(), "waypost.v1" | "google.protobuf"));
    for file in &mut set.file {
        file.service.retain(|service| service.name() == "AgentService");
    }
    hide_forwarded_events(&mut set);

    let mut config = config();
    config.extern_path(ENCODED_EVENT, "crate::wire::EncodedEvent");
    config.extern_path(".google.protobuf.Any", "crate::wire::Any");
    for name in shared(&set) {
        config.extern_path(format!("{PACKAGE}{name}"), format!("crate::v1::{name}"));
    }
    tonic_prost_build::configure()
        .codec_path("crate::codec::SizedCodec")
        .build_client(false)
        .out_dir(out)
        .compile_fds_with_config(set, config)?;
    Ok(())
}

/// Lets the events in forwarding messages be `EncodedEvent`. Any message type has the same wire format: a length and
/// that many bytes.
fn hide_forwarded_events(set: &mut FileDescriptorSet) {
    let mut hidden = 0;
    for message in messages_mut(set).filter(|message| FORWARDING.contains(&message.name())) {
        for field in message.field.iter_mut().filter(|field| field.type_name() == EVENT) {
            field.type_name = Some(ENCODED_EVENT.to_owned());
            hidden += 1;
        }
    }
    assert_eq!(hidden, FORWARDING.len(), "each of {FORWARDING:?} must have one field of type {EVENT}");

    // prost-build wants to know every type that it meets. The bytes field tells it that this one is not Copy.
    let bytes =
        FieldDescriptorProto { name: Some("bytes".to_owned()), number: Some(1), r#type: Some(Type::Bytes.into()), ..Default::default() };
    set.file.push(FileDescriptorProto {
        name: Some("waypost/v1/encoded_event.proto".to_owned()),
        package: Some("waypost.v1".to_owned()),
        message_type: vec![DescriptorProto { name: Some("EncodedEvent".to_owned()), field: vec![bytes], ..Default::default() }],
        syntax: Some("proto3".to_owned()),
        ..Default::default()
    });
}

/// The messages and enums into which neither flavour of event goes, however deep: one Rust type serves both flavours.
fn shared(set: &FileDescriptorSet) -> BTreeSet<String> {
    let files = || set.file.iter().filter(|file| file.package() == "waypost.v1");
    let mut uses = BTreeMap::new();
    for message in files().flat_map(|file| &file.message_type) {
        let fields = message.field.iter().map(|field| field.type_name().to_owned());
        uses.insert(format!("{PACKAGE}{}", message.name()), fields.collect::<BTreeSet<_>>());
    }

    let mut differ = BTreeSet::from([EVENT.to_owned(), ENCODED_EVENT.to_owned()]);
    loop {
        let before = differ.len();
        for (name, types) in &uses {
            if !types.is_disjoint(&differ) {
                differ.insert(name.clone());
            }
        }
        if differ.len() == before {
            break;
        }
    }

    let enums = files().flat_map(|file| &file.enum_type).map(|item| item.name().to_owned());
    let same = uses.into_keys().filter(|name| !differ.contains(name));
    same.map(|name| name[PACKAGE.len()..].to_owned()).chain(enums).collect()
}

fn messages_mut(set: &mut FileDescriptorSet) -> impl Iterator<Item = &mut DescriptorProto> {
    set.file.iter_mut().flat_map(|file| &mut file.message_type)
}
