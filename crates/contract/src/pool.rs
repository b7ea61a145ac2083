//! A descriptor set, decoded into a pool a few files at a time.
//!
//! While files are taken into a pool, each of them is there twice. A set that comes whole would be there twice whole: for all
//! of an organization's services that is more than all that is kept of it.

use std::collections::HashMap;
use std::panic::catch_unwind;

use accord_wire::{Occurrence, Value, occurrences, put_bytes};
use prost_reflect::DescriptorPool;

/// `google.protobuf.FileDescriptorSet.file`, `google.protobuf.FileDescriptorProto.name`, `.dependency` and `.source_code_info`.
const FILE: u32 = 1;
const NAME: u32 = 1;
const DEPENDENCY: u32 = 3;
const SOURCE_CODE_INFO: u32 = 9;

/// Encoded bytes that are taken at a time, or a file that has more.
const BATCH: usize = 256 << 10;

/// Decoded by the pool: going through prost-types would lose the options that the policies are. Descriptors are other
/// people's, and some that are not valid make the pool panic, where it should refuse them.
pub(crate) fn decode(set: &[u8]) -> Result<DescriptorPool, String> {
    let decoded = catch_unwind(|| match in_order(set) {
        Some(files) => batches(&files),
        // What is wrong with it, the pool says.
        None => DescriptorPool::decode(set).map_err(|error| error.to_string()),
    });
    decoded.unwrap_or_else(|_panic| Err("they contradict themselves".to_owned()))
}

/// The set without comments and places in the source, which take half of what a pool takes. None where it is malformed.
pub(crate) fn without_source_info(set: &[u8]) -> Option<Vec<u8>> {
    let mut without = Vec::with_capacity(set.len());
    for occurrence in occurrences(set) {
        let Occurrence { number: FILE, value: Value::Bytes(file), .. } = occurrence.ok()? else { continue };
        let mut kept = Vec::with_capacity(file.len());
        for field in occurrences(file) {
            let field = field.ok()?;
            if field.number != SOURCE_CODE_INFO {
                kept.extend_from_slice(field.raw);
            }
        }
        put_bytes(&mut without, FILE, &kept);
    }
    Some(without)
}

fn batches(files: &[&[u8]]) -> Result<DescriptorPool, String> {
    let (mut pool, mut batch) = (DescriptorPool::new(), Vec::new());
    for (index, file) in files.iter().enumerate() {
        put_bytes(&mut batch, FILE, file);
        if batch.len() >= BATCH || index + 1 == files.len() {
            pool.decode_file_descriptor_set(batch.as_slice()).map_err(|error| error.to_string())?;
            batch.clear();
        }
    }
    Ok(pool)
}

/// The files of a set, each behind those that it imports, else in the order of the set, as compilers write it. None where the
/// set is not valid: it is malformed, or has two files of one name, or files that import each other.
fn in_order(set: &[u8]) -> Option<Vec<&[u8]>> {
    let mut files = Vec::new();
    for occurrence in occurrences(set) {
        if let Occurrence { number: FILE, value: Value::Bytes(file), .. } = occurrence.ok()? {
            files.push(file);
        }
    }
    let mut places = HashMap::new();
    for (place, file) in files.iter().enumerate() {
        if places.insert(texts(file, NAME)?.pop()?, place).is_some() {
            return None;
        }
    }
    let mut order =
        Order { places, visited: vec![Visit::Not; files.len()], found: Vec::with_capacity(files.len()), files };
    (0..order.files.len()).try_for_each(|place| order.visit(place))?;
    Some(order.found)
}

/// A walk along imports, depth first.
struct Order<'a> {
    files: Vec<&'a [u8]>,
    places: HashMap<&'a [u8], usize>,
    visited: Vec<Visit>,
    found: Vec<&'a [u8]>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Visit {
    Not,
    Under,
    Done,
}

impl Order<'_> {
    /// Notes a file behind all that it imports. The walk keeps its own stack: how far imports lead is up to others.
    fn visit(&mut self, place: usize) -> Option<()> {
        let mut stack = vec![place];
        while let Some(&place) = stack.last() {
            match self.visited[place] {
                Visit::Not => {
                    self.visited[place] = Visit::Under;
                    for name in texts(self.files[place], DEPENDENCY)? {
                        // A file that is missing from the set is the pool's to name.
                        let Some(&import) = self.places.get(name) else { continue };
                        match self.visited[import] {
                            Visit::Not => stack.push(import),
                            Visit::Under => return None,
                            Visit::Done => {}
                        }
                    }
                }
                Visit::Under => {
                    self.visited[place] = Visit::Done;
                    self.found.push(self.files[place]);
                    stack.pop();
                }
                // On the stack twice: two files import it.
                Visit::Done => {
                    stack.pop();
                }
            }
        }
        Some(())
    }
}

/// The values of a field of a message; none where the message is malformed.
fn texts(message: &[u8], number: u32) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    for occurrence in occurrences(message) {
        match occurrence.ok()? {
            Occurrence { number: it, value: Value::Bytes(text), .. } if it == number => found.push(text),
            _ => {}
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};

    use super::*;

    /// Files, each with those that it imports.
    fn set(files: &[(&str, &[&str])]) -> Vec<u8> {
        let file = |(name, imports): &(&str, &[&str])| FileDescriptorProto {
            name: Some((*name).to_owned()),
            dependency: imports.iter().map(|import| (*import).to_owned()).collect(),
            message_type: vec![DescriptorProto { name: Some(name.to_uppercase()), ..Default::default() }],
            ..Default::default()
        };
        FileDescriptorSet { file: files.iter().map(file).collect() }.encode_to_vec()
    }

    fn order(files: &[(&str, &[&str])]) -> Option<Vec<String>> {
        let set = set(files);
        let name = |file: &[u8]| String::from_utf8(texts(file, NAME).unwrap()[0].to_vec()).unwrap();
        Some(in_order(&set)?.into_iter().map(name).collect())
    }

    #[test]
    fn files_come_behind_their_imports_and_else_in_the_order_of_the_set() {
        assert_eq!(order(&[("a", &[]), ("b", &["a"]), ("c", &[])]).unwrap(), ["a", "b", "c"]);
        assert_eq!(order(&[("a", &["c", "b"]), ("b", &["c"]), ("c", &[])]).unwrap(), ["c", "b", "a"]);
    }

    #[test]
    fn set_of_files_in_any_order_is_decoded() {
        let pool = decode(&set(&[("a", &["b"]), ("b", &["c", "d"]), ("c", &["d"]), ("d", &[])])).unwrap();
        assert_eq!(pool.all_messages().len(), 4);
    }

    #[test]
    fn set_that_is_larger_than_a_batch_is_decoded_whole() {
        let names: Vec<_> = (0..2000).map(|index| format!("{}{index}", "x".repeat(200))).collect();
        let files: Vec<_> = names.iter().map(|name| (name.as_str(), [].as_slice())).collect();
        let set = set(&files);
        assert!(set.len() > 2 * BATCH);
        assert_eq!(decode(&set).unwrap().files().len(), 2000);
    }

    #[test]
    fn set_with_imports_in_a_circle_or_two_files_of_one_name_is_refused_by_the_pool() {
        for files in [&[("a", ["b"].as_slice()), ("b", &["a"])][..], &[("a", &[]), ("a", &[])], &[("a", &["a"])]] {
            assert_eq!(order(files), None);
            let whole = DescriptorPool::decode(set(files).as_slice()).map(|_| ()).map_err(|error| error.to_string());
            assert_eq!(decode(&set(files)).map(|_| ()), whole);
        }
    }

    #[test]
    fn import_that_is_missing_is_named() {
        let error = decode(&set(&[("a", &["gone"])])).unwrap_err();
        assert!(error.contains("gone"), "{error}");
    }
}
