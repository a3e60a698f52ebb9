//! Records to load: lines of key, tab, value.

use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};

/// The IANA language subtag registry; see `data/README.md`.
const BUILT_IN: &str = include_str!("../data/language-subtags.tsv");

/// A key and its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// The built-in records.
pub(crate) fn built_in() -> Result<Vec<Record>> {
    parse("the built-in registry", BUILT_IN)
}

/// The records of a file; `-` is standard input.
pub(crate) fn read(path: &Path) -> Result<Vec<Record>> {
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text))
    };
    read.map_err(|source| Error::File { operation: "read", path: path.to_path_buf(), source })?;
    parse(&path.display().to_string(), &text)
}

fn parse(name: &str, text: &str) -> Result<Vec<Record>> {
    let wrong = |line: usize, why: &str| Error::Line { path: name.into(), line, why: why.into() };
    let mut records = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.is_empty() {
            continue;
        }
        let (key, value) = line
            .split_once('\t')
            .ok_or_else(|| wrong(index + 1, "no tab: each line is a key, a tab and a value"))?;
        if key.is_empty() {
            return Err(wrong(index + 1, "the key is empty"));
        }
        records.push(Record { key: key.into(), value: value.into() });
    }
    if records.is_empty() {
        return Err(wrong(1, "no records: each line is a key, a tab and a value"));
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_built_in_records_are_thousands_and_distinct() {
        let records = built_in().unwrap();
        assert_eq!(records.len(), 9_281);
        let keys: BTreeSet<_> = records.iter().map(|record| &record.key).collect();
        assert_eq!(keys.len(), records.len());
        let longest = records.iter().map(|record| record.key.len() + record.value.len()).max();
        assert!(longest < Some(300), "{longest:?} must fit one slot");
        let french = records.iter().find(|record| record.key == b"language/fr").unwrap();
        assert!(french.value.starts_with(b"French; "));
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (text, says) in [
            ("a\t1\nb 2\n", "f:2: no tab"),
            ("a\t1\n\n\t2\n", "f:3: the key is empty"),
            ("\n", "f:1: no records"),
        ] {
            let said = parse("f", text).unwrap_err().to_string();
            assert!(said.starts_with(says), "{said}");
        }
        assert_eq!(parse("f", "k\tv\tw\r\n").unwrap()[0].value, b"v\tw");
    }
}
