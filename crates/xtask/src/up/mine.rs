//! Configuration files of somebody's own, each over what `up` writes for one of the binaries.

use std::{
    fs,
    path::{Path, PathBuf},
};

use accord_fabric::Part;
use anyhow::{Result, bail};
use toml::Table;

use super::pair;

/// What stays with `up`, which has to find each binary where it started it.
const KEPT: [&str; 3] = ["listen", "admin", "internal"];

/// A binary and a file, as a flag says it.
pub(super) fn named(flag: &str) -> Result<(Part, PathBuf), String> {
    let (name, file) = pair(flag, "NAME=FILE, such as gateway=mine.toml")?;
    let part = Part::ALL.into_iter().find(|part| part.name() == name);
    let part = part.ok_or_else(|| {
        format!("`up` starts no {name}: name gateway, auth, cache, catalog or orders, as in gateway={file}")
    })?;
    Ok((part, file.into()))
}

/// Refuses a file that would move what `up` waits for. What is no TOML is refused by the binary, which says where.
pub(super) fn require_no_address(file: &Path) -> Result<()> {
    let settings = fs::read_to_string(file)?.parse::<Table>().unwrap_or_default();
    let moved = KEPT.iter().find_map(|section| {
        let keys = settings.get(*section)?.as_table()?;
        ["address", "tls"].iter().find(|key| keys.contains_key(**key)).map(|key| format!("{section}.{key}"))
    });
    match moved {
        Some(key) => bail!(
            "{}: `{key}`: `up` would look for it elsewhere: leave it out, and move ports with --ports",
            file.display()
        ),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_that_up_does_not_start_is_refused_with_those_that_it_does() {
        let refused = named("proxy=mine.toml").unwrap_err();
        assert_eq!(
            refused,
            "`up` starts no proxy: name gateway, auth, cache, catalog or orders, as in gateway=mine.toml"
        );
        assert_eq!(named("mine.toml").unwrap_err(), "it is not of the form NAME=FILE, such as gateway=mine.toml");
        for part in Part::ALL {
            assert_eq!(named(&format!("{}=mine.toml", part.name())), Ok((part, "mine.toml".into())));
        }
    }

    #[test]
    fn file_that_moves_an_address_is_refused_with_the_flag_that_does() {
        let directory = tempfile::tempdir().unwrap();
        let refused = |text: &str| {
            let file = directory.path().join("mine.toml");
            fs::write(&file, text).unwrap();
            require_no_address(&file).err().map(|error| error.to_string())
        };
        let moved = refused("[admin]\naddress = \":1\"").unwrap();
        assert!(moved.contains("mine.toml: `admin.address`") && moved.contains("--ports"), "{moved}");
        assert!(refused("[listen.tls]\ncert_file = \"a\"").is_some());
        assert_eq!(refused("[listen]\nmax_streams = 7"), None);
    }
}
