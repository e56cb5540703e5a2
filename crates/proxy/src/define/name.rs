//! Is this a name?

use redkite_service::Error;
use redkite_types::limits::MAX_NAME_LENGTH;

use crate::refuse;

/// Names that a filter could not tell from its own words.
const FIELD_KEYWORDS: [&str; 36] = [
    "$meta",
    "like",
    "exists",
    "EXISTS",
    "and",
    "or",
    "not",
    "in",
    "json_contains",
    "JSON_CONTAINS",
    "json_contains_all",
    "JSON_CONTAINS_ALL",
    "json_contains_any",
    "JSON_CONTAINS_ANY",
    "array_contains",
    "ARRAY_CONTAINS",
    "array_contains_all",
    "ARRAY_CONTAINS_ALL",
    "array_contains_any",
    "ARRAY_CONTAINS_ANY",
    "array_length",
    "ARRAY_LENGTH",
    "true",
    "True",
    "TRUE",
    "false",
    "False",
    "FALSE",
    "text_match",
    "TEXT_MATCH",
    "phrase_match",
    "PHRASE_MATCH",
    "random_sample",
    "RANDOM_SAMPLE",
    // Milvus appends them itself.
    "RowID",
    "Timestamp",
];

/// Why a text is not a name.
enum Flaw {
    Empty,
    TooLong,
    FirstCharacter,
    Character,
}

fn flaw(name: &str, allowed: impl Fn(u8) -> bool) -> Option<Flaw> {
    let mut bytes = name.bytes();
    let Some(first) = bytes.next() else {
        return Some(Flaw::Empty);
    };
    if name.len() > MAX_NAME_LENGTH {
        Some(Flaw::TooLong)
    } else if first != b'_' && !first.is_ascii_alphabetic() {
        Some(Flaw::FirstCharacter)
    } else if !bytes.all(|byte| byte == b'_' || byte.is_ascii_alphanumeric() || allowed(byte)) {
        Some(Flaw::Character)
    } else {
        None
    }
}

/// Checks a collection's name.
pub(crate) fn collection(name: &str) -> Result<(), Error> {
    collection_name_or_alias(name, "name")
}

/// Checks an alias.
pub(crate) fn alias(name: &str) -> Result<(), Error> {
    collection_name_or_alias(name, "alias")
}

fn collection_name_or_alias(name: &str, kind: &str) -> Result<(), Error> {
    let Some(flaw) = flaw(name, |_| false) else {
        return Ok(());
    };
    let why = match flaw {
        Flaw::Empty => {
            return Err(refuse::invalid(format_args!("collection {kind} should not be empty")));
        }
        Flaw::TooLong => {
            format!("the length of a collection {kind} must be less than {MAX_NAME_LENGTH} characters")
        }
        Flaw::FirstCharacter => {
            format!("the first character of a collection {kind} must be an underscore or letter")
        }
        Flaw::Character => {
            format!("collection {kind} can only contain numbers, letters and underscores")
        }
    };
    // One space, as Milvus's own tests want it.
    Err(refuse::invalid(format_args!("Invalid collection {kind}: {name}. {why}")))
}

/// Checks the name of a resource group.
pub(crate) fn resource_group(name: &str) -> Result<(), Error> {
    let what = match flaw(name, |_| false) {
        None => return Ok(()),
        Some(Flaw::Empty) => {
            return Err(refuse::missing("resource group name couldn't be empty"));
        }
        Some(Flaw::TooLong) => {
            format!("the length of a resource group name must be less than {MAX_NAME_LENGTH} characters")
        }
        Some(Flaw::FirstCharacter) => {
            "the first character of a resource group name must be an underscore or letter".to_owned()
        }
        Some(Flaw::Character) => {
            "resource group name can only contain numbers, letters and underscores".to_owned()
        }
    };
    Err(refuse::invalid(format_args!("Invalid resource group name {name}. {what}")))
}

/// Checks a database's name.
pub(crate) fn database(name: &str) -> Result<(), Error> {
    let Some(flaw) = flaw(name, |_| false) else {
        return Ok(());
    };
    let reason = match flaw {
        Flaw::Empty => "database name couldn't be empty".to_owned(),
        Flaw::TooLong => {
            format!("the length of a database name must be less than {MAX_NAME_LENGTH} characters")
        }
        Flaw::FirstCharacter => {
            "the first character of a database name must be an underscore or letter".to_owned()
        }
        Flaw::Character => "database name can only contain numbers, letters and underscores".to_owned(),
    };
    Err(Error::DatabaseInvalidName { database: name.to_owned(), reason })
}

/// Checks a field's name.
pub(crate) fn field(name: &str) -> Result<(), Error> {
    let name = name.trim();
    let refused = |reason: String| Error::FieldInvalidName { field: name.to_owned(), reason };
    let why = match flaw(name, |_| false) {
        None if FIELD_KEYWORDS.contains(&name) => format!("{name} is keyword in milvus."),
        None => return Ok(()),
        Some(Flaw::Empty) => return Err(refused("field name should not be empty".to_owned())),
        Some(Flaw::TooLong) => {
            format!("The length of a field name must be less than {MAX_NAME_LENGTH} characters.")
        }
        Some(Flaw::FirstCharacter) => {
            "The first character of a field name must be an underscore or letter.".to_owned()
        }
        Some(Flaw::Character) => "Field name can only contain numbers, letters, and underscores.".to_owned(),
    };
    Err(refused(format!("Invalid field name: {name}. {why}")))
}

/// Checks an index's name; empty means that the server chooses one.
pub(crate) fn index(name: &str) -> Result<(), Error> {
    let name = name.trim();
    let why = match flaw(name, |byte| matches!(byte, b'[' | b']')) {
        None | Some(Flaw::Empty) => return Ok(()),
        Some(Flaw::TooLong) => {
            format!("The length of a index name must be less than {MAX_NAME_LENGTH} characters.")
        }
        Some(Flaw::FirstCharacter) => {
            "The first character of a index name must be an underscore or letter.".to_owned()
        }
        Some(Flaw::Character) => "Index name can only contain numbers, letters, and underscores.".to_owned(),
    };
    Err(refuse::invalid(format_args!("Invalid index name: {name}. {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Check = fn(&str) -> Result<(), Error>;

    #[test]
    fn good_names_pass() {
        let checks: [Check; 5] = [collection, alias, database, field, index];
        for check in checks {
            for name in ["a", "_a", "A_1", &"a".repeat(255)] {
                check(name).unwrap();
            }
        }
        index("").unwrap();
        index("s[sub]").unwrap();
    }

    #[test]
    fn bad_names_are_refused_in_milvus_words() {
        let long = "a".repeat(256);
        let table: [(Check, &str, &str); 14] = [
            (collection, "", "collection name should not be empty: invalid parameter"),
            (
                collection,
                "1a",
                "Invalid collection name: 1a. the first character of a collection name must be an \
                 underscore or letter: invalid parameter",
            ),
            (
                collection,
                "a-b",
                "Invalid collection name: a-b. collection name can only contain numbers, letters and \
                 underscores: invalid parameter",
            ),
            (collection, &long, "the length of a collection name must be less than 255 characters"),
            (alias, "$a", "Invalid collection alias: $a. "),
            (alias, "", "collection alias should not be empty: invalid parameter"),
            (database, "", "database name couldn't be empty: invalid database name[database=]"),
            (
                database,
                "12-s",
                "the first character of a database name must be an underscore or letter: invalid database \
                 name[database=12-s]",
            ),
            (database, "数据库", "the first character of a database name must be an underscore or letter"),
            (field, "", "field name should not be empty: field name invalid[field=]"),
            (field, "a b", "Field name can only contain numbers, letters, and underscores."),
            (field, "like", "Invalid field name: like. like is keyword in milvus."),
            (index, "a%b", "Invalid index name: a%b. Index name can only contain numbers, letters, and"),
            (index, "1", "The first character of a index name must be an underscore or letter."),
        ];
        for (check, name, expected) in table {
            let message = check(name).unwrap_err().to_string();
            assert!(message.contains(expected), "{name}: {message}");
        }
    }
}
