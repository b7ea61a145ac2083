//! Names of schemas. Two upstreams may have messages of one name that are not the same.

use std::collections::{HashMap, HashSet};

use prost_reflect::{FileDescriptor, MessageDescriptor};

use crate::members::{Form, is_input_only, is_output_only, is_required};

/// A version of a type: a file that holds it, and the upstreams whose file is the same.
struct Version {
    file: FileDescriptor,
    upstreams: Vec<String>,
}

/// The names that were given so far.
#[derive(Default)]
pub(crate) struct ComponentNames {
    versions: HashMap<String, Vec<Version>>,
    /// Whether a message, by upstream and name, looks otherwise in requests.
    differs: HashMap<(String, String), bool>,
}

impl ComponentNames {
    /// The name of a type of this upstream: its own, with the number of its version where it is not the first of that name.
    pub(crate) fn of(&mut self, upstream: &str, full_name: &str, file: &FileDescriptor) -> String {
        let versions = self.versions.entry(full_name.to_owned()).or_default();
        let known = |version: &Version| version.upstreams.iter().any(|it| it == upstream);
        let same = |version: &Version| is_same(&version.file, file, &mut HashSet::new());
        let index = versions.iter().position(known).or_else(|| {
            let index = versions.iter().position(same)?;
            versions[index].upstreams.push(upstream.to_owned());
            Some(index)
        });
        let index = index.unwrap_or_else(|| {
            versions.push(Version { file: file.clone(), upstreams: vec![upstream.to_owned()] });
            versions.len() - 1
        });
        // A hyphen is in no name of a proto.
        if index == 0 { full_name.to_owned() } else { format!("{full_name}-{}", index + 1) }
    }

    /// The form in which a message is shown: that of requests only where it makes a difference.
    pub(crate) fn form(&mut self, upstream: &str, message: &MessageDescriptor, form: Form) -> Form {
        Form { is_request: form.is_request && self.differs(upstream, message), ..form }
    }

    /// Whether a message, or one that it leads to, has fields that only requests must have.
    fn differs(&mut self, upstream: &str, message: &MessageDescriptor) -> bool {
        let place = |message: &MessageDescriptor| (upstream.to_owned(), message.full_name().to_owned());
        if let Some(known) = self.differs.get(&place(message)) {
            return *known;
        }
        let (mut ahead, mut seen) = (vec![message.clone()], HashSet::from([message.full_name().to_owned()]));
        let mut found = false;
        while let Some(next) = ahead.pop() {
            found |= self.differs.get(&place(&next)).copied().unwrap_or(false);
            for field in next.fields() {
                found |= is_required(&field) && !is_output_only(&field) && !is_input_only(&field);
                let inner =
                    field.kind().as_message().filter(|inner| seen.insert(inner.full_name().to_owned())).cloned();
                ahead.extend(inner);
            }
            if found {
                break;
            }
        }
        self.differs.insert(place(message), found);
        found
    }
}

/// How the name of a form ends.
pub(crate) fn suffix(form: Form) -> String {
    let parts = [(form.proto_names, "-proto"), (form.enum_numbers, "-numbers"), (form.is_request, "-request")];
    parts.into_iter().filter_map(|(holds, part)| holds.then_some(part)).collect()
}

/// Whether two files, of two pools, declare the same, with what they import.
fn is_same(one: &FileDescriptor, other: &FileDescriptor, seen: &mut HashSet<String>) -> bool {
    if !seen.insert(one.name().to_owned()) {
        return true;
    }
    let (left, right) = (one.file_descriptor_proto(), other.file_descriptor_proto());
    let declares_the_same = left.package == right.package
        && left.message_type == right.message_type
        && left.enum_type == right.enum_type
        && left.dependency == right.dependency;
    declares_the_same && one.dependencies().zip(other.dependencies()).all(|(left, right)| is_same(&left, &right, seen))
}
