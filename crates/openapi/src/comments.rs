//! Comments of protos, where the descriptors have them (`SourceCodeInfo`).

use std::collections::HashMap;

use prost_reflect::FileDescriptor;

/// The comments of one file, by the path of what they are about.
type OfFile = HashMap<Vec<i32>, String>;

/// The comments of all files that were asked for.
#[derive(Default)]
pub(crate) struct Comments(HashMap<(String, String), OfFile>);

impl Comments {
    /// What stands before the element at `path` of a file of this upstream; nothing where the descriptors have no comments.
    pub(crate) fn of(&mut self, upstream: &str, file: &FileDescriptor, path: &[i32]) -> &str {
        let place = (upstream.to_owned(), file.name().to_owned());
        let comments = self.0.entry(place).or_insert_with(|| read(file));
        comments.get(path).map_or("", String::as_str)
    }
}

fn read(file: &FileDescriptor) -> OfFile {
    let locations = file.file_descriptor_proto().source_code_info.iter().flat_map(|info| &info.location);
    let commented = locations.filter_map(|location| {
        let text = location.leading_comments.as_deref().or(location.trailing_comments.as_deref())?;
        Some((location.path.clone(), plain(text)))
    });
    commented.filter(|(_, text)| !text.is_empty()).collect()
}

/// Without the space that follows `//`, and without what is for linters.
fn plain(text: &str) -> String {
    let lines = text.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end());
    let kept: Vec<_> = lines.filter(|line| !line.starts_with("buf:lint:") && !line.starts_with("(-- ")).collect();
    kept.join("\n").trim().to_owned()
}

/// The first sentence, for where there is room for one line.
pub(crate) fn summary(comment: &str) -> &str {
    let paragraph = comment.split("\n\n").next().unwrap_or_default();
    let end = paragraph.match_indices(['.', '\n']).find(|(at, found)| {
        let rest = &paragraph[at + found.len()..];
        *found == "." && (rest.is_empty() || rest.starts_with([' ', '\n']))
    });
    let sentence = end.map_or(paragraph, |(at, _)| &paragraph[..at]);
    if sentence.contains('\n') { sentence.lines().next().unwrap_or_default() } else { sentence }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_is_the_first_sentence() {
        for (comment, first) in [
            ("One product. NOT_FOUND where there is none.", "One product"),
            ("Version 1.5 of it", "Version 1.5 of it"),
            ("One\nthat goes on. And on.", "One"),
            ("", ""),
        ] {
            assert_eq!(summary(comment), first);
        }
    }

    #[test]
    fn comment_is_told_without_what_is_for_linters() {
        assert_eq!(plain(" One.\n buf:lint:ignore X\n\n  Two.\n"), "One.\n\n Two.");
    }
}
