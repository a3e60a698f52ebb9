//! Two objects byte by byte, and in which sections they part.

use std::collections::BTreeMap;

use object::{Object as _, ObjectSection as _};

use crate::error::TaskError;

/// Whether both are the same.
///
/// # Errors
/// [`TaskError::Stale`] with the sections that differ.
pub(crate) fn compare(committed: &[u8], built: &[u8]) -> Result<(), TaskError> {
    if committed == built {
        return Ok(());
    }
    let (old, new) = (sections(committed)?, sections(built)?);
    let mut lines = vec![format!("committed {} bytes, built {}", committed.len(), built.len())];
    for (name, bytes) in &old {
        lines.extend(match new.get(name) {
            None => Some(format!("  {name}: only in the committed one")),
            Some(other) => difference(name, bytes, other),
        });
    }
    let added = new.keys().filter(|name| !old.contains_key(*name));
    lines.extend(added.map(|name| format!("  {name}: only in the built one")));
    if lines.len() == 1 {
        lines.push("  no section, but the tables around them".into());
    }
    Err(TaskError::Stale { differences: lines.join("\n") })
}

fn sections(object: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, TaskError> {
    let file = object::File::parse(object)?;
    file.sections()
        .map(|section| Ok((section.name()?.to_owned(), section.data()?.to_vec())))
        .collect()
}

fn difference(name: &str, old: &[u8], new: &[u8]) -> Option<String> {
    if old == new {
        return None;
    }
    let place = old.iter().zip(new).position(|(old, new)| old != new);
    let place = place.unwrap_or(old.len().min(new.len()));
    Some(format!("  {name}: from byte {place}; committed {} bytes, built {}", old.len(), new.len()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]
    use super::*;

    const OBJECT: &[u8] = include_bytes!("../../backend-ebpf/objects/electrode.bpf.o");

    #[test]
    fn names_the_section_that_differs() {
        let file = object::File::parse(OBJECT).unwrap();
        let (start, _) = file.section_by_name("classifier").unwrap().file_range().unwrap();
        let mut other = OBJECT.to_vec();
        other[start as usize + 16] ^= 1;
        let TaskError::Stale { differences } = compare(OBJECT, &other).unwrap_err() else {
            panic!("another error")
        };
        let named: Vec<_> = differences.lines().skip(1).collect();
        assert_eq!(named.len(), 1, "{differences}");
        assert!(named[0].starts_with("  classifier: from byte 16;"), "{differences}");
        compare(OBJECT, OBJECT).unwrap();
    }
}
